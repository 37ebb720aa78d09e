"""Clinical covariates as numbers: age, sex, tumour stage and grade, scaled by the training fold.

| covariate | read as |
|---|---|
| age | the number |
| sex | male 1, female 0 (also m, f; case does not matter) |
| stage | 1 to 4 by the leading numeral, Roman or Arabic: "Stage IIIA" 3, "pT4a" 4, "I/II NOS" 1; "Stage 0", "Tis", "Stage X" missing |
| grade | 1 to 4 by the numeral: "G3" 3; words as cancer registries code them: low 2, intermediate 3, high 4; "GX" missing |

Whatever cannot be read so counts as missing, and `unread_labels` names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

COVARIATES = ("age", "sex", "stage", "grade")
MISSING = " missing"  # ends the name of a missing flag

SEX = {"male": 1.0, "m": 1.0, "man": 1.0, "female": 0.0, "f": 0.0, "woman": 0.0}
GRADE_WORDS = {"LOW": 2.0, "INTERMEDIATE": 3.0, "HIGH": 4.0}
NUMERALS = {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0, "1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0}
IN_SITU = re.compile(r"[CPYR]*TIS|[CPYR]*IS\b")
STAGE = re.compile(r"(?:STAGE\s*)?(?:[CPYR]*T)?\s*(IV|I{1,3}|[1-4])(?![0-9E-RT-Z]|\.[1-9])")
GRADE = re.compile(r"(?:GRADE\s*)?G?\s*(IV|I{1,3}|[1-4])(?![0-9A-Z]|\.[1-9])")
GRADE_WORD = re.compile(r"(LOW|INTERMEDIATE|HIGH)\b")


def tumour_stage(label: object) -> float:
    """1 to 4 by the leading numeral of a tumour stage, NaN where there is none."""
    text = _text(label)
    found = None if IN_SITU.match(text) else STAGE.match(text)
    return NUMERALS[found[1]] if found else np.nan


def tumour_grade(label: object) -> float:
    """1 to 4 by the numeral of a tumour grade or the registries' code of its word, NaN where there is none."""
    text = _text(label)
    if word := GRADE_WORD.match(text):
        return GRADE_WORDS[word[1]]
    found = GRADE.match(text)
    return NUMERALS[found[1]] if found else np.nan


def _sex(label: object) -> float:
    return SEX.get(_text(label).lower(), np.nan)


def _number(label: object) -> float:
    try:
        value = float(str(label))
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _text(label: object) -> str:
    return "" if label is None or label is pd.NA or label != label else str(label).strip().upper()


READERS = {"age": _number, "sex": _sex, "stage": tumour_stage, "grade": tumour_grade}


def covariates(frame: pd.DataFrame) -> pd.DataFrame:
    """Age, sex, stage and grade as numbers, NaN where missing; a column that the frame lacks is missing for all."""
    read = {name: [READERS[name](label) for label in frame[name]] if name in frame else np.nan for name in COVARIATES}
    return pd.DataFrame(read, index=frame.index, columns=list(COVARIATES), dtype=np.float64)


def unread_labels(frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """For each covariate, the labels that are not empty and yet count as missing, with how many patients have them."""
    numbers = covariates(frame)
    unread = {}
    for name in COVARIATES:
        if name in frame:
            labels = frame.loc[numbers[name].isna() & frame[name].notna(), name].astype(str)
            labels = labels[labels.str.strip() != ""]
            if len(labels):
                unread[name] = {str(label): int(count) for label, count in labels.value_counts().items()}
    return unread


@dataclass(frozen=True)
class ClinicalEncoder:
    """Covariates as standardised columns; everything in it was learnt from the training fold.

    Args:
        columns: names of the columns that `encode` gives: the covariates, then `age missing` ... where some were missing.
        dropped: columns that are constant in the training fold and therefore left out.
        medians: what fills a missing value, by covariate; 0 where nobody in the training fold has it.
        means: mean of each column after filling.
        scales: standard deviation of each column after filling.
    """

    columns: tuple[str, ...]
    dropped: tuple[str, ...]
    medians: Mapping[str, float]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    @classmethod
    def learn(cls, frame: pd.DataFrame) -> "ClinicalEncoder":
        """The encoder of these training patients, one row each as in `Cohort.clinical`.

        Raises:
            ValueError: there is no patient.
        """
        if not len(frame):
            raise ValueError("no training patient: the clinical encoder needs at least one; look at the folds.")
        numbers = covariates(frame)
        medians = {name: _median(numbers[name].to_numpy()) for name in COVARIATES}
        filled = _filled(numbers, medians)
        spread = filled.to_numpy().std(axis=0)
        varies = spread > 1e-12 * np.maximum(1.0, np.abs(filled.to_numpy()).max(axis=0))
        kept = filled.loc[:, varies]
        return cls(
            columns=tuple(kept.columns),
            dropped=tuple(filled.columns[~varies]),
            medians=medians,
            means=tuple(float(mean) for mean in kept.mean()),
            scales=tuple(float(scale) for scale in spread[varies]),
        )

    def encode(self, frame: pd.DataFrame) -> Float[np.ndarray, "patients columns"]:
        """One row a patient, mean 0 and standard deviation 1 over the training fold."""
        filled = _filled(covariates(frame), self.medians)[list(self.columns)].to_numpy(dtype=np.float64)
        return (filled - np.asarray(self.means)) / np.asarray(self.scales)

    def state(self) -> dict[str, Any]:
        """Everything learnt, as JSON has it."""
        return {
            "columns": list(self.columns),
            "dropped": list(self.dropped),
            "medians": dict(self.medians),
            "means": list(self.means),
            "scales": list(self.scales),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ClinicalEncoder":
        """The encoder that `state` was taken of."""
        return cls(
            columns=tuple(state["columns"]),
            dropped=tuple(state["dropped"]),
            medians={name: float(value) for name, value in state["medians"].items()},
            means=tuple(float(value) for value in state["means"]),
            scales=tuple(float(value) for value in state["scales"]),
        )


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _filled(numbers: pd.DataFrame, medians: Mapping[str, float]) -> pd.DataFrame:
    flags = numbers.isna().astype(np.float64).rename(columns=lambda name: name + MISSING)
    return pd.concat([numbers.fillna(value=dict(medians)), flags], axis=1)
