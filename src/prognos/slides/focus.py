"""Which tissue is out of focus: cells of the slide in which neighbouring pixels hardly differ.

The rule. The tissue is looked at in squares of half a millimetre (larger ones where there would be more than `MOST`), at one
micron a pixel, in the middle of each. With D(k) the mean squared difference of grey values k pixels apart, along both axes, the
sharpness is D(1) / D(4): it does not depend on how strongly a slide is stained. It is above 0.2 in sharp tissue and near 1/16 where
grey values only slope; a blur with a standard deviation of 2 microns brings it below `SHARP`, one of 1.5 mostly. Squares below are
out of focus. This is said, and excludes nothing.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from prognos.slides.reading import Slide

CELL = 512.0
"""Side of a square in microns."""

PIXELS = 256
"""Side of what is looked at in a square: pixels of one micron."""

MOST = 200
"""Squares that are looked at in one slide; each costs as much as reading a few patches."""

SHARP = 0.1
CONTRAST = 25.0
"""Squares whose D(4) is smaller are too even to be judged, and count as sharp."""

COARSEST = 1.1
"""Slides of coarser pixels, in microns, do not show what is out of focus."""


def blurred_tissue(slide: Slide, mask: Bool[np.ndarray, "height width"], downsample: float) -> Bool[np.ndarray, "height width"]:
    """True for tissue that is out of focus; False everywhere on slides without a resolution, or with one that is too coarse.

    Args:
        slide: what is looked at.
        mask: its tissue.
        downsample: level-0 pixels a pixel of the mask.

    Raises:
        SlideError: a part of the slide cannot be read.
    """
    blurred = np.zeros_like(mask)
    if slide.resolution is None or slide.resolution.mpp > COARSEST or not mask.any():
        return blurred
    mpp = slide.resolution.mpp
    cell = max(1, round(CELL / mpp / downsample))
    while len(cells := _cells(mask, cell)) > MOST:
        cell = round(cell * 1.25) + 1
    side = round(PIXELS / mpp)
    for rows, columns in cells:
        x, y = (round((span.start + span.stop) / 2 * downsample) - side // 2 for span in (columns, rows))
        if is_blurred(slide.region(x, y, side, PIXELS)):
            blurred[rows, columns] = mask[rows, columns]
    return blurred


def is_blurred(pixels: UInt8[np.ndarray, "height width 3"]) -> bool:
    """Whether pixels of one micron are out of focus, by the rule of this module."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
    near, far = (_squared_difference(grey, apart) for apart in (1, 4))
    return far >= CONTRAST and near < SHARP * far


def _squared_difference(grey: np.ndarray, apart: int) -> float:
    down, across = grey[apart:] - grey[:-apart], grey[:, apart:] - grey[:, :-apart]
    return float(np.square(down).mean() + np.square(across).mean())


def _cells(mask: np.ndarray, cell: int) -> list[tuple[slice, slice]]:
    """Squares of `cell` mask pixels, at least half of which is tissue."""
    tops, lefts = (np.arange(0, length, cell) for length in mask.shape)
    counts = np.add.reduceat(np.add.reduceat(mask, tops, axis=0, dtype=np.int64), lefts, axis=1)
    heights, widths = (np.minimum(cell, length - starts) for length, starts in zip(mask.shape, (tops, lefts), strict=True))
    enough = np.argwhere(2 * counts >= np.outer(heights, widths))
    return [(slice(tops[row], tops[row] + heights[row]), slice(lefts[column], lefts[column] + widths[column])) for row, column in enough]
