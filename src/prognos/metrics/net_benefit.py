"""Decision curves: what is gained by treating those whose predicted probability of the event exceeds a threshold."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from prognos.metrics.arrays import Vector, curve_array, survival_arrays
from prognos.metrics.calibration import FEWEST_AT_RISK

SAME = 1e-12
"""1 - 0.7 is a little more than 0.3."""


@dataclass(frozen=True)
class NetBenefit:
    """Net benefit at each threshold, in true positives a patient; treating nobody has 0.

    Args:
        thresholds: probabilities of the event from which on a patient is treated.
        model: of treating those whom the model puts there. NaN where the follow-up of these patients ends before the horizon.
        treat_all: of treating everybody.
    """

    thresholds: Float[np.ndarray, " _"]
    model: Float[np.ndarray, " _"]
    treat_all: Float[np.ndarray, " _"]


def net_benefit(survival: Vector, time: Vector, event: Vector, horizon: float, thresholds: Vector) -> NetBenefit:
    """Net benefit by Vickers and Elkin, with censored patients as by Vickers, Cronin, Elkin and Gonen (2008).

    At a threshold q: NB = share treated x ((1 - S) - S q / (1 - q)), where S is the Kaplan-Meier estimate at the horizon among the
    treated, those with a predicted probability of q or more. q / (1 - q) is how many treatments for nothing one rightly treated
    patient is worth to whoever chooses q.

    Args:
        survival: predicted survival of each patient at the horizon.
        time: time to event or censoring.
        event: True where the event was observed.
        horizon: in the same unit.
        thresholds: probabilities above 0 and below 1.

    Raises:
        ValueError: a threshold that is none, or too few patients under observation at the horizon.
    """
    times, events = survival_arrays(time, event)
    predicted = 1.0 - curve_array(np.asarray(survival)[:, None], len(times), 1)[:, 0]
    levels = np.asarray(thresholds, dtype=np.float64)
    wrong = ~((levels > 0) & (levels < 1))
    if wrong.any():
        raise ValueError(f"{wrong.sum()} of {len(levels)} thresholds do not lie between 0 and 1: choose probabilities of the event.")
    at_risk = int((times >= horizon).sum())
    if at_risk < FEWEST_AT_RISK:
        raise ValueError(
            f"{at_risk} of {len(times)} patients are under observation at {horizon:g}; a decision curve needs {FEWEST_AT_RISK}: take an "
            "earlier horizon."
        )
    odds = levels / (1.0 - levels)
    treated = predicted >= levels[:, None] - SAME
    remaining = _survival(np.vstack([treated, np.ones_like(predicted, dtype=bool)]), times, events, horizon)
    shares, everybody = treated.mean(axis=1), remaining[-1]
    model = shares * (1.0 - remaining[:-1] - remaining[:-1] * odds)
    return NetBenefit(levels, np.where(treated.any(axis=1), model, 0.0), 1.0 - everybody - everybody * odds)


def _survival(
    treated: Bool[np.ndarray, "thresholds patients"],
    time: Float[np.ndarray, " patients"],
    event: Bool[np.ndarray, " patients"],
    horizon: float,
) -> Float[np.ndarray, " thresholds"]:
    """Kaplan-Meier at the horizon among the treated; NaN where their follow-up ends before it with patients who had no event."""
    order = np.argsort(time, kind="stable")
    inside, times, events = treated[:, order], time[order], event[order]
    starts = np.unique(times, return_index=True)[1]
    at_risk = np.cumsum(inside[:, ::-1], axis=1)[:, ::-1][:, starts]
    happened = np.add.reduceat((inside & events).astype(int), starts, axis=1)
    staying = np.divide(at_risk - happened, at_risk, out=np.ones(at_risk.shape), where=at_risk > 0)
    survival = staying[:, times[starts] <= horizon].prod(axis=1)
    followed = (inside & (times >= horizon)).any(axis=1)
    return np.where(followed | (survival == 0), survival, np.nan)
