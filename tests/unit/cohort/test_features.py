"""Feature files of every tool are read as they are, and broken ones are named."""

import h5py
import numpy as np
import pytest
import torch

from prognos.cohort.features import FeatureFileError, feature_shape, read_features

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
COORDS = np.array([[0, 0], [256, 0], [0, 512]], dtype=np.int64)


def hdf5(path, attributes=None, coords_attributes=None, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs.update(attributes or {})
        if coords_attributes:
            file["coords"].attrs.update(coords_attributes)
    return path


def test_clam_writes_features_and_level0_coordinates(tmp_path):
    path = hdf5(tmp_path / "a.h5", features=VALUES, coords=COORDS)
    read = read_features(path)
    assert np.array_equal(read.values, VALUES)
    assert np.array_equal(read.coords, COORDS)
    assert read.units == "level0 pixels"
    assert feature_shape(path) == (3, 4)


def test_trident_says_its_units_by_its_attributes(tmp_path):
    path = hdf5(
        tmp_path / "a.h5",
        {"encoder": "uni_v1"},
        {"patch_size_level0": 512, "overlap": 0},
        features=VALUES.astype(np.float16),
        coords=COORDS * 1.0,
    )
    read = read_features(path)
    assert read.units == "level0 pixels"
    assert read.attributes["patch_size_level0"] == 512
    assert read.attributes["encoder"] == "uni_v1"
    assert read.values.dtype == np.float16


def test_a_leading_axis_of_one_is_no_axis(tmp_path):
    path = hdf5(tmp_path / "a.h5", features=VALUES[None], coords=COORDS[None])
    assert feature_shape(path) == (3, 4)
    assert read_features(path).values.shape == (3, 4)
    assert read_features(path).coords.shape == (3, 2)


@pytest.mark.parametrize(("shape", "expected"), [((0,), (0, 0)), ((0, 4), (0, 4)), ((1, 0, 4), (0, 4))])
def test_a_slide_without_tissue_has_no_patch(tmp_path, shape, expected):
    path = hdf5(tmp_path / "a.h5", features=np.zeros(shape, dtype=np.float32), coords=np.zeros((0, 2), dtype=np.int64))
    assert feature_shape(path) == expected
    assert read_features(path).values.shape == expected
    assert read_features(path).coords.shape == (0, 2)


def test_stamp_writes_micrometres(tmp_path):
    path = hdf5(tmp_path / "a.h5", {"unit": "um", "stamp_version": "2.0"}, feats=VALUES, coords=COORDS * 0.25)
    assert read_features(path).units == "micrometres"
    old = hdf5(tmp_path / "old.h5", feats=VALUES, coords=COORDS)
    assert read_features(old).units == "micrometres"


@pytest.mark.parametrize(
    ("said", "units"),
    [("µm", "micrometres"), ("microns", "micrometres"), ("px", "level0 pixels"), ("a placeholder, not pixels", "unknown")],
)
def test_what_the_file_says_of_its_units_decides(tmp_path, said, units):
    path = hdf5(tmp_path / "a.h5", None, {"units": said}, features=VALUES, coords=COORDS)
    assert read_features(path).units == units


def test_fractional_coordinates_without_a_word_are_of_unknown_unit(tmp_path):
    assert read_features(hdf5(tmp_path / "a.h5", features=VALUES, coords=COORDS * 0.5)).units == "unknown"


def test_atlaspatch_has_five_columns_of_coordinates(tmp_path):
    five = np.column_stack([COORDS, np.full((3, 2), 256), np.zeros(3, dtype=np.int64)])
    assert np.array_equal(read_features(hdf5(tmp_path / "a.h5", features=VALUES, coords=five)).coords, COORDS)
    grouped = hdf5(tmp_path / "b.h5", coords=five, **{"features/uni_v2": VALUES})
    assert feature_shape(grouped) == (3, 4)
    assert np.array_equal(read_features(grouped).values, VALUES)


def test_features_of_several_encoders_in_one_file_are_refused(tmp_path):
    path = hdf5(tmp_path / "a.h5", coords=COORDS, **{"features/uni": VALUES, "features/conch": VALUES})
    with pytest.raises(FeatureFileError, match=r"a.h5: holds features of 2 encoders \(conch, uni\); keep one encoder a file"):
        feature_shape(path)


def test_a_tensor_file_holds_a_tensor_or_a_dictionary(tmp_path):
    torch.save(torch.from_numpy(VALUES), tmp_path / "a.pt")
    torch.save({"features": torch.from_numpy(VALUES).bfloat16()[None], "coords": torch.from_numpy(COORDS)}, tmp_path / "b.pt")
    assert feature_shape(tmp_path / "a.pt") == feature_shape(tmp_path / "b.pt") == (3, 4)
    assert read_features(tmp_path / "a.pt").coords is None
    assert read_features(tmp_path / "a.pt").units == "unknown"
    assert np.array_equal(read_features(tmp_path / "b.pt").values, VALUES)
    assert np.array_equal(read_features(tmp_path / "b.pt").coords, COORDS)


def test_a_tensor_file_never_runs_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save(Harmful(), tmp_path / "a.pt")
    with pytest.raises(FeatureFileError, match=r"a.pt: cannot be read as .pt"):
        read_features(tmp_path / "a.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("content", "held"), [([1, 2], "a list"), ({"x": 1}, "a dictionary with x")])
def test_a_tensor_file_of_something_else_is_refused(tmp_path, content, held):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(FeatureFileError, match=f"a.pt: holds {held}, not a tensor of features"):
        read_features(tmp_path / "a.pt")


def test_an_array_file_is_read(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    assert feature_shape(tmp_path / "a.npy") == (3, 4)
    assert np.array_equal(read_features(tmp_path / "a.npy").values, VALUES)


def test_an_array_of_objects_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[None, "a"]], dtype=object))
    with pytest.raises(FeatureFileError, match=r"a.npy: cannot be read as .npy \(\d+ bytes; Object arrays cannot be loaded"):
        read_features(tmp_path / "a.npy")


def test_features_that_are_text_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([["x", "y"]]))
    with pytest.raises(FeatureFileError, match=r"a.npy: features are of type <U1; expected numbers"):
        read_features(tmp_path / "a.npy")


def test_features_of_another_number_of_axes_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    with pytest.raises(FeatureFileError, match=r"a.npy: features have shape \(2, 3, 4\); expected \(patches, width\)"):
        feature_shape(tmp_path / "a.npy")


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(FeatureFileError, match=r"a.h5: there is no such file in"):
        feature_shape(tmp_path / "a.h5")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(FeatureFileError, match=r"a.csv: '.csv' is not a feature format; known: .h5, .hdf5, .pt, .npy, .zarr"):
        read_features(tmp_path / "a.csv")


def test_a_truncated_file_is_named_with_its_size(tmp_path):
    path = hdf5(tmp_path / "a.h5", features=VALUES, coords=COORDS)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FeatureFileError, match=r"a.h5: cannot be read as .h5 \(1000 bytes; Unable to .*truncated"):
        feature_shape(path)
