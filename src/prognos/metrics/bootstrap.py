"""Every metric under resampling of patients, as matrix products instead of a loop over replicates.

A bootstrap replicate is a count W_i of how often patient i was drawn. A metric over pairs of patients,
sum_ij W_i W_j A_ij / sum_ij W_i W_j C_ij, then costs one product of the counts of all replicates with A; a metric over
patients, one product with a vector. The training fold, and with it censoring and tau, is held fixed, as the fitted model is.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.brier import squared_distances, time_average
from prognos.metrics.calibration import observed_curves, risk_groups
from prognos.metrics.classification import UNKNOWN
from prognos.metrics.concordance import TIED_RISK, Order, event_weights
from prognos.metrics.fold import HeldOutFold

BLOCK_SIZE = 4_000_000
"""Numbers in one block of the matrix of pairs; more patients are done block by block."""


def draw_counts(n_patients: int, n_replicates: int, seed: Sequence[int | str]) -> Int[np.ndarray, "replicates _"]:
    """How often each patient is drawn in each replicate: n draws with replacement.

    Args:
        n_patients: patients of the fold.
        n_replicates: how many replicates.
        seed: numbers and names (cohort, fold ...) that fix the draw; the same seed gives the same counts on any machine.
    """
    words = [zlib.crc32(word.encode()) if isinstance(word, str) else word for word in seed]
    drawn = np.random.default_rng(words).integers(0, n_patients, size=(n_replicates, n_patients))
    drawn += np.arange(n_replicates)[:, None] * n_patients
    return np.bincount(drawn.ravel(), minlength=n_replicates * n_patients).reshape(n_replicates, n_patients)


@dataclass(frozen=True)
class Interval:
    """A 95% interval from bootstrap replicates.

    Args:
        low: its lower end; None when fewer than half of the replicates can be used.
        high: its upper end.
        usable: replicates that gave a number.
        replicates: replicates drawn.
    """

    low: float | None
    high: float | None
    usable: int
    replicates: int


def interval(values: Float[np.ndarray, " replicates"], *, centre: float | None = None) -> Interval:
    """The 2.5% and 97.5% points of the replicates that gave a number.

    Args:
        values: one number a replicate, NaN where the drawn patients could not be scored.
        centre: the estimate; when given the interval is moved by how much the replicates exceed it on average, and cut at 0.
            For metrics that resampling inflates because they take absolute values.
    """
    usable = values[np.isfinite(values)]
    if len(usable) * 2 < len(values) or len(usable) == 0:
        return Interval(None, None, len(usable), len(values))
    low, high = np.quantile(usable, (0.025, 0.975))
    if centre is not None:
        shift = float(usable.mean()) - centre
        low, high = max(0.0, low - shift), max(0.0, high - shift)
    return Interval(float(low), float(high), len(usable), len(values))


def mean_over_folds(replicates: Iterable[Sequence[Float[np.ndarray, " replicates"]]]) -> Float[np.ndarray, " replicates"]:
    """For each replicate the mean over folds of the mean over seeds; NaN where any part has none.

    Args:
        replicates: for each fold, the replicates of each seed.
    """
    return np.mean([np.mean(seeds, axis=0) for seeds in replicates], axis=0)


class Resamples:
    """One held-out fold and the counts of all replicates; what several metrics need is computed once.

    Args:
        fold: the fold.
        counts: replicates x patients, in the order of the fold.
    """

    def __init__(self, fold: HeldOutFold, counts: Int[np.ndarray, "replicates _"]):
        if counts.shape[1] != len(fold):
            raise ValueError(f"counts are for {counts.shape[1]} patients but the fold has {len(fold)}: draw them for this fold.")
        self.fold = fold
        self.order = Order.of(fold.time, fold.event)
        self.counts = np.ascontiguousarray(counts[:, self.order.patient], dtype=np.float32)
        self.event_counts = self.counts[:, self.order.event_place].astype(np.float64)
        self.time, self.event, self.risk = (values[self.order.patient] for values in (fold.time, fold.event, fold.risk))

    @cached_property
    def drawn_before(self) -> Float[np.ndarray, "replicates _"]:
        """How many drawn patients stand before each place, and in all; whole numbers, exact in float32."""
        before = np.zeros((self.counts.shape[0], self.counts.shape[1] + 1), dtype=np.float32)
        np.cumsum(self.counts, axis=1, out=before[:, 1:])
        return before

    def drawn_from(self, place: Int[np.ndarray, " _"]) -> Float[np.ndarray, "replicates _"]:
        """How many drawn patients stand at these places or later."""
        return (self.drawn_before[:, -1:] - self.drawn_before[:, place]).astype(np.float64)

    @cached_property
    def comparable(self) -> Float[np.ndarray, "replicates _"]:
        """For each event, how many drawn patients it is comparable to."""
        return self.drawn_from(self.order.start)

    @cached_property
    def concordant(self) -> Float[np.ndarray, "replicates _"]:
        """For each event, how many of them have a lower risk, ties counted one half."""
        result = np.empty((len(self.counts), len(self.order.event_place)), dtype=np.float32)
        places = np.arange(len(self.time))
        for block in self.event_blocks():
            first = int(self.order.start[block].min(initial=len(places)))
            lower = self.lower_risk(block, first)
            lower *= places[first:] >= self.order.start[block][:, None]
            result[:, block] = self.counts[:, first:] @ lower.T
        return result

    def event_blocks(self) -> list[slice]:
        """The events, divided so that the pairs of a block with all patients stay small."""
        step = max(1, BLOCK_SIZE // len(self.time))
        return [slice(first, first + step) for first in range(0, len(self.order.event_place), step)]

    def lower_risk(self, block: slice, first: int = 0) -> Float[np.ndarray, "_ _"]:
        """1 where the patient (column, from `first` on) has a lower risk than the event's (row), one half where tied."""
        difference = self.risk[self.order.event_place[block]][:, None] - self.risk[first:]
        lower = (difference > TIED_RISK).astype(np.float32)
        lower += difference >= -TIED_RISK
        lower *= np.float32(0.5)
        return lower


