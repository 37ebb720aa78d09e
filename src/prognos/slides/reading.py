"""A slide: its size, its resolution, and any part of it at any scale, without ever holding a whole level in memory."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from prognos.slides.pyramid import PLAIN_IMAGES, SCANNER_SUFFIXES, SlideError, open_pyramid
from prognos.slides.resolution import ASSUMED, FROM_FILE, FROM_MANIFEST, Resolution, stated_resolution

__all__ = ["SUFFIXES", "Resolution", "Slide", "SlideError", "slide_id_of"]

SUFFIXES = (*SCANNER_SUFFIXES, *PLAIN_IMAGES)
"""How the names of slide files end that are looked for in a folder."""

NEARLY = 1.01
"""Levels shrink by 4.0011 where 4 is meant: a level may be this much coarser than what is asked."""

BLOCK = 2048
"""Side of the largest square, in pixels of a level, that is read at once."""

READERS = 4
"""Threads that read such squares; each holds one, of fifty megabytes at most."""


def slide_id_of(path: str | os.PathLike[str]) -> str:
    """The name of a slide: of its file, without the suffix (and without the `.ome` of `.ome.tiff`)."""
    return Path(path).stem.removesuffix(".ome")


class Slide:
    """A slide file that is open for reading; a context manager.

    Several threads may read from one slide at once. `path` is its file, `slide_id` the name of the file without suffix, `size`
    width and height in level-0 pixels, `resolution` microns a level-0 pixel (None where nobody says), `kind` the format and
    `downsamples` level-0 pixels a pixel of each level.
    """

    def __init__(self, path: Path, mpp: float | None, mpp_source: str):
        self.path = path
        self.slide_id = slide_id_of(path)
        self._pyramid = open_pyramid(path)
        self.size = self._pyramid.size
        self.kind = self._pyramid.kind
        self.downsamples = self._pyramid.downsamples
        self.properties = self._pyramid.properties
        stated = stated_resolution(self.properties)
        self._remark = stated.remark
        self._last_thumbnail: tuple[int, np.ndarray] | None = None  # without coarser levels it costs a reading of the whole slide
        self.resolution: Resolution | None = None
        if stated.mpp is not None:
            self.resolution = Resolution(stated.mpp, FROM_FILE)
        if mpp is not None and (self.resolution is None or mpp_source != ASSUMED):
            self.resolution = Resolution(mpp, mpp_source)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, mpp: float | None = None, mpp_source: str = ASSUMED) -> "Slide":
        """Opens a slide; only its headers are read.

        Args:
            path: the file.
            mpp: microns a level-0 pixel, as far as the caller knows.
            mpp_source: who told the caller. `--mpp` is about every slide and stands in where the file says nothing; `slides.csv`
                is about this one slide and goes before the file.

        Raises:
            SlideError: there is no such file, or it is empty, damaged or of no format that we read.
        """
        if mpp is not None and not 0 < mpp < math.inf:
            raise ValueError(f"{mpp} microns a pixel ({mpp_source}) is no resolution; give a positive number, such as 0.25 for 40x.")
        return cls(Path(path), mpp, mpp_source)

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the file and the memory."""
        self._pyramid.close()

    def known_resolution(self) -> Resolution:
        """The resolution, where there is one.

        Raises:
            SlideError: neither the file nor the caller says how large a pixel is.
        """
        if self.resolution is None:
            remark = f" ({self._remark})" if self._remark else ""
            raise SlideError(
                f"{self.path.name}: the file does not say how many microns a pixel is{remark}; "
                f"give --mpp X, or add the slide to {FROM_MANIFEST} with a column mpp."
            )
        return self.resolution

    def thumbnail(self, longest: int = 2048) -> UInt8[np.ndarray, "height width 3"]:
        """The whole slide, its longer side `longest` pixels, or as it is where it is smaller; the mean of what a pixel covers.

        A pixel covers `max(1, max(size) / longest)` level-0 pixels in both directions. The shorter side is rounded up: its last
        pixel may reach over the edge, where it is white.
        """
        if self._last_thumbnail is None or self._last_thumbnail[0] != longest:
            scale = max(1.0, max(self.size) / longest)
            width, height = (math.ceil(side / scale - 1e-6) for side in self.size)
            self._last_thumbnail = longest, self._rectangle((0.0, 0.0), scale, (width, height), margin=True)
        return self._last_thumbnail[1].copy()

    def region(self, x: int, y: int, side: int, pixels: int) -> UInt8[np.ndarray, "pixels pixels 3"]:
        """A square of the slide, resampled; white outside the slide.

        It is read from the coarsest level that is no coarser than what is asked, and each pixel is the mean of what it covers.

        Args:
            x: left edge in level-0 pixels.
            y: upper edge in level-0 pixels.
            side: width and height in level-0 pixels.
            pixels: width and height of the result.

        Raises:
            SlideError: this part of the file is damaged.
        """
        return self._rectangle((float(x), float(y)), side / pixels, (pixels, pixels))

    def _rectangle(
        self, corner: tuple[float, float], scale: float, size: tuple[int, int], margin: bool = False
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Pixels of `scale` level-0 pixels each from a level-0 corner on, read block by block."""
        level = max(number for number, downsample in enumerate(self.downsamples) if downsample <= max(1.0, scale * NEARLY))
        ratio = scale / self.downsamples[level]
        step = max(1, int(BLOCK / max(ratio, 1.0)))
        start = corner[0] / self.downsamples[level], corner[1] / self.downsamples[level]
        out = np.empty((size[1], size[0], 3), dtype=np.uint8)

        def fill(place: tuple[slice, slice]) -> None:
            rows, columns = place
            left, right = (start[0] + at * ratio for at in (columns.start, columns.stop))
            upper, lower = (start[1] + at * ratio for at in (rows.start, rows.stop))
            shape = columns.stop - columns.start, rows.stop - rows.start
            out[place] = np.asarray(self._block(level, (left, upper, right, lower), shape, margin))

        places = [(rows, columns) for rows in _spans(size[1], step) for columns in _spans(size[0], step)]
        if len(places) == 1:
            fill(places[0])
        else:
            with ThreadPoolExecutor(READERS) as threads:
                list(threads.map(fill, places))
        return out

    def _block(self, level: int, box: tuple[float, float, float, float], size: tuple[int, int], margin: bool) -> Image.Image:
        """A rectangle of a level, resampled to `size`; with a margin, blocks that touch are resampled as one."""
        ratio = (box[2] - box[0]) / size[0]
        around = math.ceil(ratio) if margin else 0
        left, top = math.floor(box[0] + 1e-6) - around, math.floor(box[1] + 1e-6) - around
        right, bottom = math.ceil(box[2] - 1e-6) + around, math.ceil(box[3] - 1e-6) + around
        pixels = self._pyramid.read(level, left, top, right - left, bottom - top)
        if pixels.size == size:
            return pixels
        inside = (max(0.0, box[0] - left), max(0.0, box[1] - top), min(box[2] - left, right - left), min(box[3] - top, bottom - top))
        return pixels.resize(size, _filter(ratio), box=inside)


def _filter(ratio: float) -> Image.Resampling:
    """The mean of whole pixels where they fit, else one that weighs those at the edge; cubic where pixels must be made up."""
    if ratio < 1:
        return Image.Resampling.BICUBIC
    return Image.Resampling.BOX if abs(ratio - round(ratio)) < 1e-6 else Image.Resampling.HAMMING


def _spans(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
