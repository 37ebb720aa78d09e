"""The mixed-integer programme behind site-preserving folds: how many groups of each kind go into which fold.

A group is what may not be split: the patients of one site, or one patient of unknown site. Groups with the same number of
patients, of events and of patients of each tumour subtype are exchangeable, so the programme decides on counts of kinds and never
meets their symmetries:

    minimise   max_k |E_k - E/K|  +  (E/K - min_k E_k)  +  mean_k |E_k - E/K|
               +  v E mean_c mean_k |N_ck/N_c - 1/K|  +  w E mean_k |N_k/N - 1/K|
    such that  every group is in one fold, every fold has at least one event and two patients

with K folds, E events and N patients in all, N_c of the class c, and E_k, N_k, N_ck of them in fold k. v = 0.3 and w = 0.2: the
events decide, then the classes, and patients break ties. Without classes their term is not there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

CLASS_WEIGHT = 0.3
PATIENT_WEIGHT = 0.2
GAP = 0.005
OFFSET = 20.0  # added to the objective, so that the relative gap also tolerates 0.1: less than one event moved
MOST_NODES = 500  # ends a long proof of optimality in the same place on every machine, which a time limit does not
MOST_NODES_WITH_CLASSES = 100  # of a larger programme, whose first placements are nearly as good as its last
LEAST_EVENTS = 1
LEAST_PATIENTS = 2


@dataclass(frozen=True)
class Placement:
    """Where the programme puts each group.

    Args:
        fold: index of the fold of each group; empty when there is no solution.
        reason: why there is no solution, or that the time limit ended the search; empty otherwise.
    """

    fold: np.ndarray
    reason: str


@dataclass(frozen=True)
class _Kinds:
    """Groups that are alike, largest first: their patients, events, patients of each class (kinds x classes) and number."""

    patients: np.ndarray
    events: np.ndarray
    classes: np.ndarray
    number: np.ndarray
    of_group: np.ndarray

    @classmethod
    def of(cls, patients: np.ndarray, events: np.ndarray, classes: np.ndarray) -> "_Kinds":
        counts = np.column_stack([events, patients, classes])
        alike, of_group, number = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
        order = np.arange(len(alike))[::-1]  # most events first, then most patients
        rank = np.empty_like(order)
        rank[order] = np.arange(len(alike))
        alike = alike[order].astype(float)
        return cls(alike[:, 1], alike[:, 0], alike[:, 2:], number[order], rank[of_group.ravel()])


def place_groups(
    patients: np.ndarray,
    events: np.ndarray,
    n_folds: int,
    *,
    classes: np.ndarray | None = None,
    seed: int = 0,
    time_limit: float = 10.0,
) -> Placement:
    """The folds of groups with these numbers of patients and events, balanced in events, then in classes, then in patients.

    The seed decides which of several alike groups goes where and how the folds are numbered, not how well they balance.

    Args:
        patients: of each group.
        events: of each group.
        n_folds: number of folds.
        classes: patients of each class, groups x classes; every class has at least one.
        seed: of the lot.
        time_limit: seconds after which the best placement found so far is taken.
    """
    counted = np.zeros((len(patients), 0), dtype=int) if classes is None else np.asarray(classes)
    kinds = _Kinds.of(np.asarray(patients), np.asarray(events), counted)
    n_counts = len(kinds.number) * n_folds
    cost, upper = _cost_and_upper_bounds(kinds, n_folds)
    lower = np.zeros(len(cost))
    lower[-1] = 1.0
    integrality = np.zeros(len(cost))
    integrality[:n_counts] = 1
    most_nodes = MOST_NODES_WITH_CLASSES if counted.shape[1] else MOST_NODES
    found, message = _solved(cost, integrality, (lower, upper), _constraints(kinds, n_folds, len(cost)), (most_nodes, time_limit))
    out_of_time = "time limit" in message.lower()
    if found is None:
        reason = f"the solver found none within {time_limit:g} s" if out_of_time else "no placement of whole sites gives it"
        return Placement(np.empty(0, dtype=int), reason)
    counts = np.rint(found[:n_counts]).astype(int).reshape(-1, n_folds)
    reason = f"the search ended at its limit of {time_limit:g} s and may end elsewhere on another machine" if out_of_time else ""
    return Placement(_deal(counts, kinds.of_group, seed), reason)


def _cost_and_upper_bounds(kinds: _Kinds, n_folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Variables: counts (kinds x folds), largest deviation, largest shortfall, deviations of events, of patients, of each class, 1."""
    n_patients, n_events = float(kinds.patients @ kinds.number), float(kinds.events @ kinds.number)
    n_of_class = kinds.number @ kinds.classes
    n_counts = len(kinds.number) * n_folds
    of_patients = PATIENT_WEIGHT * n_events / n_patients / n_folds
    of_classes = np.repeat(CLASS_WEIGHT * n_events / n_of_class / n_folds, n_folds) / max(1, len(n_of_class))
    of_events = np.full(n_folds, 1 / n_folds)
    cost = np.concatenate([np.zeros(n_counts), [1.0, 1.0], of_events, np.full(n_folds, of_patients), of_classes, [OFFSET]])
    upper = np.full(len(cost), np.inf)
    upper[-1] = 1.0
    counts = np.repeat(kinds.number[:, None], n_folds, axis=1).astype(float)
    open_folds = 0
    for kind, number in enumerate(kinds.number):  # folds are exchangeable: the first groups open them in turn
        open_folds += number
        if open_folds >= n_folds:
            break
        counts[kind, open_folds:] = 0
    upper[:n_counts] = counts.ravel()
    return cost, upper


