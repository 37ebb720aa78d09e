"""Packed patch features on disk: many slides in one float16 array, mapped into memory.

A pack is three files: `KEY.values.npy` (patches, d_patch) float16, `KEY.coords.npy` (patches, 2) float32 and, written last,
`KEY.json` with the place of each slide. A pack without its index does not exist, so a half-written one is never read. Slides
are known by the content of their feature files, not by name: subsets of a cohort share one pack, and a changed file
is packed anew. Deleting the folder is safe.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Shaped

from prognos.cohort.features import feature_shape, read_features
from prognos.files import write_json, write_text, writing

try:
    import fcntl
except ImportError:  # not on Windows; there two processes may pack the same slides, which is only slower
    fcntl = None  # type: ignore[assignment]

VERSION = 1
EDGE = 64 * 1024
"""Bytes at either end of a feature file that its key is made of, beside size and time of change."""

README = "Patch features that prognos packed for fast reading. Made again when needed: this folder may be deleted.\n"


@dataclass(frozen=True)
class SlideFile:
    """The feature file of one slide.

    Args:
        slide_id: its name in messages.
        path: where it is.
        key: what its content is known by.
        shape: patches, width.
    """

    slide_id: str
    path: str
    key: str
    shape: tuple[int, int]

    @classmethod
    def of(cls, slide_id: str, path: str) -> "SlideFile":
        """The file of a slide; its values are not read.

        Raises:
            FeatureFileError: the file is missing or not a feature file.
        """
        try:
            status = os.stat(path)
        except OSError:
            return cls(slide_id, path, "", feature_shape(path))  # raises, and says what is wrong with it
        key = _key_of_folder(path) if os.path.isdir(path) else _key(path, status.st_size, status.st_mtime_ns)
        return cls(slide_id, path, key, _shape(path, key))


@lru_cache(maxsize=65536)
def _key(path: str, size: int, changed_ns: int) -> str:
    """Hash of a file's size, time of change, first and last bytes."""
    digest = hashlib.sha256(f"{VERSION} {Path(path).suffix} {size} {changed_ns}".encode())
    with open(path, "rb") as file:
        digest.update(file.read(EDGE))
        file.seek(max(EDGE, size - EDGE))
        digest.update(file.read(EDGE))
    return digest.hexdigest()[:32]


