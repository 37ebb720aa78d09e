"""Whether components add up: cosines of each global vector with each sum of specific and shared component (MUST, Fig. 5 and 10)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prognos.report.figures.component_cosines import distinct_similarities
from prognos.report.figures.style import COLOURS, INK, sheet, styled, wrapped
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "left", "right", "mean", "sd"]
SUM = "specific + shared "
STRONGEST = 0.6  # opacity of a square; numbers stay readable on it, dark or light


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel a model: mean over patients, and standard deviation, of the cosine of each global vector with each sum."""
    table = distinct_similarities(run, cohort)
    table = table[table.right.astype(str).str.startswith(SUM)]
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    patients = table.groupby(["label", "left", "right", "patient_id"], sort=False).cosine.mean()
    found = patients.groupby(level=[0, 1, 2], sort=False).agg(["mean", "std"]).reset_index()
    return found.rename(columns={"label": "panel", "std": "sd"})[COLUMNS]


@styled
def draw(cells: pd.DataFrame) -> Figure:
    """One panel: a square a pair, stronger for a higher cosine, mean and standard deviation in it."""
    left, right = list(dict.fromkeys(cells.left)), list(dict.fromkeys(cells.right))
    figure = sheet(1.4 + 0.8 * len(left), cells.panel.iloc[0])
    axes = figure.add_subplot()
    for cell in cells.itertuples():
        place = right.index(cell.right), left.index(cell.left)
        colour = COLOURS["blue"] if cell.mean >= 0 else COLOURS["vermillion"]
        corner = (place[0] - 0.5, place[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="none", alpha=STRONGEST * abs(cell.mean)))
        axes.text(*place, f"{cell.mean:.2f} ± {cell.sd:.2f}", ha="center", va="center", color=INK)
    axes.set_xlim(-0.5, len(right) - 0.5)
    axes.set_ylim(len(left) - 0.5, -0.5)
    axes.set_xticks(range(len(right)), [wrapped(name) for name in right])
    axes.set_yticks(range(len(left)), [wrapped(name) for name in left])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return figure
