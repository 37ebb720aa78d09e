"""D-calibration: whether events are spread evenly over the predicted survival at their time, as they must if the curves are right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import chdtrc

from prognos.metrics.arrays import Vector, curve_array, horizon_array, survival_arrays

N_BINS = 10
FEWEST_A_BIN = 5
"""Patients that each bin has to expect, as for any chi-square test of counts."""
FEWEST_EVENTS = 20
"""Fewer events than this, and nearly everything that is tested was spread evenly by the test itself."""


@dataclass(frozen=True)
class DistributionCalibration:
    """How patients are spread over the predicted survival at their own time.

    Args:
        shares: of the patients, in bins of equal width from survival 0 to survival 1; each is 1 / bins when curves are right.
        chi_square: of Haider's test, with one degree of freedom fewer than bins.
        p: the p value. A small one says that curves are wrong; a large one does not say that they are right, since censored patients
            are spread evenly and so hide what is wrong.
    """

    shares: Float[np.ndarray, " bins"]
    chi_square: float
    p: float


def distribution_calibration(reached: Vector, event: Vector, *, n_bins: int = N_BINS) -> DistributionCalibration:
    """The test of D-calibration of Haider et al. (2020).

    An event counts in the bin that holds S_i(T_i). A censored patient is spread over the bins up to S_i(T_i) as the curve says: of a
    bin that lies below it the share width / S_i(T_i), of the bin that holds it what remains.

    Args:
        reached: S_i(T_i), the predicted survival of each patient at their own time; see `survival_reached`.
        event: True where the event was observed at that time.
        n_bins: bins of equal width.

    Raises:
        ValueError: survival outside 0 to 1, or too few patients or events for a test.
    """
    values = curve_array(np.asarray(reached)[:, None], len(event), 1)[:, 0]
    _, events = survival_arrays(np.zeros(len(values)), event)
    if len(values) < FEWEST_A_BIN * n_bins or events.sum() < FEWEST_EVENTS:
        raise ValueError(
            f"{len(values)} patients with {events.sum()} events within their curves: D-calibration in {n_bins} bins needs "
            f"{FEWEST_A_BIN * n_bins} patients and {FEWEST_EVENTS} events; take the patients of all folds together."
        )
    counts = _spread(values, events, n_bins).sum(axis=0)
    expected = len(values) / n_bins
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    return DistributionCalibration(counts / len(values), chi_square, float(chdtrc(n_bins - 1, chi_square)))


def survival_reached(
    survival: np.ndarray, time: Vector, event: Vector, horizons: Vector
) -> tuple[Float[np.ndarray, " _"], Bool[np.ndarray, " _"]]:
    """Each patient's predicted survival at their own time, and whether the event was seen there.

    Survival is linear between horizons from S(0) = 1. Nothing is known of a curve beyond its last horizon: who is followed longer is
    censored there.

    Args:
        survival: predicted survival, patients x horizons.
        time: time to event or censoring.
        event: True where the event was observed.
        horizons: rising times in the same unit.
    """
    times, events = survival_arrays(time, event)
    grid = horizon_array(horizons)
    full = np.column_stack([np.ones(len(times)), curve_array(survival, len(times), len(grid))])
    start = np.concatenate([[0.0], grid])
    until = np.minimum(times, grid[-1])
    later = np.maximum(np.searchsorted(start, until, side="left"), 1)
    share = (until - start[later - 1]) / (start[later] - start[later - 1])
    rows = np.arange(len(times))
    return (1.0 - share) * full[rows, later - 1] + share * full[rows, later], events & (times <= grid[-1])


def _spread(reached: Float[np.ndarray, " _"], event: Bool[np.ndarray, " _"], n_bins: int) -> Float[np.ndarray, "_ bins"]:
    """Where each patient counts: rows sum to 1."""
    lower = np.arange(n_bins) / n_bins
    holding = np.minimum((reached * n_bins).astype(int), n_bins - 1)
    spread = np.zeros((len(reached), n_bins))
    spread[np.flatnonzero(event), holding[event]] = 1.0
    nothing_left = ~event & (reached == 0)
    spread[nothing_left, 0] = 1.0
    censored = ~event & (reached > 0)
    below = np.clip(reached[censored, None] - lower, 0.0, 1.0 / n_bins)
    spread[censored] = below / reached[censored, None]
    return spread
