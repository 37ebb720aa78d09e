"""Runs a study: reads the cohorts, makes the plan, does every job that is not done, and writes the tables.

A job leaves its results in its own folder and is done when `done.json` is there. The tables of the run are put together from
these in the order of the plan, so that they are the same bytes whether the run went through at once, was killed and resumed,
or was spread over any number of processes.
"""

import json
import logging
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from prognos import files, runtime
from prognos.cohort import Cohort
from prognos.cohort.competing import competing_events
from prognos.cohort.folds import Folds, folds_of
from prognos.cohort.subtype import Classes
from prognos.config import Recipe, flat, make_recipe, recipe_values, to_toml
from prognos.study import provenance
from prognos.study.conclusion import collect, conclude
from prognos.study.engine import default_workers, engine
from prognos.study.enough import check_training_parts
from prognos.study.evidence import collect_evidence
from prognos.study.fold import STAGES, Shared, run_job, told_of
from prognos.study.plan import Job, Plan, make_plan
from prognos.study.study import Study
from prognos.study.timing import Clock, StudyProgress, bytes_of
from prognos.training import Fitted, fit

log = logging.getLogger("prognos")

COMPETING = "competing.csv"
"""Of cohorts that know who died without the event: patient_id, competing (1 or 0), cohort."""
_FREE_TO_CHANGE = ("study.workers", "study.evidence")


class RunError(ValueError):
    """A run folder that cannot be used: it holds something else, or the run that it holds was another one."""


def run(
    recipe: Recipe,
    out: Path | str | None = None,
    *,
    resume: bool = False,
    command: str = "",
    progress: Callable[[StudyProgress], None] | None = None,
) -> Study:
    """The study of a recipe, in a run folder.

    Args:
        recipe: what to do.
        out: the run folder; `runs/NAME-DATE` under the working directory when left out.
        resume: go on with what is in the folder.
        command: as typed, for the record.
        progress: called whenever a job moves.

    Raises:
        ValueError: for anything in the recipe, the cohorts or the folder that is not as it must be.
    """
    return run_cohorts(recipe, read_cohorts(recipe), out, resume=resume, command=command, progress=progress)


def cross_validate(
    cohort: Cohort | Path | str,
    models: Sequence[str] = ("null", "clinical", "snn", "abmil", "late-fusion", "tta"),
    seeds: Sequence[int] = (1,),
    *,
    out: Path | str | None = None,
    resume: bool = False,
    endpoint: str | None = None,
    progress: Callable[[StudyProgress], None] | None = None,
    **sections: Mapping[str, Any],
) -> Study:
    """Models compared on the folds of one cohort, each patient predicted by a model that never saw this patient.

    Args:
        cohort: a cohort, or the folder of one.
        models: names in the table of models.
        seeds: every model is trained with each.
        out: the run folder; `runs/NAME-DATE` when left out.
        resume: go on with what is in the folder.
        endpoint: for a folder whose clinical.csv has several.
        progress: called whenever a job moves.
        sections: further sections of a recipe, such as `training={"epochs": 10}` or `study={"missing": ["none", "omics"]}`.

    Returns:
        the study; `comparison()` is its main table, `report()` its page.
    """
    path = str(cohort) if isinstance(cohort, Path | str) else cohort.name
    study = {"name": Path(path).name, "models": list(models), "seeds": list(seeds), **sections.pop("study", {})}
    own: dict[str, Any] = {"path": path}
    chosen = endpoint if isinstance(cohort, Path | str) else cohort.endpoint
    values = {**sections, "cohort": own | ({"endpoint": chosen} if chosen else {}), "study": study}
    recipe = make_recipe(values, where="cross_validate")
    cohorts = read_cohorts(recipe) if isinstance(cohort, Path | str) else {cohort.name: cohort}
    return run_cohorts(recipe, cohorts, out, resume=resume, command="prognos.cross_validate", progress=progress)


