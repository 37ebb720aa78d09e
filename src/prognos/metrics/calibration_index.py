"""The calibration index: how far predicted probabilities lie from a smooth curve of what was observed, patient by patient."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.arrays import Vector, curve_array, survival_arrays
from prognos.metrics.bootstrap import Interval, interval
from prognos.metrics.calibration import FEWEST_AT_RISK
from prognos.metrics.cox_regression import cox_regression
from prognos.metrics.kaplan_meier import kaplan_meier

FEWEST_EVENTS = 10
"""Fewer events by the horizon than this, and no curve of the observed probability is drawn."""
EVENTS_A_COEFFICIENT = 15
"""The curve bends only where so many events stand behind each of its coefficients."""
DISTINCT_A_COEFFICIENT = 5
"""And where so many different predictions do: a model that knows the fold alone has one prediction a fold."""
KNOTS = {2: (0.10, 0.50, 0.90), 3: (0.05, 0.35, 0.65, 0.95)}
"""Quantiles at which a curve of two or three coefficients has its knots, as Harrell recommends."""
LEAST = 5e-7
"""Curves are kept with six digits: a probability of 0 or 1 stands for anything nearer to it than this."""


@dataclass(frozen=True)
class CalibrationIndex:
    """Predicted and smoothly observed probability of the event by a horizon.

    Args:
        horizon: in the unit of the times.
        predicted: probability of the event by the horizon, of each patient.
        observed: the same, read from the smooth curve of what was observed at that prediction.
    """

    horizon: float
    predicted: Float[np.ndarray, " _"]
    observed: Float[np.ndarray, " _"]

    @property
    def ici(self) -> float:
        """The integrated calibration index: mean absolute distance of predicted from observed; 0 is perfect."""
        return float(np.abs(self.predicted - self.observed).mean())

    def quantile(self, share: float) -> float:
        """The distance that this share of the patients stays within: E50 for 0.5, E90 for 0.9."""
        return float(np.quantile(np.abs(self.predicted - self.observed), share))


def calibration_index(survival: Vector, time: Vector, event: Vector, horizon: float) -> CalibrationIndex:
    """Predicted against smoothly observed probability at a horizon, after Austin, Harrell and van Klaveren (2020).

    A Cox model of all follow-up has one covariate, log(-log(1 - p)) of the predicted probability p, as a restricted cubic spline; what it
    says of each patient at the horizon is the observed probability. The spline has as many coefficients, up to three, as there are
    `EVENTS_A_COEFFICIENT` events for each; with fewer events it is a straight line. Where everybody has one prediction, the observed
    probability is 1 - Kaplan-Meier.

    Args:
        survival: predicted survival of each patient at the horizon.
        time: time to event or censoring.
        event: True where the event was observed.
        horizon: in the same unit.

    Raises:
        ValueError: too few patients are under observation at the horizon or too few have had the event by then, or Cox's likelihood
            has no maximum; nothing is guessed then.
    """
    times, events = survival_arrays(time, event)
    predicted = 1.0 - curve_array(np.asarray(survival)[:, None], len(times), 1)[:, 0]
    at_risk, by_then = int((times >= horizon).sum()), int((events & (times <= horizon)).sum())
    if at_risk < FEWEST_AT_RISK or by_then < FEWEST_EVENTS:
        raise ValueError(
            f"{at_risk} of {len(times)} patients are under observation at {horizon:g} and {by_then} had the event by then; a smooth curve "
            f"of the observed probability needs {FEWEST_AT_RISK} and {FEWEST_EVENTS}: take another horizon."
        )
    covariates = _spline(_log_hazard(predicted), int(events.sum()))
    if covariates.shape[1] == 0:
        observed = np.full(len(times), 1.0 - float(kaplan_meier(times, events).at(np.array([horizon]))[0]))
    else:
        observed = cox_regression(covariates, times, events).probability(covariates, horizon)
    return CalibrationIndex(float(horizon), predicted, observed)


def ici_interval(survival: Vector, time: Vector, event: Vector, horizon: float, counts: Int[np.ndarray, "replicates _"]) -> Interval:
    """The 95% interval of `CalibrationIndex.ici` under resampling of patients; the fitted curves are held fixed.

    The observed probability is smoothed anew in each replicate. Resampling adds to a mean of distances, so that the interval is moved
    back by how much the replicates exceed the estimate on average, and cut at 0.

    Args:
        survival: predicted survival of each patient at the horizon.
        time: time to event or censoring.
        event: True where the event was observed.
        horizon: in the same unit.
        counts: how often each patient was drawn; see `draw_counts`.

    Raises:
        ValueError: as `calibration_index`, of the patients as they are; a replicate that cannot be judged is left out.
    """
    survived, times, events = np.asarray(survival), np.asarray(time), np.asarray(event)
    whole = calibration_index(survived, times, events, horizon).ici
    found = []
    for count in counts:
        drawn = np.repeat(np.arange(len(times)), count)
        try:
            found.append(calibration_index(survived[drawn], times[drawn], events[drawn], horizon).ici)
        except ValueError:
            found.append(np.nan)
    return interval(np.array(found), centre=whole)


def _log_hazard(predicted: Float[np.ndarray, " _"]) -> Float[np.ndarray, " _"]:
    """log(-log(1 - p)), with mean 0 and standard deviation 1 where it differs between patients."""
    inside = np.clip(predicted, LEAST, 1.0 - LEAST)  # see LEAST
    values = np.log(-np.log1p(-inside))
    spread = values.std()
    return (values - values.mean()) / spread if spread > LEAST else np.zeros(len(values))


def _spline(values: Float[np.ndarray, " _"], n_events: int) -> Float[np.ndarray, "_ _"]:
    """The values and the cubic terms of a spline that is straight beyond its outer knots; no column where all values are one."""
    if not values.any():
        return np.zeros((len(values), 0))
    n_coefficients = int(np.clip(n_events // EVENTS_A_COEFFICIENT, 1, max(KNOTS)))
    n_distinct = len(np.unique(values))
    if n_coefficients == 1 or n_distinct < DISTINCT_A_COEFFICIENT * n_coefficients:
        return values[:, None]
    knots = np.unique(np.quantile(values, KNOTS[n_coefficients]))
    if len(knots) <= n_coefficients:  # two of them on one value that many patients share
        return values[:, None]
    last, before = knots[-1], knots[-2]
    cubes = np.maximum(values[:, None] - knots, 0.0) ** 3
    width = last - before
    bends = cubes[:, :-2] - cubes[:, [-2]] * (last - knots[:-2]) / width + cubes[:, [-1]] * (before - knots[:-2]) / width
    return np.column_stack([values, bends / bends.std(axis=0)])
