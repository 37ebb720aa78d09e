"""What a study says when its jobs are done: the tables of the run, and study.json with what has to be known beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd

from prognos import files
from prognos.cohort.folds import Folds
from prognos.config import Recipe
from prognos.metrics.occupancy import COLLAPSED
from prognos.models import MODELS
from prognos.study import provenance
from prognos.study.calibration import calibration_tables
from prognos.study.claims import claims_of
from prognos.study.comparison import Assessment, assess
from prognos.study.fold import SIMILARITIES, SUBTYPES, told_of
from prognos.study.gene_groups import GENE_GROUP_SETS, GENE_GROUPS
from prognos.study.oracle import ORACLE
from prognos.study.plan import Job, Plan, reference_of
from prognos.study.scoring import named
from prognos.study.study import read_table

SIMULATED = "truth.json"
_OF_SOME_MODELS = (SIMILARITIES, SUBTYPES, GENE_GROUPS, GENE_GROUP_SETS, ORACLE)
_STRICTEST_FIRST = ("last", "inner", "oracle")


def collect(folder: Path, plan: Plan) -> None:
    """The tables of the run from those of its jobs, in the order of the plan, cell by cell as text."""
    reported = [job.folder for job in plan.jobs if job.reported and (folder / job.folder / "predictions.csv").is_file()]
    if not reported:
        raise ValueError("no model of this study could be fitted on any fold: look at done.json under models/ for the reasons.")
    for name in ("predictions.csv", "survival.csv.gz", *_OF_SOME_MODELS):
        paths = [folder / place / name for place in reported]
        parts = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths if name not in _OF_SOME_MODELS or path.is_file()]
        if parts:
            files.write_csv(folder / name, pd.concat(parts, ignore_index=True))


def conclude(folder: Path, recipe: Recipe, plan: Plan, folds: Mapping[str, Folds], record: Mapping[str, Any]) -> None:
    """Metrics, comparison, and what the reader has to know beside them."""
    predictions, survival = read_table(folder / "predictions.csv"), read_table(folder / "survival.csv.gz")
    subtypes = read_table(folder / SUBTYPES) if (folder / SUBTYPES).is_file() else None
    study = recipe.study
    reference = reference_of(recipe)
    found = assess(predictions, survival, reference=reference, metrics=study.metrics, replicates=study.replicates, subtypes=subtypes)
    selections = selections_of(plan)
    files.write_csv(folder / "metrics.csv", _stamped(found.metrics, selections))
    files.write_csv(folder / "comparison.csv", _stamped(found.comparison, selections))
    reported = [job for job in plan.jobs if job.reported]
    told = {job.model: told_of(folder, job) or {} for job in reported if job.variant == "base"}
    claims = claims_of(predictions, found, reference=reference, replicates=study.replicates)
    for name, table in {**claims, **calibration_tables(predictions, survival, replicates=study.replicates)}.items():
        files.write_csv(folder / name, table)
    oracle = sorted({model for (model, _), selection in selections.items() if selection == "oracle"})
    of_splits = [f"{name}: {text}" for name, made in folds.items() for text in made.warnings]
    stamps = [f"{name}: {_chosen(name)} chosen on the fold that is reported (oracle); its numbers are too good" for name in oracle]
    in_use = _prototypes(folder, reported)
    facts = {
        "name": study.name,
        "command": record["command"],
        "reference": reference,
        "selection": "oracle" if oracle else study.selection,
        "not_applicable": [*(vars(row) for row in plan.not_applicable), *_not_fitted(folder, reported)],
        "unusable": _unusable(found),
        "warnings": [*stamps, *plan.notes, *of_splits, *_of_patients(folder, reported), *_fallen(in_use), *found.notes],
        "seeds": list(study.seeds),
        "models": {
            name: {"summary": MODELS[name].summary, "paper": MODELS[name].paper, "parameters": told[name].get("parameters")}
            for name in told
        },
        "prototypes": in_use,
        "cost": _cost(folder, reported),
        "canary": study.canary,
        "simulated": any((path / SIMULATED).is_file() for path in recipe.cohort.path),
    }
    files.write_json(folder / "study.json", facts)
    files.write_json(folder / "provenance.json", {**record, "finished": provenance.now()})


def selections_of(plan: Plan) -> dict[tuple[str, str], str]:
    """How the epoch of each reported model and variant was chosen: last, inner or oracle.

    A model made of others has the selection of that part which saw most: late fusion of oracle parts is oracle.
    """
    at = {job.folder: job for job in plan.jobs}

    def of(job: Job) -> str:
        return max([job.selection, *(of(at[folder]) for folder in job.parts.values())], key=_STRICTEST_FIRST.index)

    return {(job.model, job.variant): of(job) for job in plan.jobs if job.reported}


def _stamped(table: pd.DataFrame, selections: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """The table with a last column that says how the epoch of each row's model was chosen."""
    pairs = zip(table["model"], table["variant"], strict=True)
    return table.assign(selection=pd.Series([selections[pair] for pair in pairs], index=table.index, dtype=object))


def _chosen(model: str) -> str:
    return "the epochs of its parts were" if MODELS[model].load().needs.parts else "its epoch was"


