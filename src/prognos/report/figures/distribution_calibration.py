"""D-calibration: how patients are spread over the survival that was predicted for them at their own time."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prognos.report.figures.kaplan_meier import p_in_words
from prognos.report.figures.style import COLOURS, FAINT, INK, sheet, styled
from prognos.report.risk_groups import panel_name, repeats
from prognos.report.run_folder import RunFolder, missing_in_words

COLUMNS = ["panel", "low", "high", "share", "lowest", "highest", "even", "p"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model and bin of predicted survival: share of patients (mean over seeds; lowest, highest seed), the share if all
    bins had as many, and the median p of Haider's test over seeds. Models whose test could not be done have none.
    """
    rows = run.distribution_calibration
    rows = rows[(rows.cohort == cohort) & rows.share.notna()]
    pieces, repeated = [], repeats(run, cohort)
    for (label, missing), part in rows.groupby(["label", "missing"], sort=False):
        if (label, missing) in repeated:
            continue
        bins = part.groupby(["low", "high"], as_index=False).share.agg(["mean", "min", "max"])
        bins = bins.rename(columns={"mean": "share", "min": "lowest", "max": "highest"})
        p = float(part.drop_duplicates("seed").p.median())
        pieces.append(bins.assign(panel=panel_name(str(label), missing_in_words(str(missing))), even=1 / len(bins), p=p))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


@styled
def draw(bins: pd.DataFrame) -> Figure:
    """One panel: a bar a bin, a dashed line where all would end."""
    figure = sheet(2.6, f"{bins.panel.iloc[0]}, {p_in_words(float(bins.p.iloc[0]))}")
    axes = figure.add_subplot()
    middle = (bins.low + bins.high) / 2
    axes.bar(middle, bins.share, width=0.9 * (bins.high - bins.low), color=COLOURS["blue"], alpha=0.75)
    several = bins[bins.lowest < bins.highest]
    axes.vlines((several.low + several.high) / 2, several.lowest, several.highest, color=INK, linewidth=1.0)
    axes.axhline(float(bins.even.iloc[0]), color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("survival predicted at the patient's own time")
    axes.set_ylabel("share of patients")
    axes.grid(axis="x", visible=False)
    return figure
