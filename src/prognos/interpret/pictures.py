"""Heat maps as pictures: over the slide's thumbnail or a plain ground, with title, legend and scale bar."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from prognos import files
from prognos.interpret.colours import OTHERS, ClassColours, amount_table, rgb
from prognos.interpret.raster import Canvas

LONGEST = 1600
"""Longest side of a map in a picture, in pixels."""

SHORTEST_WIDTH = 720
"""Least width of a picture, so that title and legend have room."""

OPACITY = 0.6
"""How much of the map and how little of the tissue is seen where both are."""

PAPER, INK, FAINT, GROUND = (255, 255, 255), (26, 27, 28), (95, 97, 99), (236, 237, 239)
MARGIN = 24


@dataclass(frozen=True)
class Legend:
    """What the colours of a picture mean.

    Args:
        meaning: a sentence.
        ends: texts at both ends of the bar of amounts; empty for classes.
        classes: name and colour of each class; empty for amounts.
    """

    meaning: str
    ends: tuple[str, str] | tuple[()] = ()
    classes: tuple[tuple[str, str], ...] = ()


def class_legend(names: Sequence[str], colours: ClassColours, meaning: str) -> Legend:
    """The legend of a map of classes: those with a colour of their own and their shares, then all others."""
    entries = [
        (f"{names[place]} ({percent(share)})", colours.of_class(place)) for place, share in zip(colours.shown, colours.shares, strict=False)
    ]
    n_others = len(names) - len(colours.shown)
    if n_others:
        entries.append((f"{n_others} others ({percent(colours.shares[-1])})", OTHERS))
    return Legend(meaning, classes=tuple(entries))


def percent(share: float) -> str:
    """A share in words; one that is not nothing is not called 0%."""
    return "under 1%" if 0 < share < 0.005 else f"{share:.0%}"


def ground_of(thumbnail: UInt8[np.ndarray, "height width 3"] | None, canvas: Canvas, longest: int = LONGEST) -> Image.Image:
    """What a map is drawn on: the thumbnail, or a plain ground of the slide's shape."""
    width, height = canvas.size if thumbnail is None else (thumbnail.shape[1], thumbnail.shape[0])
    scale = longest / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if thumbnail is None:
        return Image.new("RGB", size, GROUND)
    return Image.fromarray(thumbnail).resize(size, Image.Resampling.LANCZOS)


def overlaid(ground: Image.Image, canvas: Canvas, colours: UInt8[np.ndarray, "patches 3"], *, opacity: float = OPACITY) -> Image.Image:
    """The ground with each patch in its colour.

    Args:
        ground: any size; the canvas is stretched to it.
        canvas: which patch is where.
        colours: of each patch.
        opacity: of the colours.
    """
    stretched = canvas.resized(ground.size)
    found = ground.copy()
    mask = Image.fromarray(stretched.covered * np.uint8(round(255 * opacity)))
    found.paste(Image.fromarray(stretched.painted(colours)), (0, 0), mask)
    return found


