"""Which pathways move the risk most: integrated gradients of held-out patients, over all fits."""

import pandas as pd

from prognos.report.evidence import pathway_strengths
from prognos.report.figures.ranking import COLUMNS, draw, ranked
from prognos.report.run_folder import RunFolder

MOST = 15
QUANTITY = "share of what omics move"


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: name, mean, low and high over fits of the pathway's share of all absolute attributions."""
    pieces = [ranked(strengths, label, QUANTITY, MOST) for label, strengths in pathway_strengths(run, cohort).items()]
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS)


__all__ = ["data", "draw"]
