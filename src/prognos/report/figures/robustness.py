"""Robustness curves: concordance against the share of patients who lack a modality."""

import re

import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import FAINT, look, sheet, styled
from prognos.report.run_folder import RunFolder

COLUMNS = ["panel", "label", "rate", "mean", "low", "high"]
ONE_MODALITY = re.compile(r"([^=;]+)(?:=([\d.]+))?")


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A panel for each modality that goes missing alone: label, rate, mean, low, high; rate 0 is the complete cohort."""
    rows = run.comparison[(run.comparison.cohort == cohort) & (run.comparison.metric == "concordance")]
    whole = rows[rows.missing == "none"].assign(rate=0.0)
    panels: dict[str, list[pd.DataFrame]] = {}
    for pattern, of_pattern in rows[rows.missing != "none"].groupby("missing", sort=False):
        alone = ONE_MODALITY.fullmatch(str(pattern))
        if alone:
            panels.setdefault(alone[1].strip(), []).append(of_pattern.assign(rate=float(alone[2] or 1.0)))
    pieces = [pd.concat([whole, *parts]).assign(panel=f"Without {modality}") for modality, parts in panels.items()]
    if not pieces:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(pieces, ignore_index=True).dropna(subset=["mean"])
    degrading = table[table.rate > 0].groupby("panel").label.agg(set)
    kept = [row.label in degrading.get(row.panel, set()) for row in table.itertuples()]
    return table[kept].drop_duplicates(["panel", "label", "rate"]).sort_values(["panel", "label", "rate"], kind="stable")[COLUMNS]


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: a line a model from the complete cohort to one in which nobody has the modality, with 95% intervals."""
    figure = sheet(3.0, curves.panel.iloc[0])
    axes = figure.add_subplot()
    axes.axhline(0.5, color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    labels = list(dict.fromkeys(curves.label))
    for place, label in enumerate(labels):
        line = curves[curves.label == label]
        colour, marker = look(place)
        aside = 0.012 * (place - (len(labels) - 1) / 2)
        axes.vlines(line.rate + aside, line.low, line.high, color=colour, linewidth=1.1, alpha=0.7)
        axes.plot(line.rate + aside, line["mean"], color=colour, marker=marker, markersize=5, label=label)
    axes.set_xlim(-0.07, 1.07)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("patients who lack it")
    axes.set_ylabel("concordance")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.0, handlelength=1.5)
    return figure
