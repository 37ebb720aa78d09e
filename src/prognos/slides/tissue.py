"""Where on a slide tissue is, seen on a thumbnail of about eight microns a pixel.

Glass lets all colours through, dirt and shadows take all colours away alike, stains take some: what tells tissue is the difference
between the strongest and the weakest absorption of the three colours, measured against the slide's own glass. Ink takes colours
that stains do not, or all of them. Nothing is learnt and nothing is drawn at random.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage

from prognos.slides.focus import blurred_tissue
from prognos.slides.reading import Slide

MICRONS = 8.0
LONGEST = 2048
"""The mask has pixels of eight microns, or is this many pixels long where that is smaller."""

GLASS_AT_LEAST, GLASS_TINT = 180, 25
"""The weakest colour of glass, of 255, and how far its colours may differ. The median of all such pixels is the slide's glass."""

FAINTEST, CLEAREST = 0.02, 0.06
"""The threshold of absorption is Otsu's, held within these: a colour that is 5% weaker than another may be the tint of glass, one
that is 15% weaker is tissue."""

SMALLEST = 150
"""Pixels of the mask (0.01 square millimetres) that a piece of tissue, a hole or an ink mark has at least."""

FOUND = "found"


@dataclass(frozen=True)
class Tissue:
    """Where tissue is, on a grid of square mask pixels that starts at the upper left corner of level 0.

    Args:
        mask: True for tissue. Pen marks are left out.
        downsample: level-0 pixels a mask pixel, in both directions.
        pen: True for ink of a pen, on tissue or beside it.
        blurred: True for tissue that is out of focus; it is in `mask` all the same.
        source: `found`, or the name of the GeoJSON file that the mask was read from.
    """

    mask: Bool[np.ndarray, "height width"]
    downsample: float
    pen: Bool[np.ndarray, "height width"]
    blurred: Bool[np.ndarray, "height width"]
    source: str = FOUND

    def __str__(self) -> str:
        said = f"{self.mask.mean():.1%} tissue ({self.source})"
        if self.pen.any():
            said += f", {self.pen.mean():.1%} pen marks left out"
        if self.blurred.any():
            said += f", {self.blurred.sum() / max(1, self.mask.sum()):.0%} of the tissue out of focus"
        return said


def mask_scale(slide: Slide) -> tuple[float, tuple[int, int]]:
    """Level-0 pixels a mask pixel, and height and width of the mask of a slide."""
    longest = max(slide.size)
    mpp = slide.resolution.mpp if slide.resolution else 0.0
    downsample = max(1.0, longest / LONGEST, MICRONS / mpp if mpp else 0.0)
    downsample = longest / max(1, round(longest / downsample))
    width, height = (math.ceil(side / downsample - 1e-6) for side in slide.size)
    return downsample, (height, width)


def find_tissue(slide: Slide) -> Tissue:
    """The tissue of a slide; empty where there is none.

    Focus is looked at only where the slide's resolution is known and fine enough; see `prognos.slides.focus`.

    Raises:
        SlideError: the slide cannot be read.
    """
    downsample, _ = mask_scale(slide)
    thumbnail = slide.thumbnail(round(max(slide.size) / downsample))
    absorbed = absorption(thumbnail)
    least = min(SMALLEST, max(1, thumbnail.shape[0] * thumbnail.shape[1] // 50))
    pen = pen_marks(absorbed, least)
    mask = _stained(absorbed, least) & ~pen
    mask = _without_specks(mask, least)
    return Tissue(mask, downsample, pen, blurred_tissue(slide, mask, downsample))


def absorption(pixels: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "3 height width"]:
    """How much of each colour is taken away, against the glass of the slide: `log10(glass / pixel)`, smoothed over a pixel."""
    smooth = np.stack([ndimage.gaussian_filter(pixels[..., colour].astype(np.float32), 1) for colour in range(3)])
    weakest, strongest = smooth.min(axis=0), smooth.max(axis=0)
    clear = (weakest >= GLASS_AT_LEAST) & (strongest - weakest <= GLASS_TINT)
    glass = [np.median(colour[clear]) if clear.any() else 255.0 for colour in smooth]
    return np.log10((np.array(glass, dtype=np.float32)[:, None, None] + 1) / (smooth + 1))


def pen_marks(absorbed: Float32[np.ndarray, "3 height width"], least: int = SMALLEST) -> Bool[np.ndarray, "height width"]:
    """Ink of pens, by colours that haematoxylin, eosin and DAB do not give; marks of fewer than `least` pixels are none.

    Green and blue ink take more red than green; red ink takes blue as it takes green, and little red; black ink takes all three.
    Red ink that lies thin on tissue looks like blood and is not found.
    """
    red, green, blue = absorbed
    weakest, strongest = absorbed.min(axis=0), absorbed.max(axis=0)
    cold = red - green > 0.08
    warm = (green > 0.25) & (blue > 0.9 * green) & (red < 0.4 * green)
    black = (weakest > 0.4) & (weakest > 0.75 * strongest)
    marks = _without_specks(_closed(cold | warm | black), least)
    return ndimage.binary_dilation(marks, _disc(2))


def _stained(absorbed: Float32[np.ndarray, "3 height width"], least: int) -> Bool[np.ndarray, "height width"]:
    """Pixels that take some colours more than others, holes filled that are smaller than `least` pixels."""
    stain = absorbed.max(axis=0) - absorbed.min(axis=0)
    threshold = min(max(otsu(stain), FAINTEST), CLEAREST)
    mask = ndimage.binary_opening(np.pad(_closed(stain > threshold), 1, mode="edge"), _disc(1))[1:-1, 1:-1]
    return ~_without_specks(~mask, least)


def otsu(values: Float[np.ndarray, "height width"]) -> float:
    """The threshold that leaves the least variance within the two classes; 0 where all values are the same."""
    counts, edges = np.histogram(values, bins=256)
    if edges[0] == edges[-1] or np.count_nonzero(counts) < 2:
        return 0.0
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][np.argmax(np.nan_to_num(between))])


def _closed(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """A mask without gaps of four pixels or less; beyond the edge it goes on as it is at the edge."""
    return ndimage.binary_closing(np.pad(mask, 2, mode="edge"), _disc(2), border_value=0)[2:-2, 2:-2] | mask


def _without_specks(mask: Bool[np.ndarray, "height width"], least: int) -> Bool[np.ndarray, "height width"]:
    """The pieces of a mask, joined over edges and corners, that have at least so many pixels."""
    pieces, count = ndimage.label(mask, np.ones((3, 3), dtype=bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= least)[pieces]


def _disc(radius: int) -> Bool[np.ndarray, "side side"]:
    span = np.arange(-radius, radius + 1)
    return span[:, None] ** 2 + span[None] ** 2 <= radius**2
