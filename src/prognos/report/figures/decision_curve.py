"""Decision curves: net benefit of treating by a model's prediction, beside the clinical model, everybody and nobody."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, FAINT, INK, sheet, styled, years
from prognos.report.run_folder import RunFolder
from prognos.report.run_tables import CALIBRATION_HORIZONS

CLINICAL = "clinical"
BACKGROUND = ("null", CLINICAL)
"""Models that have no picture of their own beside others: the first treats all or nobody, the second is in every picture."""
LINES = {
    "model": (COLOURS["blue"], "-", 1.9),
    CLINICAL: (COLOURS["vermillion"], (0, (5, 1.2)), 1.6),
    "treat everybody": (FAINT, (0, (1, 1)), 1.3),
    "treat nobody": (INK, "-", 0.8),
}
COLUMNS = ["panel", "horizon", "threshold", "strategy", "net_benefit"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model, horizon (days), threshold and strategy: the model's name, clinical, treat everybody, treat nobody.

    Complete patients only. Net benefit is the mean over seeds, in rightly treated patients for each patient; empty where it is not known.
    """
    rows = run.net_benefit[(run.net_benefit.cohort == cohort) & (run.net_benefit.missing == "none")]
    labels = list(dict.fromkeys(rows.label))
    pictured = [label for label in labels if label not in BACKGROUND] or [label for label in labels if label == CLINICAL]
    clinical = rows[rows.label == CLINICAL]
    pieces = []
    for label in pictured:
        own = rows[rows.label == label]
        strategies = {label: own} | ({CLINICAL: clinical} if label != CLINICAL and len(clinical) else {})
        strategies |= {"treat everybody": own.assign(net_benefit=own.treat_all), "treat nobody": own.assign(net_benefit=0.0)}
        pieces += [part.assign(panel=label, strategy=name) for name, part in strategies.items()]
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: below each other the horizons, a line a strategy."""
    horizons = [days for days in CALIBRATION_HORIZONS if (curves.horizon == days).any()]
    figure = sheet(0.9 + 1.75 * len(horizons), curves.panel.iloc[0])
    rows = np.atleast_1d(figure.subplots(len(horizons), 1, sharex=True))
    for axes, days in zip(rows, horizons, strict=True):
        here = curves[curves.horizon == days]
        for name, line in here.groupby("strategy", sort=False):
            colour, dashes, width = LINES.get(str(name), LINES["model"])
            axes.plot(line.threshold, line.net_benefit, color=colour, linestyle=dashes, linewidth=width, label=name)
        top = max(float(here.net_benefit.max()), 0.02)
        axes.set_ylim(-0.2 * top, 1.08 * top)
        axes.set_xlim(0, 1)
        axes.set_ylabel("net benefit")
        axes.text(0.985, 0.93, f"event within {years(days)}", transform=axes.transAxes, ha="right", va="top", fontsize=9)
    rows[-1].set_xlabel("treat from this predicted probability on")
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.2, handlelength=2.2)
    return figure
