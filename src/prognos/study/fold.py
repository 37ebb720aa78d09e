"""One job of a study: a model is fitted on the training part of one fold and then asked about its test part.

Only `train` goes into `fit`. The exceptions exist to show what choosing the epoch on the reported fold does to a number: the selection
`oracle`, named in the recipe and stamped in every table, and `oracle_warning`, which watches the test part and changes nothing.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prognos import files, runtime
from prognos.cohort import Cohort
from prognos.cohort.folds import inner_split
from prognos.evidence.collected import patients_looked_at, prototype_use
from prognos.study.canary import permuted
from prognos.study.gene_groups import group_tables
from prognos.study.oracle import ORACLE, oracle_row, unwatched
from prognos.study.plan import CANARY, Job
from prognos.tokens.inputs import MissingModality
from prognos.tokens.missing import Pattern, missing_of
from prognos.training import FitOptions, FitProgress

KEYS = ("model", "variant", "cohort", "seed", "fold", "missing", "patient_id")
PREDICTION_COLUMNS = (*KEYS, "time", "event", "risk", "threshold")
SURVIVAL_COLUMNS = (*KEYS, "horizon", "survival")
FIXED_HORIZONS = (365.0, 1095.0, 1825.0)
SIMILARITY_COLUMNS = (*(key for key in KEYS if key != "missing"), "left", "right", "cosine")
SIMILARITIES = "similarities.csv"
"""Of models that show vectors in their evidence; of complete patients."""
SUBTYPE_COLUMNS = (*KEYS, "subtype", "class", "probability")
SUBTYPES = "subtypes.csv"
"""Of models that predict the subtype: a row for each class of each patient; `subtype` is the observed one, empty where unknown."""
DONE = "done.json"
STAGES = "stages"
"""Folder, in a run, of stages of training that variants have in common; gone when the study is done."""


@dataclass(frozen=True)
class Shared:
    """What every job of a run needs; sent to each process once.

    Args:
        run: the run folder.
        cohorts: by name.
        folds: cohort -> fold of each patient.
        fit: `prognos.training.fit`, or something with its signature.
        load: reads what a fitted model saved; for the parts of late fusion.
        variants: whether fits may share stages of training.
        oracle_warning: whether the test part is scored after every epoch, for oracle.csv; nothing is learnt from it or chosen on it.
    """

    run: Path
    cohorts: Mapping[str, Cohort]
    folds: Mapping[str, pd.Series]
    fit: Callable[..., Any]
    load: Callable[[Path], Any]
    variants: bool = False
    oracle_warning: bool = False


def run_job(job: Job, shared: Shared, report: Callable[[float], None]) -> dict[str, Any]:
    """Fits and predicts; leaves everything in the job's folder, `done.json` last.

    Returns:
        what is told of the job in the study: seconds, parameters, what fit and predictions cost, the epochs that a selection chose.
    """
    started = time.monotonic()
    folder = shared.run / job.folder
    train, test = parts_of(shared.cohorts[job.cohort], shared.folds[job.cohort], job.fold)
    horizons = horizons_of(train)
    if job.variant == CANARY:
        train, test = parts_of(permuted(shared.cohorts[job.cohort], job.seed), shared.folds[job.cohort], job.fold)
    memory, begun = runtime.PeakMemory(), time.process_time()
    try:
        with memory:
            fitted, epochs = _fitted(job, shared, (train, test), report)
    except MissingModality as reason:
        return _leave(folder, {"seconds": round(time.monotonic() - started, 2), "not_applicable": str(reason)})
    fit_cost = {"fit_cpu_seconds": round(time.process_time() - begun, 2), "fit_peak_bytes": memory.most}
    seen = oracle_row(fitted.log, _of_job(job)) if _watches(job, shared) else None
    fitted = unwatched(fitted) if _watches(job, shared) else fitted
    fitted.save(folder)
    if seen is not None:
        files.write_csv(folder / ORACLE, seen)
    for name, table in group_tables(fitted, train, _of_job(job)).items():
        files.write_csv(folder / name, table)
    predictions, survival, subtypes = [], [], []
    without_input, not_converged, predict_seconds = {}, {}, {}
    for pattern in job.missing:
        asked = time.process_time()
        answered = predict_pattern(fitted, test, pattern, job.seed, horizons)
        predict_seconds[pattern.text] = round((time.process_time() - asked) / max(1, len(test)), 5)
        without_input[pattern.text] = int(np.sum(answered.without_input))
        not_converged[pattern.text] = int(np.sum(answered.not_converged))
        rows = _keys(job, pattern, test)
        predictions.append(
            rows.assign(
                time=np.asarray(test.time, float), event=np.asarray(test.event, int), risk=answered.risk, threshold=fitted.threshold
            )
        )
        curves = rows.loc[rows.index.repeat(len(horizons))].assign(horizon=np.tile(horizons, len(rows)))
        survival.append(curves.assign(survival=np.round(np.asarray(answered.survival, float).reshape(-1), 6)))
        if answered.subtype_probabilities is not None:
            subtypes.append(_class_probabilities(rows, test, answered))
        if pattern.text == "none" and answered.similarities:
            files.write_csv(folder / SIMILARITIES, _cosines(rows, answered.similarities))
    if job.missing:
        files.write_csv(folder / "predictions.csv", pd.concat(predictions, ignore_index=True)[list(PREDICTION_COLUMNS)])
        files.write_csv(folder / "survival.csv.gz", pd.concat(survival, ignore_index=True)[list(SURVIVAL_COLUMNS)])
    if subtypes:
        files.write_csv(folder / SUBTYPES, pd.concat(subtypes, ignore_index=True))
    told: dict[str, Any] = {"parameters": n_parameters(fitted), "epochs": epochs, "tested": len(test), **fit_cost}
    if fitted.model.prototype_banks():
        told["prototypes"] = prototype_use(fitted, test, patients_looked_at(test, test.patients, job.fold))
    by_pattern = {"without_input": without_input, "not_converged": not_converged, "predict_seconds": predict_seconds}
    return _leave(folder, {"seconds": round(time.monotonic() - started, 2), **told, **by_pattern})


def _leave(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Says that the job is done, then removes what was kept for going on after a kill."""
    files.write_json(folder / DONE, told)
    for checkpoint in folder.rglob("checkpoint-*.safetensors"):
        checkpoint.unlink(missing_ok=True)
    return told


