"""Who is in: from the patients of the table, past every rule of exclusion, to those that were kept."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from prognos.report.figures.style import COLOURS, FAINT, INK, PAPER, sheet, styled
from prognos.report.run_folder import RunFolder

CHARACTERS = 29


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each box from top to bottom: panel, kind (all, out, kept), text, count; none when the counts are not recorded."""
    facts = run.cohorts[cohort]
    rows = []
    if facts.patients_in_table is not None and facts.kept is not None:
        rows.append(("all", "patients in the table", facts.patients_in_table))
        rows += [("out", exclusion.rule, exclusion.count) for exclusion in facts.exclusions if exclusion.count]
        unexplained = facts.patients_in_table - facts.kept - sum(exclusion.count for exclusion in facts.exclusions)
        if unexplained:
            rows.append(("out", "left out by no recorded rule", unexplained))
        events = f", {facts.events} with an event" if facts.events is not None else ""
        rows.append(("kept", f"patients kept{events}", facts.kept))
    return pd.DataFrame(rows, columns=["kind", "text", "count"]).assign(panel=cohort)


@styled
def draw(boxes: pd.DataFrame) -> Figure:
    """One panel: the trunk on the left, what was left out branching to the right."""
    texts = [_lines(row.kind, row.text, row.count) for row in boxes.itertuples()]
    heights = [0.26 + 0.17 * text.count("\n") for text in texts]
    total = sum(heights) + 0.24 * (len(texts) - 1) + 0.5
    figure = sheet(total, boxes.panel.iloc[0])
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, 3.9)
    axes.set_ylim(total - 0.42, -0.08)
    top, middles = 0.0, []
    for row, text, height in zip(boxes.itertuples(), texts, heights, strict=True):
        _box(axes, row.kind, text, top, height)
        middles.append(top + height / 2)
        top += height + 0.24
    _arrow(axes, (0.5, middles[0] + heights[0] / 2), (0.5, middles[-1] - heights[-1] / 2))
    for row, middle in zip(boxes.itertuples(), middles, strict=True):
        if row.kind == "out":
            _arrow(axes, (0.5, middle), (0.95, middle))
    return figure


def _lines(kind: str, text: str, count: int) -> str:
    sentence = f"{count} left out: {text}" if kind == "out" else f"{count} {text}"
    return "\n".join(textwrap.wrap(sentence, CHARACTERS if kind == "out" else CHARACTERS + 8))


def _box(axes: Axes, kind: str, text: str, top: float, height: float) -> None:
    left, width = (1.0, 2.83) if kind == "out" else (0.06, 3.77)
    edge = {"all": FAINT, "out": COLOURS["orange"], "kept": COLOURS["blue"]}[kind]
    shape = "round,pad=0.04,rounding_size=0.06"
    box = FancyBboxPatch((left, top), width, height, boxstyle=shape, facecolor=PAPER, edgecolor=edge, linewidth=1.3, clip_on=False)
    axes.add_patch(box)
    axes.text(left + 0.08, top + height / 2, text, va="center", ha="left", color=INK, fontweight="bold" if kind == "kept" else "normal")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=FAINT, linewidth=1.1, shrinkA=2, shrinkB=2))
