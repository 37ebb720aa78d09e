"""Concordance of every fold, so that the spread behind a mean is seen."""

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import FAINT, INK, look, sheet, styled, wrapped
from prognos.report.risk_groups import panel_name
from prognos.report.run_folder import RunFolder, missing_in_words


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model and fold: panel, label, fold, value (mean over seeds), lowest and highest over seeds, seeds."""
    rows = run.metrics[(run.metrics.cohort == cohort) & (run.metrics.metric == "concordance")].dropna(subset=["value"])
    keys = ["missing", "label", "fold"]
    spread = rows.groupby(keys, sort=False).value.agg(value="mean", lowest="min", highest="max", seeds="count").reset_index()
    spread = spread.astype({"fold": int})
    return spread.assign(panel=[panel_name("Every fold", missing_in_words(missing)) for missing in spread.missing]).drop(columns="missing")


@styled
def draw(scores: pd.DataFrame) -> Figure:
    """One panel: a mark for each fold, a line over its seeds, a bar at the mean of the folds."""
    labels, folds = list(dict.fromkeys(scores.label)), sorted(scores.fold.unique())
    figure = sheet(1.25 + 0.42 * len(labels), scores.panel.iloc[0])
    axes = figure.add_subplot()
    axes.axvline(0.5, color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    for place, name in enumerate(labels):
        mean = scores.value[scores.label == name].mean()
        axes.plot([mean, mean], [place - 0.36, place + 0.36], color=INK, linewidth=2.2)
    for order, fold in enumerate(folds):
        rows = scores[scores.fold == fold]
        shift = 0.0 if len(folds) == 1 else 0.52 * (order / (len(folds) - 1) - 0.5)
        heights = [labels.index(name) + shift for name in rows.label]
        colour, marker = look(order)
        axes.hlines(heights, rows.lowest, rows.highest, color=colour, linewidth=1.0)
        axes.plot(rows.value, heights, marker, color=colour, markersize=4.5, label=f"{fold}")
    axes.set_yticks(range(len(labels)), [wrapped(name) for name in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("concordance (0.5: random)")
    columns = min(len(folds), 6)
    figure.legend(
        *axes.get_legend_handles_labels(), title="fold", loc="outside lower center", ncols=columns, columnspacing=0.9, handletextpad=0.1
    )
    return figure
