"""The pixels of a slide file level by level: through OpenSlide, or through Pillow for a plain image."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import openslide
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

WHITE = (255, 255, 255)
SCANNER_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm")
PLAIN_IMAGES: Mapping[str, type[ImageFile.ImageFile]] = {
    ".png": PngImagePlugin.PngImageFile,
    ".jpg": JpegImagePlugin.JpegImageFile,
    ".jpeg": JpegImagePlugin.JpegImageFile,
    ".bmp": BmpImagePlugin.BmpImageFile,
}
FLAT_TIFF = (".tif", ".tiff")
"""A TIFF without tiles is no slide to OpenSlide; it is read as a plain image."""

MOST_PLAIN_PIXELS = 250_000_000
"""A plain image is held in memory whole, at four bytes a pixel: at most one gigabyte."""

READABLE_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr")


class SlideError(ValueError):
    """A slide that cannot be used; the message names it."""


@runtime_checkable
class Pyramid(Protocol):
    """The levels of one image, level 0 the largest; what is outside an image is white.

    Args:
        kind: the format in OpenSlide's or Pillow's word.
        size: width and height of level 0 in pixels.
        downsamples: level-0 pixels a pixel of each level, rising from 1.
        properties: what the file says about itself, in OpenSlide's names.
    """

    kind: str
    size: tuple[int, int]
    downsamples: tuple[float, ...]
    properties: Mapping[str, str]

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        """The RGB pixels of a rectangle, all in pixels of the level; several threads may read at once."""
        ...

    def close(self) -> None:
        """Frees the file and the memory."""
        ...


def open_pyramid(path: Path) -> Pyramid:
    """The levels of a file; only its headers are read.

    Raises:
        SlideError: there is no such file, or it is empty, damaged or of no format that we read.
    """
    if not path.is_file():
        raise SlideError(f"{path.name}: there is no such file in {path.parent}; correct the path.")
    if path.stat().st_size == 0:
        raise SlideError(f"{path.name}: the file is empty; copy it again.")
    suffix = path.suffix.lower()
    if suffix in PLAIN_IMAGES:
        return PlainImage(path, PLAIN_IMAGES[suffix])
    if suffix in FLAT_TIFF and openslide.OpenSlide.detect_format(path) is None:
        return PlainImage(path, TiffImagePlugin.TiffImageFile)
    return ScannerFile(path)


class ScannerFile:
    """A slide that OpenSlide reads. See `Pyramid`."""

    def __init__(self, path: Path):
        self._name = path.name
        try:
            self._file = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideError(
                f"{path.name}: OpenSlide knows no slide format that this file has ({path.stat().st_size:,} bytes); "
                "copy it again if it was cut, or convert it to a pyramidal TIFF."
            ) from error
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(f"{path.name}: cannot be opened ({_line(error)}); copy it again or leave it out.") from error
        self.kind = str(self._file.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"))
        self.size: tuple[int, int] = self._file.dimensions
        self.downsamples: tuple[float, ...] = tuple(self._file.level_downsamples)
        self.properties: Mapping[str, str] = dict(self._file.properties)

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        """The RGB pixels of a rectangle. See `Pyramid`."""
        downsample = self.downsamples[level]
        corner = round(left * downsample), round(top * downsample)
        try:
            pixels = self._file.read_region(corner, level, (width, height))
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(
                f"{self._name}: {width} x {height} pixels of level {level} at {corner} cannot be read ({_line(error)}); "
                "the file is damaged: copy it again or leave it out."
            ) from error
        return _on_white(pixels)

    def close(self) -> None:
        """Frees the file."""
        self._file.close()


class PlainImage:
    """An image without levels that Pillow reads, decoded once at the first reading and kept. See `Pyramid`."""

    def __init__(self, path: Path, reader: type[ImageFile.ImageFile]):
        self._path = path
        self._image = _opened(path, reader)
        self.kind = (self._image.format or "unknown").lower()
        self.size = self._image.size
        self.downsamples: tuple[float, ...] = (1.0,)
        self.properties: Mapping[str, str] = _resolution_tags(self._image)
        if self._image.mode not in READABLE_MODES:
            self._image.close()
            raise SlideError(f"{path.name}: pixels are of mode {self._image.mode}, not 8-bit colours; export it as 8-bit RGB.")
        n_pixels = self.size[0] * self.size[1]
        if n_pixels > MOST_PLAIN_PIXELS:
            self._image.close()
            raise SlideError(
                f"{path.name}: {self.size[0]:,} x {self.size[1]:,} pixels without levels would have to be held in memory whole "
                f"(at most {MOST_PLAIN_PIXELS:,} are); convert it to a pyramidal TIFF."
            )
        self._decoded: Image.Image | None = None
        self._decoding = threading.Lock()

    def read(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        """The RGB pixels of a rectangle. See `Pyramid`."""
        assert level == 0, "a plain image has one level"
        whole = self._whole()
        box = (left, top, left + width, top + height)
        if left >= 0 and top >= 0 and box[2] <= whole.width and box[3] <= whole.height:
            return whole.crop(box)
        canvas = Image.new("RGB", (width, height), WHITE)
        inside = (max(left, 0), max(top, 0), min(box[2], whole.width), min(box[3], whole.height))
        if inside[0] < inside[2] and inside[1] < inside[3]:
            canvas.paste(whole.crop(inside), (inside[0] - left, inside[1] - top))
        return canvas

    def close(self) -> None:
        """Frees the file and the memory."""
        self._image.close()
        self._decoded = None

    def _whole(self) -> Image.Image:
        with self._decoding:
            if self._decoded is None:
                try:
                    self._decoded = _on_white(self._image)
                except (OSError, SyntaxError, ValueError, EOFError) as error:
                    raise SlideError(
                        f"{self._path.name}: cannot be decoded ({_line(error)}); the file is damaged: copy it again or leave it out."
                    ) from error
                self._image.close()
        return self._decoded


def _opened(path: Path, reader: type[ImageFile.ImageFile]) -> ImageFile.ImageFile:
    # The reader of the format, not Image.open: that refuses large images by a setting of the whole process.
    try:
        return reader(os.fspath(path))
    except (OSError, SyntaxError, ValueError, EOFError, KeyError) as error:
        raise SlideError(
            f"{path.name}: cannot be read as {path.suffix} ({path.stat().st_size:,} bytes; {_line(error)}); copy it again or leave it out."
        ) from error


def _on_white(image: Image.Image) -> Image.Image:
    """RGB pixels, what is transparent in front of white."""
    if image.mode in ("P", "1") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in ("RGBA", "LA"):
        return image.convert("RGB")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, WHITE)
    canvas.paste(image.convert("RGB"), mask=alpha)
    return canvas


def _resolution_tags(image: ImageFile.ImageFile) -> dict[str, str]:
    """The microns a pixel that the dots per inch of a plain image amount to, in OpenSlide's names."""
    dpi = image.info.get("dpi")
    if not dpi or min(dpi) <= 0:
        return {}
    return {f"openslide.mpp-{axis}": repr(25_400 / float(value)) for axis, value in zip("xy", dpi, strict=True)}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
