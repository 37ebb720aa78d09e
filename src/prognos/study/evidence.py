"""What the models of a finished run show of patients whom they were not trained on, as tables in the run's folder `evidence`.

Collected after the study, from its fitted models and its test folds. What is collected of one fit lies in a folder of its own, with the
hash of the weights that it was collected of, so that an interrupted collection goes on where it stood and a model that was fitted anew is
looked at anew.
"""

import json
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prognos import files
from prognos.cohort import Cohort
from prognos.cohort.defects import naming
from prognos.config import unknown
from prognos.evidence.collected import evidence_of, patients_looked_at, shows_evidence
from prognos.evidence.tables import FOLDER, TABLES, file_of
from prognos.models import MODELS
from prognos.study.plan import BASE
from prognos.training import Fitted

OF_FITS = "fits"
COLLECTED = "collected.json"
"""What is written last of a fit: the hash of its weights and the patients who were looked at."""


@dataclass(frozen=True)
class Fit:
    """One fitted model of a run.

    Args:
        run: the run folder.
        cohort: name of the cohort.
        model: name in the table of models.
        seed: of the fit.
        fold: in which it was tested.
    """

    run: Path
    cohort: str
    model: str
    seed: int
    fold: int

    @property
    def folder(self) -> Path:
        """Where the fitted model lies."""
        return self.run / "models" / self._place

    @property
    def collected(self) -> Path:
        """Where its evidence lies."""
        return self.run / FOLDER / OF_FITS / self._place

    @property
    def _place(self) -> Path:
        return Path(self.cohort) / self.model / f"seed-{self.seed}" / f"fold-{self.fold}"

    @property
    def keys(self) -> dict[str, Any]:
        """What the rows of its tables are of."""
        return {"model": self.model, "variant": BASE, "cohort": self.cohort, "seed": self.seed, "fold": self.fold}

    @property
    def weights(self) -> str:
        """The hash of its weights."""
        return str(json.loads((self.folder / "fitted.json").read_text(encoding="utf-8"))["weights_sha256"])

    @property
    def done(self) -> bool:
        """Whether its evidence was collected of these very weights."""
        path = self.collected / COLLECTED
        return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["weights_sha256"] == self.weights


@dataclass(frozen=True)
class EvidenceProgress:
    """How far a collection is.

    Args:
        done: fits that were looked at.
        total: fits to look at.
        seconds_left: if the others take as long.
    """

    done: int
    total: int
    seconds_left: float

    @property
    def share(self) -> float:
        """Of the work, from 0 to 1."""
        return self.done / self.total


def collect_evidence(
    run: Path,
    cohorts: Mapping[str, Cohort],
    *,
    model: str | None = None,
    progress: Callable[[EvidenceProgress], None] | None = None,
) -> list[Path]:
    """Collects the evidence of the fits of a run, of its base variants; returns the tables that the run then has.

    Args:
        run: the run folder.
        cohorts: by name; fits on other cohorts are left as they are.
        model: of this model only; all others are left as they are.
        progress: called after each fit.

    Raises:
        ValueError: the run has no such fit, or a cohort lacks patients whom the run tested.
    """
    fits = [fit for fit in fits_of(run, model) if fit.cohort in cohorts]
    if not fits:
        raise ValueError(
            f"{run} holds no fitted model of {naming(cohorts)}: give the cohort folder that the run was made of "
            f"({naming(sorted({fit.cohort for fit in fits_of(run, model)}))})."
        )
    with files.locked(run):
        todo = [fit for fit in fits if not fit.done]
        started = time.monotonic()
        for done, fit in enumerate(todo, start=1):
            _collect(fit, cohorts[fit.cohort])
            if progress is not None:
                each = (time.monotonic() - started) / done
                progress(EvidenceProgress(done, len(todo), each * (len(todo) - done)))
        return _put_together(run)


def fits_of(run: Path, model: str | None = None) -> list[Fit]:
    """The fits of a run that were tested and may show something, in the order of cohorts, models, seeds and folds.

    Raises:
        ValueError: the run has none, or no model of this name.
    """
    found = []
    for path in run.glob("models/*/*/seed-*/fold-*/predictions.csv"):
        cohort, name, seed, fold = path.parts[-5:-1]
        if name in MODELS and "omics" in MODELS[name].load().needs.modalities and (path.parent / "fitted.json").is_file():
            found.append(Fit(run, cohort, name, int(seed.removeprefix("seed-")), int(fold.removeprefix("fold-"))))
    names = list(dict.fromkeys(fit.model for fit in found))
    if not found:
        raise ValueError(f"{run} holds no fitted model that reads omics: evidence is collected of these; give a finished run that has one.")
    if model is not None and model not in names:
        raise ValueError(f"{run}: {unknown('model', model, names)}")
    return sorted((fit for fit in found if model in (None, fit.model)), key=lambda fit: (fit.cohort, fit.model, fit.seed, fit.fold))


def gene_sets_of(run: Path) -> dict[str, str]:
    """Name and file of the gene sets that a run was made with, as far as the files are still there."""
    path = run / "recipe.toml"
    recipe = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: file for name, file in recipe.get("omics", {}).get("gene_sets", {}).items() if Path(file).is_file()}


def _collect(fit: Fit, cohort: Cohort) -> None:
    """Leaves the tables of one fit in its folder, `collected.json` last."""
    tested = _tested(fit)
    absent = sorted(set(tested) - set(cohort.patients))
    if absent:
        raise ValueError(
            f"{len(absent)} of the {len(tested)} patients whom {fit.run} tested in fold {fit.fold} are not in {cohort.name} "
            f"({naming(absent)}): give the cohort folder that the run was made of."
        )
    fitted = Fitted.load(fit.folder)
    chosen = patients_looked_at(cohort, tested, fit.fold)
    tables = evidence_of(fitted, cohort, chosen, fit.keys) if shows_evidence(fitted) else {}
    for name in TABLES:
        if name in tables:
            files.write_csv(fit.collected / f"{name}.csv.gz", tables[name])
        else:
            (fit.collected / f"{name}.csv.gz").unlink(missing_ok=True)
    files.write_json(fit.collected / COLLECTED, {"weights_sha256": fit.weights, "patients": list(chosen), "of": len(tested)})


def _tested(fit: Fit) -> list[str]:
    """The patients of the test fold."""
    table = pd.read_csv(fit.folder / "predictions.csv", usecols=["patient_id"], dtype=str, keep_default_na=False)
    return list(dict.fromkeys(table["patient_id"]))


def _put_together(run: Path) -> list[Path]:
    """One table of a kind, from those of all fits that are collected."""
    fits = [fit for fit in fits_of(run) if fit.done]
    written = []
    for name in TABLES:
        paths = [path for fit in fits if (path := fit.collected / f"{name}.csv.gz").is_file()]
        if paths:
            parts = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths]
            written.append(files.write_csv(run / file_of(name), pd.concat(parts, ignore_index=True)))
    return written
