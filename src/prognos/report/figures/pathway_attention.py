"""Which pathways a model looks at: attention over pathway tokens, mean over held-out patients, over all fits."""

import pandas as pd

from prognos.report.evidence import of_cohort, shares_of
from prognos.report.figures.ranking import COLUMNS, draw, ranked
from prognos.report.run_folder import RunFolder

MOST = 15


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: name, mean, low and high over fits of the pathway's share of the attention to pathways."""
    pieces = []
    for label, rows in of_cohort(run, "pathway_attention", cohort).groupby("label", sort=False):
        strengths = shares_of(rows, ["pathway"], "attention")
        equal = f"attention (equal: {1 / len(strengths):.1%})"
        pieces.append(ranked(strengths, str(label), equal, MOST))
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS)


__all__ = ["data", "draw"]