def _of_patients(folder: Path, jobs: Sequence[Job]) -> list[str]:
    """How many predictions rest on none of what a model reads, or on an iteration that did not converge."""
    without = [
        f"{where}: {share_in_words(count, tested)} of the tested patients have none of what is read; "
        "they get the median training risk and the training fold's Kaplan-Meier curve"
        for where, count, tested in _counted("without_input", folder, jobs)
    ]
    unfinished = [
        f"{where}: an iteration inside the model did not converge for {count} of {tested} predictions; they rest on what it had reached"
        for where, count, tested in _counted("not_converged", folder, jobs)
    ]
    return [*without, *unfinished]


def share_in_words(count: int, of: int) -> str:
    """A share in per cent that is 0% for nobody only."""
    return f"{count / of:.0%}" if not count or 200 * count > of else "less than 1%"


def _counted(what: str, folder: Path, jobs: Sequence[Job]) -> list[tuple[str, int, int]]:
    """What the jobs counted where it is not 0: cohort, models of which it is the same, and missing pattern in words; count, predictions."""
    counts: dict[tuple[str, str, str, str], list[int]] = {}
    for job in jobs:
        told = told_of(folder, job) or {}
        for pattern, found in told.get(what, {}).items():
            count = counts.setdefault((job.model, job.variant, job.cohort, pattern), [0, 0])
            count[0] += found
            count[1] += told["tested"]
    alike: dict[tuple[str, str, int, int], list[str]] = {}
    for (model, variant, cohort, pattern), (found, tested) in counts.items():
        if found:
            alike.setdefault((cohort, pattern, found, tested), []).append(named((model, variant)))
    return [
        (f"{cohort}: {', '.join(names)}{'' if pattern == 'none' else f' without {pattern}'}", found, tested)
        for (cohort, pattern, found, tested), names in alike.items()
    ]


def _not_fitted(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Jobs whose training part turned out to lack what the model reads."""
    reasons = [(job, (told_of(folder, job) or {}).get("not_applicable")) for job in jobs]
    return [
        {"model": job.model, "variant": job.variant, "cohort": job.cohort, "reason": f"seed {job.seed}, fold {job.fold}: {reason}"}
        for job, reason in reasons
        if reason
    ]


def _cost(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Of each model and variant, medians over its fits; None for what no fit recorded.

    Numbers trained, seconds of a fit with its predictions, CPU seconds and largest memory of the fit alone, and CPU seconds to predict a
    patient, by pattern.
    """
    told: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for job in jobs:
        said = told_of(folder, job) or {}
        if "predict_seconds" in said:
            told.setdefault((job.model, job.variant, job.cohort), []).append(said)
    return [
        {
            "model": model,
            "variant": variant,
            "cohort": cohort,
            "parameters": rows[0]["parameters"],
            "fit_seconds": median(row["seconds"] for row in rows),
            "fit_cpu_seconds": _median_of("fit_cpu_seconds", rows),
            "fit_peak_bytes": _median_of("fit_peak_bytes", rows),
            "predict_seconds": {p: round(median(row["predict_seconds"][p] for row in rows), 5) for p in rows[0]["predict_seconds"]},
        }
        for (model, variant, cohort), rows in told.items()
    ]


def _prototypes(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Of each model with prototypes, variant, cohort and modality, over its fits: means of the effective number and of the largest share.

    `collapsed` counts fits in which one prototype takes nearly all tokens first.
    """
    told: dict[tuple[str, str, str, str], list[dict[str, float]]] = {}
    for job in jobs:
        for modality, use in ((told_of(folder, job) or {}).get("prototypes") or {}).items():
            told.setdefault((job.model, job.variant, job.cohort, modality), []).append(use)
    return [
        {
            "model": model,
            "variant": variant,
            "cohort": cohort,
            "modality": modality,
            "fits": len(rows),
            "prototypes": rows[0]["prototypes"],
            "effective": round(mean(row["effective"] for row in rows), 3),
            "largest": round(mean(row["largest"] for row in rows), 4),
            "collapsed": sum(row["largest"] >= COLLAPSED for row in rows),
        }
        for (model, variant, cohort, modality), rows in told.items()
    ]


def _fallen(in_use: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which models have prototypes of which one takes nearly all tokens."""
    said = "{}: in {} of {} fits of {} one prototype takes {:.0%} of the tokens of {} or more first: they tell hardly a token from another"
    return [
        said.format(row["cohort"], row["collapsed"], row["fits"], named((row["model"], row["variant"])), COLLAPSED, row["modality"])
        for row in in_use
        if row["collapsed"]
    ]


def _median_of(name: str, rows: Sequence[Mapping[str, Any]]) -> float | None:
    known = [float(row[name]) for row in rows if row.get(name) is not None]
    return median(known) if known else None


def _unusable(found: Assessment) -> list[dict[str, Any]]:
    """The metrics that a fold did not give, one row for all the models that did not get it, with the stated reason."""
    rows = found.metrics[found.metrics["value"].isna()]
    reasons: dict[str, str] = {}
    for note in found.notes:
        place, _, reason = note.partition(": ")
        reasons.setdefault(place, reason)
    return [
        {
            "model": ", ".join(dict.fromkeys(part["model"])),
            "cohort": cohort,
            "seed": int(seed),
            "fold": int(fold),
            "metric": metric,
            "reason": reasons.get(f"{cohort}, {metric}", "it cannot be computed on this fold"),
        }
        for (cohort, metric, seed, fold), part in rows.groupby(["cohort", "metric", "seed", "fold"], sort=False)
    ]
