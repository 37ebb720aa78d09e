"""Concordance: how often the patient with the earlier event had the higher risk (Harrell; Uno)."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from prognos.metrics.arrays import NoComparablePairs, Vector, risk_array, survival_arrays
from prognos.metrics.censoring import Censoring

TIED_RISK = 1e-8
"""Two risks that differ by no more than this are tied and count one half."""


@dataclass(frozen=True)
class Order:
    """Patients by time, at equal times those with the event first; what is comparable follows from it.

    A patient with the event is comparable to everyone later and to everyone censored at the same time: in this order, to
    everyone from `start` on.

    Args:
        patient: index of the patient at each place.
        event_place: places of the patients with the event.
        start: for each of them, the first place that is comparable.
    """

    patient: Int[np.ndarray, " _"]
    event_place: Int[np.ndarray, " _"]
    start: Int[np.ndarray, " _"]

    @classmethod
    def of(cls, time: Float[np.ndarray, " _"], event: Bool[np.ndarray, " _"]) -> "Order":
        """The order of these patients."""
        by_time = np.argsort(time)
        sorted_time = time[by_time]
        new_time = np.ones(len(time), dtype=bool)
        new_time[1:] = sorted_time[1:] != sorted_time[:-1]
        rank = 2 * np.cumsum(new_time) + ~event[by_time]  # one number for each distinct time, and events before censored
        by_rank = np.argsort(rank)
        last = np.ones(len(time), dtype=bool)  # last place of a block of equal time and equal event
        last[:-1] = np.diff(rank[by_rank]) != 0
        ends = np.flatnonzero(last) + 1
        patient = by_time[by_rank]
        event_place = np.flatnonzero(event[patient])
        return cls(patient, event_place, ends[np.searchsorted(ends, event_place, side="right")])

    @property
    def n_pairs(self) -> int:
        """How many pairs of patients are comparable."""
        return int((len(self.patient) - self.start).sum())


def concordance(risk: Vector, time: Vector, event: Vector) -> float:
    """Harrell's C: of all comparable pairs, the share in which the earlier event has the higher risk.

    C = sum_ij event_i [T_i < T_j] ([r_i > r_j] + [r_i = r_j] / 2) / sum_ij event_i [T_i < T_j], where an event counts as
    earlier than a censoring at the same time and risks within 1e-8 are tied. Time O(n sqrt(n)) with a small constant.

    Args:
        risk: higher means an earlier event; its scale does not matter.
        time: time to event or censoring, in any unit.
        event: True where the event was observed.

    Raises:
        NoComparablePairs: no event, or no patient later than any of the events.

    Example:
        >>> import numpy as np
        >>> concordance(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.array([True, True, False]))
        0.6666666666666666
    """
    times, events = survival_arrays(time, event)
    risks = risk_array(risk, len(times))
    order = _comparable(times, events)
    return float(concordant_later(risks, order).sum() / order.n_pairs)


def concordance_ipcw(risk: Vector, time: Vector, event: Vector, train_time: Vector, train_event: Vector, *, tau: float) -> float:
    """Uno's C: Harrell's C up to tau, each event weighted by G(T)^-2 with the training fold's censoring G.

    C = sum_ij event_i [T_i < T_j, T_i < tau] G(T_i)^-2 ([r_i > r_j] + [r_i = r_j] / 2) / the same without the risks.

    Args:
        risk: higher means an earlier event.
        time: time to event or censoring.
        event: True where the event was observed.
        train_time: times of the training fold, in the same unit.
        train_event: events of the training fold.
        tau: truncation time (see `tau_rule`); events from tau on do not count, the patients remain as later ones.

    Raises:
        NoComparablePairs: no event before tau that is earlier than another patient.
        ValueError: tau lies where the training fold has nobody uncensored left.
    """
    times, events = survival_arrays(time, event)
    risks = risk_array(risk, len(times))
    order = _comparable(times, events)
    weight = event_weights(times, order, Censoring.learn(train_time, train_event), tau)
    comparable = float((weight * (len(times) - order.start)).sum())
    if comparable == 0:
        raise NoComparablePairs(f"none of {events.sum()} events lies before tau = {tau:g} and before another patient: take a larger tau.")
    return float((weight * concordant_later(risks, order)).sum() / comparable)


def event_weights(time: Float[np.ndarray, " _"], order: Order, censoring: Censoring, tau: float) -> Float[np.ndarray, " _"]:
    """G(T)^-2 of each event before tau, 0 from tau on; in the order of `order.event_place`."""
    event_time = time[order.patient[order.event_place]]
    weight = np.zeros(len(event_time))
    early = event_time < tau
    weight[early] = censoring.at(event_time[early]) ** -2.0
    return weight


def concordant_later(risk: Float[np.ndarray, " _"], order: Order) -> Float[np.ndarray, " _"]:
    """For each event: how many comparable patients have a lower risk, ties counted one half."""
    by_time = risk[order.patient]
    by_risk = np.argsort(by_time)
    sorted_risk = by_time[by_risk]
    rank = np.empty(len(risk), dtype=np.int64)
    rank[by_risk] = np.arange(len(risk))
    event_rank = rank[order.event_place]
    if not (np.diff(sorted_risk) <= TIED_RISK).any():
        return count_below(rank, order.start, event_rank).astype(np.float64)
    lower = np.searchsorted(sorted_risk, sorted_risk - TIED_RISK, side="left")[event_rank]
    not_higher = np.searchsorted(sorted_risk, sorted_risk + TIED_RISK, side="right")[event_rank]
    tied = np.flatnonzero(not_higher - lower > 1)  # somebody else is tied
    starts, bounds = np.concatenate([order.start, order.start[tied]]), np.concatenate([lower, not_higher[tied]])
    below, with_ties = np.split(count_below(rank, starts, bounds), [len(lower)])
    concordant = below.astype(np.float64)
    concordant[tied] = 0.5 * (below[tied] + with_ties)
    return concordant


def count_below(rank: Int[np.ndarray, " _"], start: Int[np.ndarray, " _"], bound: Int[np.ndarray, " _"]) -> Int[np.ndarray, " _"]:
    """For each query: at how many places from `start` on `rank`, a permutation, is below `bound`.

    Places and ranks are cut into blocks of about sqrt(n / 2). Whole blocks are looked up in a table of counts; what is left
    of the query's own block of places and own block of ranks is compared one by one. That is O(n + queries sqrt(n)), in
    array operations on pieces that stay in the cache.
    """
    n_places = len(rank)
    side = 1 << min(10, max(3, round(0.5 * math.log2(n_places / 2 + 1))))  # a power of two from 8 to 1,024
    n_blocks = n_places // side + 1  # the last one may be empty: it is the block of a bound, or a start, of n
    ranks = np.full(n_blocks * side, n_places, dtype=np.int32)
    places = np.full(n_blocks * side, -1, dtype=np.int32)
    ranks[:n_places] = rank
    places[rank] = np.arange(n_places, dtype=np.int32)
    cell = (np.arange(n_places) // side) * n_blocks + rank // side
    table = np.zeros((n_blocks + 1, n_blocks + 1), dtype=np.int64)  # places from a block on, ranks before a block
    table[:-1, 1:] = np.bincount(cell, minlength=n_blocks**2).reshape(n_blocks, n_blocks)
    table = np.cumsum(table[::-1], axis=0)[::-1].cumsum(axis=1)
    start_block, bound_block = start // side, bound // side
    total = table[start_block + 1, bound_block]
    at_or_after = np.tri(side + 1, side, -1, dtype=bool)[::-1, ::-1]  # row k: True from place k of the block on
    step = max(1, 2**16 // side)
    for first in range(0, len(start), step):
        part = slice(first, first + step)
        own, bounded = start_block[part], bound_block[part]
        last_places = ranks.reshape(-1, side).take(own, axis=0) < bound[part, None].astype(np.int32)
        last_places &= at_or_after.take(start[part] - own * side, axis=0)
        last_ranks = places.reshape(-1, side).take(bounded, axis=0) >= ((own + 1) * side)[:, None].astype(np.int32)
        last_ranks &= ~at_or_after.take(bound[part] - bounded * side, axis=0)
        total[part] += _count_true(last_places) + _count_true(last_ranks)
    return total


def _count_true(rows: Bool[np.ndarray, "rows side"]) -> Int[np.ndarray, " rows"]:
    """True values of each row, eight bytes at a time; a row has at most 8 x 255 of them, so no byte overflows."""
    lanes = rows.view(np.uint64).sum(axis=1, dtype=np.uint64)
    pairs = (lanes & np.uint64(0x00FF00FF00FF00FF)) + (lanes >> np.uint64(8) & np.uint64(0x00FF00FF00FF00FF))
    return (pairs * np.uint64(0x0001000100010001) >> np.uint64(48)).astype(np.int64)  # the sum of four 16-bit numbers


def _comparable(time: Float[np.ndarray, " _"], event: Bool[np.ndarray, " _"]) -> Order:
    order = Order.of(time, event)
    if order.n_pairs == 0:
        raise NoComparablePairs(
            f"no pair of {len(time)} patients is comparable: {event.sum()} have the event, none before another patient's time; "
            "score them together with other patients."
        )
    return order