def told_of(run: Path, job: Job) -> dict[str, Any] | None:
    """What a finished job said; None when it has not finished."""
    path = run / job.folder / DONE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def parts_of(cohort: Cohort, folds: pd.Series, fold: int) -> tuple[Cohort, Cohort]:
    """The training and the test part of a fold, each a cohort of its own."""
    of_patient = folds.reindex(list(cohort.patients))
    train = [patient for patient, here in of_patient.items() if here == here and here != fold]
    return cohort.subset(train), cohort.subset([patient for patient, here in of_patient.items() if here == fold])


def horizons_of(train: Cohort) -> np.ndarray:
    """Days at which curves are kept: 50 points over the middle nine tenths of the training event times, and 1, 3, 5 years."""
    events = np.asarray(train.time, float)[np.asarray(train.event, bool)]
    points = np.percentile(events, [5, 95]) if len(events) else np.array([])
    points = np.linspace(points[0], points[1], 50) if len(events) else points
    return np.unique(np.round(np.concatenate([points, FIXED_HORIZONS]), 3))


def predict_pattern(fitted: Any, test: Cohort, pattern: Pattern, seed: int, horizons: np.ndarray) -> Any:
    """The predictions of the test patients without what a pattern takes from them, or with what it gives them of each other."""
    for modality in sorted(pattern.shuffled):
        test = test.shuffled(modality, runtime.generator("shuffled", modality, seed))
    named = pattern.absent | set(pattern.rates)
    modalities = [modality for modality in test.modalities if modality != "clinical" or modality in named]
    has = {modality: np.asarray(test.has(modality), bool) for modality in modalities}
    measured = {patient: [m for m in modalities if has[m][row]] for row, patient in enumerate(test.patients)}
    lost = missing_of(pattern, measured, seed)
    drawn = {patient: tuple(sorted(gone - pattern.absent)) for patient, gone in lost.items() if gone - pattern.absent}
    return fitted.predict(test, without=tuple(sorted(pattern.absent)), absent=drawn, horizons=horizons.tolist())


def best_epoch(log: pd.DataFrame) -> int | None:
    """How many epochs of training gave the best concordance on the validation part, the fewest where several did.

    None when there is none to choose from: the model has no epochs, or no pair of the validation part can be compared.
    """
    if "validation_concordance" not in log:
        return None
    watched = log[log["validation_concordance"].notna()]
    if watched.empty:
        return None
    return int(watched.loc[watched["validation_concordance"].idxmax(), "epoch"]) + 1


