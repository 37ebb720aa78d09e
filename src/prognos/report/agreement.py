"""Whether fits of one model rank the same things first: Kendall's tau and common leaders, over pairs of fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

NORMAL = 1.959964
FEWEST = 3
"""Fits below which no interval is given."""

Pair = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Agreement:
    """Agreement of pairs of fits.

    Args:
        mean: over the pairs.
        low: lower end of the 95% interval by the jackknife over fits; NaN where there are too few.
        high: its upper end.
        pairs: how many were compared.
    """

    mean: float
    low: float
    high: float
    pairs: int


def pairs_of(strengths: pd.DataFrame, same: str) -> list[Pair]:
    """The pairs of fits (seed, fold) that have the same fold and differ by seed, or the same seed and differ by fold.

    Args:
        strengths: its columns are fits.
        same: `fold` or `seed`.
    """
    place = ("seed", "fold").index(same)
    fits = [(float(seed), float(fold)) for seed, fold in strengths.columns] if len(strengths) else []
    return [(left, right) for left, right in combinations(fits, 2) if left[place] == right[place]]


def kendall(strengths: pd.DataFrame, pairs: Sequence[Pair]) -> Agreement | None:
    """Kendall's tau-b of the strengths of two fits; None without a pair.

    Args:
        strengths: a row a pathway, a column a fit.
        pairs: which fits are compared.
    """
    from scipy.stats import kendalltau  # slow to import

    return _agreement(strengths, pairs, lambda left, right: float(kendalltau(left, right).statistic))


def overlap(strengths: pd.DataFrame, pairs: Sequence[Pair], leaders: int) -> Agreement | None:
    """Share of the strongest that two fits have in common; None without a pair, or with no more things than leaders.

    Args:
        strengths: a row a pathway or gene, a column a fit.
        pairs: which fits are compared.
        leaders: how many of each fit are the strongest.
    """
    if len(strengths) <= leaders:
        return None
    return _agreement(strengths, pairs, lambda left, right: len(_leaders(left, leaders) & _leaders(right, leaders)) / leaders)


def _leaders(values: np.ndarray, count: int) -> set[int]:
    return set(np.argsort(-values, kind="stable")[:count].tolist())


def _agreement(strengths: pd.DataFrame, pairs: Sequence[Pair], of_two: Callable[[np.ndarray, np.ndarray], float]) -> Agreement | None:
    values = np.array([of_two(strengths[left].to_numpy(float), strengths[right].to_numpy(float)) for left, right in pairs])
    known = np.isfinite(values)
    if not known.any():
        return None
    kept = [pair for pair, is_known in zip(pairs, known, strict=True) if is_known]
    values = values[known]
    mean = float(values.mean())
    fits = sorted({fit for pair in kept for fit in pair})
    without = [np.array([fit not in pair for pair in kept]) for fit in fits]
    if len(fits) < FEWEST or not all(rest.any() for rest in without):
        return Agreement(mean, float("nan"), float("nan"), len(kept))
    left_out = np.array([values[rest].mean() for rest in without])
    error = float(np.sqrt((len(fits) - 1) / len(fits) * ((left_out - left_out.mean()) ** 2).sum()))
    return Agreement(mean, max(-1.0, mean - NORMAL * error), min(1.0, mean + NORMAL * error), len(kept))
