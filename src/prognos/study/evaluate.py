"""`prognos evaluate`: metrics, intervals and comparison of any table of predictions, ours or another tool's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prognos import files
from prognos.metrics import kaplan_meier, logrank
from prognos.study.calibration import calibration_tables
from prognos.study.claims import claims_of
from prognos.study.comparison import assess
from prognos.study.scoring import CELL, DEFAULTS, shortened

DAYS_IN = {"days": 1.0, "months": 30.4375, "years": 365.25}
LONGEST_PLAUSIBLE = {"days": 36525.0, "months": 1200.0, "years": 100.0}
SHORTEST_PLAUSIBLE_IN_DAYS = 400.0
NEEDED = ("patient_id", "time", "event", "risk")
PREDICTION_COLUMNS = (*CELL, "patient_id", "time", "event", "risk", "threshold")
SUBTYPE_COLUMNS = (*CELL, "patient_id", "subtype", "class", "probability")
SERIES = ("model", "variant", "cohort", "seed", "missing")


class PredictionsError(ValueError):
    """Tables of predictions that cannot be scored; every defect is listed.

    Args:
        defects: one sentence each: what, where, what to do.
    """

    def __init__(self, defects: Sequence[str]):
        self.defects = tuple(defects)
        listed = defects[0] if len(defects) == 1 else f"{len(defects)} defects:\n" + "\n".join(f"- {defect}" for defect in defects)
        super().__init__(listed)


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
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None,
    *,
    time_unit: str = "days",
    reference: str | None = None,
    survival: str | os.PathLike[str] | None = None,
    subtypes: str | os.PathLike[str] | None = None,
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
        survival: a CSV of survival curves: the same keys, horizon (in the same unit) and survival.
        subtypes: a CSV of subtypes: the same keys, subtype (observed, empty where unknown), class and probability.
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
    curves = None if survival is None else read_survival(survival)
    classes = None if subtypes is None else read_subtypes(subtypes)
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


def read_predictions(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """One table of predictions from one or several files, checked: text ids, numbers, bool events, optional columns filled.

    Read with pandas alone, the model called "null" and the missing pattern "None" would become NaN; here text stays text.

    Raises:
        PredictionsError: everything that is wrong, listed.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not listed:
        raise PredictionsError(["no file of predictions is named: give one or more CSV files."])
    defects: list[str] = []
    parts = []
    for path in map(Path, listed):
        part = _read_text(path, defects)
        if part is None:
            continue
        absent = [name for name in NEEDED if name not in part.columns]
        if absent:
            defects.append(f"{path.name} has no column {', '.join(absent)} (it has {', '.join(part.columns)}): rename or add it.")
            continue
        if part.empty:
            defects.append(f"{path.name} has a header but no row: there is nothing to score.")
            continue
        part = _filled(part, path)
        _check_numbers(part, path.name, defects)
        parts.append(part)
    if defects:
        raise PredictionsError(defects)
    table = pd.concat(parts, ignore_index=True)
    defects = [*_repeated(table), *_contradicting(table)]
    if defects:
        raise PredictionsError(defects)
    return _with_whole_numbers(table)


def read_survival(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Survival curves, in long form, from a CSV (also .gz): keys as in predictions, horizon, survival.

    Raises:
        PredictionsError: a column is missing or a number is not one.
    """
    return _read_long(Path(path), numbers=("horizon", "survival"), once=(*CELL, "patient_id", "horizon"))


def read_subtypes(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Probabilities of subtypes, in long form, from a CSV (also .gz): keys as in predictions, subtype, class, probability.

    Raises:
        PredictionsError: a column is missing, a number is not one, or a class of a patient appears twice.
    """
    return _read_long(Path(path), texts=("subtype", "class"), numbers=("probability",), once=(*CELL, "patient_id", "class"))


def _read_long(place: Path, *, texts: Sequence[str] = (), numbers: Sequence[str], once: Sequence[str]) -> pd.DataFrame:
    defects: list[str] = []
    table = _read_text(place, defects)
    if table is not None:
        absent = [name for name in ("patient_id", *texts, *numbers) if name not in table.columns]
        if absent:
            defects.append(f"{place.name} has no column {', '.join(absent)} (it has {', '.join(table.columns)}): rename or add it.")
        else:
            table = _filled(table, place)
            for name in numbers:
                table[name] = _numbers(table, name, place.name, defects)
            again = table.duplicated(list(once))
            if again.any():
                defects.append(f"{place.name}: {once[-1]} of a patient appears twice in {_patients(table, again)}: keep one row.")
    if defects or table is None:
        raise PredictionsError(defects)
    return _with_whole_numbers(table)


def _read_text(path: Path, defects: list[str]) -> pd.DataFrame | None:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        defects.append(f"there is no file {path}: check the name.")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, EOFError) as error:
        defects.append(f"{path} cannot be read as CSV ({error}): write it again, as plain or gzipped CSV.")
    return None


