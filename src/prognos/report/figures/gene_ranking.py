"""Which genes move the risk most: integrated gradients of held-out patients, over all fits."""

import pandas as pd

from prognos.report.evidence import gene_strengths
from prognos.report.figures.ranking import COLUMNS, draw, ranked
from prognos.report.run_folder import RunFolder

MOST = 15
QUANTITY = "share of the genes that are kept"


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: name (gene and data type), mean, low and high over fits of its share of the strengths of the kept genes."""
    pieces = []
    for label, strengths in gene_strengths(run, cohort).items():
        strengths.index = [f"{gene} {kind}" for gene, kind in strengths.index]
        pieces.append(ranked(strengths, label, QUANTITY, MOST))
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS)


__all__ = ["data", "draw"]
