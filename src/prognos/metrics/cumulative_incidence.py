"""Cumulative incidence beside competing events: Aalen and Johansen's estimate."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from prognos.metrics.arrays import Vector, survival_arrays


@dataclass(frozen=True)
class CumulativeIncidence:
    """Probability to have had the event, or a competing one, by each distinct time of the patients; constant in between.

    Args:
        time: 0, then the distinct times.
        incidence: of the event.
        competing: of the competing event.
        at_risk: patients still under observation just before each time.
    """

    time: Float[np.ndarray, " _"]
    incidence: Float[np.ndarray, " _"]
    competing: Float[np.ndarray, " _"]
    at_risk: Int[np.ndarray, " _"]

    def at(self, times: Vector) -> Float[np.ndarray, " _"]:
        """Incidence of the event at any times from 0 on; beyond the last time the last value."""
        return self.incidence[np.searchsorted(self.time, np.asarray(times, dtype=np.float64), side="right") - 1]


def cumulative_incidence(time: Vector, event: Vector, competing: Bool[np.ndarray, " _"]) -> CumulativeIncidence:
    """Aalen and Johansen's estimate for one event and what competes with it.

    F(t) = sum over times s <= t of S(s-) x events(s) / at risk(s), where S is the Kaplan-Meier estimate for having neither. At equal
    times both kinds of events precede censoring. 1 - Kaplan-Meier, which takes competing events for censoring, is never below F: it
    says what would happen if the competing event could not.

    Args:
        time: time to the event, the competing event or censoring, whichever came first.
        event: True where it was the event.
        competing: True where it was the competing event.

    Raises:
        ValueError: patients with both, or another number of marks than of patients.
    """
    times, events = survival_arrays(time, event)
    if len(competing) != len(times):
        raise ValueError(f"{len(competing)} marks of competing events but {len(times)} patients: give one for every patient.")
    both = events & competing
    if both.any():
        raise ValueError(f"{both.sum()} of {len(times)} patients have the event and a competing one: keep the one that came first.")
    distinct, place = np.unique(np.concatenate([[0.0], times]), return_inverse=True)
    n_times = len(distinct)
    leaving = np.bincount(place[1:], minlength=n_times)
    at_risk = len(times) - (np.cumsum(leaving) - leaving)
    of_interest = np.bincount(place[1:][events], minlength=n_times)
    others = np.bincount(place[1:][competing], minlength=n_times)
    before = np.concatenate([[1.0], np.cumprod(1.0 - (of_interest + others) / at_risk)[:-1]])
    return CumulativeIncidence(distinct, np.cumsum(before * of_interest / at_risk), np.cumsum(before * others / at_risk), at_risk)
