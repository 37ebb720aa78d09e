"""Calibration: of patients to whom 30% risk was predicted, do 30% have the event?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.arrays import Vector, curve_array, survival_arrays
from prognos.metrics.kaplan_meier import KaplanMeier, kaplan_meier

FEWEST_AT_RISK = 10
"""Fewer patients under observation at the horizon than this, and calibration is not judged there."""
FEWEST_KNOWN = 5
"""Each group needs this many patients whose state at the horizon is known."""


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed probability of the event by a horizon, in groups of rising predicted probability.

    Args:
        horizon: in the unit of the times.
        predicted: mean predicted probability of each group.
        observed: 1 - Kaplan-Meier of each group.
        low: lower end of its 95% interval.
        high: upper end.
        patients: patients of each group.
        at_risk: of them, those still under observation at the horizon.
    """

    horizon: float
    predicted: Float[np.ndarray, " _"]
    observed: Float[np.ndarray, " _"]
    low: Float[np.ndarray, " _"]
    high: Float[np.ndarray, " _"]
    patients: Int[np.ndarray, " _"]
    at_risk: Int[np.ndarray, " _"]

    @property
    def error(self) -> float:
        """Mean absolute distance between predicted and observed, groups weighted by their patients; 0 is perfect."""
        return float(self.patients @ np.abs(self.predicted - self.observed) / self.patients.sum())


def calibration(survival: Vector, time: Vector, event: Vector, horizon: float, *, n_groups: int = 3) -> Calibration:
    """Predicted against observed at a horizon, in groups of equal size by predicted probability.

    Args:
        survival: predicted survival of each patient at the horizon.
        time: time to event or censoring.
        event: True where the event was observed.
        horizon: in the same unit.
        n_groups: groups asked for; patients with one predicted probability stay together, so there may be fewer.

    Raises:
        ValueError: too few patients are under observation at the horizon, in all or in a group; nothing is guessed then.
    """
    times, events = survival_arrays(time, event)
    predicted = 1.0 - curve_array(np.asarray(survival)[:, None], len(times), 1)[:, 0]
    group = risk_groups(predicted, n_groups)
    curves = observed_curves(times, events, group, horizon)
    steps = [int(np.searchsorted(curve.time, horizon, side="right")) - 1 for curve in curves]
    observed, low, high = (
        np.array([1.0 - values[step] for values, step in zip(ends, steps, strict=True)])
        for ends in ([curve.survival for curve in curves], [curve.high for curve in curves], [curve.low for curve in curves])
    )
    patients = np.bincount(group)
    mean = np.bincount(group, weights=predicted) / patients
    at_risk = np.array([curve.at_risk_at(np.array([horizon]))[0] for curve in curves])
    return Calibration(float(horizon), mean, observed, low, high, patients, at_risk)


def risk_groups(predicted: Float[np.ndarray, " _"], n_groups: int) -> Int[np.ndarray, " _"]:
    """Group of each patient, from 0: cut at quantiles of the predicted probability; equal predictions stay together."""
    cuts = np.unique(np.quantile(predicted, np.linspace(0, 1, n_groups + 1)[1:-1]))
    return np.unique(np.searchsorted(cuts, predicted, side="left"), return_inverse=True)[1]


def observed_curves(time: Float[np.ndarray, " _"], event: np.ndarray, group: Int[np.ndarray, " _"], horizon: float) -> list[KaplanMeier]:
    """The Kaplan-Meier curve of each group, if the follow-up carries as far as the horizon.

    Raises:
        ValueError: see `calibration`.
    """
    at_risk = int((time >= horizon).sum())
    if at_risk < FEWEST_AT_RISK:
        raise ValueError(
            f"{at_risk} of {len(time)} patients are under observation at {horizon:g}; calibration there needs {FEWEST_AT_RISK}: "
            "take an earlier horizon."
        )
    curves = []
    for label in range(group.max() + 1):
        inside = group == label
        known = int(((time[inside] >= horizon) | event[inside]).sum())
        curve = kaplan_meier(time[inside], event[inside])
        ends_early = time[inside].max() < horizon and curve.survival[-1] > 0
        if known < FEWEST_KNOWN or ends_early:
            raise ValueError(
                f"in risk group {label + 1} of {group.max() + 1} the state at {horizon:g} is known of {known} of {inside.sum()} patients "
                f"and {int((time[inside] >= horizon).sum())} are still under observation: too few to judge; take an earlier horizon."
            )
        curves.append(curve)
    return curves
