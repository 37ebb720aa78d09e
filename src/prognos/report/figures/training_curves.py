"""Training curves: every loss term over the epochs, averaged over seeds and folds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prognos.report.figures.style import COLOURS, FAINT, INK, sheet, styled
from prognos.report.run_folder import RunFolder

NOT_A_TERM = {"cohort", "label", "seed", "fold", "stage", "epoch", "step", "learning_rate", "rho"}


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model, term and epoch: panel, term, stage, epoch (counted over stages), mean, low and high over fits, fits."""
    logs = run.logs[run.logs.cohort == cohort]
    pieces = [_of_model(str(name), of_model) for name, of_model in logs.groupby("label", sort=False)]
    columns = ["panel", "term", "stage", "epoch", "mean", "low", "high", "fits"]
    pieces = [piece for piece in pieces if not piece.empty]
    return pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)


def _of_model(name: str, log: pd.DataFrame) -> pd.DataFrame:
    terms = [column for column in log if column not in NOT_A_TERM and log[column].notna().any() and log[column].dtype != object]
    offset, start = {}, 0
    for stage in log.stage.unique():
        offset[stage] = start
        start += int(log.epoch[log.stage == stage].max()) + 1
    log = log.assign(epoch=log.epoch + log.stage.map(offset) + 1)
    long = log.melt(["seed", "fold", "stage", "epoch"], terms, var_name="term", value_name="loss").dropna(subset=["loss"])
    by_fit = long.groupby(["term", "stage", "epoch", "seed", "fold"], sort=False).loss.mean()
    spread = by_fit.groupby(["term", "stage", "epoch"], sort=False).agg(["mean", "min", "max", "count"]).reset_index()
    spread.columns = ["term", "stage", "epoch", "mean", "low", "high", "fits"]
    return spread.assign(panel=name)


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: a line a term, with the range over fits as a band."""
    figure = sheet(2.8, f"{curves.panel.iloc[0]} ({int(curves.fits.max())} fits)")
    axes = figure.add_subplot()
    terms = sorted(curves.term.unique(), key=lambda term: (term != "total", term))
    colours = dict(zip([term for term in terms if term != "total"], list(COLOURS.values()) * 9, strict=False))
    if len(terms) == 2 and "total" in terms:  # a single term and a total that equals it
        curves, terms = curves[curves.term == "total"], ["total"]
    for term in terms:
        line = curves[curves.term == term].sort_values("epoch")
        colour = colours.get(term, INK)
        axes.fill_between(
            line.epoch.to_numpy(float), line.low.to_numpy(float), line.high.to_numpy(float), color=colour, alpha=0.13, linewidth=0
        )
        axes.plot(line.epoch, line["mean"], color=colour, label=term, linewidth=2.2 if term == "total" else 1.5)
    last_of_stage = curves.groupby("stage").epoch.max().sort_values().to_numpy(float)
    for boundary in last_of_stage[:-1]:
        axes.axvline(boundary + 0.5, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
    _scale(axes, curves)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(terms), 3), columnspacing=1.0, handlelength=1.5
    )
    return figure


def _scale(axes, curves: pd.DataFrame) -> None:
    """Whole epochs below; the loss on a logarithmic scale where it is positive and spans more than two powers of ten."""
    axes.xaxis.get_major_locator().set_params(integer=True)
    lowest, highest = np.nanmin(curves["mean"]), np.nanmax(curves["mean"])
    if lowest > 0 and highest / lowest > 100:
        axes.set_yscale("log")