def concordance_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Harrell's C of each replicate; NaN where no drawn pair is comparable."""
    weight = resamples.event_counts
    return _ratio((weight * resamples.concordant).sum(axis=1), (weight * resamples.comparable).sum(axis=1))


def concordance_ipcw_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Uno's C of each replicate; NaN where no drawn pair is comparable."""
    fold = resamples.fold
    weight = resamples.event_counts * event_weights(fold.time, resamples.order, fold.censoring, fold.tau)
    return _ratio((weight * resamples.concordant).sum(axis=1), (weight * resamples.comparable).sum(axis=1))


def area_replicates(resamples: Resamples, horizons: Float[np.ndarray, " horizons"]) -> Float[np.ndarray, "replicates horizons"]:
    """AUC of each replicate at each horizon; NaN where no drawn patient had the event yet, or none is left."""
    order, time = resamples.order, resamples.time
    first_control = np.searchsorted(time, horizons, side="right")
    n_cases = np.searchsorted(order.event_place, first_control, side="left")
    weight = resamples.event_counts.copy()
    weight[:, n_cases[-1] :] = 0.0
    weight[:, : n_cases[-1]] /= resamples.fold.censoring.at(time[order.event_place[: n_cases[-1]]])
    concordant = np.zeros((len(weight), len(horizons)))
    for block in resamples.event_blocks():
        if block.start >= n_cases[-1]:
            break
        lower = resamples.lower_risk(block)
        below = np.zeros((len(weight), len(lower)))
        end = len(time)
        for place in reversed(range(len(horizons))):  # from the last horizon back, patients become controls
            begin = first_control[place]
            if begin < end:
                below += resamples.counts[:, begin:end] @ lower[:, begin:end].T
                end = begin
            cases = slice(block.start, min(block.start + len(lower), n_cases[place]))
            n_block = max(0, cases.stop - cases.start)
            concordant[:, place] += np.einsum("re,re->r", weight[:, block][:, :n_block], below[:, :n_block])
    case_weight = np.concatenate([np.zeros((len(weight), 1)), np.cumsum(weight, axis=1)], axis=1)[:, n_cases]
    return _ratio(concordant, case_weight * resamples.drawn_from(first_control))


def mean_area_replicates(resamples: Resamples, horizons: Float[np.ndarray, " horizons"]) -> Float[np.ndarray, " replicates"]:
    """Mean AUC of each replicate, horizons weighted by the fall of its Kaplan-Meier curve; NaN where it has none."""
    if len(horizons) == 1:
        return area_replicates(resamples, horizons)[:, 0]
    n_events = np.searchsorted(resamples.time[resamples.event], horizons, side="right")
    horizons = horizons[np.diff(n_events, prepend=0) > 0]  # at the others no replicate's curve falls: they weigh nothing
    if len(horizons) == 0:
        return np.full(len(resamples.counts), np.nan)
    area = area_replicates(resamples, horizons)
    survival = survival_replicates(resamples.counts, resamples.time, resamples.event, horizons)
    fall = -np.diff(survival, axis=1, prepend=1.0)
    counted = np.where(fall > 0, fall * area, 0.0)  # a horizon without a fall weighs nothing, whatever its area
    return _ratio(counted.sum(axis=1), fall.sum(axis=1))


def survival_replicates(
    counts: Float[np.ndarray, "replicates _"], time: Float[np.ndarray, " _"], event: np.ndarray, horizons: Float[np.ndarray, " horizons"]
) -> Float[np.ndarray, "replicates horizons"]:
    """The Kaplan-Meier curve of each replicate at horizons; patients by time, at equal times events first."""
    event_place = np.flatnonzero(event)
    if len(event_place) == 0:
        return np.ones((len(counts), len(horizons)))
    first = np.flatnonzero(np.diff(time[event_place], prepend=-1.0))  # of the events at one time
    deaths = np.add.reduceat(counts[:, event_place].astype(np.float64), first, axis=1)
    total = np.cumsum(counts.astype(np.float64), axis=1)
    at_risk = total[:, -1:] - (total - counts)[:, event_place[first]]
    hazard = np.divide(deaths, at_risk, out=np.zeros_like(deaths), where=at_risk > 0)
    survival = np.concatenate([np.ones((len(counts), 1)), np.cumprod(1.0 - hazard, axis=1)], axis=1)
    return survival[:, np.searchsorted(time[event_place[first]], horizons, side="right")]


