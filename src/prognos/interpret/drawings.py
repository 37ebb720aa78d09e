"""The files of one slide: each map as PNG and pyramidal TIFF, classes, and GeoJSON."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from prognos.interpret.colours import ClassColours, amount_colours
from prognos.interpret.maps import MapKind, PatientMaps, SlideMaps, ends_of
from prognos.interpret.pictures import Legend, class_legend, ground_of, overlaid, save_png, sheet, small_multiples
from prognos.interpret.pyramid import write_pyramid
from prognos.interpret.qupath import write_geojson
from prognos.interpret.raster import Canvas, canvas_of

SMALL = 360
"""Longest side of a small map."""

BANDS = 5
"""Classes of patches by percentile, where a model has none of its own."""


@dataclass(frozen=True)
class Drawing:
    """What is needed to draw one slide.

    Args:
        maps: of the patient.
        slide: which of the slides.
        model: name of the model, for titles.
        thumbnail: of the slide; None without its file.
        extent: width and height of the slide in level-0 pixels.
        mpp: microns a level-0 pixel; None where unknown.
    """

    maps: PatientMaps
    slide: SlideMaps
    model: str
    thumbnail: UInt8[np.ndarray, "height width 3"] | None
    extent: tuple[int, int]
    mpp: float | None

    def title(self, what: str) -> str:
        """What a picture shows, of whom and by which model."""
        return f"{what}: {self.model}, patient {self.maps.patient}, slide {self.slide.slide_id}"


def range_of(maps: PatientMaps, name: str) -> tuple[float, float]:
    """Ends of the raw scale of a map, the same for all slides of the patient: from 0, or from the smallest number below it."""
    ends = [end for slide in maps.slides for end in ends_of(slide.raw[name])]
    return min(*ends, 0.0), max(ends)


def raw_shares(maps: PatientMaps, slide: SlideMaps, name: str) -> np.ndarray:
    """Raw numbers of a slide as shares of the raw scale; 0 where the scale has no length."""
    low, high = range_of(maps, name)
    return (slide.raw[name] - low) / (high - low) if high > low else np.zeros(len(slide))


def draw_slide(drawing: Drawing, colours: ClassColours | None, folder: Path) -> list[Path]:
    """Writes the files of one slide; returns their paths.

    Args:
        drawing: the slide.
        colours: of the classes, for models that have a family of maps.
        folder: made when it is not there.
    """
    canvas = canvas_of(drawing.slide.places, drawing.extent)
    ground = ground_of(drawing.thumbnail, canvas)
    opacity = {} if drawing.thumbnail is not None else {"opacity": 1.0}
    microns = None if drawing.mpp is None else drawing.mpp * drawing.extent[0] / ground.width
    written = []
    for kind in drawing.maps.alone:
        for scale, shares, legend in _scales(drawing, kind):
            painted = amount_colours(shares)
            picture = overlaid(ground, canvas, painted, **opacity)
            title = drawing.title(f"{kind.name}, {scale} scale")
            written.append(save_png(folder / f"{slug(kind.name)}-{scale}.png", sheet(picture, title, legend, microns_a_pixel=microns)))
            target = folder / f"{slug(kind.name)}-{scale}.tiff"
            written.append(write_pyramid(target, canvas, painted, mpp=drawing.mpp, description=f"{kind.name}, {scale}"))
    if colours is not None:
        written += _draw_family(drawing, colours, canvas, ground, folder)
    classes, of_patch = _classes(drawing, colours)
    with_percentiles = [kind.name for kind in drawing.maps.alone]
    return [*written, write_geojson(folder / "patches.geojson", drawing.slide, classes, of_patch, with_percentiles)]


def _scales(drawing: Drawing, kind: MapKind) -> Iterator[tuple[str, np.ndarray, Legend]]:
    """Both scales of a map: name, shares from 0 to 1, legend."""
    slide, (low, high) = drawing.slide, range_of(drawing.maps, kind.name)
    meaning = f"{kind.name}: {kind.meaning}."
    among = "percentile among all patches of the patient"
    yield "percentile", slide.percentiles[kind.name] / 100, Legend(f"{meaning} Colours: {among}.", ("0", "100"))
    yield "raw", raw_shares(drawing.maps, slide, kind.name), Legend(f"{meaning} Colours: the number itself.", (f"{low:.3g}", f"{high:.3g}"))


def _draw_family(drawing: Drawing, colours: ClassColours, canvas: Canvas, ground: Image.Image, folder: Path) -> list[Path]:
    """The class of each patch as one map, and every map of the family small and as TIFF."""
    maps, slide, name = drawing.maps, drawing.slide, drawing.maps.family_name
    assert slide.assigned is not None, "a model with a family of maps assigns each patch"
    opacity = {} if drawing.thumbnail is not None else {"opacity": 1.0}
    microns = None if drawing.mpp is None else drawing.mpp * drawing.extent[0] / ground.width
    names = [kind.name for kind in maps.family]
    table = colours.table(len(names))
    meaning = f"The {name} that takes most of each patch. In brackets: share of the patient's patches."
    picture = overlaid(ground, canvas, table[slide.assigned], **opacity)
    whole = sheet(picture, drawing.title(f"{name} of each patch"), class_legend(names, colours, meaning), microns_a_pixel=microns)
    written = [save_png(folder / f"{slug(name)}.png", whole)]
    written.append(write_pyramid(folder / f"{slug(name)}.tiff", canvas, table[slide.assigned], mpp=drawing.mpp, description=name))
    small = ground_of(drawing.thumbnail, canvas, SMALL)
    for scale in ("raw", "percentile"):
        pictures = []
        for kind in maps.family:
            shares = raw_shares(maps, slide, kind.name) if scale == "raw" else slide.percentiles[kind.name] / 100
            painted = amount_colours(shares)
            pictures.append((kind.name, overlaid(small, canvas, painted, **opacity)))
            if scale == "raw":
                target = folder / f"{slug(kind.name)}.tiff"
                written.append(write_pyramid(target, canvas, painted, mpp=drawing.mpp, description=f"{kind.name}, raw"))
        ends = ("0", "largest of each map") if scale == "raw" else ("0", "100")
        legend = Legend(f"{maps.family[0].meaning.capitalize()}. {scale.capitalize()} scale.", ends)
        each = small_multiples(pictures, drawing.title(f"every {name}, {scale} scale"), legend)
        written.append(save_png(folder / f"every-{slug(name)}-{scale}.png", each))
    return written


def _classes(drawing: Drawing, colours: ClassColours | None) -> tuple[list[tuple[str, np.ndarray]], np.ndarray]:
    """Classes for GeoJSON: those of the family, else bands of percentiles of the first map."""
    maps, slide = drawing.maps, drawing.slide
    if colours is not None and slide.assigned is not None:
        return list(zip([kind.name for kind in maps.family], colours.table(len(maps.family)), strict=True)), slide.assigned
    first = maps.kinds[0].name
    middles = (np.arange(BANDS) + 0.5) / BANDS
    names = [f"{first} {100 * band // BANDS}-{100 * (band + 1) // BANDS}%" for band in range(BANDS)]
    of_patch = np.minimum(slide.percentiles[first] / 100 * BANDS, BANDS - 1).astype(np.int64)
    return list(zip(names, amount_colours(middles), strict=True)), of_patch


def slug(name: str) -> str:
    """A name as part of a file name: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "map"
