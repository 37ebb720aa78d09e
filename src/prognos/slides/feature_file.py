"""Feature files as TRIDENT and CLAM write them, HDF5 with `features` and `coords`, but in large chunks and always the same bytes.

A reader of those tools finds what it expects. The chunks hold a mebibyte each, where TRIDENT's hold one patch: a file reads many
times faster. Attributes tell how the file was made, so that no second run takes it for its own when it was made otherwise.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Int64

from prognos.files import writing

CHUNK_BYTES = 2**20
STORED = ("float16", "float32")
Fact = int | float | str


@dataclass(frozen=True)
class FeatureFacts:
    """What a feature file says about itself.

    Args:
        coords: attributes of `coords`: where the patches lie, in TRIDENT's names and ours.
        features: attributes of `features`: what made them.
    """

    coords: Mapping[str, Fact]
    features: Mapping[str, Fact]


def write_features(
    path: str | os.PathLike[str],
    blocks: Iterable[Float[np.ndarray, "_ d_patch"]],
    coords: Int64[np.ndarray, "patches 2"],
    shape: tuple[int, str],
    facts: FeatureFacts,
) -> Path:
    """Writes a feature file block by block and returns its path; it is there whole or not at all.

    Args:
        path: the file.
        blocks: features of patches in the order of `coords`, a few at a time.
        coords: upper left corners in level-0 pixels.
        shape: width of the features and how they are stored, `float16` or `float32`.
        facts: the attributes.
    """
    final = Path(path)
    n_patches, (d_patch, stored) = len(coords), shape
    with writing(final) as temporary, h5py.File(temporary, "w", locking=False) as file:
        values = _dataset(file, "features", (n_patches, d_patch), np.dtype(stored))
        filled = 0
        for block in blocks:
            values[filled : filled + len(block)] = block
            filled += len(block)
        assert filled == n_patches
        places = _dataset(file, "coords", (n_patches, 2), np.dtype(np.int64))
        if n_patches:
            places[:] = coords
        for dataset, attributes in ((values, facts.features), (places, facts.coords)):
            for name, value in attributes.items():
                dataset.attrs[name] = value
    return final


def _dataset(file: h5py.File, name: str, shape: tuple[int, int], dtype: np.dtype) -> h5py.Dataset:
    rows = max(1, CHUNK_BYTES // (shape[1] * dtype.itemsize))
    chunks = (min(rows, shape[0]), shape[1]) if shape[0] else None
    return file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, track_times=False)


def facts_in(path: str | os.PathLike[str]) -> dict[str, Fact]:
    """What a feature file says about itself, and `patches`, how many it has; empty where it says nothing or cannot be read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            said = {**file["coords"].attrs, **file["features"].attrs}
            n_patches = int(file["features"].shape[0])
    except (OSError, KeyError):
        return {}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in said.items()} | {"patches": n_patches}


def differences(said: Mapping[str, Fact], wanted: Mapping[str, Fact]) -> list[str]:
    """In words, how a file was made otherwise than is wanted; empty when it was not."""
    if "weights" not in said:
        return ["it does not say how"]
    return [f"{name} {said.get(name, 'unknown')}, now {value}" for name, value in wanted.items() if said.get(name) != value]
