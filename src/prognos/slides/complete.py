"""Whether a slide file is there to its last byte, by what its headers say of where the data lie; no pixel is decoded."""

import logging
import struct
from pathlib import Path

import tifffile

TIFF_FAMILY = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide")
ENDS = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
"""What the last bytes of an image hold; some programs write a few bytes after it."""

TAIL = 65_536
BMP_LENGTH = struct.Struct("<2xI")
"""The start of a BMP file, up to and with its length."""

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it tells the terminal of every oddity of a scanner


def missing_part(path: Path) -> str | None:
    """What of a file is missing, a part of a sentence; None where nothing is, where its format does not say, or where it is empty."""
    suffix, size = path.suffix.lower(), path.stat().st_size
    if suffix in TIFF_FAMILY:
        return _missing_tiles(path)
    if suffix in ENDS and size > 0 and ENDS[suffix] not in _tail(path):
        return f"the end of a {suffix} image is not in its {size:,} bytes"
    if suffix == ".bmp" and size >= BMP_LENGTH.size:
        with open(path, "rb") as file:
            return _shortage(path, *BMP_LENGTH.unpack(file.read(BMP_LENGTH.size)))
    return None


def _missing_tiles(path: Path) -> str | None:
    """Compares where the directories of a TIFF place its tiles or strips with the size of the file."""
    try:
        with tifffile.TiffFile(path) as file:
            ends = [offset + length for page in file.pages for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False)]
    except (tifffile.TiffFileError, ValueError, OSError, struct.error, IndexError, KeyError):
        return None  # OpenSlide reads dialects that this reader does not, and it has opened the file
    return _shortage(path, max(ends, default=0))


def _shortage(path: Path, stated: int) -> str | None:
    size = path.stat().st_size
    return f"its headers speak of {stated:,} bytes, but it has {size:,}" if stated > size else None


def _tail(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read()
