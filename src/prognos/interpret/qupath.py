"""Maps as GeoJSON: a square a patch, which QuPath reads as tiles with measurements and a class."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from prognos import files
from prognos.interpret.maps import SlideMaps

AT_ONCE = 4096
"""Patches that are turned into text at a time."""


def write_geojson(
    path: Path,
    slide: SlideMaps,
    classes: Sequence[tuple[str, UInt8[np.ndarray, "3"]]],
    of_patch: Int[np.ndarray, " patches"],
    with_percentiles: Sequence[str] = (),
) -> Path:
    """Writes one feature a patch: its square in level-0 pixels, every number, its class; returns the path.

    Args:
        path: ends in `.geojson`.
        slide: the maps.
        classes: name and colour of each class.
        of_patch: place in `classes` of each patch.
        with_percentiles: maps whose percentiles stand beside their numbers.
    """
    with files.writing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, text in enumerate(_features(slide, classes, of_patch, with_percentiles)):
            file.write(("\n" if not number else ",\n") + text)
        file.write("\n]}\n")
    return path


def _features(
    slide: SlideMaps, classes: Sequence[tuple[str, np.ndarray]], of_patch: np.ndarray, with_percentiles: Sequence[str]
) -> Iterator[str]:
    """The features as text, in the order of the patches."""
    said = [json.dumps({"name": name, "color": [int(part) for part in colour]}) for name, colour in classes]
    columns = dict(slide.raw) | {f"{name} percentile": slide.percentiles[name] for name in with_percentiles}
    template = ", ".join(f"{json.dumps(name).replace('%', '%%')}: %.5g" for name in columns)
    side = slide.places.side
    for start in range(0, len(slide), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        measured = zip(*(values[part].tolist() for values in columns.values()), strict=True)
        for (x, y), kind, numbers in zip(slide.places.coords[part].tolist(), of_patch[part].tolist(), measured, strict=True):
            ring = f"[[{x}, {y}], [{x + side}, {y}], [{x + side}, {y + side}], [{x}, {y + side}], [{x}, {y}]]"
            yield (
                f'{{"type": "Feature", "geometry": {{"type": "Polygon", "coordinates": [{ring}]}}, '
                f'"properties": {{"objectType": "tile", "classification": {said[kind]}, "measurements": {{{template % numbers}}}}}}}'
            )
