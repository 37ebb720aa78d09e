"""Concordance: how often the patient with the earlier event had the higher risk (Harrell; Uno)."""

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
        patient = np.lexsort((~event, time))
        sorted_time, sorted_event = time[patient], event[patient]
        last = np.ones(len(patient), dtype=bool)  # last place of a block of equal time and equal event
        last[:-1] = (sorted_time[1:] != sorted_time[:-1]) | (sorted_event[1:] != sorted_event[:-1])
        ends = np.flatnonzero(last) + 1
        event_place = np.flatnonzero(sorted_event)
        return cls(patient, event_place, ends[np.searchsorted(ends, event_place, side="right")])

    @property
    def n_pairs(self) -> int:
        """How many pairs of patients are comparable."""
        return int((len(self.patient) - self.start).sum())


def concordance(risk: Vector, time: Vector, event: Vector) -> float:
    """Harrell's C: of all comparable pairs, the share in which the earlier event has the higher risk.

    C = sum_ij event_i [T_i < T_j] ([r_i > r_j] + [r_i = r_j] / 2) / sum_ij event_i [T_i < T_j], where an event counts as
    earlier than a censoring at the same time and risks within 1e-8 are tied. Time O(n log n).

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
    sorted_risk = np.sort(risk)
    by_time = risk[order.patient]
    rank = np.searchsorted(sorted_risk, by_time, side="left")
    event_risk = by_time[order.event_place]
    lower = np.searchsorted(sorted_risk, event_risk - TIED_RISK, side="left")
    not_higher = np.searchsorted(sorted_risk, event_risk + TIED_RISK, side="right")
    below = count_below(rank, order.start, lower)
    tied = np.flatnonzero(not_higher - lower > 1)  # somebody else is tied
    with_ties = below.copy()
    with_ties[tied] = count_below(rank, order.start[tied], not_higher[tied])
    return 0.5 * (below + with_ties)


def count_below(rank: Int[np.ndarray, " _"], start: Int[np.ndarray, " _"], bound: Int[np.ndarray, " _"]) -> Int[np.ndarray, " _"]:
    """For each query: at how many places from `start` on `rank` is below `bound`.

    All queries walk down the bits of the ranks together. At each bit the places are divided, in stable order, into those
    with a 0 and those with a 1. Where the bound has a 1, every place of the query with a 0 is below it and is counted; the
    query goes on among those with the bound's own bit. That is O((n + queries) log n) in a dozen array operations a bit.
    """
    n_places = len(rank)
    level = rank.astype(np.int32)
    bound = bound.astype(np.int32)
    first, end = start.astype(np.int32), np.full(len(start), n_places, dtype=np.int32)
    total = np.zeros(len(start), dtype=np.int64)
    zeros_before = np.zeros(n_places + 1, dtype=np.int32)
    for bit in reversed(range(n_places.bit_length())):
        is_zero = (level & (1 << bit)) == 0
        np.cumsum(is_zero, out=zeros_before[1:])
        first_zero, end_zero = zeros_before[first], zeros_before[end]
        goes_up = (bound & (1 << bit)) != 0
        total += np.where(goes_up, end_zero - first_zero, 0)
        n_zeros = zeros_before[-1]
        first = np.where(goes_up, n_zeros + first - first_zero, first_zero)
        end = np.where(goes_up, n_zeros + end - end_zero, end_zero)
        level = np.concatenate([level[is_zero], level[~is_zero]])
    return total


def _comparable(time: Float[np.ndarray, " _"], event: Bool[np.ndarray, " _"]) -> Order:
    order = Order.of(time, event)
    if order.n_pairs == 0:
        raise NoComparablePairs(
            f"no pair of {len(time)} patients is comparable: {event.sum()} have the event, none before another patient's time; "
            "score them together with other patients."
        )
    return order
