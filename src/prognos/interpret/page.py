"""One self-contained page: the slide in a viewer, maps over it, the numbers of each patch, top patches, what was predicted."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from prognos.interpret.colours import OTHERS, ClassColours, amount_table
from prognos.interpret.cut_outs import OF_PROTOTYPE, TopPatch, cut_out, top_patches
from prognos.interpret.drawings import Drawing, range_of
from prognos.interpret.maps import PatientMaps
from prognos.interpret.pictures import GROUND, percent
from prognos.slides.reading import Slide

TILE = 512
MOST_TILE_BYTES = 3_500_000
"""Of the tiles of all slides together, before they are written as text, which makes them a third larger."""

LONGEST = (3072, 2048, 1536, 1024, 768, 512)
"""Longest sides of a slide in the page, from which the largest is taken that fits."""

MOST_NUMBERS = 600_000
"""Patches times maps; beyond that, the last maps are left out of the page."""

THUMB = 112
"""Side of a top patch in the page, in pixels."""


@dataclass(frozen=True)
class PageTexts:
    """What the page says in words.

    Args:
        model: name of the model.
        facts: a name and a text each: what was predicted.
        notes: what is missing, and rules that were applied.
        files: what else lies in the folder: path and what it is.
    """

    model: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    files: Sequence[tuple[str, str]]


def page(drawings: Sequence[Drawing], texts: PageTexts, colours: ClassColours | None, opened: Mapping[str, Slide], top: int) -> str:
    """The page as text; the same arguments give the same text.

    Args:
        drawings: the slides, all of one patient.
        texts: what is said in words.
        colours: of the classes, for models that have a family of maps.
        opened: slides by id, for top patches.
        top: how many of these are shown of each map.
    """
    maps = drawings[0].maps
    kept = kept_maps(maps)
    notes = list(texts.notes)
    if len(kept) < len(maps.kinds):
        notes.append(
            f"{len(maps.kinds) - len(kept)} of {len(maps.kinds)} maps are not in this page, to keep it small; they are in the files."
        )
    data = {
        "slides": [_slide(drawing, kept, len(drawings)) for drawing in drawings],
        "maps": [_map(maps, number) for number in kept],
        "classes": _classes(maps, colours),
        "amounts": "".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in amount_table().tolist()),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prognos.interpret"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("explain.html.j2").render(
        patient=maps.patient,
        texts=texts,
        notes=notes,
        drawings=drawings,
        family=maps.family_name,
        groups=_groups(maps, colours, opened, top),
        viewer=Markup(_viewer()),  # a program of others, unmodified but for the last line that names its source map
        data=Markup(
            json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
        ),  # numbers and ids; cannot end the script
        script=Markup(_own("explain.js")),
        style=Markup(_own("explain.css")),
    )


def kept_maps(maps: PatientMaps) -> list[int]:
    """Places of the maps that a page can carry: the first ones, at least one."""
    n_patches = sum(len(slide) for slide in maps.slides)
    return list(range(max(1, min(len(maps.kinds), MOST_NUMBERS // max(1, n_patches)))))


def _map(maps: PatientMaps, number: int) -> dict[str, Any]:
    kind, (low, high) = maps.kinds[number], range_of(maps, maps.kinds[number].name)
    return {"name": kind.name, "meaning": kind.meaning, "low": f"{low:.3g}", "high": f"{high:.3g}", "range": [low, high]}


def _classes(maps: PatientMaps, colours: ClassColours | None) -> dict[str, Any] | None:
    if colours is None:
        return None
    names = [kind.name for kind in maps.family]
    return {
        "family": maps.family_name,
        "names": names,
        "colours": [colours.of_class(place) for place in range(len(names))],
        "shown": [[names[place], colours.of_class(place), share] for place, share in zip(colours.shown, colours.shares, strict=False)],
        "others": [len(names) - len(colours.shown), OTHERS, colours.shares[-1]],
    }


def _slide(drawing: Drawing, kept: Sequence[int], n_slides: int) -> dict[str, Any]:
    """The numbers and tiles of one slide."""
    slide = drawing.slide
    names = [drawing.maps.kinds[number].name for number in kept]
    picture = _background(drawing)
    tiles = _tiles(picture, MOST_TILE_BYTES // n_slides)
    return {
        "id": slide.slide_id,
        "extent": list(drawing.extent),
        "side": slide.places.side,
        "mpp": drawing.mpp,
        "coords": _packed(slide.places.coords.astype("<i4")),
        "raw": [_packed(bfloat16(slide.raw[name])) for name in names],
        "percentile": [_packed(np.rint(slide.percentiles[name] * 655.35).astype("<u2")) for name in names],
        "assigned": None if slide.assigned is None else _packed(slide.assigned.astype("<u2")),
        **tiles,
    }


def _background(drawing: Drawing) -> Image.Image:
    """The thumbnail, or a plain ground of the slide's shape."""
    if drawing.thumbnail is not None:
        return Image.fromarray(drawing.thumbnail)
    scale = 1024 / max(drawing.extent)
    return Image.new("RGB", (max(1, round(drawing.extent[0] * scale)), max(1, round(drawing.extent[1] * scale))), GROUND)


