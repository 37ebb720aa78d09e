"""Kaplan-Meier curves of low and high risk, with numbers at risk and a log-rank test stratified by fold."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prognos.metrics.kaplan_meier import kaplan_meier
from prognos.metrics.logrank import logrank
from prognos.report.figures.style import COLOURS, FAINT, sheet, styled
from prognos.report.risk_groups import panel_name, patterns, risk_groups
from prognos.report.run_folder import RunFolder, missing_in_words

GROUPS = {"low": COLOURS["blue"], "high": COLOURS["vermillion"]}
COLUMNS = ["panel", "group", "time", "survival", "at_risk", "events", "censored", "patients", "p_value"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model, risk group and distinct time: what the curve is there, who is at risk, and the panel's p value."""
    pieces = []
    for name, missing in patterns(run, cohort):
        patients = risk_groups(run, cohort, name, missing).patients
        p_value = stratified_p_value(patients)
        for group in GROUPS:
            members = patients[patients.high == (group == "high")]
            if members.empty:
                continue
            panel = panel_name(name, missing_in_words(missing))
            pieces.append(_steps(members).assign(panel=panel, group=group, patients=len(members), p_value=p_value))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


def stratified_p_value(patients: pd.DataFrame) -> float:
    """P value of the log-rank test between risk groups, stratified by fold; NaN where no fold tells the groups apart."""
    time, event = patients.time.to_numpy(float), patients.event.to_numpy(bool)
    try:
        return float(logrank(time, event, patients.high.to_numpy(int), strata=patients.fold.to_numpy(int)).p_value)
    except ValueError:  # one group only, or no event where both have a patient at risk
        return float("nan")


def _steps(members: pd.DataFrame) -> pd.DataFrame:
    curve = kaplan_meier(members.time.to_numpy(float), members.event.to_numpy(bool))
    columns = ("time", "survival", "at_risk", "events", "censored")
    return pd.DataFrame({column: getattr(curve, column) for column in columns})


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: a step curve a risk group, ticks where patients are censored, the numbers at risk below."""
    figure = sheet(3.75, curves.panel.iloc[0])
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4.6, 1])
    for group, colour in GROUPS.items():
        curve = curves[curves.group == group]
        if curve.empty:
            continue
        since = curve.time.to_numpy(float) / 365.0
        survival = curve.survival.to_numpy(float)
        patients, events = int(curve.patients.iloc[0]), int(curve.events.sum())
        style = "-" if group == "low" else (0, (5, 1.2))
        axes.step(since, survival, where="post", color=colour, linestyle=style, label=f"{group} risk: {patients} patients, {events} events")
        _censoring_ticks(axes, since, survival, curve.censored.to_numpy() > 0, colour)
    p_value = float(curves.p_value.iloc[0])
    said = "no log-rank test possible" if np.isnan(p_value) else f"log-rank, stratified by fold: {p_in_words(p_value)}"
    axes.plot([], [], " ", label=said)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_ylabel("share without event")
    axes.set_xlabel("years")
    axes.tick_params(labelbottom=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", handlelength=1.6)
    _numbers_at_risk(below, curves)
    return figure


def p_in_words(p_value: float) -> str:
    """A p value as text: two digits, never zero."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def _censoring_ticks(axes: Axes, time: np.ndarray, survival: np.ndarray, censored: np.ndarray, colour: str) -> None:
    """Short vertical ticks as one line with gaps: one path in the drawing instead of one for each patient."""
    gap = np.full(censored.sum(), np.nan)
    across = np.column_stack([time[censored], time[censored], gap]).ravel()
    up = np.column_stack([survival[censored] - 0.015, survival[censored] + 0.015, gap]).ravel()
    axes.plot(across, up, color=colour, linewidth=0.7)


def _numbers_at_risk(axes: Axes, curves: pd.DataFrame) -> None:
    axes.set_axis_off()
    axes.set_ylim(2.5, -0.5)
    longest = float(curves.time.max()) / 365.0
    gap = next((gap for gap in (1, 2, 5, 10) if longest / gap <= 7), 20)
    ticks = np.arange(0, longest, gap)
    axes.set_xticks(ticks)
    axes.text(0, 0, "number at risk", color=FAINT, fontsize=8.5, va="center")
    for line, (group, colour) in enumerate(GROUPS.items()):
        curve = curves[curves.group == group]
        times, at_risk = curve.time.to_numpy(float), curve.at_risk.to_numpy()
        for tick in ticks:
            place = np.searchsorted(times, tick * 365.0, side="left")
            number = int(at_risk[place]) if place < len(times) else 0
            axes.text(tick, line + 1, f"{number}", color=colour, ha="center", va="center", fontsize=8.5)
