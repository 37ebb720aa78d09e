"""Where the patches of a slide are, in level-0 pixels, from its feature file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Num
from scipy.spatial import cKDTree

from prognos.cohort.features import MICROMETRES, UNKNOWN, read_features

SIDE_ALONE = 512
"""Side of a patch, in level-0 pixels, where a slide has one patch only and its file does not tell."""

SIDES_IN_PIXELS = ("patch_size_level0",)
SIDES_IN_MICROMETRES = ("tile_size_um", "patch_size_um")
ASSUMED = "--mpp"
"""What `prognos slides` writes as `mpp_source` of a slide whose file names no resolution."""

RESOLUTIONS = ("level0_mpp", "slide_mpp", "mpp")
"""Attributes that say how many microns a level-0 pixel is wide."""


@dataclass(frozen=True)
class PatchPlaces:
    """Where the patches of a slide are.

    Args:
        coords: x, y of the upper left corner in level-0 pixels.
        side: width and height of a patch in level-0 pixels.
        extent: width and height of the slide in level-0 pixels; where nobody says, of what the patches span from the origin.
        mpp: microns a level-0 pixel; None where unknown.
        notes: what was not told and how it was settled.
    """

    coords: Int64[np.ndarray, "patches 2"]
    side: int
    extent: tuple[int, int]
    mpp: float | None
    notes: tuple[str, ...] = ()


def patch_places(path: str | Path, *, mpp: float | None = None) -> PatchPlaces | None:
    """The patches of a feature file; None where it holds no coordinates.

    Coordinates in micrometres become level-0 pixels where the resolution is known; else a micrometre stands for a pixel.

    Args:
        path: the feature file.
        mpp: microns a level-0 pixel, as slides.csv has it; what the file says when None.

    Raises:
        FeatureFileError: the file cannot be read.
    """
    features = read_features(path)
    if features.coords is None:
        return None
    attributes, notes = features.attributes, []
    known = mpp or _number(attributes, RESOLUTIONS)
    if mpp is None and known is not None and attributes.get("mpp_source") == ASSUMED:
        notes.append(f"{known:g} microns a pixel were assumed (--mpp) when its features were made.")
    if features.units == MICROMETRES:
        scale = known or 1.0
        if known is None:
            notes.append("its coordinates are in micrometres and its resolution is not known: a micrometre is drawn as a pixel.")
        side = _number(attributes, SIDES_IN_MICROMETRES)
        side = None if side is None else side / scale
        known = scale
    else:
        scale, side = 1.0, _number(attributes, SIDES_IN_PIXELS)
        if features.units == UNKNOWN:
            notes.append("its file does not name the units of its coordinates: they are taken as level-0 pixels.")
    coords = np.rint(features.coords.astype(np.float64) / scale).astype(np.int64)
    if side is None:
        side = neighbour_distance(coords)
        notes.append(f"its file does not say how large a patch is: {side:.0f} level-0 pixels, the distance of neighbours.")
    whole_side = max(1, round(side))
    return PatchPlaces(coords, whole_side, _extent(coords, whole_side, attributes), known, tuple(notes))


def neighbour_distance(coords: Num[np.ndarray, "patches 2"]) -> float:
    """The usual distance from a patch to the nearest other one, along x or y: the step of the grid.

    It is the median, since pieces of tissue with grids of their own bring some patches closer together.
    """
    places = np.unique(coords, axis=0)
    if len(places) < 2:
        return float(SIDE_ALONE)
    distances, _ = cKDTree(places).query(places, k=2, p=np.inf)
    return float(np.median(distances[:, 1]))


def _extent(coords: Int64[np.ndarray, "patches 2"], side: int, attributes: Mapping[str, Any]) -> tuple[int, int]:
    spanned = (coords.max(axis=0) + side).tolist() if len(coords) else [side, side]
    said = [_number(attributes, (name,)) for name in ("level0_width", "level0_height")]
    width, height = (int(spans if told is None else max(told, spans)) for told, spans in zip(said, spanned, strict=True))
    return width, height


def _number(attributes: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    """The first of some attributes that is a positive number."""
    for name in names:
        value: Float[np.ndarray, "..."] = np.asarray(attributes.get(name, np.nan))
        if value.size == 1 and value.dtype.kind in "fiu" and np.isfinite(value).all() and float(value.item()) > 0:
            return float(value.item())
    return None
