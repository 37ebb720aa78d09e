"""Calibration: what was predicted to survive 1, 3 and 5 years, and what was seen."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prognos.metrics.kaplan_meier import kaplan_meier
from prognos.report.figures.style import COLOURS, FAINT, MARKERS, sheet, styled, years
from prognos.report.risk_groups import panel_name, repeats
from prognos.report.run_folder import RunFolder, missing_in_words
from prognos.report.run_tables import CALIBRATION_HORIZONS

FEWEST_PATIENTS = 20  # in a group; below, its observed survival says nothing
MOST_GROUPS = 5
COLUMNS = ["panel", "horizon", "group", "predicted", "observed", "low", "high", "patients"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model, horizon and group of similar prediction.

    Columns: panel, horizon (days), group (0 = lowest predicted survival), predicted (mean), observed (Kaplan-Meier in the
    group) with its 95% interval, patients. A patient's prediction is the mean over seeds, made while it was in the test part.
    """
    keys = ["label", "missing", "horizon", "patient_id"]
    rows = run.survival[run.survival.cohort == cohort]
    predicted = rows.groupby(keys, sort=False, as_index=False).survival.mean()
    seen = run.predictions[run.predictions.cohort == cohort].drop_duplicates("patient_id")[["patient_id", "time", "event"]]
    predicted = predicted.merge(seen, on="patient_id").dropna(subset=["survival", "time"])
    pieces = []
    repeated = repeats(run, cohort)
    for (name, missing, horizon), patients in predicted.groupby(["label", "missing", "horizon"], sort=False):
        if (name, missing) in repeated:
            continue
        nearest = min(CALIBRATION_HORIZONS, key=lambda days: abs(days - horizon))
        panel = panel_name(name, missing_in_words(missing))
        pieces.append(_groups(patients, nearest).assign(panel=panel, horizon=nearest))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


def _groups(patients: pd.DataFrame, horizon: float) -> pd.DataFrame:
    n_groups = int(np.clip(len(patients) // FEWEST_PATIENTS, 1, MOST_GROUPS))
    place = patients.survival.rank(method="average", pct=True).to_numpy(float)
    group = np.minimum((place * n_groups - 1e-9).astype(int), n_groups - 1)
    rows = []
    for index in np.unique(group):
        members = patients[group == index]
        observed = _observed(members.time.to_numpy(float), members.event.to_numpy(bool), horizon)
        rows.append((int(index), float(members.survival.mean()), *observed, len(members)))
    return pd.DataFrame(rows, columns=["group", "predicted", "observed", "low", "high", "patients"]).dropna(subset=["observed"])


def _observed(time: np.ndarray, event: np.ndarray, horizon: float) -> tuple[float, float, float]:
    """Kaplan-Meier at the horizon with its 95% interval; NaN where nobody is followed that long."""
    if time.max() < horizon:
        return float("nan"), float("nan"), float("nan")
    curve = kaplan_meier(time, event)
    step = int(np.searchsorted(curve.time, horizon, side="right")) - 1
    return float(curve.survival[step]), float(curve.low[step]), float(curve.high[step])


@styled
def draw(groups: pd.DataFrame) -> Figure:
    """One panel: predicted against observed survival, a colour and marker a horizon, the diagonal where they agree."""
    figure = sheet(4.2, groups.panel.iloc[0])
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)))
    for colour, marker, horizon in zip(COLOURS.values(), MARKERS, CALIBRATION_HORIZONS, strict=False):
        points = groups[np.isclose(groups.horizon.to_numpy(float), horizon)].sort_values("predicted")
        if points.empty:
            continue
        axes.vlines(points.predicted, points.low, points.high, color=colour, linewidth=1.0)
        axes.plot(points.predicted, points.observed, marker=marker, color=colour, markersize=5, linewidth=1.2, label=years(horizon))
    lowest = min(float(groups.low.min()), float(groups.predicted.min()))
    start = max(0.0, np.floor(lowest * 10 - 0.2) / 10)
    axes.set_xlim(start, 1.02)
    axes.set_ylim(start, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted share without event")
    axes.set_ylabel("observed share (Kaplan-Meier)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.2, handlelength=1.5)
    return figure
