"""How many pathways each prototype serves (TTA, Fig. 10b)."""

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures import pathway_prototypes
from prognos.report.figures.style import COLOURS, FAINT, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "prototype", "pathways", "equal"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model, of its first fit: the pathways that have each prototype in their top, and how many if all served alike."""
    pieces = []
    for panel, cells in pathway_prototypes.data(run, cohort).groupby("panel", sort=False):
        top = cells["rank"] <= pathway_prototypes.TOP
        served = cells.assign(pathways=top.astype(int)).groupby("prototype", as_index=False).pathways.sum()
        pieces.append(served.assign(panel=panel, equal=float(top.sum()) / len(served)))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


@styled
def draw(bars: pd.DataFrame) -> Figure:
    """One panel: a bar a prototype, and a line where all would be if they served alike."""
    figure = sheet(2.5, bars.panel.iloc[0])
    axes = figure.add_subplot()
    axes.bar(bars.prototype, bars.pathways, color=COLOURS["blue"])
    axes.axhline(float(bars.equal.iloc[0]), color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_xlabel("prototype")
    axes.set_ylabel(f"pathways with it in their top {pathway_prototypes.TOP}", fontsize=8.5)
    axes.grid(visible=False, axis="x")
    return figure
