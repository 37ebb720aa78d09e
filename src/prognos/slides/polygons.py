"""Masks and polygons: outlines around what is True, and what lies within outlines.

A polygon is a list of closed rings, the outer one first and then its holes; a ring is an array of x, y whose last point is its first.
A mask pixel is True exactly where its centre lies within, so that a mask that is turned into polygons and back is the same mask.
"""

from collections.abc import Iterable

import contourpy
import numpy as np
from jaxtyping import Bool, Float

Ring = np.ndarray
Polygon = list[Ring]


def polygons_of(mask: Bool[np.ndarray, "height width"]) -> list[Polygon]:
    """The outlines of all pieces of a mask in mask pixels, from the uppermost piece on; corners are cut by half a pixel."""
    if not mask.any():
        return []
    framed = np.pad(mask, 1).astype(np.float64)
    centres = np.arange(-0.5, max(mask.shape) + 1)
    generator = contourpy.contour_generator(
        centres[: framed.shape[1]], centres[: framed.shape[0]], framed, fill_type=contourpy.FillType.OuterOffset
    )
    points, offsets = generator.filled(0.5, np.inf)
    found = [[_straightened(ring) for ring in np.split(one, starts[1:-1].astype(int))] for one, starts in zip(points, offsets, strict=True)]
    return sorted(found, key=lambda polygon: (polygon[0][:, 1].min(), polygon[0][:, 0].min()))


def mask_of(polygons: Iterable[Polygon], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The pixels of a mask of (height, width) whose centres lie within any polygon and in none of its holes."""
    mask = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        outer = np.asarray(polygon[0])
        left, top = np.clip(np.floor(outer.min(axis=0)), 0, shape[::-1]).astype(int).tolist()
        right, bottom = np.clip(np.ceil(outer.max(axis=0)), 0, shape[::-1]).astype(int).tolist()
        mask[top:bottom, left:right] |= _within([ring - (left, top) for ring in polygon], (bottom - top, right - left))
    return mask


def _within(polygon: Polygon, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The pixels within one polygon: each edge that crosses the centre line of a row changes all pixels to its right."""
    changes = np.zeros((shape[0], shape[1] + 1), dtype=np.int32)
    for ring in polygon:
        np.add.at(changes, _crossings(ring, shape), 1)
    return (changes.cumsum(axis=1)[:, :-1] & 1).astype(bool)


def _crossings(ring: Ring, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose centre line an edge of the ring crosses, and the first pixel whose centre lies to the right of the crossing."""
    start, stop = ring[:-1], ring[1:]
    first, last = (np.clip(np.ceil(y - 0.5), 0, shape[0]).astype(np.int64) for y in np.sort([start[:, 1], stop[:, 1]], axis=0))
    counts = last - first
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[edge]
    along = (rows + 0.5 - start[edge, 1]) / (stop[edge, 1] - start[edge, 1])
    x = start[edge, 0] + along * (stop[edge, 0] - start[edge, 0])
    return rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)


def _straightened(ring: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "corners 2"]:
    """A closed ring without the points that lie on the straight line between their neighbours."""
    points = ring[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    corners = points[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]
    return np.concatenate([corners, corners[:1]])
