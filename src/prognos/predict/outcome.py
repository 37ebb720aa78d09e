"""The outcome of patients who were predicted, where it is known, so that `prognos evaluate` can score them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prognos.cohort import Cohort
from prognos.cohort.defects import CohortError, Defect
from prognos.cohort.endpoints import chosen_endpoint, read_outcome

KEYS = ("model", "variant", "cohort", "seed", "fold")
"""What `prognos evaluate` knows a table of predictions by."""


@dataclass(frozen=True, eq=False)
class Known:
    """Time and event of patients.

    Args:
        endpoint: which.
        table: index patient_id; time in days, above 0, and event, 1 observed and 0 censored.
        without: patients whose time is empty or not above 0, or whose event is empty.
    """

    endpoint: str
    table: pd.DataFrame
    without: tuple[str, ...]


def known_outcome(cohort: Cohort, endpoint: str) -> Known:
    """The outcome of the patients of a cohort that was read without it; given splits leave no one out.

    Raises:
        CohortError: clinical.csv has no such endpoint, or cells that are no time or event.
        ValueError: nobody's outcome is known.
    """
    where = f"{cohort.name}/clinical.csv"
    chosen = chosen_endpoint(cohort.clinical, endpoint, where)
    if isinstance(chosen, Defect):
        raise CohortError(cohort.name, [chosen])
    columns = [f"{chosen}_time", f"{chosen}_event"]
    text = cohort.clinical[columns].astype(object).where(cohort.clinical[columns].notna(), "").astype(str)
    outcome, defects = read_outcome(text, chosen, where)
    if defects:
        raise CohortError(cohort.name, defects)
    usable = (outcome.time > 0) & np.isfinite(outcome.event)
    table = pd.DataFrame({"time": outcome.time, "event": outcome.event}, index=cohort.clinical.index)[usable].astype({"event": int})
    if table.empty:
        raise ValueError(f"no patient of {cohort.name} has a time above 0 and an event of {chosen}: there is nothing to score.")
    return Known(chosen, table, tuple(cohort.clinical.index[~usable]))
