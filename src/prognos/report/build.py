"""A run folder becomes one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from prognos import files
from prognos.report.drawings import FOLDER, Drawing, drawings, write_drawings
from prognos.report.figures import FIGURES
from prognos.report.figures.style import themed_svg
from prognos.report.page_template import page_template
from prognos.report.run_folder import RunFolder, read_run_folder
from prognos.report.sections import SECTIONS
from prognos.report.tables import csv_link
from prognos.report.verdicts import CANARY

MOST_CHARACTERS = 5_500_000  # of drawings
MOST_OF_DATA = 1_200_000  # characters of their numbers; with both the page stays below 8 MB


@dataclass(frozen=True)
class Picture:
    """One drawing of the page.

    Args:
        title: what it shows.
        name: of its files.
        svg: the drawing; None where it was left out to keep the page small.
        data: its numbers as a link that holds them; None likewise.
    """

    title: str
    name: str
    svg: Markup | None
    data: str | None


def build(run_folder: Path, *, path: Path | None = None, figures: bool = False) -> Path:
    """Writes the report of a run and returns where it lies.

    Args:
        run_folder: what `prognos run` or `prognos evaluate` wrote; nothing else is read.
        path: where to write; `report.html` in the run folder when not given.
        figures: also write every drawing, as SVG, PDF and CSV, into `figures` beside the page.

    Raises:
        RunFolderError: the folder, its predictions or its comparison are not there or not as they should be.
    """
    target = run_folder / "report.html" if path is None else path
    run = read_run_folder(run_folder)
    drawn = drawings(_real(run))
    files.write_text(target, page(run, drawn))
    if figures:
        write_drawings(drawn, target.parent / FOLDER)
    return target


def page(run: RunFolder, drawn: Sequence[Drawing] | None = None) -> str:
    """The whole page as text; the same run gives the same text.

    Args:
        run: the run.
        drawn: its drawings; made here when not given.
    """
    real = _real(run)
    sections = [section for section in SECTIONS if section.shown(real)]
    values: dict[str, Any] = {"figures": FIGURES, "pictures": _pictures(real, drawings(real) if drawn is None else drawn)}
    for section in sections:
        values |= section.values(run, real)
    facts = {"run": run, "oracle": run.study.selection == "oracle", "several": len(run.cohorts) > 1}
    return page_template("report.html.j2").render(**facts, sections=sections, **values)


def _real(run: RunFolder) -> RunFolder:
    """The run without its noise canaries."""
    tables = {field.name: getattr(run, field.name) for field in fields(run)}
    kept = {
        name: table[~table.label.astype(str).str.endswith(CANARY)]
        for name, table in tables.items()
        if isinstance(table, pd.DataFrame) and "label" in table
    }
    return replace(run, **kept)


def _pictures(run: RunFolder, drawn: Sequence[Drawing]) -> dict[tuple[str, str], list[Picture]]:
    """Every drawing by kind of figure and cohort; the last ones, and the last numbers, go when the page grows too large."""
    pictures: dict[tuple[str, str], list[Picture]] = {(kind, cohort): [] for kind in FIGURES for cohort in run.cohorts}
    places = {cohort: place for place, cohort in enumerate(run.cohorts)}
    of_drawings = of_data = 0
    for drawing in drawn:
        shown = pictures[drawing.kind, drawing.cohort]
        svg = data = None
        if of_drawings < MOST_CHARACTERS:
            prefix = f"{drawing.kind}-{places[drawing.cohort]}-{len(shown)}-"
            svg = Markup(themed_svg(drawing.svg, prefix=prefix, description=drawing.title))  # our own drawing, its texts escaped
            of_drawings += len(svg)
        link = csv_link(drawing.csv)
        if svg is not None and of_data + len(link) <= MOST_OF_DATA:
            data = link
            of_data += len(link)
        shown.append(Picture(drawing.title, drawing.name, svg, data))
    return pictures
