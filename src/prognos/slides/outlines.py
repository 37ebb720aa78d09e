"""Tissue as files: a PNG to look at, and a GeoJSON that QuPath opens and in which a user may draw it anew."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from scipy import ndimage

from prognos import files
from prognos.slides.polygons import Polygon, mask_of, polygons_of
from prognos.slides.reading import Slide, SlideError
from prognos.slides.tissue import Tissue, mask_scale

TISSUE, PEN, BLURRED = "Tissue", "Pen", "Out of focus"
COLOURS: Mapping[str, tuple[int, int, int]] = {TISSUE: (46, 139, 87), PEN: (230, 126, 34), BLURRED: (52, 101, 164)}
"""Classes of outlines in QuPath. Read back, areas of any other class are tissue, of `Pen` are left out, and `Out of focus` is a remark."""


def save_tissue(tissue: Tissue, slide: Slide, folder: str | os.PathLike[str]) -> None:
    """Writes SLIDE_ID.geojson, outlines in level-0 pixels, and SLIDE_ID.png, the thumbnail with the outlines drawn on it.

    Raises:
        OutputError: the folder cannot be written in.
        SlideError: the slide cannot be read.
    """
    masks = {TISSUE: tissue.mask, PEN: tissue.pen, BLURRED: tissue.blurred}
    features = [
        _feature(f"{name} {number}", name, polygon, tissue.downsample)
        for name, mask in masks.items()
        for number, polygon in enumerate(polygons_of(mask), start=1)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    files.write_text(Path(folder) / f"{slide.slide_id}.geojson", json.dumps(collection, separators=(",", ":")) + "\n")
    pixels = slide.thumbnail(max(tissue.mask.shape))
    for name, mask in masks.items():
        pixels[mask & ~ndimage.binary_erosion(mask)] = COLOURS[name]
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    files.write_bytes(Path(folder) / f"{slide.slide_id}.png", content.getvalue())


def tissue_from_geojson(path: str | os.PathLike[str], slide: Slide) -> Tissue:
    """The tissue that a GeoJSON file draws on a slide, in level-0 pixels: QuPath's, ours, or any other with polygons.

    Every polygon is tissue, except those of the classes `Pen`, which are cut out, and `Out of focus`.

    Raises:
        SlideError: the file is missing or no GeoJSON, holds something that is no polygon, or draws beside the slide.
    """
    file = Path(path)
    downsample, shape = mask_scale(slide)
    polygons: dict[str, list[Polygon]] = {TISSUE: [], PEN: [], BLURRED: []}
    for number, feature in enumerate(_features(file), start=1):
        where = f"{file.name}, feature {number}"
        for polygon in _polygons(feature.get("geometry"), where):
            polygons[_class(feature)].append([ring / downsample for ring in polygon])
    masks = {name: mask_of(drawn, shape) for name, drawn in polygons.items()}
    n_drawn = sum(map(len, polygons.values()))
    if n_drawn and not any(mask.any() for mask in masks.values()):
        raise SlideError(
            f"{file.name}: none of its {n_drawn} polygons lies on {slide.slide_id} ({slide.size[0]} x {slide.size[1]} pixels); "
            "coordinates are pixels of level 0: export them as QuPath does, without scaling."
        )
    return _tissue(masks, downsample, file.name)


def _tissue(masks: Mapping[str, Bool[np.ndarray, "height width"]], downsample: float, source: str) -> Tissue:
    mask = masks[TISSUE] & ~masks[PEN]
    return Tissue(mask, downsample, masks[PEN], masks[BLURRED] & mask, source)


def _feature(name: str, kind: str, polygon: Polygon, downsample: float) -> dict[str, Any]:
    rings = [(ring * downsample).round(2).tolist() for ring in polygon]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "name": name,
            "classification": {"name": kind, "color": list(COLOURS[kind])},
        },
    }


def _features(file: Path) -> list[dict[str, Any]]:
    """The features of a GeoJSON file: of a collection, a list, a single feature or a bare geometry."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SlideError(f"{file.name}: there is no such file in {file.parent}; correct the path.") from error
    except (OSError, ValueError) as error:
        raise SlideError(f"{file.name}: cannot be read as GeoJSON ({error}); export it again.") from error
    found = content
    if isinstance(content, dict):
        found = content.get("features", [content if content.get("type") == "Feature" else {"type": "Feature", "geometry": content}])
    if not isinstance(found, list) or not all(isinstance(feature, dict) for feature in found):
        raise SlideError(f"{file.name}: is JSON but no GeoJSON FeatureCollection; export annotations as GeoJSON.")
    return found


def _class(feature: Mapping[str, Any]) -> str:
    properties = feature.get("properties") or {}
    said = properties.get("classification") or {}
    name = said.get("name") if isinstance(said, dict) else said
    return name if name in (PEN, BLURRED) else TISSUE


def _polygons(geometry: Any, where: str) -> list[Polygon]:
    """The polygons of a geometry, in its own units."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise SlideError(f"{where}: a {kind or 'missing geometry'} encloses nothing; keep Polygon and MultiPolygon only.")
    try:
        several = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
        return [[_ring(points) for points in rings] for rings in several]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SlideError(f"{where}: its coordinates are no rings of at least three x, y; export it again.") from error


def _ring(points: Any) -> np.ndarray:
    ring = np.array(points, dtype=np.float64)[:, :2]
    if ring.shape[1] != 2 or not np.isfinite(ring).all():
        raise ValueError("not x, y")
    if not np.array_equal(ring[0], ring[-1]):
        ring = np.concatenate([ring, ring[:1]])
    if len(ring) < 4:
        raise ValueError("fewer than three corners")
    return ring
