"""`prognos evaluate`: metrics, intervals and comparison of any table of predictions, ours or another tool's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prognos import files
from prognos.metrics import kaplan_meier, logrank
from prognos.study.calibration import calibration_tables
from prognos.study.claims import claims_of
from prognos.study.comparison import assess
from prognos.study.given import Paths, read_predictions, read_subtypes, read_survival
from prognos.study.scoring import CELL, shortened

DAYS_IN = {"days": 1.0, "months": 30.4375, "years": 365.25}
LONGEST_PLAUSIBLE = {"days": 36525.0, "months": 1200.0, "years": 100.0}
SHORTEST_PLAUSIBLE_IN_DAYS = 400.0
PREDICTION_COLUMNS = (*CELL, "patient_id", "time", "event", "risk", "threshold")
SUBTYPE_COLUMNS = (*CELL, "patient_id", "subtype", "class", "probability")
SERIES = ("model", "variant", "cohort", "seed", "missing")


@dataclass(frozen=True)
class Evaluation:
    """What is known of a table of predictions.

    Args:
        predictions: the columns of predictions.csv, times in days, thresholds filled in.
        metrics: the columns of metrics.csv.
        comparison: the columns of comparison.csv.
        folds: patients, events, comparable pairs and tau of each model and fold.
        groups: high against low risk of each model: patients, events, log-rank test stratified by fold.
        curves: the Kaplan-Meier curves of these groups.
        notes: what was assumed, what cannot be scored and why.
        warnings: questions to the user, such as an implausible unit of time.
        subtypes: the columns of subtypes.csv, where subtypes were given.
        claims: tests.csv, incremental.csv and fusion_audit.csv by these names, where there is anything to say.
    """

    predictions: pd.DataFrame
    metrics: pd.DataFrame
    comparison: pd.DataFrame
    folds: pd.DataFrame
    groups: pd.DataFrame
    curves: pd.DataFrame
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    subtypes: pd.DataFrame | None = None
    claims: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def evaluate(
    paths: Paths,
    out: str | os.PathLike[str] | None,
    *,
    time_unit: str = "days",
    reference: str | None = None,
    survival: Paths | None = None,
    subtypes: Paths | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Scores tables of predictions and writes predictions, metrics, comparison, claims, folds, groups, curves and evaluation.json.

    Args:
        paths: CSV files (also .gz) with patient_id, time, event and risk, and optionally model (else the file's name),
            variant, cohort, seed, fold, missing and threshold.
        out: folder for the results; None writes nothing.
        time_unit: days, months (of 30.4375 days) or years (of 365.25 days).
        reference: the model that differences are taken to; the model clinical, where there is one, when None.
        survival: one or more CSV of survival curves: the same keys, horizon (in the same unit) and survival.
        subtypes: one or more CSV of subtypes: the same keys, subtype (observed, empty where unknown), class and probability.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        PredictionsError: a column, a number or an event code is wrong, or a patient appears twice; all are listed.
        ValueError: the reference is not among the models, or the time unit is unknown.
    """
    if time_unit not in DAYS_IN:
        raise ValueError(f"time unit {time_unit!r} is unknown: choose one of {', '.join(DAYS_IN)}.")
    table = read_predictions(paths)
    warnings = _questioned(table["time"], time_unit)
    curves = read_survival(survival) if survival else None
    classes = read_subtypes(subtypes) if subtypes else None
    table["time"] *= DAYS_IN[time_unit]
    if curves is not None:
        curves["horizon"] *= DAYS_IN[time_unit]
    table, notes = _with_threshold(table)
    models = tuple(dict.fromkeys(table["model"]))
    if reference is None:
        reference = "clinical" if "clinical" in models else None
    elif reference not in models:
        raise ValueError(f"the reference {reference!r} is not among the models: {', '.join(models)}.")
    training, of_training = _outcomes_of_predicted(table)
    assessment = assess(table, curves, reference=reference, replicates=replicates, seed=seed, training=training, subtypes=classes)
    groups, group_curves, group_notes = _risk_groups(table)
    evaluation = Evaluation(
        table[list(PREDICTION_COLUMNS)].astype({"event": int}),
        assessment.metrics,
        assessment.comparison,
        assessment.folds,
        groups,
        group_curves,
        (*(of_training or _other_parts(table)), *notes, *assessment.notes, *group_notes),
        warnings,
        None if classes is None else classes[list(SUBTYPE_COLUMNS)],
        claims_of(table, assessment, reference=reference, replicates=replicates)
        | ({} if curves is None else calibration_tables(table, curves, replicates=replicates)),
    )
    if out is not None:
        _write(evaluation, Path(out), {"time_unit": time_unit, "reference": reference, "replicates": replicates, "seed": seed})
    return evaluation


