"""Patch features that LazySlide keeps in SpatialData: a folder SLIDE.zarr with one table of features, and shapes of the tiles.

A table's matrix `X` holds one row a tile; `uns/spatialdata_attrs` names the shapes that its rows annotate (`region`) and the
column of tile ids (`instance_key`). Shapes are a Parquet file with a column `geometry` of polygons as well-known binary, in level-0
pixels as long as their transformation to the slide is the identity.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from prognos.cohort.features import LEVEL0, FeatureFileError

POLYGON = 3


def feature_shape(folder: Path) -> tuple[int, int]:
    """Number of tiles and width of the features; the values are not read.

    Raises:
        FeatureFileError: zarr is not installed, or the folder has no table of features, or several.
    """
    shape = _table(folder)["X"].shape
    return int(shape[0]), int(shape[1])


def read_table(folder: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """The features of all tiles; x, y of their upper left corners, where there are shapes; what the folder says about both.

    Raises:
        FeatureFileError: a package is not installed, there is no table of features, or several, or tiles lack a shape.
    """
    table = _table(folder)
    attributes: dict[str, Any] = {"encoder": table.basename}
    about = table["uns/spatialdata_attrs"]
    region, instance_key = str(about["region"][()]), str(about["instance_key"][()])
    shapes = folder / "shapes" / region
    if not (shapes / "shapes.parquet").is_file():
        return table["X"][:], None, attributes
    tile_ids, boxes = _boxes(shapes / "shapes.parquet", instance_key, folder.name)
    wanted = np.asarray(table[f"obs/{instance_key}"][:])
    places = dict(zip(tile_ids, range(len(tile_ids)), strict=True))
    absent = [tile for tile in wanted.tolist() if tile not in places]
    if absent:
        raise FeatureFileError(f"{folder.name}: {len(absent)} of {len(wanted)} tiles of the features have no shape in {region}")
    boxes = boxes[[places[tile] for tile in wanted.tolist()]].reshape(-1, 4)
    kinds = {step.get("type") for step in _group(shapes).attrs.get("coordinateTransformations", [])}
    attributes["unit"] = LEVEL0 if kinds <= {"identity"} else "transformed; a placeholder"
    if len(boxes):
        attributes["patch_size_level0"] = round(float(boxes[0, 2] - boxes[0, 0]))
    corners = boxes[:, :2]
    return table["X"][:], corners.astype(np.int64) if np.array_equal(corners, corners.round()) else corners, attributes


def _table(folder: Path) -> Any:
    """The only table with a matrix that annotates shapes."""
    root = _group(folder)
    tables = dict(root["tables"].groups()) if "tables" in root else {}
    found = {name: table for name, table in tables.items() if "uns/spatialdata_attrs/region" in table and _is_matrix(table["X"])}
    if len(found) != 1:
        held = f"features of {len(found)} encoders ({', '.join(sorted(found))}); keep one" if found else "no table of features"
        raise FeatureFileError(f"{folder.name}: holds {held}")
    return next(iter(found.values()))


def _is_matrix(item: Any) -> bool:
    """False for sparse matrices, which are groups."""
    return len(getattr(item, "shape", ())) == 2


def _group(folder: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise FeatureFileError(f"{folder.name}: reading it needs a package that is not there: pip install zarr pyarrow") from error
    return zarr.open_group(str(folder), mode="r")


def _boxes(path: Path, instance_key: str, name: str) -> tuple[list[Any], np.ndarray]:
    """Ids of the tiles and their bounds: left, upper, right and lower edge."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise FeatureFileError(f"{name}: reading it needs a package that is not there: pip install zarr pyarrow") from error
    columns = parquet.read_table(path, columns=[instance_key, "geometry"])
    boxes = [_bounds(shape) for shape in columns.column("geometry").to_pylist()]
    return columns.column(instance_key).to_pylist(), np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _bounds(polygon: bytes) -> tuple[float, float, float, float]:
    """The bounds of the outer ring of a polygon in well-known binary."""
    order = "<" if polygon[0] == 1 else ">"
    kind, n_rings, n_points = struct.unpack_from(f"{order}III", polygon, 1)
    if kind != POLYGON or n_rings < 1:
        raise ValueError(f"a tile is a geometry of type {kind}, not a polygon")
    points = np.frombuffer(polygon, dtype=f"{order}f8", count=2 * n_points, offset=13).reshape(-1, 2)
    (left, upper), (right, lower) = points.min(axis=0), points.max(axis=0)
    return float(left), float(upper), float(right), float(lower)
