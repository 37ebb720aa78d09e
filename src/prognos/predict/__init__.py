"""A new patient: risk, survival curve, risk group, place among the training patients, what it rests on, and what was missing."""

from prognos.bundle import bundle_at, fitted_folders, load
from prognos.predict.answer import COLUMNS, DRAWS, HORIZONS, MOST_ABSENT, Answer, facts_of, predict, told
from prognos.predict.contributions import Contributions, contributions
from prognos.predict.outcome import Known, known_outcome
from prognos.predict.writing import patient_facts, write

__all__ = [
    "COLUMNS",
    "DRAWS",
    "HORIZONS",
    "MOST_ABSENT",
    "Answer",
    "Contributions",
    "Known",
    "bundle_at",
    "contributions",
    "facts_of",
    "fitted_folders",
    "known_outcome",
    "load",
    "patient_facts",
    "predict",
    "told",
    "write",
]
