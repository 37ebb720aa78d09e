"""The Brier score of survival curves: squared distance between predicted survival and what happened."""

import numpy as np
from jaxtyping import Float

from prognos.metrics.arrays import Vector, curve_array, horizon_array, survival_arrays
from prognos.metrics.censoring import Censoring
from prognos.metrics.kaplan_meier import kaplan_meier


def brier_score(
    survival: np.ndarray, time: Vector, event: Vector, train_time: Vector, train_event: Vector, horizons: Vector
) -> Float[np.ndarray, " _"]:
    """The Brier score at each horizon; 0 is perfect.

    BS(t) = mean_i ([T_i <= t] event_i S_i(t)^2 / G(T_i) + [T_i > t] (1 - S_i(t))^2 / G(t)), with the training fold's
    censoring G.

    Args:
        survival: predicted survival, patients x horizons.
        time: time to event or censoring.
        event: True where the event was observed.
        train_time: times of the training fold, in the same unit.
        train_event: events of the training fold.
        horizons: rising times in the same unit.

    Raises:
        ValueError: a horizon beyond what the training fold's censoring covers, or survival of another shape.
    """
    times, events = survival_arrays(time, event)
    grid = horizon_array(horizons)
    curves = curve_array(survival, len(times), len(grid))
    return squared_distances(curves, times, events, Censoring.learn(train_time, train_event), grid).mean(axis=0)


def integrated_brier_score(
    survival: np.ndarray, time: Vector, event: Vector, train_time: Vector, train_event: Vector, horizons: Vector
) -> float:
    """The Brier score averaged over time, from the first to the last horizon, by the trapezoidal rule.

    Arguments and errors are those of `brier_score`, with two or more horizons.
    """
    grid = horizon_array(horizons)
    return float(time_average(brier_score(survival, time, event, train_time, train_event, grid), grid))


def scaled_brier(survival: np.ndarray, time: Vector, event: Vector, train_time: Vector, train_event: Vector, horizons: Vector) -> float:
    """1 - IBS / IBS of the training fold's Kaplan-Meier curve: 0 is no better than one curve for everybody, 1 is perfect.

    Arguments and errors are those of `integrated_brier_score`.

    Raises:
        ValueError: the Kaplan-Meier curve itself is perfect, so that there is nothing to compare with.
    """
    null = np.tile(kaplan_meier(train_time, train_event).at(horizons), (len(time), 1))
    reference = integrated_brier_score(null, time, event, train_time, train_event, horizons)
    if reference == 0:
        raise ValueError(
            f"the Kaplan-Meier curve of {len(train_time)} training patients predicts these {len(time)} patients without any error: "
            "a scaled Brier score does not exist."
        )
    return 1.0 - integrated_brier_score(survival, time, event, train_time, train_event, horizons) / reference


def squared_distances(
    survival: Float[np.ndarray, "_ _"],
    time: Float[np.ndarray, " _"],
    event: np.ndarray,
    censoring: Censoring,
    horizons: Float[np.ndarray, " _"],
) -> Float[np.ndarray, "_ _"]:
    """Each patient's weighted squared distance at each horizon; its mean over patients is the Brier score."""
    inverse = np.zeros(len(time))
    case = event & (time <= horizons[-1])
    inverse[case] = 1.0 / censoring.at(time[case])
    had_event = event[:, None] & (time[:, None] <= horizons)
    free = time[:, None] > horizons
    return had_event * survival**2 * inverse[:, None] + free * (1.0 - survival) ** 2 / censoring.at(horizons)


def time_average(values: Float[np.ndarray, "*_ horizons"], horizons: Float[np.ndarray, " horizons"]) -> Float[np.ndarray, "..."]:
    """Mean over time of values at horizons (last axis), by the trapezoidal rule.

    Raises:
        ValueError: fewer than two horizons.
    """
    if len(horizons) < 2:
        raise ValueError(f"{len(horizons)} horizon gives no average over time: two or more are needed.")
    return np.asarray(np.trapezoid(values, horizons, axis=-1) / (horizons[-1] - horizons[0]))
