"""Concordance against what a variant sets (TTA, Fig. 4-6; MUST, Fig. 4 and 6)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prognos.report.figures.style import FAINT, look, sheet, styled, wrapped
from prognos.report.sensitivity import sensitivity

WIDE = 8.0
"""Ratio of the largest to the smallest value from which on the axis is logarithmic."""

data = sensitivity


@styled
def draw(points: pd.DataFrame) -> Figure:
    """One panel: a line a missing pattern with 95% intervals; numbers on an axis, other settings side by side; the base has a ring."""
    figure = sheet(3.1, points.panel.iloc[0])
    axes = figure.add_subplot()
    axes.axhline(0.5, color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    numeric = bool(points.number.notna().all())
    names = list(dict.fromkeys(points.value))
    patterns = list(dict.fromkeys(points.pattern))
    logarithmic = numeric and bool((points.number > 0).all()) and bool(points.number.max() / points.number.min() >= WIDE)
    step = _step(points.number.to_numpy(float), logarithmic) if numeric else 1.0
    for place, pattern in enumerate(patterns):
        line = points[points.pattern == pattern]
        where = line.number.to_numpy(float) if numeric else np.array([names.index(value) for value in line.value], dtype=float)
        aside = 0.1 * step * (place - (len(patterns) - 1) / 2)
        where = where * np.exp(aside) if logarithmic else where + aside
        colour, marker = look(place)
        axes.vlines(where, line.low, line.high, color=colour, linewidth=1.1, alpha=0.7)
        axes.plot(where, line["mean"], color=colour, linestyle="-" if numeric else "", marker=marker, markersize=5, label=pattern)
        base = line.base.to_numpy(bool)
        ring: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.5}
        axes.plot(where[base], line["mean"].to_numpy()[base], "o", color=colour, **ring)
    _ticks(axes, points, names, numeric, logarithmic)
    axes.set_ylabel("concordance")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.0, handlelength=1.5)
    return figure


def _step(numbers: np.ndarray, logarithmic: bool) -> float:
    """The smallest distance of two values on the axis."""
    distinct = np.unique(np.log(numbers) if logarithmic else numbers)
    return float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0


def _ticks(axes: Axes, points: pd.DataFrame, names: list[str], numeric: bool, logarithmic: bool) -> None:
    if not numeric:
        axes.set_xticks(range(len(names)), [wrapped(name) for name in names], rotation=90 if sum(map(len, names)) > 24 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    if logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    distinct = sorted(points.number.unique())
    axes.set_xticks(distinct, [f"{number:g}" for number in distinct])
