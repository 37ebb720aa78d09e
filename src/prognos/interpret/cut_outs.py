"""The patches that a map points at, cut out of the slides: contact sheets and galleries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from prognos.interpret.maps import PatientMaps
from prognos.interpret.pictures import FAINT, GROUND, INK, MARGIN, PAPER, lettering, wrapped
from prognos.slides.reading import Slide

PIXELS = 192
"""Side of a cut-out in a picture."""

OF_PROTOTYPE = 8
"""Patches shown of each class of a gallery."""


@dataclass(frozen=True)
class TopPatch:
    """One of the patches with the largest numbers of a map.

    Args:
        slide: place of its slide among the patient's.
        row: which patch of the slide.
        raw: the number.
        percentile: its percentile.
    """

    slide: int
    row: int
    raw: float
    percentile: float


def top_patches(maps: PatientMaps, name: str, count: int) -> list[TopPatch]:
    """The patches of all slides with the largest numbers of a map, the largest first; ties in the order of the slides."""
    values = np.concatenate([slide.raw[name] for slide in maps.slides])
    ends = np.cumsum([len(slide) for slide in maps.slides])
    found = []
    for place in np.argsort(-values, kind="stable")[:count].tolist():
        slide = int(np.searchsorted(ends, place, side="right"))
        row = place - (int(ends[slide - 1]) if slide else 0)
        found.append(TopPatch(slide, row, float(values[place]), float(maps.slides[slide].percentiles[name][row])))
    return found


def cut_out(maps: PatientMaps, patch: TopPatch, opened: Mapping[str, Slide], pixels: int = PIXELS) -> Image.Image | None:
    """The pixels of a patch; None where its slide file is not at hand."""
    slide = maps.slides[patch.slide]
    if slide.slide_id not in opened:
        return None
    x, y = slide.places.coords[patch.row].tolist()
    return Image.fromarray(opened[slide.slide_id].region(x, y, slide.places.side, pixels))


def contact_sheet(
    maps: PatientMaps, rows: Sequence[tuple[str, Sequence[TopPatch]]], opened: Mapping[str, Slide], title: str, *, columns: int = 8
) -> Image.Image:
    """Patches with their numbers: rows of `columns`, each group of patches under its heading.

    Args:
        maps: of the patient.
        rows: a heading and its patches; no heading where it is empty.
        opened: slides by id; a patch of another slide is an empty square with its place.
        title: of the sheet.
        columns: patches beside each other.
    """
    width = 2 * MARGIN + columns * (PIXELS + 10) - 10
    heading = wrapped(title, 26, width - 2 * MARGIN)
    heights = [(32 if name else 0) + -(-len(patches) // columns) * (PIXELS + 54) for name, patches in rows]
    found = Image.new("RGB", (width, 2 * MARGIN + 34 * len(heading) + 10 + sum(heights)), PAPER)
    draw = ImageDraw.Draw(found)
    for number, line in enumerate(heading):
        draw.text((MARGIN, MARGIN + 34 * number), line, INK, lettering(26))
    y = MARGIN + 34 * len(heading) + 10
    for (name, patches), height in zip(rows, heights, strict=True):
        draw.text((MARGIN, y), name, INK, lettering(20))
        for place, patch in enumerate(patches):
            x = MARGIN + (place % columns) * (PIXELS + 10)
            _cell(found, draw, (x, y + (32 if name else 0) + (place // columns) * (PIXELS + 54)), maps, patch, opened)
        y += height
    return found


def _cell(
    found: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], maps: PatientMaps, patch: TopPatch, opened: Mapping[str, Slide]
) -> None:
    """One patch with its number and percentile, and its place."""
    picture = cut_out(maps, patch, opened) or Image.new("RGB", (PIXELS, PIXELS), GROUND)
    found.paste(picture, corner)
    x, y = maps.slides[patch.slide].places.coords[patch.row].tolist()
    where = f"{x}, {y}" if len(maps.slides) == 1 else f"{x}, {y} in slide {patch.slide + 1}"
    draw.text((corner[0], corner[1] + PIXELS + 3), f"{patch.raw:.3g}  (percentile {patch.percentile:.1f})", INK, lettering(15))
    draw.text((corner[0], corner[1] + PIXELS + 22), where, FAINT, lettering(15))
