"""The prototypes of which each pathway has most weight, as a grid (TTA, Fig. 10a)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prognos.report.evidence import first_fits, fit_in_words, of_cohort
from prognos.report.figures.ranking import plain_names
from prognos.report.figures.style import COLOURS, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "pathway", "prototype", "weight", "rank"]
TOP = 8
FAINTEST = 0.12  # opacity of the weakest square that is drawn


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model, of its first fit: weight of each pathway in each prototype (mean over patients), and its rank in the pathway."""
    pieces = []
    for _, rows in first_fits(of_cohort(run, "pathway_prototypes", cohort)).groupby("label", sort=False):
        rank = rows.groupby("pathway").weight.rank(ascending=False, method="first")
        pieces.append(rows.assign(panel=fit_in_words(rows), rank=rank.astype(int)))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


@styled
def draw(cells: pd.DataFrame) -> Figure:
    """One panel: a row a pathway, a column a prototype, a square where it is among the pathway's top, stronger for more weight."""
    pathways = list(dict.fromkeys(cells.pathway))
    prototypes = sorted(cells.prototype.unique())
    figure = sheet(0.85 + 0.135 * len(pathways), cells.panel.iloc[0])
    axes = figure.add_subplot()
    largest = float(cells.weight.max()) or 1.0
    for cell in cells[cells["rank"] <= TOP].itertuples():
        corner = (prototypes.index(cell.prototype) - 0.5, pathways.index(cell.pathway) - 0.5)
        opacity = FAINTEST + (1 - FAINTEST) * max(0.0, cell.weight) / largest
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=COLOURS["blue"], edgecolor="none", alpha=min(1.0, opacity)))
    axes.set_xlim(-0.5, len(prototypes) - 0.5)
    axes.set_ylim(len(pathways) - 0.5, -0.5)
    every = max(1, round(len(prototypes) / 8))
    axes.set_xticks(range(0, len(prototypes), every), [f"{prototype:.0f}" for prototype in prototypes[::every]], fontsize=8)
    axes.set_yticks(range(len(pathways)), plain_names(pathways), fontsize=6.5)
    axes.tick_params(length=0)
    axes.set_xlabel("prototype")
    axes.grid(visible=False)
    return figure