def _solved(
    cost: np.ndarray,
    whole: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    constraints: tuple[np.ndarray, np.ndarray, np.ndarray],
    limits: tuple[int, float],
) -> tuple[np.ndarray | None, str]:
    """The variables of the programme's solution, None without one, and what the solver says; limits are of nodes and of seconds."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import

    options = {"mip_rel_gap": GAP, "node_limit": limits[0], "time_limit": limits[1]}
    result = milp(cost, integrality=whole, bounds=Bounds(*bounds), constraints=LinearConstraint(*constraints), options=options)
    return result.x, result.message


def _constraints(kinds: _Kinds, n_folds: int, n_variables: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, and the least and the most of each."""
    n_kinds = len(kinds.number)
    n_counts = n_kinds * n_folds
    rows: list[np.ndarray] = []
    low: list[float] = []
    high: list[float] = []

    def bound(terms: list[tuple[int | slice, Any]], at_least: float, at_most: float) -> None:
        row = np.zeros(n_variables)
        for where, value in terms:
            row[where] = value
        rows.append(row)
        low.append(at_least)
        high.append(at_most)

    for kind in range(n_kinds):
        bound([(slice(kind * n_folds, (kind + 1) * n_folds), 1.0)], float(kinds.number[kind]), float(kinds.number[kind]))
    events_per_fold = float(kinds.events @ kinds.number) / n_folds
    patients_per_fold = float(kinds.patients @ kinds.number) / n_folds
    largest, shortfall = n_counts, n_counts + 1
    for fold in range(n_folds):
        here = slice(fold, n_counts, n_folds)
        of_events, of_patients = n_counts + 2 + fold, n_counts + 2 + n_folds + fold
        for sign in (1.0, -1.0):
            bound([(here, sign * kinds.events), (of_events, -1.0)], -np.inf, sign * events_per_fold)
            bound([(here, sign * kinds.patients), (of_patients, -1.0)], -np.inf, sign * patients_per_fold)
        bound([(of_events, 1.0), (largest, -1.0)], -np.inf, 0.0)
        bound([(here, kinds.events), (shortfall, 1.0)], events_per_fold, np.inf)
        bound([(here, kinds.events)], float(LEAST_EVENTS), np.inf)
        bound([(here, kinds.patients)], float(LEAST_PATIENTS), np.inf)
        for index, per_fold in enumerate(kinds.number @ kinds.classes / n_folds):
            of_class = n_counts + 2 + (2 + index) * n_folds + fold
            for sign in (1.0, -1.0):
                bound([(here, sign * kinds.classes[:, index]), (of_class, -1.0)], -np.inf, sign * float(per_fold))
    return np.array(rows), np.array(low), np.array(high)


def _deal(counts: np.ndarray, kind_of_group: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each group, given how many of its kind each fold takes; alike groups and fold numbers by lot."""
    generator = np.random.default_rng(seed)
    n_folds = counts.shape[1]
    number = generator.permutation(n_folds)
    fold = np.empty(len(kind_of_group), dtype=int)
    for kind, row in enumerate(counts):
        alike = np.flatnonzero(kind_of_group == kind)
        fold[generator.permutation(alike)] = number[np.repeat(np.arange(n_folds), row)]
    return fold


def pick_groups(patients: np.ndarray, events: np.ndarray, fraction: float, *, seed: int = 0, time_limit: float = 10.0) -> Placement:
    """Groups (1) that together hold about this fraction of the events and patients; the others are 0.

    Both parts have an event and two patients, and the picked part has half to one and a half times its share of the events. A small
    random cost a group, below a quarter of an event in all, lets different seeds pick different groups.
    """
    patients, events = np.asarray(patients, dtype=float), np.asarray(events, dtype=float)
    n_groups, n_patients, n_events = len(patients), patients.sum(), events.sum()
    share_events, share_patients = fraction * n_events, fraction * n_patients
    lot = np.random.default_rng(seed).random(n_groups) * 0.25 / n_groups
    cost = np.concatenate([lot, [1.0, PATIENT_WEIGHT * n_events / n_patients]])
    deviation = np.eye(2)
    of_events, of_patients = np.concatenate([events, [0, 0]]), np.concatenate([patients, [0, 0]])
    none = np.zeros(n_groups)
    rows = [
        of_events - np.concatenate([none, deviation[0]]),
        of_events + np.concatenate([none, deviation[0]]),
        of_patients - np.concatenate([none, deviation[1]]),
        of_patients + np.concatenate([none, deviation[1]]),
        of_events,
        of_patients,
    ]
    fewest, most = max(LEAST_EVENTS, np.floor(share_events / 2)), min(n_events - LEAST_EVENTS, np.ceil(1.5 * share_events))
    low = np.array([-np.inf, share_events, -np.inf, share_patients, fewest, LEAST_PATIENTS])
    high = np.array([share_events, np.inf, share_patients, np.inf, most, n_patients - LEAST_PATIENTS])
    whole, upper = np.concatenate([np.ones(n_groups), [0, 0]]), np.concatenate([np.ones(n_groups), [np.inf, np.inf]])
    found, _ = _solved(cost, whole, (np.zeros(len(cost)), upper), (np.array(rows), low, high), (MOST_NODES, time_limit))
    if found is None:
        return Placement(np.empty(0, dtype=int), "no choice of whole sites gives it")
    return Placement(np.rint(found[:n_groups]).astype(int), "")
