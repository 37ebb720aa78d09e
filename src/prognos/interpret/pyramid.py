"""Heat maps as pyramidal TIFF, which viewers of slides open beside the slide."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import UInt8

from prognos import files
from prognos.interpret.raster import Canvas

TILE = 256


def write_pyramid(
    path: Path, canvas: Canvas, colours: UInt8[np.ndarray, "patches 3"], *, mpp: float | None = None, description: str = ""
) -> Path:
    """Writes a map as tiled TIFF with levels half as large each, deflated; returns the path.

    Args:
        path: ends in `.tiff`.
        canvas: which patch is where; its pixels are those of the largest level.
        colours: of each patch.
        mpp: microns a level-0 pixel of the slide; the file then says how large its own pixels are.
        description: what is shown.
    """
    with files.writing(path) as temporary, tifffile.TiffWriter(temporary) as writer:
        for number, level in enumerate(_levels(canvas)):
            pixels_a_centimetre = None if mpp is None else 1e4 / (mpp * level.downsample)
            writer.write(
                level.painted(colours),
                photometric="rgb",
                tile=(TILE, TILE),
                compression="zlib",
                compressionargs={"level": 3},
                subfiletype=1 if number else 0,
                description=description if not number else None,
                metadata=None,
                software=False,
                resolution=None if pixels_a_centimetre is None else (pixels_a_centimetre, pixels_a_centimetre),
                resolutionunit=None if pixels_a_centimetre is None else "CENTIMETER",
            )
    return path


def _levels(canvas: Canvas) -> Iterator[Canvas]:
    """The canvas and every half of it, down to a single tile."""
    yield canvas
    while max(canvas.size) > TILE:
        canvas = Canvas(canvas.owner[::2, ::2], canvas.downsample * 2)
        yield canvas
