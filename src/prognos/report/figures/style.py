"""How every figure of the report looks, and how it becomes SVG, inside the page or as a file, and PDF."""

import io
import re
import textwrap
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

WIDTH = 3.9  # inches: 374 CSS pixels, the width of a phone
TITLE_CHARACTERS = 43
LABEL_CHARACTERS = 17

# Okabe and Ito's colours, which stay apart for colour-blind readers; the last three are darker here, so that each has a contrast of
# 3 to 1 with paper. The names are those of the page's CSS variables.
COLOURS = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#c28600",
    "sky": "#3a99d6",
    "olive": "#5e5a00",
}
INK, FAINT, GRID, PAPER = "#1a1b1c", "#6b6c6d", "#dcdddf", "#fefefd"
THEMED = {INK: "ink", FAINT: "faint", GRID: "grid", PAPER: "paper"} | {value: name for name, value in COLOURS.items()}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def look(place: int) -> tuple[str, str]:
    """Colour and marker of the series at a place in the legend; both together are its own, also where there are more than colours."""
    colours = list(COLOURS.values())
    return colours[place % len(colours)], MARKERS[(place + place // len(colours)) % len(MARKERS)]


STYLE: Mapping[str, Any] = {
    "backend": "Agg",
    "svg.fonttype": "none",
    "svg.hashsalt": "prognos",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "axes.labelsize": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}

styled = matplotlib.rc_context(dict(STYLE))  # type: ignore[arg-type]


def sheet(height: float, title: str) -> Figure:
    """An empty figure of the page's figure width, its title at the left edge, on several lines when it is long.

    Args:
        height: of the figure without further lines of the title, in inches.
        title: what it shows.
    """
    lines = textwrap.wrap(title, TITLE_CHARACTERS)
    figure = Figure(figsize=(WIDTH, height + 0.19 * (len(lines) - 1)), layout="constrained")
    figure.suptitle("\n".join(lines), x=0.012, ha="left", color=INK)
    return figure


def wrapped(name: str) -> str:
    """A model's name on several lines when it is long: the variant goes below."""
    if len(name) <= LABEL_CHARACTERS:
        return name
    parts = [line for part in name.replace("@", "\n@", 1).split("\n") for line in textwrap.wrap(part, LABEL_CHARACTERS)]
    return "\n".join(parts)


def years(days: float) -> str:
    """A time in days as years in words."""
    value = days / 365.0
    return "1 year" if abs(value - 1) < 0.01 else f"{value:g} years"


@styled
def svg_of(figure: Figure) -> str:
    """The figure as an SVG element, with ids that another drawing may have too; the same figure gives the same text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg ") :], flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", svg).strip() + "\n"


@styled
def pdf_of(figure: Figure, *, title: str) -> bytes:
    """The figure as a page of its own size, its texts as text; the same figure gives the same bytes.

    Args:
        figure: what to draw.
        title: what the document is called.
    """
    buffer = io.BytesIO()
    told = {"Title": title, "Creator": "prognos", "Producer": None, "CreationDate": None}
    figure.savefig(buffer, format="pdf", metadata=told, facecolor=PAPER)
    return buffer.getvalue()


def svg_file(svg: str, *, title: str) -> str:
    """A drawing of `svg_of` as a file of its own: on paper, in its own colours, with a title.

    Args:
        svg: the drawing.
        title: what it shows.
    """
    end = svg.index(">") + 1
    ground = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:end]}\n<title>{escape(title)}</title>\n{ground}{svg[end:]}'


def themed_svg(svg: str, *, prefix: str, description: str) -> str:
    """A drawing of `svg_of` as an element of an HTML page: in the colours of the page, light or dark, and no ids that clash.

    Args:
        svg: the drawing.
        prefix: put before each id that the drawing refers to.
        description: what the picture shows, for those who do not see it.
    """
    width, height = (float(value) for value in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())  # type: ignore[union-attr]
    svg = _with_own_ids(svg, prefix)
    for colour, name in THEMED.items():
        svg = svg.replace(f"fill: {colour}", f"fill: var(--{name})").replace(f"stroke: {colour}", f"stroke: var(--{name})")
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]+", r"\1 sans-serif", svg)
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width * 4 / 3:.0f}" height="{height * 4 / 3:.0f}" role="img" '
        f'aria-label="{escape(description)}">'
    )
    return head + svg[svg.index(">") + 1 :].strip()


def inline_svg(figure: Figure, *, prefix: str, description: str) -> str:
    """The figure as an SVG element of an HTML page; arguments as `themed_svg`."""
    return themed_svg(svg_of(figure), prefix=prefix, description=description)


def _with_own_ids(svg: str, prefix: str) -> str:
    """Ids that something refers to get a prefix; the others go."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'xlink:href="#', 'href="#', svg)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}", svg)
