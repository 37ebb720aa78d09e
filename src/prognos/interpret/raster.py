"""Patches as pixels: which patch covers which pixel, and any number of maps painted from that."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from prognos.interpret.placing import PatchPlaces

PIXELS_A_PATCH = 8
MOST_PIXELS = 3072
"""Longest side of a canvas, so that neither memory nor time grows with the slide."""


@dataclass(frozen=True)
class Canvas:
    """A picture of a slide in which each pixel knows its patch.

    Args:
        owner: row of the patch, -1 where there is none; where patches overlap, the later one.
        downsample: level-0 pixels a pixel.
    """

    owner: Int32[np.ndarray, "height width"]
    downsample: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.owner.shape[1], self.owner.shape[0]

    @property
    def covered(self) -> Bool[np.ndarray, "height width"]:
        """True where there is a patch."""
        return self.owner >= 0

    def painted(self, colours: UInt8[np.ndarray, "patches 3"], ground: int = 255) -> UInt8[np.ndarray, "height width 3"]:
        """The colours in place, and the brightness `ground` where there is no patch."""
        table = np.concatenate([colours, np.full((1, 3), ground, np.uint8)])
        return np.take(table, self.owner, axis=0, mode="wrap")  # -1 is the last row: no patch

    def resized(self, size: tuple[int, int]) -> "Canvas":
        """The same at another size, by the nearest pixel."""
        width, height = size
        rows = np.minimum((np.arange(height) + 0.5) * self.owner.shape[0] / height, self.owner.shape[0] - 1).astype(np.int64)
        columns = np.minimum((np.arange(width) + 0.5) * self.owner.shape[1] / width, self.owner.shape[1] - 1).astype(np.int64)
        return Canvas(self.owner[rows[:, None], columns], self.downsample * self.owner.shape[1] / width)


def canvas_of(places: PatchPlaces, extent: tuple[int, int] | None = None) -> Canvas:
    """The canvas of a slide: `PIXELS_A_PATCH` pixels a patch, fewer where it would be larger than `MOST_PIXELS`.

    Args:
        places: where the patches are.
        extent: width and height of the slide in level-0 pixels; what the feature file knows of it when None.
    """
    width, height = extent or places.extent
    pixels = min(PIXELS_A_PATCH, MOST_PIXELS * places.side // max(width, height))  # whole ones: patches are then equally large
    downsample = places.side / pixels if pixels else max(width, height) / MOST_PIXELS
    shape = (max(1, int(np.ceil(height / downsample))), max(1, int(np.ceil(width / downsample))))
    owner = np.full(shape, -1, dtype=np.int32)
    settled = np.rint if pixels else np.floor  # a patch below a pixel stays inside
    first = settled(places.coords / downsample).astype(np.int64)
    last = np.maximum(settled((places.coords + places.side) / downsample).astype(np.int64), first + 1)
    for down in range(int((last - first)[:, 1].max(initial=0))):
        for right in range(int((last - first)[:, 0].max(initial=0))):
            x, y = first[:, 0] + right, first[:, 1] + down
            inside = (x < last[:, 0]) & (y < last[:, 1]) & (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
            rows = np.flatnonzero(inside)
            owner[y[rows], x[rows]] = np.maximum(owner[y[rows], x[rows]], rows)
    return Canvas(owner, downsample)
