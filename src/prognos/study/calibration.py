"""Calibration and use of every model, in three tables: calibration at 1, 3 and 5 years, D-calibration, net benefit.

Predicted survival is on one scale whatever fold it comes from, so the held-out patients of all folds are taken together, each with the
curve of their own fold. Seeds are kept apart: a mean over seeds is another model than any that was fitted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from prognos.metrics import (
    CLINICAL_HORIZONS,
    calibration_index,
    distribution_calibration,
    ici_interval,
    kaplan_meier,
    net_benefit,
    survival_reached,
)
from prognos.metrics.bootstrap import draw_counts
from prognos.study.plan import CANARY

CALIBRATION = "calibration.csv"
DISTRIBUTION_CALIBRATION = "distribution_calibration.csv"
NET_BENEFIT = "net_benefit.csv"
ROW = ("model", "variant", "cohort", "missing", "seed")
CALIBRATION_COLUMNS = (
    *(*ROW, "horizon", "patients", "events", "at_risk"),
    *("predicted", "observed", "ici", "ici_low", "ici_high", "e50", "e90", "reason"),
)
DISTRIBUTION_COLUMNS = (*ROW, "patients", "low", "high", "share", "chi_square", "p", "reason")
NET_BENEFIT_COLUMNS = ("model", "variant", "cohort", "missing", "horizon", "threshold", "net_benefit", "treat_all")
MOST_REPLICATES = 100
"""Bootstrap replicates behind the interval of a calibration index: each is a fit of its own."""
THRESHOLDS = np.arange(0.02, 0.99, 0.02).round(2)
"""Probabilities of the event at which net benefit is kept."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out patients of all folds of one model, variant, cohort, missing pattern and seed.

    Args:
        key: model, variant, cohort, missing, seed.
        time: days.
        event: True when observed.
        at_horizons: predicted survival at 1, 3 and 5 years; NaN where the curve does not reach so far.
        reached: predicted survival at each patient's own time, or at the end of their curve.
        known: True where the event was observed within the curve.
    """

    key: tuple
    time: Float[np.ndarray, " patients"]
    event: Bool[np.ndarray, " patients"]
    at_horizons: Float[np.ndarray, "patients horizons"]
    reached: Float[np.ndarray, " patients"]
    known: Bool[np.ndarray, " patients"]


def calibration_tables(predictions: pd.DataFrame, survival: pd.DataFrame, *, replicates: int) -> dict[str, pd.DataFrame]:
    """The tables by their file names, those that have a row; canaries have none.

    Args:
        predictions: the columns of predictions.csv.
        survival: the columns of survival.csv.gz.
        replicates: bootstrap replicates of the calibration index, at most `MOST_REPLICATES`; 0 for no intervals.
    """
    together = list(_held_out(predictions[predictions.variant != CANARY], survival))
    tables = {
        CALIBRATION: pd.DataFrame(
            [row for held in together for row in _calibration(held, min(replicates, MOST_REPLICATES))], columns=list(CALIBRATION_COLUMNS)
        ),
        DISTRIBUTION_CALIBRATION: pd.DataFrame([row for held in together for row in _spread(held)], columns=list(DISTRIBUTION_COLUMNS)),
        NET_BENEFIT: _mean_over_seeds([row for held in together for row in _benefit(held)]),
    }
    return {name: table for name, table in tables.items() if len(table)}


def _held_out(predictions: pd.DataFrame, survival: pd.DataFrame) -> Iterator[HeldOut]:
    """Patients of all folds together, of models that predicted curves."""
    curves = dict(list(survival.groupby([*ROW, "fold"], sort=False)))
    for key, part in predictions.groupby(list(ROW), sort=False):
        folds = []
        for fold, rows in part.groupby("fold", sort=False):
            long = curves.get((*key, fold))
            if long is None:
                break
            folds.append((rows, *_curves(long, rows.patient_id)))
        else:
            yield _together(key, folds)


def _curves(long: pd.DataFrame, patients: pd.Series) -> tuple[Float[np.ndarray, " horizons"], Float[np.ndarray, "patients horizons"]]:
    """Horizons and survival of these patients; all have the same horizons, which the metrics of the fold have checked."""
    code, names = pd.factorize(long.patient_id)
    horizon = long.horizon.to_numpy(dtype=float)
    order = np.lexsort((horizon, code))
    survival = long.survival.to_numpy(dtype=float)[order].reshape(len(names), -1)
    return horizon[order][: survival.shape[1]], survival[pd.Index(names).get_indexer(patients)]


def _together(key: tuple, folds: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]]) -> HeldOut:
    at_horizons, reached, known = [], [], []
    for rows, horizons, survival in folds:
        time, event = rows.time.to_numpy(dtype=float), rows.event.to_numpy(dtype=bool)
        at_own_time, within = survival_reached(survival, time, event, horizons)
        reached.append(at_own_time)
        known.append(within)
        start, full = np.concatenate([[0.0], horizons]), np.column_stack([np.ones(len(time)), survival])
        at_horizons.append([np.interp(CLINICAL_HORIZONS, start, curve, right=np.nan) for curve in full])
    rows = pd.concat([fold[0] for fold in folds])
    return HeldOut(
        key,
        rows.time.to_numpy(dtype=float),
        rows.event.to_numpy(dtype=bool),
        np.concatenate(at_horizons),
        np.concatenate(reached),
        np.concatenate(known),
    )


def _calibration(held: HeldOut, replicates: int) -> Iterator[tuple]:
    """A row for each horizon; the reason where it is not judged."""
    drawn = draw_counts(len(held.time), replicates, [0, str(held.key[2])])
    for horizon, survival in zip(CLINICAL_HORIZONS, held.at_horizons.T, strict=True):
        counts = (len(survival), int((held.event & (held.time <= horizon)).sum()), int((held.time >= horizon).sum()))
        try:
            _check_reach(survival, horizon)
            found = calibration_index(survival, held.time, held.event, horizon)
        except ValueError as reason:
            yield (*held.key, horizon, *counts, *(np.nan,) * 7, str(reason))
            continue
        observed = 1.0 - float(kaplan_meier(held.time, held.event).at(np.array([horizon]))[0])
        mean = float(found.predicted.mean())
        ends = ici_interval(survival, held.time, held.event, horizon, drawn)
        yield (*held.key, horizon, *counts, mean, observed, found.ici, ends.low, ends.high, found.quantile(0.5), found.quantile(0.9), "")


def _check_reach(survival: Float[np.ndarray, " patients"], horizon: float) -> None:
    short = int(np.isnan(survival).sum())
    if short:
        raise ValueError(f"the curves of {short} of {len(survival)} patients end before {horizon:g} days: predict survival so far.")


def _spread(held: HeldOut) -> Iterator[tuple]:
    """A row for each bin of predicted survival, or one with the reason why D-calibration is not judged."""
    try:
        found = distribution_calibration(held.reached, held.known)
    except ValueError as reason:
        yield (*held.key, len(held.time), *(np.nan,) * 5, str(reason))
        return
    edges = np.linspace(0.0, 1.0, len(found.shares) + 1).round(3)
    for low, high, share in zip(edges[:-1], edges[1:], found.shares, strict=True):
        yield (*held.key, len(held.time), low, high, share, found.chi_square, found.p, "")


def _benefit(held: HeldOut) -> Iterator[tuple]:
    """A row for each horizon and threshold, none where the follow-up does not carry: `calibration.csv` says so."""
    for horizon, survival in zip(CLINICAL_HORIZONS, held.at_horizons.T, strict=True):
        try:
            _check_reach(survival, horizon)
            found = net_benefit(survival, held.time, held.event, horizon, THRESHOLDS)
        except ValueError:
            continue
        for threshold, benefit, treat_all in zip(found.thresholds, found.model, found.treat_all, strict=True):
            yield (*held.key, horizon, threshold, benefit, treat_all)


def _mean_over_seeds(rows: list[tuple]) -> pd.DataFrame:
    """Net benefit of each model; NaN where it is not known for every seed."""
    table = pd.DataFrame(rows, columns=[*ROW, *NET_BENEFIT_COLUMNS[4:]])
    by_threshold = table.groupby(["model", "variant", "cohort", "missing", "horizon", "threshold"], sort=False)[
        ["net_benefit", "treat_all"]
    ]
    known = by_threshold.count().eq(by_threshold.size(), axis=0)
    return by_threshold.mean().where(known).reset_index()[list(NET_BENEFIT_COLUMNS)]
