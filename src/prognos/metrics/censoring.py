"""What the training fold tells about follow-up: the censoring distribution, the truncation time and the horizons."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prognos.metrics.arrays import Vector, survival_arrays

TAU_QUANTILE = 0.8
CLINICAL_HORIZONS = (365.0, 1095.0, 1825.0)
"""One, three and five years, in days."""


@dataclass(frozen=True)
class Censoring:
    """The Kaplan-Meier estimate G(t) of the probability to be uncensored at t, right-continuous.

    Where a patient has the event and another is censored at the same time, the event comes first: whoever has it is no
    longer at risk of being censored.

    Args:
        time: the distinct training times.
        probability: G at these times.
    """

    time: Float[np.ndarray, " _"]
    probability: Float[np.ndarray, " _"]

    @classmethod
    def learn(cls, train_time: Vector, train_event: Vector) -> "Censoring":
        """The censoring distribution of a training fold."""
        time, event = survival_arrays(train_time, train_event, "training patients")
        distinct, place = np.unique(time, return_inverse=True)
        leaving = np.bincount(place, minlength=len(distinct))
        events = np.bincount(place, weights=event, minlength=len(distinct))
        at_risk = len(time) - (np.cumsum(leaving) - leaving) - events
        censored = leaving - events
        hazard = np.divide(censored, at_risk, out=np.zeros(len(distinct)), where=at_risk > 0)
        return cls(distinct, np.cumprod(1.0 - hazard))

    def at(self, times: Float[np.ndarray, " _"]) -> Float[np.ndarray, " _"]:
        """G at any times; 1 before the first training time.

        Raises:
            ValueError: a time beyond the follow-up of the training fold, or where everybody in it is censored already.
        """
        beyond = times > self.time[-1]
        if beyond.any():
            raise ValueError(
                f"{beyond.sum()} of {len(times)} times lie beyond the training fold's follow-up of {self.time[-1]:g}, where its censoring "
                "is unknown: take a smaller tau or earlier horizons."
            )
        step = np.searchsorted(self.time, times, side="right")
        probability = np.concatenate([[1.0], self.probability])[step]
        if (probability == 0).any():
            raise ValueError(
                f"at {(probability == 0).sum()} of {len(times)} times nobody in the training fold is uncensored, so that a patient there "
                "would weigh infinitely much: take a smaller tau or earlier horizons."
            )
        return probability


def tau_rule(train_time: Vector, train_event: Vector) -> float:
    """The time up to which a fold is scored: the 80th percentile of the training fold's follow-up time.

    It looks at the training fold only. Test patients beyond it stay in, as patients who were still event-free at tau.
    """
    time, _ = survival_arrays(train_time, train_event, "training patients")
    return float(np.quantile(time, TAU_QUANTILE))


def horizon_grid(train_time: Vector, train_event: Vector, *, n_horizons: int = 50) -> Float[np.ndarray, " _"]:
    """Horizons at which curves are predicted, in days.

    Evenly spaced from the 5th to the 95th percentile of the training fold's event times, and 1, 3 and 5 years.

    Raises:
        ValueError: there is no event in the training fold.
    """
    time, event = survival_arrays(train_time, train_event, "training patients")
    if not event.any():
        raise ValueError(f"none of {len(time)} training patients has an event: there is no time grid to predict on.")
    first, last = np.quantile(time[event], (0.05, 0.95))
    grid = np.concatenate([np.linspace(first, last, n_horizons), CLINICAL_HORIZONS])
    return np.unique(grid[grid > 0])
