"""What fits rank first: a dot and a line from the lowest to the highest fit for each name. Drawn by several figures."""

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, sheet, styled

COLUMNS = ["panel", "name", "mean", "low", "high", "fits", "quantity"]
LONGEST = 26


def ranked(strengths: pd.DataFrame, panel: str, quantity: str, most: int) -> pd.DataFrame:
    """The rows of one panel: mean, lowest and highest fit of the names with the highest means.

    Args:
        strengths: a row a name, a column a fit.
        panel: title.
        quantity: what the numbers are; the label of the axis.
        most: names that are kept.
    """
    table = pd.DataFrame({"mean": strengths.mean(axis=1), "low": strengths.min(axis=1), "high": strengths.max(axis=1)})
    table = table.assign(name=[str(name) for name in table.index]).sort_values(["mean", "name"], ascending=[False, True], kind="stable")
    return table.head(most).assign(panel=panel, fits=strengths.shape[1], quantity=quantity).reset_index(drop=True)[COLUMNS]


def plain_names(names: Sequence[str]) -> list[str]:
    """Names of pathways as a reader says them: without the prefix that all of a collection have, spaces for underscores, cut when long."""
    prefixes = {name.split("_", 1)[0] for name in names if "_" in name and " " not in name}
    common = f"{next(iter(prefixes))}_" if len(prefixes) == 1 and len(names) > 1 else ""
    plain = [re.sub("_", " ", name.removeprefix(common)) for name in names]
    return [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in plain]


@styled
def draw(rows: pd.DataFrame) -> Figure:
    """One panel: the names from top to bottom."""
    figure = sheet(0.95 + 0.21 * len(rows), rows.panel.iloc[0])
    axes = figure.add_subplot()
    places = range(len(rows))
    axes.hlines(places, rows.low, rows.high, color=COLOURS["blue"], linewidth=1.4, alpha=0.55)
    axes.plot(rows["mean"], places, "o", color=COLOURS["blue"], markersize=5)
    axes.set_yticks(places, plain_names(list(rows.name)), fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.3g}" if share >= 1 else f"{100 * share:.3g}%")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(rows.quantity.iloc[0])
    return figure