def _filled(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The optional columns with their defaults, also where a cell is empty."""
    if "filled_by" in table.columns:  # of `prognos predict`: what each patient lacked, not a pattern that a study took from everyone
        table = table.drop(columns="missing", errors="ignore")
    stem = path.name.removesuffix(".gz").removesuffix(".csv")
    for name, value in {"model": stem, **DEFAULTS}.items():
        if name not in table.columns:
            table[name] = str(value)
        else:
            table[name] = table[name].where(table[name] != "", str(value))
    return table


def _with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Seeds and folds as numbers where all of them are; names of folds stay text."""
    for name in ("seed", "fold"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.notna().all() and (numbers % 1 == 0).all():
            table[name] = numbers.astype(int)
    return table


def _check_numbers(table: pd.DataFrame, name: str, defects: list[str]) -> None:
    """Puts numbers where text was, or says which cells are none."""
    for column in ("time", "risk"):
        table[column] = _numbers(table, column, name, defects)
    negative = table["time"] < 0
    if negative.any():
        defects.append(f"{name}: time is negative for {_patients(table, negative)}: leave these patients out.")
    codes = table["event"].str.strip().str.lower().map({"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1})
    wrong = codes.isna()
    if wrong.any():
        found = ", ".join(repr(code) for code in dict.fromkeys(table.loc[wrong, "event"].head(1000)))
        defects.append(f"{name}: event is {found[:60]} for {_patients(table, wrong)}: code 1 for an observed event, 0 for censored.")
    table["event"] = codes == 1
    unnamed = table["patient_id"] == ""
    if unnamed.any():
        defects.append(f"{name}: patient_id is empty in {unnamed.sum()} of {len(table)} rows: name every patient.")
    if "threshold" in table.columns:
        given = table["threshold"] != ""
        numbers = pd.Series(np.nan, index=table.index)
        numbers[given] = _numbers(table[given], "threshold", name, defects)
        table["threshold"] = numbers
    else:
        table["threshold"] = np.nan


def _numbers(table: pd.DataFrame, column: str, name: str, defects: list[str]) -> np.ndarray:
    """A column as float64, read exactly; what is not a finite number is a defect."""
    try:
        numbers = table[column].to_numpy(dtype=object).astype(np.float64)
    except ValueError:
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        first = table.loc[wrong, column].iloc[0]
        shown = "empty" if first == "" else repr(first)
        defects.append(f"{name}: {column} is not a number ({shown}) for {_patients(table, wrong)}: correct or leave out these patients.")
    return numbers


def _patients(table: pd.DataFrame, chosen: pd.Series | np.ndarray) -> str:
    rows = int(np.sum(chosen))
    return f"{rows} of {len(table)} rows ({shortened(table.loc[chosen, 'patient_id'])})"


def _repeated(table: pd.DataFrame) -> list[str]:
    again = table.duplicated([*CELL, "patient_id"])
    if not again.any():
        return []
    first = table[again].iloc[0]
    where = f"{first['model']}, {first['cohort']}, seed {first['seed']}, fold {first['fold']}"
    return [
        "a patient appears twice in the same model, variant, cohort, seed, fold and missing pattern in "
        f"{_patients(table, again)}, first in {where}: keep one row, or add the column that tells them apart."
    ]


def _contradicting(table: pd.DataFrame) -> list[str]:
    """Times or events of a patient that differ between rows of one cohort and variant (a canary has labels of its own)."""
    outcomes = table[["cohort", "variant", "patient_id", "time", "event"]].drop_duplicates()
    wrong = outcomes.duplicated(["cohort", "variant", "patient_id"])
    if not wrong.any():
        return []
    return [
        f"time or event of the same patient differs between rows of one cohort, for {wrong.sum()} patients "
        f"({shortened(outcomes.loc[wrong, 'patient_id'])}): give cohorts, or endpoints, names of their own in the column cohort."
    ]


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