def _key_of_folder(path: str) -> str:
    """Hash of the names, sizes and times of change of all files of a folder, as SpatialData writes one."""
    digest = hashlib.sha256(f"{VERSION} {Path(path).suffix}".encode())
    for file in sorted(Path(path).rglob("*")):
        status = file.stat()
        digest.update(f"{file.relative_to(path).as_posix()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


@lru_cache(maxsize=65536)
def _shape(path: str, key: str) -> tuple[int, int]:
    """Patches and width of a file whose content is known by `key`."""
    return feature_shape(path)


@dataclass(frozen=True)
class HeldSlide:
    """One slide in memory; `origin` is what its file says of encoder and units of the coordinates."""

    values: Float16[np.ndarray, "patches d_patch"]
    coords: Float32[np.ndarray, "patches 2"]
    origin: tuple[str, str]


def read_slide(slide: SlideFile) -> HeldSlide:
    """A slide's features in float16 and its coordinates, NaN where the file has none.

    Raises:
        ValueError: a value is not finite, or larger than float16 holds, or the file changed since its header was read.
    """
    features = read_features(slide.path)
    values = features.values
    if values.shape[0] != slide.shape[0]:
        raise ValueError(f"slide {slide.slide_id}: {slide.path} changed while it was read; start again when it is complete.")
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        raise ValueError(
            f"slide {slide.slide_id}: {len(broken)} of {len(values)} patches have features that are not finite "
            f"(rows {', '.join(map(str, broken[:3]))} of {slide.path}): extract its features again."
        )
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        half = np.ascontiguousarray(values.astype(np.float16))
    if not np.isfinite(half).all():
        raise ValueError(
            f"slide {slide.slide_id}: a feature of {slide.path} is {np.abs(values).max():.6g}, and features are kept as float16, "
            "which ends at 65504: divide the features of all slides by one number."
        )
    coords = np.full((len(half), 2), np.nan) if features.coords is None else features.coords
    return HeldSlide(half, coords.astype(np.float32), (str(features.attributes.get("encoder", "")), features.units))


@dataclass(frozen=True, eq=False)
class Pack:
    """Slides that are packed in one array.

    Args:
        index: the index file.
        places: for each slide's key, its first row and number of rows.
        origins: for each slide's key, encoder and units of the coordinates.
        values: features of all slides, mapped.
        coords: x, y of all patches, mapped.
    """

    index: Path
    places: dict[str, tuple[int, int]]
    origins: dict[str, tuple[str, str]]
    values: Float16[np.ndarray, "patches d_patch"]
    coords: Float32[np.ndarray, "patches 2"]

    @classmethod
    def open(cls, index: Path) -> "Pack":
        """The pack of an index file.

        Raises:
            OSError, ValueError, KeyError: its files are not there or not whole.
        """
        said = json.loads(index.read_text(encoding="utf-8"))
        values, coords = (_mapped(index.with_suffix(f".{name}.npy")) for name in ("values", "coords"))
        if said["version"] != VERSION or values.shape != (said["n_patches"], said["d_patch"]) or coords.shape != (said["n_patches"], 2):
            raise ValueError(f"{index} does not fit its arrays")
        places = {key: (first, count) for key, first, count, *_ in said["slides"]}
        origins = {key: (encoder, units) for key, _, _, encoder, units in said["slides"]}
        return cls(index, places, origins, values, coords)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pack.open, (self.index,)  # another process maps the same file; an array would be copied


def packs(folder: Path) -> Iterator[Pack]:
    """The whole packs of a folder; what is not whole is passed over and written anew when its slides are asked for."""
    for index in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield Pack.open(index)


def write_pack(folder: Path, slides: Sequence[SlideFile], progress: Callable[[int, int], None] | None = None) -> Path:
    """Packs slides into the folder; returns the index file, which is written last.

    Args:
        folder: made when it is not there.
        slides: all of one width, no key twice.
        progress: called with the number of slides done and to do.
    """
    name = hashlib.sha256(" ".join(sorted(slide.key for slide in slides)).encode()).hexdigest()[:24]
    index = folder / f"{name}.json"
    n_patches, d_patch = sum(slide.shape[0] for slide in slides), max(slide.shape[1] for slide in slides)
    rows: list[tuple[str, int, int, str, str]] = []
    first = 0
    with (
        writing(index.with_suffix(".values.npy")) as values_path,
        writing(index.with_suffix(".coords.npy")) as coords_path,
        open(values_path, "wb") as values,
        open(coords_path, "wb") as coords,
    ):
        _write_header(values, np.float16, (n_patches, d_patch))
        _write_header(coords, np.float32, (n_patches, 2))
        for done, slide in enumerate(slides, start=1):
            held = read_slide(slide)
            values.write(held.values.tobytes())
            coords.write(held.coords.tobytes())
            rows.append((slide.key, first, len(held.values), *held.origin))
            first += len(held.values)
            if progress is not None:
                progress(done, len(slides))
    return write_json(index, {"version": VERSION, "n_patches": n_patches, "d_patch": d_patch, "slides": rows})


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Other processes that want to pack into the folder wait; it is made when it is not there."""
    if not (folder / "README.txt").exists():
        write_text(folder / "README.txt", README)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network disk without locks: two processes may pack the same slides, which is only slower
            fcntl.flock(handle, fcntl.LOCK_EX)
            for left in folder.glob(".tmp-*.npy"):  # of a process that was killed: nobody else packs here now
                left.unlink()
        yield
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """The user's folder for packed features: `prognos/store` in XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "prognos" / "store"


def _mapped(path: Path) -> Shaped[np.ndarray, "patches _"]:
    """An array of a `.npy` file, mapped into memory, as a plain array."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _write_header(file: Any, kind: Any, shape: tuple[int, int]) -> None:
    """The header of a `.npy` file; rows are then appended by plain writes, which say so when the disk is full."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
