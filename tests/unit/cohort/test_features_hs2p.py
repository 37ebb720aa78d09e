"""Coordinates that hs2p keeps beside the features are found, in the order of the features, with their units."""

import json

import numpy as np
import pytest
import torch

from prognos.cohort.features import FeatureFileError, feature_shape, read_features

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
META = {
    "artifact": {"coordinate_space": "level0_px"},
    "tiling": {"requested_tile_size_px": 256, "tile_size_lv0": 512, "overlap": 0.0},
}


def coordinates(folder, *, order=(0, 1, 2), meta=META):
    """Three tiles in a row, listed in some order."""
    folder.mkdir(exist_ok=True)
    order = np.array(order)
    np.savez(folder / "a.coordinates.npz", tile_index=order.astype(np.int32), x=order * 512, y=np.full(len(order), 7))
    if meta is not None:
        (folder / "a.coordinates.meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("suffix", [".pt", ".npy"])
@pytest.mark.parametrize("place", ["tile_embeddings", "tiles"])
def test_coordinates_lie_beside_the_features_or_among_the_tiles_of_the_run(tmp_path, suffix, place):
    coordinates(tmp_path / place, order=(2, 0, 1))
    path = tmp_path / "tile_embeddings" / f"a{suffix}"
    path.parent.mkdir(exist_ok=True)
    if suffix == ".pt":
        torch.save(torch.from_numpy(VALUES), path)
    else:
        np.save(path, VALUES)
    read = read_features(path)
    assert feature_shape(path) == (3, 4)
    assert np.array_equal(read.values, VALUES)
    assert read.coords.tolist() == [[0, 7], [512, 7], [1024, 7]]
    assert read.units == "level0 pixels"
    assert (read.attributes["patch_size"], read.attributes["patch_size_level0"]) == (256, 512)


def test_other_spaces_of_coordinates_are_not_guessed(tmp_path):
    coordinates(tmp_path, meta={"artifact": {"coordinate_space": "microns"}})
    np.save(tmp_path / "a.npy", VALUES)
    assert read_features(tmp_path / "a.npy").units == "micrometres"
    coordinates(tmp_path, meta={"artifact": {"coordinate_space": "placeholder"}})
    assert read_features(tmp_path / "a.npy").units == "unknown"
    (tmp_path / "a.coordinates.meta.json").unlink()
    assert read_features(tmp_path / "a.npy").units == "level0 pixels"  # whole numbers


def test_coordinates_inside_the_file_go_before_those_beside_it(tmp_path):
    coordinates(tmp_path)
    torch.save({"features": torch.from_numpy(VALUES), "coords": torch.ones(3, 2)}, tmp_path / "a.pt")
    assert read_features(tmp_path / "a.pt").coords.tolist() == [[1, 1]] * 3


def test_coordinates_of_another_number_of_patches_are_refused(tmp_path):
    coordinates(tmp_path, order=(0, 1))
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(FeatureFileError, match=r"a.npy: 3 rows of features but coordinates of shape \(2, 2\)"):
        read_features(tmp_path / "a.npy")


def test_coordinates_that_cannot_be_read_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / "a.coordinates.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FeatureFileError, match=r"a.npy: cannot be read as .npy"):
        read_features(tmp_path / "a.npy")
