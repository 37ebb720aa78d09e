"""How much better each fit would have looked at its best epoch on the very fold that is reported: a warning, never a result."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

ORACLE = "oracle.csv"
ORACLE_COLUMNS = ("model", "variant", "cohort", "seed", "fold", "epochs", "last", "best_epoch", "best", "selection")
WATCHED = "validation_concordance"
"""Column of a log: the concordance on patients who were watched, and not learnt from."""


def oracle_row(log: pd.DataFrame, of_job: Mapping[str, Any]) -> pd.DataFrame | None:
    """The row of oracle.csv of one fit: concordance on the reported fold after the last epoch and after the best one.

    None where no epoch could be scored: the model has none, or no pair of patients can be compared. Patients who have nothing of what
    the model reads are not in it, so that `last` can differ a little from the concordance of metrics.csv.

    Args:
        log: of a fit that watched the test part.
        of_job: model, variant, cohort, seed and fold.
    """
    watched = log[log[WATCHED].notna()] if WATCHED in log else log.iloc[:0]
    if watched.empty:
        return None
    best = watched.loc[watched[WATCHED].idxmax()]
    found = {
        "epochs": len(watched),
        "last": watched[WATCHED].iloc[-1],
        "best_epoch": int(best["epoch"]) + 1,
        "best": best[WATCHED],
        "selection": "oracle",
    }
    return pd.DataFrame([{**of_job, **found}])[list(ORACLE_COLUMNS)]


def unwatched(fitted: Any) -> Any:
    """The fitted model as it is without anybody watching: what was seen on the test part is not in its log."""
    return replace(fitted, log=fitted.log.drop(columns=WATCHED)) if WATCHED in fitted.log else fitted