def run_cohorts(
    recipe: Recipe,
    cohorts: Mapping[str, Cohort],
    out: Path | str | None = None,
    *,
    resume: bool = False,
    command: str = "",
    progress: Callable[[StudyProgress], None] | None = None,
    training: tuple[Callable[..., Any], Callable[[Path], Any]] | None = None,
) -> Study:
    """The study of a recipe on cohorts that are already read; arguments as `run`.

    Args:
        recipe: what to do.
        cohorts: by name.
        out: the run folder.
        resume: go on with what is in the folder.
        command: as typed.
        progress: called whenever a job moves.
        training: what fits a model and what loads a fitted one; those of `prognos.training` when left out.

    Raises:
        ValueError: as `run`; `files.InUseError` where another process works in the folder.
    """
    folder = (Path(out) if out is not None else default_folder(recipe.study.name)).resolve()
    claim(folder, recipe, resume)
    folds = {name: _folds(cohort, recipe.study.n_folds, folder, several=len(cohorts) > 1) for name, cohort in cohorts.items()}
    plan = make_plan(recipe, cohorts, {name: made.fold for name, made in folds.items()})
    if not plan.jobs:
        reasons = "; ".join(f"{row.model} on {row.cohort}: {row.reason}" for row in plan.not_applicable[:3])
        raise ValueError(f"no model of this study can be fed ({reasons}); choose models for what the cohorts have.")
    of_patient = {name: made.fold for name, made in folds.items()}
    check_training_parts(plan, cohorts, of_patient)
    fit_model, load = training or (fit, Fitted.load)
    shared = Shared(
        folder, cohorts, of_patient, fit_model, load, variants=bool(recipe.study.variants), oracle_warning=recipe.study.oracle_warning
    )
    with files.locked(folder):
        record = _begin(folder, recipe, cohorts, folds, command, claim(folder, recipe, resume))
        _do_jobs(plan, shared, recipe.study.workers, progress)
        collect(folder, plan)
        conclude(folder, recipe, plan, folds, record)
        shutil.rmtree(folder / STAGES, ignore_errors=True)
    if recipe.study.evidence:
        collect_evidence(folder, cohorts)
    return Study(folder)


def read_cohorts(recipe: Recipe) -> dict[str, Cohort]:
    """The cohorts of a recipe by name.

    Raises:
        ValueError: two have the same name; and `CohortError`, with every defect of a folder.
    """
    cohorts: dict[str, Cohort] = {}
    for path in recipe.cohort.path:
        log.info("reading %s", path)
        gene_sets = {name: str(file) for name, file in recipe.omics.gene_sets.items()}
        told = recipe.cohort
        subtype: dict[str, Any] = {"subtype": told.subtype, "subtype_classes": told.subtype_classes, "merge": told.merge}
        cohort = Cohort.read(path, endpoint=told.endpoint, gene_sets=gene_sets, **subtype)
        if cohort.name in cohorts:
            raise ValueError(f"two cohorts are called {cohort.name!r}; results are kept by name, so rename one (name in its cohort.toml).")
        cohorts[cohort.name] = cohort
    return cohorts


