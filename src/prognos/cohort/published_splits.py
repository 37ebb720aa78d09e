"""Folds that others published, read as patient -> the fold in which the patient is tested.

Two layouts: a folder of `splits_0.csv`, `splits_1.csv` ... with columns `train`, `val` and perhaps `test` (CLAM, MCAT, SurvPath), and
folders `NAME_k=0`, `NAME_k=1` ... with `train.csv`, `test.csv` and perhaps `val.csv` in each (MMP). The held-out part is `test`, or
`val` where there is no `test`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from prognos.cohort.defects import naming
from prognos.cohort.folds import FoldError

PARTS = ("train", "val", "test")
ID_COLUMNS = ("case_id", "patient_id", "submitter_id", "slide_id")


def read_folds(path: str | os.PathLike[str]) -> pd.Series:
    """The folds in a `splits.csv` with columns `patient_id` and `fold`.

    Raises:
        FoldError: a column is not there, a patient has two folds, or a fold is not a whole number.
    """
    path = Path(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in ("patient_id", "fold"):
        if column not in table:
            raise FoldError(
                f"{path.name} has no column {column!r} (it has {', '.join(table.columns)}): name its columns patient_id and fold."
            )
    label = table["fold"].str.strip()
    wrong = ~label.str.fullmatch(r"\d+(\.0+)?")
    if wrong.any():
        raise FoldError(
            f"{path.name}: the fold of {int(wrong.sum())} patients ({naming(table['patient_id'][wrong])}) is not a whole number, "
            f"for example {label[wrong].iloc[0]!r}: number the folds from 0."
        )
    fold = pd.Series(label.astype(float).astype(int).to_numpy(), index=pd.Index(table["patient_id"], name="patient_id"), name="fold")
    twice = fold.index[fold.index.duplicated()].unique()
    if len(twice):
        raise FoldError(f"{path.name}: {len(twice)} patients have more than one row ({naming(twice)}): keep one fold a patient.")
    return fold


def read_splits(folder: str | os.PathLike[str], *, patient_of: Mapping[str, str] | None = None) -> pd.Series:
    """The folds that a folder of published splits holds; patients who are tested in none of them are an error.

    Args:
        folder: a folder in one of the two layouts.
        patient_of: slide id -> patient id, for splits that list slides.

    Raises:
        FoldError: the folder holds no splits, a patient is in two parts of one split or tested in two of them, validation and test
            part are the same, or patients are never tested.
    """
    folder = Path(folder)
    splits = _splits(folder)
    if len(splits) < 2:
        raise FoldError(
            f"{folder} holds {len(splits)} splits: expected files splits_0.csv, splits_1.csv ... or folders NAME_k=0, NAME_k=1 ... "
            f"with train.csv and test.csv."
        )
    tested_in: dict[str, int] = {}
    known: dict[str, None] = {}
    for number, (name, parts) in splits.items():
        patients = {part: _patients(ids, patient_of, name) for part, ids in parts.items()}
        _refuse_overlap(name, patients)
        known |= dict.fromkeys(patient for ids in patients.values() for patient in ids)
        held_out = patients.get("test") or patients.get("val") or ()
        if not held_out:
            raise FoldError(f"{name} has nobody in a test or val part: every split needs one.")
        again = [patient for patient in held_out if patient in tested_in]
        if again:
            raise FoldError(
                f"{len(again)} patients of {name} are tested in an earlier split too ({naming(again)}): these are repeated random "
                f"splits, not folds; give folds in which each patient is tested once, or let them be made."
            )
        tested_in |= dict.fromkeys(held_out, number)
    never = [patient for patient in known if patient not in tested_in]
    if never:
        raise FoldError(
            f"{len(never)} patients in {folder.name} are trained on but tested in no split ({naming(never)}): "
            f"is a split missing? Found: {', '.join(name for name, _ in splits.values())}."
        )
    return pd.Series(tested_in, name="fold").rename_axis("patient_id")


def _splits(folder: Path) -> dict[int, tuple[str, dict[str, list[str]]]]:
    """Number of the split -> its name and the ids in each part."""
    found: dict[int, tuple[str, dict[str, list[str]]]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        as_table, as_folder = re.fullmatch(r"splits_(\d+)\.csv", path.name), re.search(r"k=(\d+)$", path.name)
        if as_table:
            table = pd.read_csv(path, dtype=str)
            found[int(as_table[1])] = path.name, {part: table[part].dropna().tolist() for part in PARTS if part in table}
        elif as_folder and path.is_dir():
            found[int(as_folder[1])] = path.name, {part: _ids(path / f"{part}.csv") for part in PARTS if (path / f"{part}.csv").is_file()}
    return dict(sorted(found.items()))


def _ids(path: Path) -> list[str]:
    table = pd.read_csv(path, dtype=str)
    column = next((name for name in ID_COLUMNS if name in table), None)
    if column is None:
        raise FoldError(f"{path.parent.name}/{path.name} names no patients: expected one of the columns {', '.join(ID_COLUMNS)}.")
    return table[column].dropna().tolist()


def _patients(ids: list[str], patient_of: Mapping[str, str] | None, name: str) -> list[str]:
    stripped = [identity.strip() for identity in ids]
    if patient_of is None:
        return list(dict.fromkeys(stripped))
    unknown = [slide for slide in stripped if slide not in patient_of]
    if unknown:
        raise FoldError(f"{len(unknown)} slides of {name} are of no known patient ({naming(unknown)}): add them to slides.csv.")
    return list(dict.fromkeys(patient_of[slide] for slide in stripped))


def _refuse_overlap(name: str, patients: Mapping[str, list[str]]) -> None:
    if "val" in patients and "test" in patients and set(patients["val"]) == set(patients["test"]):
        raise FoldError(
            f"{name}: val and test are the same {len(patients['test'])} patients, so that epochs were chosen on the reported patients: "
            f"remove the val part to use test as the held-out fold."
        )
    parts = list(patients)
    for position, first in enumerate(parts):
        for second in parts[position + 1 :]:
            both = sorted(set(patients[first]) & set(patients[second]))
            if both:
                raise FoldError(
                    f"{name}: {len(both)} patients are in both {first} and {second} ({naming(both)}): "
                    f"each patient belongs to one part of a split."
                )
