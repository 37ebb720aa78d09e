"""Calibration and use: tables of how far predicted probabilities are off, and of what competing events change."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prognos.metrics import kaplan_meier
from prognos.metrics.cumulative_incidence import cumulative_incidence
from prognos.report.figures.kaplan_meier import p_in_words
from prognos.report.figures.style import years
from prognos.report.risk_groups import patterns, repeats, risk_groups
from prognos.report.run_folder import RunFolder, missing_in_words
from prognos.report.run_tables import CALIBRATION_HORIZONS
from prognos.report.tables import Cell, Table
from prognos.report.verdicts import number

FAR_OFF = 0.1
"""A calibration index above this stands out: predictions are off by more than ten in a hundred patients."""
LEVEL = 0.05


@dataclass(frozen=True)
class CalibrationNotes:
    """What the section says of one cohort.

    Args:
        tables: with a row for each model and missing pattern; none where the run has no calibration.csv.
        remarks: why something is not judged.
    """

    tables: tuple[Table, ...]
    remarks: tuple[str, ...]


def calibration_notes(run: RunFolder, cohort: str) -> CalibrationNotes:
    """Calibration in the large, calibration index and D-calibration of every model of a cohort, means over seeds."""
    rows, spread = run.calibration[run.calibration.cohort == cohort], run.distribution_calibration
    spread = spread[spread.cohort == cohort]
    body, repeated = [], repeats(run, cohort)
    for (label, missing), part in rows.groupby(["label", "missing"], sort=False):
        if (label, missing) in repeated:
            continue
        cells = [Cell(label, label), Cell(missing_in_words(missing) or "complete")]
        for horizon in CALIBRATION_HORIZONS:
            cells += _at_horizon(part[part.horizon == horizon])
        body.append((*cells, _spread_cell(spread[(spread.label == label) & (spread.missing == missing)])))
    if not body:
        return CalibrationNotes((), ())
    of_horizons = [name for horizon in CALIBRATION_HORIZONS for name in (f"{years(horizon)}: predicted / seen", "ICI (95% interval)")]
    caption = (
        f"Calibration on {cohort}, all held-out patients together with the curves of their own folds, mean over seeds. Predicted / seen: "
        "mean predicted probability of the event and 1 − Kaplan-Meier. ICI: mean distance of a patient's predicted from the smoothed "
        "observed probability; 0 is perfect, and the interval is of resampled patients, its ends the mean over seeds. D-calibration: p of "
        "Haider's test of the whole curve, median over seeds; a small p says that curves are wrong, a large one does not say that they are "
        "right"
    )
    table = Table(caption, ("Model", "Patients", *of_horizons, "D-calibration"), tuple(body), run.study.selection == "oracle")
    return CalibrationNotes((table,), _reasons(rows, spread))


def _at_horizon(rows: pd.DataFrame) -> list[Cell]:
    """Predicted and observed probability, and the calibration index."""
    if rows.empty or rows.ici.isna().any():
        return [Cell("not judged"), Cell("not judged")]
    predicted, observed, ici = (float(rows[name].mean()) for name in ("predicted", "observed", "ici"))
    ends = "" if rows.ici_low.isna().any() else f" ({number(rows.ici_low.mean(), 2)} to {number(rows.ici_high.mean(), 2)})"
    return [
        Cell(f"{predicted:.0%} / {observed:.0%}", predicted - observed),
        Cell(f"{number(ici)}{ends}", ici, ici > FAR_OFF),
    ]


def _spread_cell(rows: pd.DataFrame) -> Cell:
    """The median p over seeds."""
    p = rows.drop_duplicates("seed").p
    if p.empty or p.isna().any():
        return Cell("not judged")
    median = float(p.median())
    return Cell(p_in_words(median), median, median < LEVEL)


def _reasons(*tables: pd.DataFrame) -> tuple[str, ...]:
    """Why something is not judged, each reason once with the models that it holds for."""
    reasons: dict[str, dict[str, None]] = {}
    for table in tables:
        said = table[table.reason.fillna("") != ""]
        for label, reason in zip(said.label, said.reason, strict=True):
            reasons.setdefault(reason, {})[label] = None
    return tuple(f"Not judged ({', '.join(labels)}): {reason}" for reason, labels in reasons.items())


def groups_with_competing(run: RunFolder, cohort: str, label: str, missing: str) -> pd.DataFrame:
    """patient_id, time, event, high, competing of the patients of a model whose competing events are known."""
    known = run.competing[run.competing.cohort == cohort][["patient_id", "competing"]]
    patients = risk_groups(run, cohort, label, missing).patients.merge(known, on="patient_id")
    return patients.assign(competing=patients.competing.astype(float) == 1)


def competing_tables(run: RunFolder, cohort: str) -> list[Table]:
    """By risk group of each model, complete patients: incidence beside competing events, and what 1 - Kaplan-Meier makes of it."""
    body = []
    for label, missing in patterns(run, cohort):
        patients = groups_with_competing(run, cohort, label, missing) if missing in ("", "none") else pd.DataFrame()
        for group in ("low", "high"):
            inside = patients[patients.high == (group == "high")] if len(patients) else patients
            if len(inside):
                body.append((Cell(label, label), Cell(group), *_incidence_cells(inside)))
    if not body:
        return []
    at = [years(horizon) for horizon in CALIBRATION_HORIZONS]
    endpoint = run.cohorts[cohort].endpoint.upper() or "the endpoint"
    caption = (
        f"Probability of the event ({endpoint}) on {cohort} by risk group at 1, 3 and 5 years: first with competing events counted (Aalen "
        "and Johansen), then 1 − Kaplan-Meier, which overstates it"
    )
    return [Table(caption, ("Model", "Risk group", "Patients", "Events", "Competing", *at), tuple(body), run.study.selection == "oracle")]


def _incidence_cells(patients: pd.DataFrame) -> list[Cell]:
    time, event = patients.time.to_numpy(float), patients.event.to_numpy(bool)
    incidence = cumulative_incidence(time, event, patients.competing.to_numpy(bool)).at(np.array(CALIBRATION_HORIZONS))
    overstated = 1.0 - kaplan_meier(time, event).at(np.array(CALIBRATION_HORIZONS))
    counts = [len(patients), int(event.sum()), int(patients.competing.sum())]
    return [Cell(f"{count}", float(count)) for count in counts] + [
        Cell(f"{rightly:.0%} / {wrongly:.0%}", float(rightly)) if time.max() >= horizon else Cell("not followed so long")
        for horizon, rightly, wrongly in zip(CALIBRATION_HORIZONS, incidence, overstated, strict=True)
    ]