def integrated_brier_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Integrated Brier score of each replicate."""
    fold = resamples.fold
    horizons, survival = fold.curves
    return _weighted_mean(resamples, time_average(squared_distances(survival, fold.time, fold.event, fold.censoring, horizons), horizons))


def scaled_brier_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Scaled Brier score of each replicate; NaN where the Kaplan-Meier curve predicts it without error."""
    fold = resamples.fold
    horizons, _ = fold.curves
    null = np.tile(fold.null_curve, (len(fold), 1))
    reference = time_average(squared_distances(null, fold.time, fold.event, fold.censoring, horizons), horizons)
    return 1.0 - _ratio(integrated_brier_replicates(resamples), _weighted_mean(resamples, reference))


def calibration_replicates(resamples: Resamples, horizon: float, n_groups: int = 3) -> Float[np.ndarray, " replicates"]:
    """Calibration error of each replicate, in the groups of the whole fold; NaN where a group's curve ends too early."""
    predicted = 1.0 - resamples.fold.survival_at(horizon)[resamples.order.patient]
    group = risk_groups(predicted, n_groups)
    observed_curves(resamples.time, resamples.event, group, horizon)  # raises where the fold itself is unusable
    error = np.zeros(len(resamples.counts))
    for label in range(group.max() + 1):
        inside = group == label
        counts = resamples.counts[:, inside].astype(np.float64)
        drawn = counts.sum(axis=1)
        survival = survival_replicates(counts, resamples.time[inside], resamples.event[inside], np.array([horizon]))[:, 0]
        ends_early = (counts @ (resamples.time[inside] >= horizon) == 0) & (survival > 0)
        distance = np.abs(_ratio(counts @ predicted[inside], drawn) - (1.0 - survival))
        error += np.where(ends_early | (drawn == 0), np.nan, drawn * distance)
    return error / resamples.counts.sum(axis=1)


def one_vs_rest_auc_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Mean one-against-rest AUC of each replicate over the classes drawn; NaN where fewer than two are."""
    probabilities, label, counts = _of_known_subtype(resamples)
    areas, drawn = [], []
    for own in np.unique(label):
        probability = probabilities[:, own]
        order = np.argsort(probability)
        case = np.flatnonzero(label[order] == own)
        controls = np.where(label[order] == own, 0.0, counts[:, order])
        before = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(controls, axis=1)], axis=1)
        lower, not_higher = (np.searchsorted(probability[order], probability[order][case], side=side) for side in ("left", "right"))
        weight = counts[:, order[case]]
        concordant = (weight * (before[:, lower] + before[:, not_higher])).sum(axis=1) / 2.0
        areas.append(_ratio(concordant, weight.sum(axis=1) * before[:, -1]))
        drawn.append(weight.sum(axis=1) > 0)
    return _mean_over_drawn(areas, drawn)


def balanced_accuracy_replicates(resamples: Resamples) -> Float[np.ndarray, " replicates"]:
    """Balanced accuracy of each replicate over the classes drawn; NaN where fewer than two are."""
    probabilities, label, counts = _of_known_subtype(resamples)
    right = probabilities.argmax(axis=1) == label
    of_class = [label == own for own in np.unique(label)]
    patients = [counts @ own for own in of_class]
    recall = [_ratio(counts @ (own & right), total) for own, total in zip(of_class, patients, strict=True)]
    return _mean_over_drawn(recall, [total > 0 for total in patients])


def _of_known_subtype(resamples: Resamples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and counts of the patients whose subtype is known."""
    probabilities, label = (values[resamples.order.patient] for values in resamples.fold.subtypes)
    known = label != UNKNOWN
    return probabilities[known], label[known], resamples.counts[:, known].astype(np.float64)


def _mean_over_drawn(values: Sequence[np.ndarray], drawn: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over those classes of which a replicate drew a patient; NaN where it drew fewer than two classes."""
    n_drawn = np.sum(drawn, axis=0)
    total = np.sum([np.where(there, value, 0.0) for value, there in zip(values, drawn, strict=True)], axis=0)
    return np.where(n_drawn >= 2, total / np.maximum(n_drawn, 1), np.nan)


def _weighted_mean(resamples: Resamples, values: Float[np.ndarray, " _"]) -> Float[np.ndarray, " replicates"]:
    return resamples.counts @ values[resamples.order.patient] / len(values)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Numerator over denominator, NaN where the denominator is 0; such replicates are counted, not used."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)