def n_parameters(fitted: Any) -> int:
    """Trained numbers of a fitted model."""
    return sum(parameter.numel() for parameter in fitted.model.parameters())


def _fitted(job: Job, shared: Shared, parts: tuple[Cohort, Cohort], report: Callable[[float], None]) -> tuple[Any, int | None]:
    """The fitted model, and the number of epochs when a selection chose it."""
    train, test = parts
    folder = shared.run / job.folder
    settings: dict[str, Any] = {"seed": job.seed, "config": job.config, "training": job.training, "inputs": job.inputs}
    fitted_parts = {name: shared.load(shared.run / place) for name, place in job.parts.items()}
    if job.selection == "last":
        stages = shared.run / STAGES if shared.variants else None
        watched = test if _watches(job, shared) else None
        options = FitOptions(folder=folder, parts=fitted_parts, validation=watched, progress=_share(report, 0.0, 1.0), stages=stages)
        return shared.fit(train, job.model, options=options, **settings), None
    chosen = folder / "selection.json"
    if not chosen.is_file():
        learnt, watched = _inner_parts(train, job.seed) if job.selection == "inner" else (train, test)
        trial = FitOptions(folder=folder / job.selection, parts=fitted_parts, validation=watched, progress=_share(report, 0.0, 0.5))
        without = {**settings, "training": {**job.training, "recalibration": "none"}}
        log = shared.fit(learnt, job.model, options=trial, **without).log
        files.write_csv(folder / f"selection_{job.selection}.csv", log)
        files.write_json(chosen, {"selection": job.selection, "epochs": best_epoch(log)})
    epochs = json.loads(chosen.read_text(encoding="utf-8"))["epochs"]
    if epochs is not None:
        settings["training"] = {**job.training, "stop_after": epochs}
    options = FitOptions(folder=folder, parts=fitted_parts, progress=_share(report, 0.5, 1.0))
    return shared.fit(train, job.model, options=options, **settings), epochs


def _watches(job: Job, shared: Shared) -> bool:
    """Whether the concordance on the test part is logged beside a fit that takes its last epoch."""
    return shared.oracle_warning and job.selection == "last" and job.variant != CANARY and job.reported


def _inner_parts(train: Cohort, seed: int) -> tuple[Cohort, Cohort]:
    """Site-grouped parts of the training part: to learn from, and to choose the epoch on."""
    validation = inner_split(train.sites, train.event, seed=runtime.derive_seed("inner", train.name, seed) % 2**32).validation
    patients = np.asarray(train.patients, dtype=object)
    return train.subset(list(patients[~validation])), train.subset(list(patients[validation]))


def _share(report: Callable[[float], None], begin: float, end: float) -> Callable[[FitProgress], None]:
    def progress(step: FitProgress) -> None:
        report(begin + (end - begin) * step.epoch / max(1, step.epochs))

    return progress


def _cosines(rows: pd.DataFrame, similarities: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """A row for each patient who has both vectors of a pair."""
    parts = [rows.assign(left=left, right=right, cosine=np.round(values, 6)) for (left, right), values in similarities.items()]
    return pd.concat(parts, ignore_index=True).dropna(subset=["cosine"])[list(SIMILARITY_COLUMNS)]


def _class_probabilities(rows: pd.DataFrame, test: Cohort, answered: Any) -> pd.DataFrame:
    """A row for each class of each patient, with the observed subtype."""
    labels = pd.Series(None, index=list(test.patients), dtype=object) if test.subtype is None else test.subtype
    observed = rows.assign(subtype=labels.reindex(rows["patient_id"]).to_numpy())
    of_class = observed.loc[observed.index.repeat(len(answered.subtypes))]
    probability = np.round(np.asarray(answered.subtype_probabilities, float).reshape(-1), 6)
    return of_class.assign(**{"class": np.tile(answered.subtypes, len(rows)), "probability": probability})[list(SUBTYPE_COLUMNS)]


def _keys(job: Job, pattern: Pattern, test: Cohort) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": list(test.patients)}).assign(**_of_job(job), missing=pattern.text)


def _of_job(job: Job) -> dict[str, Any]:
    return {"model": job.model, "variant": job.variant, "cohort": job.cohort, "seed": job.seed, "fold": job.fold}