def _outcomes_of_predicted(table: pd.DataFrame) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Of tables of `prognos predict` alone, which have no folds: who censoring is learnt from, the patients themselves, and a note."""
    if "filled_by" not in table.columns or table["filled_by"].isna().any():
        return None, ()
    own = table.drop_duplicates(["cohort", "patient_id"])[["cohort", "time", "event"]]
    return own, ("no model was trained on these patients: censoring, and the Kaplan-Meier curve to beat, are learnt from themselves.",)


def _questioned(time: pd.Series, unit: str) -> tuple[str, ...]:
    """A question where the unit of time does not look right; nothing is changed."""
    longest = float(time.max())
    if longest > LONGEST_PLAUSIBLE[unit]:
        others = " or ".join(other for other in DAYS_IN if other != unit and longest <= LONGEST_PLAUSIBLE[other]) or "another unit"
        return (f"the longest time is {longest:g} {unit}: are these {others}? Say so with --time-unit.",)
    if longest * DAYS_IN[unit] < SHORTEST_PLAUSIBLE_IN_DAYS:
        others = "months" if longest > 25 else "months or years"
        return (f"the longest time is {longest:g} {unit}: are these {others}? Say so with --time-unit.",)
    return ()


def _with_threshold(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Thresholds, where none is given, from the median risk of the fold itself, and a note that says so."""
    lacking = table["threshold"].isna()
    if not lacking.any():
        return table, ()
    median = table.groupby(list(CELL), sort=False)["risk"].transform("median")
    note = (
        f"no threshold for {shortened(table.loc[lacking, 'model'])}: high risk is above the median risk within each fold, "
        "so that half of the patients are high by construction; a threshold from the training part would be better."
    )
    return table.assign(threshold=table["threshold"].where(~lacking, median)), (note,)


def _other_parts(table: pd.DataFrame) -> tuple[str, ...]:
    """Notes about what the folds are."""
    notes = []
    lone = [model for model, part in table.groupby("model", sort=False) if part["fold"].nunique() == 1]
    if lone:
        notes.append(
            f"one fold only for {shortened(map(str, lone))}: metrics that need the censoring of a training part (all but concordance) "
            "cannot be computed; give a fold column."
        )
    overlapping = table.duplicated([*(name for name in CELL if name != "fold"), "patient_id"])
    if overlapping.any():
        notes.append(
            f"folds share patients ({overlapping.sum()} rows): a fold's training part is the other folds' patients less its own; "
            "intervals treat the folds as if they were independent and are too narrow."
        )
    return tuple(notes)


def _risk_groups(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """High against low risk of each model, tested within folds, and the curves of the groups."""
    lines, curves = [], []
    untested: dict[str, list[str]] = {}
    for keys, part in table.groupby(list(SERIES), sort=False):
        high = (part["risk"] > part["threshold"]).to_numpy()
        time, event = part["time"].to_numpy(), part["event"].to_numpy()
        key = dict(zip(SERIES, keys, strict=True))
        line = {**key, "high": int(high.sum()), "low": int((~high).sum())}
        line |= {"high_events": int(event[high].sum()), "low_events": int(event[~high].sum()), "statistic": np.nan, "p_value": np.nan}
        try:
            test = logrank(time, event, np.where(high, "high", "low"), strata=part["fold"].to_numpy())
            line |= {"statistic": test.statistic, "p_value": test.p_value}
        except ValueError as reason:
            untested.setdefault(str(reason), []).append(str(key["model"]))
        lines.append(line)
        for group, inside in (("high", high), ("low", ~high)):
            if inside.any():
                curve = kaplan_meier(time[inside], event[inside])
                columns = {name: getattr(curve, name) for name in ("time", "survival", "low", "high", "at_risk", "events", "censored")}
                curves.append(pd.DataFrame({**key, "group": group, **columns}))
    notes = tuple(f"log-rank test of {shortened(models)}: {reason}" for reason, models in untested.items())
    return pd.DataFrame(lines), pd.concat(curves, ignore_index=True), notes


def _write(evaluation: Evaluation, out: Path, settings: dict) -> None:
    for name in ("predictions", "metrics", "comparison", "folds", "groups", "curves"):
        files.write_csv(out / f"{name}.csv", getattr(evaluation, name))
    for name, claim in evaluation.claims.items():
        files.write_csv(out / name, claim)
    if evaluation.subtypes is not None:
        files.write_csv(out / "subtypes.csv", evaluation.subtypes)
    said = {"notes": list(evaluation.notes), "warnings": list(evaluation.warnings)}
    files.write_json(out / "evaluation.json", {**settings, "tau": "80th percentile of training follow-up, per fold in folds.csv", **said})
