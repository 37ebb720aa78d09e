"""Patch features of one slide, whoever wrote them: CLAM, TRIDENT, STAMP, AtlasPatch, hs2p, LazySlide, `.pt`, `.npy`.

What is inside decides, not the name of the tool:

| layout | values | coordinates |
|---|---|---|
| CLAM, TRIDENT, ours | dataset `features` (N, d) or (1, N, d) | `coords` (N, 2), level-0 pixels |
| STAMP | dataset `feats` (N, d) | `coords` (N, 2), micrometres |
| AtlasPatch | dataset `features`, or one dataset of the group `features` | `coords` (N, 5): x, y, width, height, level |
| `.pt` | a tensor, or a dictionary with `features` or `feats`, perhaps `coords` | as in the dictionary |
| `.npy` | an array (N, d) | none |
| hs2p, slide2vec | `.pt` or `.npy` | `SLIDE.coordinates.npz` beside it or in `../tiles`; its `.meta.json` says the units |
| LazySlide, SpatialData | `.zarr`: a table of tiles | the tiles' shapes; see `features_spatialdata` |

A slide on which no tissue was found has N = 0, which TRIDENT writes as shape (0,) or (0, d).
"""

import json
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Num

SUFFIXES = (".h5", ".hdf5", ".pt", ".npy", ".zarr")
LEVEL0 = "level0 pixels"
MICROMETRES = "micrometres"
UNKNOWN = "unknown"
VALUE_NAMES = ("features", "feats")


class FeatureFileError(ValueError):
    """A feature file that cannot be used; the message names it."""


@dataclass(frozen=True)
class Features:
    """Patch features of one slide.

    Args:
        values: one row a patch, as stored.
        coords: x, y of each patch in `units`; None where the file has none.
        attributes: what the file says about itself.
        units: `level0 pixels`, `micrometres` or `unknown`.
    """

    values: Num[np.ndarray, "patches d_patch"]
    coords: Num[np.ndarray, "patches 2"] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    units: str = UNKNOWN


def feature_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Number of patches and width of the features, read without the values wherever the format allows it.

    Raises:
        FeatureFileError: the file is missing, truncated, or not a feature file.
    """
    file = Path(path)
    with _reporting(file):
        if file.suffix == ".npy":
            return _two_axes(np.load(file, mmap_mode="r", allow_pickle=False).shape, file)
        if file.suffix == ".pt":
            return _two_axes(tuple(_tensors(file)[0].shape), file)
        if file.suffix == ".zarr":
            from prognos.cohort import features_spatialdata  # needs a package that few users have

            return features_spatialdata.feature_shape(file)
        with h5py.File(file, "r", locking=False) as opened:
            shape = _two_axes(_values(opened, file).shape, file)
            if "coords" in opened:
                _check_length(opened["coords"].shape, shape[0], file)
            return shape


def read_features(path: str | os.PathLike[str]) -> Features:
    """All patches of one slide.

    Raises:
        FeatureFileError: the file is missing, truncated, or not a feature file.
    """
    file = Path(path)
    with _reporting(file):
        if file.suffix == ".npy":
            return _with_coords(_plain(np.load(file, allow_pickle=False), file), *_coordinates_beside(file), file, stamp=False)
        if file.suffix == ".pt":
            tensor, own = _tensors(file)
            coords, attributes = _coordinates_beside(file) if own is None else (own.numpy(), {})
            return _with_coords(_plain(tensor.numpy(), file), coords, attributes, file, stamp=False)
        if file.suffix == ".zarr":
            from prognos.cohort import features_spatialdata

            values, coords, attributes = features_spatialdata.read_table(file)
            return _with_coords(_plain(values, file), coords, attributes, file, stamp=False)
        with h5py.File(file, "r", locking=False) as opened:
            source = _values(opened, file)
            attributes = {**_attributes(opened), **_attributes(source)}
            coords = None
            if "coords" in opened:
                attributes |= _attributes(opened["coords"])
                coords = opened["coords"][()]
            return _with_coords(_plain(source[()], file), coords, attributes, file, stamp="feats" in opened)


@contextmanager
def _reporting(file: Path) -> Iterator[None]:
    """Turns what a library says of a broken file into an error that names the file."""
    if not (file.is_dir() if file.suffix == ".zarr" else file.is_file()):
        raise FeatureFileError(f"{file.name}: there is no such {'folder' if file.suffix == '.zarr' else 'file'} in {file.parent}")
    if file.suffix not in SUFFIXES:
        raise FeatureFileError(f"{file.name}: {file.suffix!r} is not a feature format; known: {', '.join(SUFFIXES)}")
    try:
        yield
    except FeatureFileError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:160]
        size = file.stat().st_size
        raise FeatureFileError(f"{file.name}: cannot be read as {file.suffix} ({size} bytes; {reason})") from error


def _values(opened: h5py.File, file: Path) -> h5py.Dataset:
    for name in VALUE_NAMES:
        found = opened.get(name)
        if isinstance(found, h5py.Dataset):
            return found
        if isinstance(found, h5py.Group):
            encoders = [key for key, item in found.items() if isinstance(item, h5py.Dataset)]
            if len(encoders) == 1:
                return found[encoders[0]]
            raise FeatureFileError(
                f"{file.name}: holds features of {len(encoders)} encoders ({', '.join(encoders)}); keep one encoder a file"
            )
    names = ", ".join(opened.keys()) or "nothing"
    raise FeatureFileError(f"{file.name}: no dataset is called 'features' or 'feats'; it holds {names}")


def _tensors(file: Path) -> tuple[Any, Any]:
    """The features and coordinates of a `.pt` file, which is never allowed to run code."""
    import torch

    content = torch.load(file, map_location="cpu", weights_only=True)
    coords = None
    if isinstance(content, dict):
        coords = content.get("coords")
        content = next((content[name] for name in VALUE_NAMES if name in content), content)
    if not isinstance(content, torch.Tensor):
        held = f"a dictionary with {', '.join(map(str, content))}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise FeatureFileError(f"{file.name}: holds {held}, not a tensor of features")
    content = content.detach()
    return content.float() if content.dtype is torch.bfloat16 else content, coords


def _coordinates_beside(file: Path) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The coordinates that hs2p wrote for a slide, in the order of its features, and what it says about them; None without."""
    name = f"{file.stem}.coordinates"
    folder = next((place for place in (file.parent, file.parent.parent / "tiles") if (place / f"{name}.npz").is_file()), None)
    if folder is None:
        return None, {}
    with open(folder / f"{name}.npz", "rb") as opened, np.load(opened, allow_pickle=False) as held:
        coords = np.stack([held["x"], held["y"]], axis=1)
        if "tile_index" in held:
            coords = coords[np.argsort(held["tile_index"], kind="stable")]
    attributes: dict[str, Any] = {}
    if (about := folder / f"{name}.meta.json").is_file():
        said = json.loads(about.read_text(encoding="utf-8"))
        attributes["unit"] = said.get("artifact", {}).get("coordinate_space", "")
        tiling = said.get("tiling", {})
        known = {"patch_size": "requested_tile_size_px", "patch_size_level0": "tile_size_lv0", "overlap": "overlap"}
        attributes |= {ours: tiling[theirs] for ours, theirs in known.items() if theirs in tiling}
    return coords, attributes


