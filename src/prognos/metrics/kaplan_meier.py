"""Kaplan-Meier: the survival curve of a group of patients, its interval, its numbers at risk, and median follow-up."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.arrays import Vector, survival_arrays
from prognos.metrics.censoring import Censoring

NORMAL_975 = 1.959963984540054
"""The 97.5% point of the normal distribution."""


@dataclass(frozen=True)
class KaplanMeier:
    """A survival curve at time 0 and at each distinct time of the patients; constant in between.

    Args:
        time: 0, then the distinct times.
        survival: estimated probability to be event-free beyond each time.
        low: lower end of the 95% interval (Greenwood's variance of log(-log S)).
        high: upper end. While nobody had the event both ends are 1; when the curve has fallen to 0 Greenwood's variance
            is infinite and the interval reaches from 0 to the last upper end before.
        at_risk: patients still under observation just before each time.
        events: events at each time.
        censored: patients censored at each time.
    """

    time: Float[np.ndarray, " _"]
    survival: Float[np.ndarray, " _"]
    low: Float[np.ndarray, " _"]
    high: Float[np.ndarray, " _"]
    at_risk: Int[np.ndarray, " _"]
    events: Int[np.ndarray, " _"]
    censored: Int[np.ndarray, " _"]

    def at(self, times: Vector) -> Float[np.ndarray, " _"]:
        """Survival at any times from 0 on; beyond the last time the last value."""
        return self.survival[np.searchsorted(self.time, np.asarray(times, dtype=np.float64), side="right") - 1]

    def at_risk_at(self, times: Vector) -> Int[np.ndarray, " _"]:
        """How many patients are still under observation at (just before) any times."""
        step = np.searchsorted(self.time, np.asarray(times, dtype=np.float64), side="left")
        return np.concatenate([self.at_risk, [0]])[step]

    @property
    def median(self) -> float | None:
        """The first time at which survival is one half or less; None when it never is."""
        reached = np.flatnonzero(self.survival <= 0.5 + 1e-12)
        return float(self.time[reached[0]]) if len(reached) else None


def kaplan_meier(time: Vector, event: Vector) -> KaplanMeier:
    """The survival curve of these patients.

    S(t) = prod over event times s <= t of (1 - events(s) / at risk(s)); at equal times events precede censoring.
    """
    times, events_seen = survival_arrays(time, event)
    distinct, place = np.unique(np.concatenate([[0.0], times]), return_inverse=True)
    leaving = np.bincount(place[1:], minlength=len(distinct))
    events = np.bincount(place[1:][events_seen], minlength=len(distinct))
    at_risk = len(times) - (np.cumsum(leaving) - leaving)
    survival = np.cumprod(1.0 - events / at_risk)
    low, high = _interval(survival, events, at_risk)
    return KaplanMeier(distinct, survival, low, high, at_risk, events, leaving - events)


def _interval(survival: np.ndarray, events: np.ndarray, at_risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Survival ** exp(-+ z * se), se the standard error of log(-log S) by Greenwood's formula."""
    low, high = np.ones(len(survival)), np.ones(len(survival))
    inside = (survival > 0) & (survival < 1)
    surviving = np.where(survival > 0, at_risk - events, 1)
    greenwood = np.cumsum(np.where(survival > 0, events / (at_risk * surviving), 0.0))
    log_survival = np.log(survival[inside])
    error = np.sqrt(greenwood[inside]) / np.abs(log_survival)
    low[inside] = np.exp(log_survival * np.exp(NORMAL_975 * error))
    high[inside] = np.exp(log_survival * np.exp(-NORMAL_975 * error))
    gone = survival <= 0
    low[gone] = 0.0
    high[gone] = high[~gone][-1] if (~gone).any() else 1.0
    return low, high


def reverse_kaplan_meier_median(time: Vector, event: Vector) -> float:
    """Median follow-up: the time at which half of the patients would be censored if nobody had the event.

    Raises:
        ValueError: too few are censored for the curve of censoring to fall to one half.
    """
    times, events = survival_arrays(time, event)
    censoring = Censoring.learn(times, events)
    reached = np.flatnonzero(censoring.probability <= 0.5 + 1e-12)
    if not len(reached):
        raise ValueError(
            f"median follow-up is not reached: {(~events).sum()} of {len(times)} patients are censored, and the reverse Kaplan-Meier curve "
            f"ends at {censoring.probability[-1]:.2f}; report the longest follow-up, {times.max():g}, instead."
        )
    return float(censoring.time[reached[0]])
