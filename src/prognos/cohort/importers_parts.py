"""What an importer hands over, and the conversions that several formats need; each says what it did."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prognos.cohort.defects import naming, nearest

COVARIATE_SOURCES = {
    "site": ("site", "tissue_source_site"),
    "project": ("project", "project_id", "type"),
    "age": ("age", "age_at_initial_pathologic_diagnosis"),
    "sex": ("sex", "gender"),
    "stage": ("stage", "ajcc_pathologic_tumor_stage", "clinical_stage"),
    "grade": ("grade", "histological_grade"),
    "subtype": ("subtype", "oncotree_code", "OncotreeCode"),
}
MONTH_LENGTHS = (30.0, 30.4375, 30.44)  # SurvPath divides days by 30, the MCAT family by 30.44
DEFAULT_MONTH = 30.44
EMPTY_WORDS = ("", "NA", "N/A", "nan", "NaN", "#N/A", "None")


class ImportSourceError(ValueError):
    """A table of another tool that cannot be imported; the message names the file and what to do."""


@dataclass
class Parts:
    """A cohort before it is written: what goes into each file, and what was said on the way."""

    clinical: pd.DataFrame
    slides: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    folds: pd.Series | None = None
    said: list[str] = field(default_factory=list)


def read_source(path: Path) -> pd.DataFrame:
    """Every cell of a CSV file (also .gz, .zip) as text, empty where it states nothing; an unnamed index column is dropped.

    Raises:
        ImportSourceError: there is no such file or it is not CSV.
    """
    if not path.is_file():
        raise ImportSourceError(f"there is no file {path}: correct the path.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise ImportSourceError(f"{path.name} cannot be read as CSV ({error}): export it again.") from error
    frame = frame.drop(columns=[name for name in frame if str(name) == "" or str(name).startswith("Unnamed:")])
    if not len(frame):
        raise ImportSourceError(f"{path.name} has no row: export it again.")
    return frame


def column(frame: pd.DataFrame, name: str, where: str) -> pd.Series:
    """A column that must be there.

    Raises:
        ImportSourceError: it is not; the nearest one is named.
    """
    if name not in frame:
        raise ImportSourceError(f"{where} has no column {name!r} ({nearest(name, map(str, frame.columns))}): is this the right format?")
    return frame[name]


def without_empty_words(text: pd.Series) -> pd.Series:
    """Empty text where the cell says that it knows nothing: NA, [Not Available] ..."""
    stripped = text.str.strip()
    return stripped.mask(stripped.isin(EMPTY_WORDS) | stripped.str.fullmatch(r"\[.*\]"), "")


def numbers(text: pd.Series, where: str) -> pd.Series:
    """Numbers, NaN where empty.

    Raises:
        ImportSourceError: a cell holds something else.
    """
    filled = without_empty_words(text)
    parsed = pd.to_numeric(filled.where(filled != "", None), errors="coerce").astype(np.float64)
    wrong = (filled != "") & ~np.isfinite(parsed)
    if wrong.any():
        raise ImportSourceError(f"{where}: {int(wrong.sum())} cells are not numbers ({naming(map(repr, text[wrong]))}): correct them.")
    return parsed


def event_of(text: pd.Series, where: str, *, inverted: bool) -> pd.Series:
    """1 observed, 0 censored, empty where unknown; `inverted` when the source has 1 for censored.

    Raises:
        ImportSourceError: a cell is neither 0, 1 nor empty.
    """
    parsed = numbers(text, where)
    wrong = parsed.notna() & ~parsed.isin((0.0, 1.0))
    if wrong.any():
        raise ImportSourceError(
            f"{where}: {int(wrong.sum())} cells are not 0, 1 or empty ({naming(map(repr, text[wrong]))}): correct them."
        )
    return (1 - parsed if inverted else parsed).astype("Int64")


def days_of_months(months: pd.Series) -> tuple[pd.Series, float]:
    """Whole days, and the length of a month that was used: the one of MONTH_LENGTHS with which nearly all months are whole days."""
    known = months.dropna().to_numpy()
    for length in MONTH_LENGTHS:
        days = known * length
        if len(days) and np.mean(np.abs(days - np.round(days)) < 1e-3) > 0.95:
            return (months * length).round(), length
    return (months * DEFAULT_MONTH).round(), DEFAULT_MONTH


def one_row_a_patient(frame: pd.DataFrame, patient_column: str, agreeing: list[str], where: str) -> pd.DataFrame:
    """The first row of each patient, once it is known that the patient's rows agree.

    Raises:
        ImportSourceError: a patient has two times or two events.
    """
    for name in agreeing:
        differ = frame.groupby(patient_column)[name].nunique()
        wrong = differ.index[differ > 1]
        if len(wrong):
            raise ImportSourceError(f"{where}, {name}: {len(wrong)} patients have several values ({naming(wrong)}): keep one.")
    return frame.drop_duplicates(patient_column)


def clinical_covariates(frame: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """Site, age, sex, stage, grade and subtype under our names, from whichever column the source has them in."""
    found: dict[str, Any] = {}
    for ours, sources in COVARIATE_SOURCES.items():
        for theirs in sources:
            if theirs in frame and (values := without_empty_words(frame[theirs])).ne("").any():
                found[ours] = values
                if theirs != ours:
                    said.append(f"{theirs} -> {ours}")
                break
    if "sex" not in found and "is_female" in frame:
        female = numbers(frame["is_female"], "is_female")
        found["sex"] = female.map({1.0: "female", 0.0: "male"}).fillna("")
        said.append("is_female -> sex: 1 to female, 0 to male")
    if "age" in found:
        found["age"] = numbers(found["age"], "age")
    return pd.DataFrame(found, index=frame.index)


def slide_rows(frame: pd.DataFrame, patient_column: str, slide_column: str, said: list[str]) -> pd.DataFrame | None:
    """slides.csv: ids without the ending of the slide file, resolution where the source has it."""
    if slide_column not in frame:
        return None
    stripped = frame[slide_column].str.strip().str.replace(r"\.(svs|tiff?|ndpi|mrxs)$", "", regex=True, case=False)
    shortened = int((stripped != frame[slide_column]).sum())
    if shortened:
        said.append(f"{slide_column}: the ending of the slide file taken off {shortened} ids")
    slides = pd.DataFrame({"slide_id": stripped, "patient_id": frame[patient_column].str.strip()})
    if "mpp" in frame:
        slides["mpp"] = numbers(frame["mpp"], "mpp")
    return slides[slides["slide_id"] != ""].drop_duplicates("slide_id")


def number_table(frame: pd.DataFrame, patients: pd.Series, where: str) -> pd.DataFrame:
    """A table patients x numbers, index patient_id.

    Raises:
        ImportSourceError: a cell is not a number.
    """
    parsed = frame.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    wrong = parsed.isna() & ~frame.isin(EMPTY_WORDS)
    if wrong.to_numpy().any():
        columns = naming(frame.columns[wrong.any()])
        raise ImportSourceError(f"{where}: {int(wrong.to_numpy().sum())} cells are not numbers (columns {columns}): correct them.")
    parsed.index = pd.Index(patients.to_numpy(), name="patient_id")
    return parsed.loc[parsed.notna().any(axis=1)]