def _two_axes(shape: tuple[int, ...], file: Path) -> tuple[int, int]:
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if shape == (0,):
        return 0, 0
    if len(shape) != 2:
        raise FeatureFileError(f"{file.name}: features have shape {shape}; expected (patches, width)")
    return int(shape[0]), int(shape[1])


def _plain(values: np.ndarray, file: Path) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise FeatureFileError(f"{file.name}: features are of type {values.dtype}; expected numbers")
    return values.reshape(_two_axes(values.shape, file))


def _with_coords(values: np.ndarray, coords: np.ndarray | None, attributes: dict[str, Any], file: Path, *, stamp: bool) -> Features:
    if coords is None:
        return Features(values, None, attributes, UNKNOWN)
    coords = coords.reshape(_check_length(coords.shape, len(values), file))
    return Features(values, np.ascontiguousarray(coords[:, :2]), attributes, coordinate_units(coords, attributes, stamp=stamp))


def _check_length(shape: tuple[int, ...], n_patches: int, file: Path) -> tuple[int, int]:
    flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if n_patches == 0 and 0 in flat:
        return 0, 2
    if len(flat) != 2 or flat[1] < 2 or flat[0] != n_patches:
        raise FeatureFileError(f"{file.name}: {n_patches} rows of features but coordinates of shape {shape}")
    return int(flat[0]), int(flat[1])


def coordinate_units(coords: np.ndarray, attributes: Mapping[str, Any], *, stamp: bool = False) -> str:
    """`level0 pixels`, `micrometres` or `unknown`, by what the file says and, failing that, by its layout.

    An attribute `unit` or `units` decides; else attributes that only tools with level-0 coordinates write
    (`patch_size_level0`, `patch_level`, `level0_magnification`); else the layout: STAMP's is in micrometres, whole
    numbers beside `features` are level-0 pixels as CLAM writes them.
    """
    said = str(attributes.get("unit", attributes.get("units", ""))).strip().lower()
    if "placeholder" in said:
        return UNKNOWN
    if said in ("um", "µm", "μm") or said.startswith(("micron", "micromet")):
        return MICROMETRES
    if "pixel" in said or said in ("px", "level0_px"):
        return LEVEL0
    if any(name in attributes for name in ("patch_size_level0", "patch_level", "level0_magnification")):
        return LEVEL0
    if stamp:
        return MICROMETRES
    return LEVEL0 if coords.dtype.kind in "iu" else UNKNOWN


def _attributes(item: Any) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in item.attrs.items()}
