"""Measured values of patients, and a centre and scale that a few extreme ones do not move: median and interquartile range."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float


def measured(table: pd.DataFrame, patients: Sequence[str], columns: Sequence[str]) -> Float[np.ndarray, "patients columns"]:
    """Values of a table in the order asked for, NaN where there is no row, no column or no value.

    Raises:
        ValueError: a value is infinite.
    """
    result = np.full((len(patients), len(columns)), np.nan)
    if not result.size:
        return result
    rows, places = table.index.get_indexer(pd.Index(patients)), table.columns.get_indexer(pd.Index(columns))
    has_row, has_column = np.flatnonzero(rows >= 0), np.flatnonzero(places >= 0)
    values = table.to_numpy(dtype=float, na_value=np.nan)
    result[np.ix_(has_row, has_column)] = values[np.ix_(rows[has_row], places[has_column])]
    infinite = np.isinf(result)
    if infinite.any():
        where = named(patients, infinite.any(axis=1))
        raise ValueError(
            f"{int(infinite.sum())} values of {len(where)} patients ({some(where)}) are infinite (columns "
            f"{some(named(columns, infinite.any(axis=0)))}): correct them, or leave the cell empty where nothing was measured."
        )
    return result


def named(names: Sequence[str], chosen: np.ndarray) -> tuple[str, ...]:
    """The names at the chosen places."""
    return tuple(name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen)


def some(names: Sequence[str]) -> str:
    """At most three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def centre_and_scale(
    values: Float[np.ndarray, "patients columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Median and scale of each column, over the values that are not NaN.

    The scale is the interquartile range (quartiles by linear interpolation), the standard deviation (over all values,
    divided by their number) where that is 0, and 0 for a constant column. A column without any value has median 0 and
    scale 0.
    """
    ordered = np.sort(values.T, axis=1)  # one column a row: NaN go last, and each sort is contiguous
    count = (~np.isnan(ordered)).sum(axis=1)
    low, median, high = (_quantile(ordered, count, share) for share in (0.25, 0.5, 0.75))
    scale = high - low
    by_deviation = (scale == 0) & (count > 0)
    if by_deviation.any():
        rest = ordered[by_deviation]
        varies = rest[:, 0] < rest[np.arange(len(rest)), count[by_deviation] - 1]
        scale[by_deviation] = np.where(varies, np.nanstd(rest, axis=1), 0.0)  # nanstd of equal values need not be exactly 0
    return median, scale


def scaled(
    values: Float[np.ndarray, "patients columns"],
    centre: Float[np.ndarray, " columns"],
    scale: Float[np.ndarray, " columns"],
    *,
    clip: float | None = None,
) -> Float[np.ndarray, "patients columns"]:
    """(value - centre) / scale; 0 where the value is NaN or the scale is 0.

    Args:
        values: NaN where nothing was measured.
        centre: one number a column.
        scale: one number a column, 0 for a constant one.
        clip: largest absolute result; None for no bound.
    """
    known = ~np.isnan(values) & (scale > 0)
    result = np.zeros_like(values)
    with np.errstate(over="ignore"):  # a tiny scale may give an infinite quotient, which is clipped
        np.divide(values - centre, scale, out=result, where=known)
    return result if clip is None else np.clip(result, -clip, clip, out=result)


def _quantile(ordered: Float[np.ndarray, "columns patients"], count: np.ndarray, share: float) -> Float[np.ndarray, " columns"]:
    """Quantile of the first `count` values of each ordered row; 0 where there is none."""
    if ordered.shape[1] == 0:
        return np.zeros(len(ordered))
    place = share * np.maximum(count - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    row = np.arange(len(ordered))
    lower, upper = ordered[row, below], ordered[row, above]
    return np.where(count > 0, lower + (place - below) * (upper - lower), 0.0)