def sheet(picture: Image.Image, title: str, legend: Legend, *, microns_a_pixel: float | None = None) -> Image.Image:
    """A picture with its title above and its legend below.

    Args:
        picture: the map.
        title: one line; longer ones are wrapped.
        legend: what the colours mean.
        microns_a_pixel: for the scale bar; without it there is none.
    """
    width = max(picture.width, SHORTEST_WIDTH) + 2 * MARGIN
    heading = wrapped(title, 26, width - 2 * MARGIN)
    meaning = wrapped(legend.meaning, 18, width - 2 * MARGIN)
    top = MARGIN + 34 * len(heading) + 10
    rows = _class_rows(legend, width - 2 * MARGIN)
    bottom = 26 * len(meaning) + 12 + (54 if legend.ends else 30 * len(rows)) + MARGIN
    found = Image.new("RGB", (width, top + picture.height + 16 + bottom), PAPER)
    draw = ImageDraw.Draw(found)
    for number, line in enumerate(heading):
        draw.text((MARGIN, MARGIN + 34 * number), line, INK, lettering(26))
    found.paste(picture, ((width - picture.width) // 2, top))
    if microns_a_pixel is not None:
        _scale_bar(draw, ((width - picture.width) // 2, top, picture.width, picture.height), microns_a_pixel)
    y = top + picture.height + 16
    for number, line in enumerate(meaning):
        draw.text((MARGIN, y + 26 * number), line, INK, lettering(18))
    y += 26 * len(meaning) + 12
    if legend.ends:
        _bar(found, draw, y, legend.ends)
    for number, row in enumerate(rows):
        for x, name, colour in row:
            draw.rectangle((MARGIN + x, y + 30 * number, MARGIN + x + 20, y + 30 * number + 20), fill=rgb(colour))
            draw.text((MARGIN + x + 28, y + 30 * number - 1), name, INK, lettering(18))
    return found


def small_multiples(pictures: Sequence[tuple[str, Image.Image]], title: str, legend: Legend, *, columns: int = 4) -> Image.Image:
    """Small maps of one slide side by side, each under its name, with one title and one legend."""
    width, height = (max(one.size[axis] for _, one in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (columns * (width + 12) - 12, rows * (height + 40) - 12), PAPER)
    draw = ImageDraw.Draw(grid)
    for place, (name, one) in enumerate(pictures):
        x, y = (place % columns) * (width + 12), (place // columns) * (height + 40)
        draw.text((x, y), name, INK, lettering(18))
        grid.paste(one, (x, y + 26))
    return sheet(grid, title, legend)


def wrapped(text: str, size: int, width: int) -> list[str]:
    """The text of a letter size in lines of at most this many pixels; a longer word stands alone."""
    font = lettering(size)
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def save_png(path: Path, picture: Image.Image) -> Path:
    """Writes a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return files.write_bytes(path, buffer.getvalue())


def round_length(microns: float) -> tuple[float, str]:
    """The largest of 1, 2 or 5 times a power of ten microns that is at most this long, and its name."""
    power = 10.0 ** math.floor(math.log10(microns))
    length = max(step * power for step in (1, 2, 5) if step * power <= microns * (1 + 1e-9))
    return length, f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} microns"


def _scale_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], microns_a_pixel: float) -> None:
    """A bar of a round length in the lower left corner of the box (x, y, width, height)."""
    left, top, width, height = box
    length, name = round_length(width * microns_a_pixel / 5)
    pixels = length / microns_a_pixel
    x, y = left + 16, top + height - 28
    draw.rectangle((x - 8, y - 28, x + max(pixels, lettering(18).getlength(name)) + 8, y + 14), fill=PAPER, outline=FAINT)
    draw.text((x, y - 26), name, INK, lettering(18))
    draw.rectangle((x, y, x + pixels, y + 5), fill=INK)


def _bar(found: Image.Image, draw: ImageDraw.ImageDraw, y: int, ends: tuple[str, str]) -> None:
    """The colours of amounts from low to high."""
    width = min(420, found.width - 2 * MARGIN)
    colours = np.repeat(amount_table()[np.linspace(0, 255, width).astype(int)][None], 18, axis=0)
    found.paste(Image.fromarray(colours), (MARGIN, y))
    draw.text((MARGIN, y + 24), ends[0], INK, lettering(18))
    draw.text((MARGIN + width - lettering(18).getlength(ends[1]), y + 24), ends[1], INK, lettering(18))


def _class_rows(legend: Legend, width: int) -> list[list[tuple[float, str, str]]]:
    """Entries of classes in rows: where they begin, their names and colours."""
    rows: list[list[tuple[float, str, str]]] = []
    x = float(width)
    for name, colour in legend.classes:
        needed = 28 + lettering(18).getlength(name) + 22
        if x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((x, name, colour))
        x += needed
    return rows


def lettering(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The letters that Pillow brings along, this many pixels high: the same on every machine."""
    return ImageFont.load_default(size=size)
