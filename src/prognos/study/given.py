"""Tables of predictions, curves and subtypes that somebody hands over: read as text, checked, every defect listed."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.study.scoring import CELL, DEFAULTS, shortened

NEEDED = ("patient_id", "time", "event", "risk")


class PredictionsError(ValueError):
    """Tables of predictions that cannot be scored; every defect is listed.

    Args:
        defects: one sentence each: what, where, what to do.
    """

    def __init__(self, defects: Sequence[str]):
        self.defects = tuple(defects)
        listed = defects[0] if len(defects) == 1 else f"{len(defects)} defects:\n" + "\n".join(f"- {defect}" for defect in defects)
        super().__init__(listed)


Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One file or several."""


def read_predictions(paths: Paths) -> pd.DataFrame:
    """One table of predictions from one or several files, checked: text ids, numbers, bool events, optional columns filled.

    Read with pandas alone, the model called "null" and the missing pattern "None" would become NaN; here text stays text.

    Raises:
        PredictionsError: everything that is wrong, listed.
    """
    listed = _listed(paths)
    if not listed:
        raise PredictionsError(["no file of predictions is named: give one or more CSV files."])
    defects: list[str] = []
    parts = []
    for path in listed:
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


def read_survival(paths: Paths) -> pd.DataFrame:
    """Survival curves, in long form, from one or several CSV (also .gz): keys as in predictions, horizon, survival.

    Raises:
        PredictionsError: a column is missing or a number is not one.
    """
    return _read_long(_listed(paths), numbers=("horizon", "survival"), once=(*CELL, "patient_id", "horizon"))


def read_subtypes(paths: Paths) -> pd.DataFrame:
    """Probabilities of subtypes, in long form, from one or several CSV (also .gz): keys as in predictions, subtype, class, probability.

    Raises:
        PredictionsError: a column is missing, a number is not one, or a class of a patient appears twice.
    """
    return _read_long(_listed(paths), texts=("subtype", "class"), numbers=("probability",), once=(*CELL, "patient_id", "class"))


def _listed(paths: Paths) -> list[Path]:
    return [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def _read_long(places: Sequence[Path], *, texts: Sequence[str] = (), numbers: Sequence[str], once: Sequence[str]) -> pd.DataFrame:
    defects: list[str] = []
    parts = []
    for place in places:
        table = _read_text(place, defects)
        if table is None:
            continue
        absent = [name for name in ("patient_id", *texts, *numbers) if name not in table.columns]
        if absent:
            defects.append(f"{place.name} has no column {', '.join(absent)} (it has {', '.join(table.columns)}): rename or add it.")
        else:
            table = _filled(table, place)
            for name in numbers:
                table[name] = _numbers(table, name, place.name, defects)
            parts.append(table)
    if defects:
        raise PredictionsError(defects)
    whole = pd.concat(parts, ignore_index=True)
    again = whole.duplicated(list(once))
    if again.any():
        names = ", ".join(place.name for place in places)
        raise PredictionsError([f"{names}: {once[-1]} of a patient appears twice in {_patients(whole, again)}: keep one row."])
    return _with_whole_numbers(whole)


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
