"""Forest plot: every model's concordance and its difference to the reference, with intervals."""

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, FAINT, INK, sheet, styled, wrapped
from prognos.report.run_folder import RunFolder, missing_in_words


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model and quantity: panel, label, mean, low, high, none (the value of no effect), apart (interval excludes it)."""
    rows = run.comparison[(run.comparison.cohort == cohort) & (run.comparison.metric == "concordance")]
    pieces = []
    for missing, of_pattern in rows.groupby("missing", sort=False):
        phrase = missing_in_words(str(missing))
        suffix = f", {phrase}" if phrase else ""
        values = of_pattern[["label", "mean", "low", "high"]]
        pieces.append(values.assign(panel=f"Concordance{suffix}", none=0.5))
        paired = of_pattern[of_pattern.label != run.study.reference].dropna(subset=["difference_low", "difference_high"])
        differences = paired[["label"]].assign(mean=paired.difference, low=paired.difference_low, high=paired.difference_high)
        reference = run.study.reference or "the reference"
        pieces.append(differences.assign(panel=f"Difference to {reference}{suffix}", none=0.0))
    if not pieces:
        return pd.DataFrame(columns=["label", "mean", "low", "high", "panel", "none", "apart"])
    table = pd.concat(pieces, ignore_index=True).dropna(subset=["mean"])
    return table.assign(apart=(table.low > table.none) | (table.high < table.none))


@styled
def draw(intervals: pd.DataFrame) -> Figure:
    """One panel: a point and its 95% interval a model, from top to bottom."""
    labels = [wrapped(name) for name in intervals.label]
    extra = sum(max(0, name.count("\n") - 1) for name in labels)
    figure = sheet(0.95 + 0.34 * len(intervals) + 0.13 * extra, intervals.panel.iloc[0])
    axes = figure.add_subplot()
    none = float(intervals.none.iloc[0])
    axes.axvline(none, color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    for place, row in enumerate(intervals.itertuples()):
        marked = bool(row.apart) and none == 0
        colour = COLOURS["vermillion"] if marked else COLOURS["blue"]
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(row.mean, place, marker="D" if marked else "o", color=colour, markersize=6)
    axes.set_yticks(range(len(intervals)), labels)
    axes.set_ylim(len(intervals) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("concordance (0.5: random)" if none else "difference (0: none)", color=INK)
    return figure
