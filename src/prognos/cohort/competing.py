"""Competing events: who died before the event could happen, where clinical.csv knows it."""

import numpy as np
import pandas as pd

from prognos.cohort.cohort import Cohort
from prognos.cohort.endpoints import endpoint_names

DEATH = "os"
"""The endpoint whose event is death of any cause; for it nothing competes."""
SAME_DAY = 0.5


def competing_events(cohort: Cohort) -> pd.Series | None:
    """True for patients whose follow-up for the cohort's endpoint ended by death without its event; None where that is not known.

    Known it is where clinical.csv has overall survival (`os_time`, `os_event`) beside another endpoint: disease-specific survival, where
    it is death of another cause, or an endpoint of progression or recurrence, where it is death before either. Who died after follow-up
    for the endpoint had ended stays censored: what happened in between was not seen.

    Args:
        cohort: patients with an outcome.
    """
    complete, _ = endpoint_names(cohort.clinical)
    if cohort.endpoint in ("", DEATH) or DEATH not in complete:
        return None
    columns = cohort.clinical[[f"{DEATH}_time", f"{DEATH}_event"]].apply(pd.to_numeric, errors="coerce")
    died = columns[f"{DEATH}_event"].to_numpy(dtype=float) == 1
    then = np.abs(columns[f"{DEATH}_time"].to_numpy(dtype=float) - cohort.time) < SAME_DAY
    return pd.Series(died & then & ~cohort.event, index=cohort.clinical.index, name="competing")
