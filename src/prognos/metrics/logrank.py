"""The log-rank test of two or more groups, also stratified."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prognos.metrics.arrays import Vector, survival_arrays


@dataclass(frozen=True)
class LogRank:
    """Do the groups differ in survival?

    Args:
        statistic: chi-square statistic.
        degrees_of_freedom: number of groups less one.
        p_value: probability of a statistic at least as large if they do not.
        groups: labels of the groups, sorted.
        patients: patients of each group.
        observed: events of each group.
        expected: events of each group if all had the same hazard.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    groups: tuple
    patients: Int[np.ndarray, " _"]
    observed: Float[np.ndarray, " _"]
    expected: Float[np.ndarray, " _"]


def logrank(time: Vector, event: Vector, group: Vector, strata: Vector | None = None) -> LogRank:
    """The log-rank test; with `strata`, observed less expected and their covariance are summed over strata.

    At an event time with d events and n at risk, n_g of them in group g: expected d n_g / n, covariance
    d (n - d) / (n - 1) (n_g / n [g = h] - n_g n_h / n^2).

    Args:
        time: time to event or censoring.
        event: True where the event was observed.
        group: label of each patient's group.
        strata: label of each patient's stratum; patients are only compared within it.

    Raises:
        ValueError: fewer than two groups, or no event at a time when two groups are at risk.
    """
    times, events = survival_arrays(time, event)
    for name, given in (("group", group), ("strata", strata)):
        if given is not None and len(given) != len(times):
            raise ValueError(f"{len(given)} labels in {name} but {len(times)} patients: give one for every patient.")
    groups, member = np.unique(group, return_inverse=True)
    if len(groups) < 2:
        raise ValueError(f"all {len(times)} patients are in one group, {groups.tolist()[0]!r}: a log-rank test needs two or more.")
    stratum = np.zeros(len(times), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    at_risk, deaths, events_by_group = _at_event_times(times, events, member, stratum, len(groups))
    total = at_risk.sum(axis=1)
    share = at_risk / total[:, None]
    observed, expected = events_by_group.sum(axis=0), (deaths[:, None] * share).sum(axis=0)
    scale = np.divide(deaths * (total - deaths), total - 1, out=np.zeros(len(total)), where=total > 1)
    covariance = np.diag(scale @ share) - (share * scale[:, None]).T @ share
    difference = (observed - expected)[:-1]
    if np.linalg.matrix_rank(covariance[:-1, :-1]) < len(groups) - 1:
        raise ValueError(
            f"{events.sum()} events of {len(times)} patients do not tell the {len(groups)} groups apart: "
            "no event lies where every group has a patient at risk beside another's."
        )
    statistic = float(difference @ np.linalg.solve(covariance[:-1, :-1], difference))
    freedom = len(groups) - 1
    counts = np.bincount(member, minlength=len(groups))
    return LogRank(statistic, freedom, chi_square_tail(statistic, freedom), tuple(groups.tolist()), counts, observed, expected)


def _at_event_times(
    time: np.ndarray, event: np.ndarray, member: np.ndarray, stratum: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each distinct event time of each stratum: at risk by group, events, events by group."""
    order = np.lexsort((time, stratum))
    time, event, member, stratum = time[order], event[order], member[order], stratum[order]
    new_time = np.ones(len(time), dtype=bool)
    new_time[1:] = (time[1:] != time[:-1]) | (stratum[1:] != stratum[:-1])
    start = np.flatnonzero(new_time)
    block = np.cumsum(new_time) - 1
    one_hot = np.zeros((len(time) + 1, n_groups))
    one_hot[np.arange(1, len(time) + 1), member] = 1.0
    before = np.cumsum(one_hot, axis=0)
    stratum_end = np.searchsorted(stratum, stratum[start], side="right")
    at_risk = before[stratum_end] - before[start]
    by_group = np.bincount(block * n_groups + member, weights=event, minlength=len(start) * n_groups).reshape(len(start), n_groups)
    deaths = by_group.sum(axis=1)
    some = deaths > 0
    return at_risk[some], deaths[some], by_group[some]


def chi_square_tail(statistic: float, degrees_of_freedom: int) -> float:
    """Probability that a chi-square variable exceeds a value; the closed form for whole degrees of freedom."""
    half = statistic / 2.0
    if half <= 0:
        return 1.0
    if degrees_of_freedom % 2:
        tail, power = math.erfc(math.sqrt(half)), 0.5
    else:
        tail, power = math.exp(-half), 1.0
    while power < degrees_of_freedom / 2.0 - 1e-9:
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1.0))
        power += 1.0
    return min(1.0, tail)
