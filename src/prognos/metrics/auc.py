"""Time-dependent AUC: at a horizon, do patients who had the event have higher risks than those still event-free?"""

import numpy as np
from jaxtyping import Float

from prognos.metrics.arrays import NoComparablePairs, Vector, horizon_array, risk_array, survival_arrays
from prognos.metrics.censoring import Censoring
from prognos.metrics.concordance import TIED_RISK
from prognos.metrics.kaplan_meier import kaplan_meier


def cumulative_dynamic_auc(
    risk: Vector, time: Vector, event: Vector, train_time: Vector, train_event: Vector, horizons: Vector
) -> tuple[Float[np.ndarray, " _"], float]:
    """AUC at each horizon, and their mean.

    AUC(t) = sum_ij [T_i <= t] event_i [T_j > t] ([r_i > r_j] + [r_i = r_j] / 2) / G(T_i) / the same without the risks, with
    the training fold's censoring G. The mean weights each horizon by the fall of the test patients' Kaplan-Meier curve
    since the horizon before.

    Args:
        risk: higher means an earlier event.
        time: time to event or censoring.
        event: True where the event was observed.
        train_time: times of the training fold, in the same unit.
        train_event: events of the training fold.
        horizons: rising times in the same unit.

    Raises:
        NoComparablePairs: at some horizon nobody had the event yet, or nobody is under observation any more.
        ValueError: a horizon beyond what the training fold's censoring covers.
    """
    times, events = survival_arrays(time, event)
    grid = horizon_array(horizons)
    area = areas(risk_array(risk, len(times)), times, events, Censoring.learn(train_time, train_event), grid)
    undefined = np.isnan(area)
    if undefined.any():
        shown = ", ".join(f"{horizon:g}" for horizon in grid[undefined][:3])
        raise NoComparablePairs(
            f"at {undefined.sum()} of {len(grid)} horizons ({shown}) the {len(times)} patients hold no event up to then or nobody after "
            "it, so that there is no AUC: leave these horizons out."
        )
    return area, mean_area(area, times, events, grid)


def areas(
    risk: Float[np.ndarray, " _"], time: Float[np.ndarray, " _"], event: np.ndarray, censoring: Censoring, horizons: Float[np.ndarray, " _"]
) -> Float[np.ndarray, " _"]:
    """AUC at each horizon; NaN where nobody had the event yet or nobody is left (callers look)."""
    case = np.flatnonzero(event & (time <= horizons[-1]))
    weight = 1.0 / censoring.at(time[case])
    difference = risk[case][:, None] - risk
    higher = 0.5 * (difference > TIED_RISK) + 0.5 * (difference >= -TIED_RISK)
    by_horizon = np.full(len(horizons), np.nan)
    for place, horizon in enumerate(horizons):
        early, later = time[case] <= horizon, time > horizon
        if early.any() and later.any():
            concordant = higher[np.ix_(early, later)].sum(axis=1)
            by_horizon[place] = (weight[early] @ concordant) / (weight[early].sum() * later.sum())
    return by_horizon


def mean_area(area: Float[np.ndarray, " _"], time: Float[np.ndarray, " _"], event: np.ndarray, horizons: Float[np.ndarray, " _"]) -> float:
    """Mean AUC, each horizon weighted by the fall of the Kaplan-Meier curve since the one before.

    Horizons before the first event weigh nothing, whatever stands there.

    Raises:
        NoComparablePairs: no event by the last horizon, or a horizon after which nobody is left.
    """
    if len(horizons) == 1 and np.isfinite(area[0]):
        return float(area[0])
    fall = -np.diff(kaplan_meier(time, event).at(horizons), prepend=1.0)
    counted = fall > 0
    if not counted.any():
        raise NoComparablePairs(f"none of {len(time)} patients has the event by {horizons[-1]:g}: there is no AUC up to then.")
    if np.isnan(area[counted]).any():
        gone = horizons[counted & np.isnan(area)]
        raise NoComparablePairs(
            f"none of {len(time)} patients is under observation after {gone[0]:g}, {len(gone)} horizons before the last: "
            "there is no AUC there; take earlier horizons."
        )
    return float(fall[counted] @ area[counted] / fall[counted].sum())