def default_folder(name: str) -> Path:
    """`runs/NAME-DATE` under the working directory."""
    return Path("runs") / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def claim(folder: Path, recipe: Recipe, resume: bool) -> bool:
    """Whether a run folder holds this very study, to be resumed; refuses a folder that holds anything else.

    Raises:
        RunError: the folder is not empty and shall not be resumed, or holds another study: the keys that differ are named.
    """
    if not folder.exists() or (folder.is_dir() and all(path.name == files.LOCK for path in folder.iterdir())):
        return False
    if not resume:
        raise RunError(f"{folder} is not empty: give another --out, or --resume to go on with the run in it.")
    if not (folder / "recipe.toml").is_file():
        raise RunError(f"{folder} holds no run to resume (no recipe.toml): give the folder of the run, or another --out.")
    before = flat(tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8")))
    after = flat(recipe_values(recipe))
    changed = [key for key in sorted({*before, *after} - {*_FREE_TO_CHANGE}) if before.get(key) != after.get(key)]
    if changed:
        said = "; ".join(f"{key} was {before.get(key, 'not set')!r} and is {after.get(key, 'not set')!r}" for key in changed[:3])
        raise RunError(
            f"the run in {folder} was started with another recipe: {len(changed)} keys differ ({said}). "
            "Resume with the recipe it was started with, or start a new run with another --out."
        )
    return True


def _folds(cohort: Cohort, n_folds: int, folder: Path, *, several: bool) -> Folds:
    """The folds of a cohort: given, or made; made ones of a resumed run are those that it began with."""
    kept = folder / "splits.csv"
    if cohort.folds is not None or not kept.is_file():
        return folds_of(cohort, n_folds)
    table = pd.read_csv(kept, dtype={"patient_id": str, "cohort": str}, keep_default_na=False)
    own = table[table["cohort"] == cohort.name] if several else table
    facts = json.loads((folder / "cohort.json").read_text(encoding="utf-8"))[cohort.name]
    fold = own.set_index("patient_id")["fold"].reindex(list(cohort.patients)).rename("fold")
    classes = Classes.of(cohort)
    warnings = () if classes is None else classes.warnings(fold.to_numpy())
    return Folds(fold, facts["site_preserving"], facts["split_note"], warnings)


def _begin(
    folder: Path, recipe: Recipe, cohorts: Mapping[str, Cohort], folds: Mapping[str, Folds], command: str, resumed: bool
) -> dict[str, Any]:
    """Writes what is known before the first job, and checks that a resumed run meets the cohorts that it began with."""
    paths = dict(zip(cohorts, recipe.cohort.path, strict=True))
    gene_sets = tuple(recipe.omics.gene_sets.values())
    inputs = {name: provenance.hashes(path, gene_sets) for name, path in paths.items()}
    record: dict[str, Any] = {
        "command": command or " ".join(sys.argv),
        "started": provenance.now(),
        "finished": None,
        "resumed": [],
        "versions": provenance.versions(),
        "host": _host_settings(),
        "seeds": list(recipe.study.seeds),
        "cohorts": inputs,
    }
    if resumed and (folder / "provenance.json").is_file():
        before = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        _refuse_changed_inputs(folder, before["cohorts"], inputs)
        record = {**before, "resumed": [*before["resumed"], provenance.now()]}
    files.write_text(folder / "recipe.toml", to_toml(recipe_values(recipe)))
    files.write_json(folder / "cohort.json", {name: provenance.cohort_facts(cohort, folds[name]) for name, cohort in cohorts.items()})
    splits = [made.fold.rename_axis("patient_id").reset_index().assign(cohort=name) for name, made in folds.items()]
    columns = ["patient_id", "fold", "cohort"] if len(cohorts) > 1 else ["patient_id", "fold"]
    files.write_csv(folder / "splits.csv", pd.concat(splits, ignore_index=True)[columns])
    competing = [found.rename_axis("patient_id").reset_index().assign(cohort=name) for name, found in _competing(cohorts).items()]
    if competing:
        files.write_csv(folder / COMPETING, pd.concat(competing, ignore_index=True).astype({"competing": int}))
    files.write_json(folder / "provenance.json", record)
    return record


def _competing(cohorts: Mapping[str, Cohort]) -> dict[str, pd.Series]:
    """Who had a competing event, of the cohorts that know it."""
    found = {name: competing_events(cohort) for name, cohort in cohorts.items()}
    return {name: events for name, events in found.items() if events is not None}


def _host_settings() -> dict[str, Any]:
    """Applies what a job runs under, one thread, for the record; the threads of this process are put back."""
    threads = torch.get_num_threads()
    try:
        return runtime.apply_host_settings(threads=1).as_dict()
    finally:
        torch.set_num_threads(threads)


def _refuse_changed_inputs(folder: Path, before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> None:
    changed = [
        f"{cohort}/{name}"
        for cohort in {**before, **after}
        for name in sorted({**before.get(cohort, {}), **after.get(cohort, {})})
        if before.get(cohort, {}).get(name) != after.get(cohort, {}).get(name)
    ]
    if changed:
        raise RunError(
            f"{len(changed)} files changed since the run in {folder} was started ({', '.join(changed[:3])}): "
            "its folds would mix two cohorts. Put the files back, or start a new run with another --out."
        )


def _do_jobs(plan: Plan, shared: Shared, workers: int | None, progress: Callable[[StudyProgress], None] | None) -> None:
    seconds = {job: float(told["seconds"]) for job in plan.jobs if (told := told_of(shared.run, job)) is not None}
    left = [job for job in plan.jobs if job not in seconds]
    if not left:
        return
    most = max(bytes_of(job, shared.cohorts[job.cohort]) for job in left)
    n_workers = workers or default_workers(len(left), most)
    log.info(
        "%d jobs to do, %d done before; %d %s, at most about %.1f GB of the %.1f GB that are free",
        len(left),
        len(seconds),
        n_workers,
        "process" if n_workers == 1 else "processes",
        n_workers * most / 1e9,
        runtime.available_memory() / 1e9,
    )
    clock = Clock(plan.jobs, seconds, n_workers, progress)
    with engine(n_workers, shared) as spread:
        for wave in plan.waves:
            todo = [job for job in wave if job not in seconds]

            def watch(index: int, share: float, todo: list[Job] = todo) -> None:
                clock.running(todo[index], share)

            for index, told in spread(run_job, todo, watch):
                clock.finished(todo[index], told["seconds"])
