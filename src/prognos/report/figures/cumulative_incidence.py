"""Cumulative incidence by risk group beside competing events, and what 1 - Kaplan-Meier would say."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prognos.metrics.cumulative_incidence import cumulative_incidence
from prognos.metrics.kaplan_meier import kaplan_meier
from prognos.report.calibration import groups_with_competing
from prognos.report.figures.kaplan_meier import GROUPS
from prognos.report.figures.style import sheet, styled
from prognos.report.risk_groups import panel_name, patterns
from prognos.report.run_folder import RunFolder, missing_in_words

COLUMNS = ["panel", "group", "time", "incidence", "competing_incidence", "one_minus_kaplan_meier", "at_risk", "patients"]


def data(run: RunFolder, cohort: str) -> pd.DataFrame:
    """A row for each model, risk group and distinct time (days), complete patients only.

    Columns: incidence of the event and of the competing event (Aalen and Johansen), 1 - Kaplan-Meier of the event, numbers at risk and
    in the group. No rows for runs that do not know competing events.
    """
    pieces = []
    for label, missing in patterns(run, cohort):
        if missing not in ("", "none") or not (run.competing.cohort == cohort).any():
            continue
        patients = groups_with_competing(run, cohort, label, missing)
        for group in GROUPS:
            members = patients[patients.high == (group == "high")]
            if len(members):
                panel = panel_name(label, missing_in_words(missing))
                pieces.append(_steps(members).assign(panel=panel, group=group, patients=len(members)))
    return pd.concat(pieces, ignore_index=True)[COLUMNS] if pieces else pd.DataFrame(columns=COLUMNS)


def _steps(members: pd.DataFrame) -> pd.DataFrame:
    time, event = members.time.to_numpy(float), members.event.to_numpy(bool)
    curve = cumulative_incidence(time, event, members.competing.to_numpy(bool))
    return pd.DataFrame(
        {
            "time": curve.time,
            "incidence": curve.incidence,
            "competing_incidence": curve.competing,
            "one_minus_kaplan_meier": 1.0 - kaplan_meier(time, event).at(curve.time),
            "at_risk": curve.at_risk,
        }
    )


@styled
def draw(curves: pd.DataFrame) -> Figure:
    """One panel: a full line a risk group for the incidence, a thin broken one for 1 - Kaplan-Meier."""
    figure = sheet(3.5, curves.panel.iloc[0])
    axes = figure.add_subplot()
    for group, colour in GROUPS.items():
        curve = curves[curves.group == group]
        if curve.empty:
            continue
        since = curve.time.to_numpy(float) / 365.0
        patients = int(curve.patients.iloc[0])
        axes.step(since, curve.incidence, where="post", color=colour, linewidth=2.0, label=f"{group} risk, {patients} patients")
        broken = (0, (3, 1.5))
        axes.step(
            since, curve.one_minus_kaplan_meier, where="post", color=colour, linewidth=1.0, linestyle=broken, label="its 1 − Kaplan-Meier"
        )
    top = float(np.nanmax(curves[["incidence", "one_minus_kaplan_meier"]].to_numpy(float)))
    axes.set_ylim(0, min(1.02, 1.08 * top + 0.01))
    axes.set_xlim(left=0)
    axes.set_xlabel("years")
    axes.set_ylabel("share with the event")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.2, handlelength=2.0)
    return figure
