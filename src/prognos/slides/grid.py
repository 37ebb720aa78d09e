"""The patches of a slide: squares of a stated size in microns, side by side from the upper left corner of the slide."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from prognos.slides.reading import Slide, SlideError
from prognos.slides.resolution import Resolution
from prognos.slides.tissue import Tissue

SAME_SCALE = 0.02
"""A resolution that differs from a whole fraction of the one that is asked by less than this share counts as that fraction."""

COARSEST = 1.1
"""A slide's pixels may be this much larger than what is asked; beyond, patches would be blown up and show less than encoders expect."""


@dataclass(frozen=True)
class Grid:
    """Where the patches of a slide are.

    Args:
        coords: x, y of the upper left corner of each patch in level-0 pixels, sorted by y, then x.
        patch_size: side of a patch in pixels as the encoder gets it.
        patch_size_level0: side of a patch in level-0 pixels.
        mpp: microns a pixel of a patch, as asked.
        overlap: pixels that neighbouring patches share.
        least_tissue: share of a patch that is tissue at least.
    """

    coords: Int64[np.ndarray, "patches 2"]
    patch_size: int
    patch_size_level0: int
    mpp: float
    overlap: int
    least_tissue: float

    def __len__(self) -> int:
        return len(self.coords)


def grid_of(slide: Slide, tissue: Tissue, *, patch_size: int = 256, mpp: float = 0.5, overlap: int = 0, least_tissue: float = 0.5) -> Grid:
    """The patches of a slide that hold enough tissue; none reaches over the edge of the slide.

    The defaults are the papers': 256 pixels at 20x, 0.5 microns a pixel, no overlap. Where the slide's resolution is within 2% of
    0.5, 0.25 ... microns a pixel, whole pixels are taken, so that nothing is resampled by 1%.

    Args:
        slide: the slide.
        tissue: where its tissue is.
        patch_size: side of a patch in pixels.
        mpp: microns a pixel of a patch.
        overlap: pixels that neighbouring patches share.
        least_tissue: share of a patch, from 0 to 1, that is tissue at least; with 0, any tissue.

    Raises:
        ValueError: an option is out of its range.
        SlideError: the slide's resolution is not known, or too coarse for `mpp`.
    """
    _check(patch_size, mpp, overlap, least_tissue)
    resolution = slide.known_resolution()
    if (refusal := too_coarse(resolution, mpp)) is not None:
        raise SlideError(f"{slide.path.name}: {refusal}")
    scale = level0_scale(resolution.mpp, mpp)
    side = max(1, round(patch_size * scale))
    step = max(1, round((patch_size - overlap) * scale))
    x, y = (np.arange(0, length - side + 1, step, dtype=np.int64) for length in slide.size)
    share = _tissue_share(tissue, x, y, side)
    rows, columns = np.nonzero((share >= least_tissue - 1e-9) & (share > 0))
    coords = np.stack([x[columns], y[rows]], axis=1)
    return Grid(coords, patch_size, side, mpp, overlap, least_tissue)


def level0_scale(slide_mpp: float, mpp: float) -> float:
    """Level-0 pixels a pixel of a patch; a whole number where it is within 2% of one."""
    scale = mpp / slide_mpp
    whole = max(1, round(scale))
    return float(whole) if abs(scale - whole) <= SAME_SCALE * whole else scale


def too_coarse(resolution: Resolution, mpp: float) -> str | None:
    """Why patches of so many microns a pixel cannot be cut from a slide of this resolution; None where they can."""
    if resolution.mpp <= mpp * COARSEST:
        return None
    return (
        f"has {resolution}, so that patches of {mpp:g} would be blown up {resolution.mpp / mpp:.2g} times; "
        f"ask for patches of {resolution.mpp:.2g} microns a pixel or more, or correct the resolution in slides.csv."
    )


def _check(patch_size: int, mpp: float, overlap: int, least_tissue: float) -> None:
    if patch_size < 1:
        raise ValueError(f"a patch cannot be {patch_size} pixels wide; choose at least 1, such as 256.")
    if not 0 < mpp < np.inf:
        raise ValueError(f"patches cannot have {mpp} microns a pixel; choose a positive number, such as 0.5 for 20x.")
    if not 0 <= overlap < patch_size:
        raise ValueError(f"an overlap of {overlap} pixels leaves no step for patches of {patch_size}; choose 0 to {patch_size - 1}.")
    if not 0 <= least_tissue <= 1:
        raise ValueError(f"a share of tissue of {least_tissue} is none; choose a number from 0 to 1.")


def _tissue_share(
    tissue: Tissue, x: Int64[np.ndarray, " columns"], y: Int64[np.ndarray, " rows"], side: int
) -> Float[np.ndarray, "rows columns"]:
    """The share of tissue of the patches at every x and y, exactly, mask pixels that are cut included.

    The area of tissue left of and above a point is linear between the corners of mask pixels in both directions, so that two
    interpolations, one along each axis, give it at any point.
    """
    height, width = tissue.mask.shape
    area = np.zeros((height + 1, width + 1))
    area[1:, 1:] = tissue.mask.cumsum(axis=0).cumsum(axis=1)
    along_y = _at(area, (y + side) / tissue.downsample) - _at(area, y / tissue.downsample)
    both = _at(along_y.T, (x + side) / tissue.downsample) - _at(along_y.T, x / tissue.downsample)
    return both.T / (side / tissue.downsample) ** 2


def _at(table: np.ndarray, position: Float[np.ndarray, " positions"]) -> np.ndarray:
    """Rows of a table between its rows, by linear interpolation."""
    position = np.clip(position, 0, len(table) - 1)
    low = np.minimum(position.astype(np.int64), max(len(table) - 2, 0))
    share = (position - low)[:, None]
    return table[low] * (1 - share) + table[low + 1] * share