def _tiles(picture: Image.Image, most_bytes: int) -> dict[str, Any]:
    """The picture as levels of JPEG tiles, as large as fits; tiles that are equal are kept once."""
    for longest in LONGEST:
        scale = min(1.0, longest / max(picture.size))
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        whole = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
        found = _levels(whole)
        if sum(map(len, found["tiles"])) <= most_bytes * 4 / 3 or longest == LONGEST[-1]:
            break
    return found


def _levels(whole: Image.Image) -> dict[str, Any]:
    known: dict[str, int] = {}
    levels, picture = [], whole
    while True:
        rows = [[_tile(picture, x, y, known) for x in range(0, picture.width, TILE)] for y in range(0, picture.height, TILE)]
        levels.append(rows)
        if max(picture.size) <= TILE:
            return {"size": list(whole.size), "tile": TILE, "levels": levels[::-1], "tiles": list(known)}
        picture = picture.resize(((picture.width + 1) // 2, (picture.height + 1) // 2), Image.Resampling.BOX)


def _tile(picture: Image.Image, x: int, y: int, known: dict[str, int]) -> int:
    box = (x, y, min(x + TILE, picture.width), min(y + TILE, picture.height))
    return known.setdefault(_jpeg(picture.crop(box)), len(known))


def _groups(
    maps: PatientMaps, colours: ClassColours | None, opened: Mapping[str, Slide], top: int
) -> list[tuple[str, str, list[tuple[TopPatch, str]]]]:
    """Headings, their colours, and patches with their pictures: the top of each map alone, then of each class with a colour."""
    wanted = [(f"Most {kind.name}", "", kind.name, top) for kind in maps.telling]
    if colours is not None:
        wanted += [
            (
                f"{maps.family[place].name}: {percent(share)} of the patches",
                colours.of_class(place),
                maps.family[place].name,
                min(top, OF_PROTOTYPE),
            )
            for place, share in zip(colours.shown, colours.shares, strict=False)
        ]
    groups = []
    for heading, colour, name, count in wanted:
        shown = []
        for patch in top_patches(maps, name, count):
            picture = cut_out(maps, patch, opened, THUMB)
            shown.append((patch, "" if picture is None else _jpeg(picture)))
        groups.append((heading, colour, shown))
    return groups


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32, rounded to nearest: three significant digits of any size."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _own(name: str) -> str:
    return resources.files("prognos.interpret").joinpath("templates", name).read_text(encoding="utf-8")


def _viewer() -> str:
    text = resources.files("prognos").joinpath("report", "vendor", "openseadragon.min.js").read_text(encoding="utf-8")
    return text.rsplit("//# sourceMappingURL", 1)[0]
