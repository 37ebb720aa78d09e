"""Features that LazySlide keeps in SpatialData are read where zarr and pyarrow are installed; elsewhere the message names them."""

import builtins
import struct

import numpy as np
import pytest

from prognos.cohort.features import FeatureFileError, feature_shape, read_features
from prognos.cohort.features_spatialdata import _bounds

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
SQUARE = [(256, 0), (256, 256), (0, 256), (0, 0), (256, 0)]


def square(left, upper, order="<"):
    """A tile of 256 pixels as well-known binary."""
    points = [coordinate for x, y in SQUARE for coordinate in (x + left, y + upper)]
    return struct.pack(f"{order}BIII10d", 1 if order == "<" else 0, 3, 1, 5, *points)


@pytest.fixture
def packages():
    """Both packages, or a reason to skip."""
    needs = "the extra packages zarr and pyarrow are not installed"
    return pytest.importorskip("zarr", reason=needs), pytest.importorskip("pyarrow", reason=needs)


def store(folder, packages, *, encoders=("resnet50_tiles",), shapes=(2, 0, 1), transformation="identity"):
    """SLIDE.zarr as LazySlide writes it: tiles 0, 1, 2 in a row, their shapes in some order."""
    zarr, pyarrow = packages
    from pyarrow import parquet

    root = zarr.open_group(str(folder), mode="w")
    tables = root.create_group("tables")
    for encoder in encoders:
        table = tables.create_group(encoder)
        about = table.create_group("uns").create_group("spatialdata_attrs")
        for name, text in (("region", "tiles"), ("instance_key", "tile_id")):
            about.create_array(name, shape=(), dtype=str)[()] = text
        table.create_array("X", data=VALUES)
        table.create_group("obs").create_array("tile_id", data=np.arange(3))
    group = root.create_group("shapes").create_group("tiles")
    group.attrs["coordinateTransformations"] = [{"type": transformation}]
    columns = {"tile_id": list(shapes), "geometry": [square(256 * tile, 512) for tile in shapes]}
    parquet.write_table(pyarrow.table(columns), folder / "shapes" / "tiles" / "shapes.parquet")
    return folder


def test_the_corners_of_a_tile_are_found_in_both_orders_of_bytes():
    for order in "<>":
        assert _bounds(square(256, 512, order)) == (256, 512, 512, 768)
    with pytest.raises(ValueError, match="a tile is a geometry of type 1, not a polygon"):
        _bounds(struct.pack("<BIII", 1, 1, 0, 0))


def test_without_the_package_the_message_names_it(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    inner = builtins.__import__

    def without(name, *rest):
        if name == "zarr":
            raise ImportError(name)
        return inner(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FeatureFileError, match=r"a.zarr: reading it needs a package that is not there: pip install zarr pyarrow"):
        feature_shape(tmp_path / "a.zarr")


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FeatureFileError, match=r"a.zarr: there is no such folder in"):
        read_features(tmp_path / "a.zarr")


def test_features_and_coordinates_of_lazyslide_are_read(tmp_path, packages):
    folder = store(tmp_path / "a.zarr", packages)
    read = read_features(folder)
    assert feature_shape(folder) == (3, 4)
    assert np.array_equal(read.values, VALUES)
    assert read.coords.tolist() == [[0, 512], [256, 512], [512, 512]]
    assert read.units == "level0 pixels"
    assert read.attributes["encoder"] == "resnet50_tiles"
    assert read.attributes["patch_size_level0"] == 256


def test_tiles_that_are_transformed_have_an_unknown_unit(tmp_path, packages):
    assert read_features(store(tmp_path / "a.zarr", packages, transformation="scale")).units == "unknown"


def test_a_store_without_or_with_several_tables_of_features_is_refused(tmp_path, packages):
    with pytest.raises(FeatureFileError, match=r"a.zarr: holds no table of features"):
        read_features(store(tmp_path / "a.zarr", packages, encoders=()))
    with pytest.raises(FeatureFileError, match=r"b.zarr: holds features of 2 encoders \(conch_tiles, uni_tiles\); keep one"):
        read_features(store(tmp_path / "b.zarr", packages, encoders=("uni_tiles", "conch_tiles")))


def test_tiles_without_a_shape_are_refused(tmp_path, packages):
    with pytest.raises(FeatureFileError, match=r"a.zarr: 1 of 3 tiles of the features have no shape in tiles"):
        read_features(store(tmp_path / "a.zarr", packages, shapes=(0, 1)))
