"""A run folder becomes one self-contained HTML page."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from prognos import files
from prognos.report.figures import FIGURES
from prognos.report.figures.style import inline_svg
from prognos.report.run_folder import RunFolder, read_run_folder
from prognos.report.sections import SECTIONS
from prognos.report.verdicts import CANARY

MOST_CHARACTERS = 6_500_000  # of drawings; the page stays below 8 MB


@dataclass(frozen=True)
class Picture:
    """One drawing of the page; without svg it was left out to keep the page small."""

    name: str
    svg: Markup | None


def build(run_folder: Path, *, path: Path | None = None) -> Path:
    """Writes the report of a run and returns where it lies.

    Args:
        run_folder: what `prognos run` or `prognos evaluate` wrote; nothing else is read.
        path: where to write; `report.html` in the run folder when not given.

    Raises:
        RunFolderError: the folder, its predictions or its comparison are not there or not as they should be.
    """
    target = run_folder / "report.html" if path is None else path
    files.write_text(target, page(read_run_folder(run_folder)))
    return target


def page(run: RunFolder) -> str:
    """The whole page as text; the same run gives the same text."""
    real = _real(run)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prognos.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = _sentence
    sections = [section for section in SECTIONS if section.shown(real)]
    values: dict[str, Any] = {"figures": FIGURES, "pictures": _pictures(real)}
    for section in sections:
        values |= section.values(run, real)
    facts = {"run": run, "oracle": run.study.selection == "oracle", "several": len(run.cohorts) > 1}
    return environment.get_template("report.html.j2").render(**facts, sections=sections, **values)


def _real(run: RunFolder) -> RunFolder:
    """The run without its noise canaries."""
    tables = {field.name: getattr(run, field.name) for field in fields(run)}
    kept = {
        name: table[~table.label.astype(str).str.endswith(CANARY)]
        for name, table in tables.items()
        if isinstance(table, pd.DataFrame) and "label" in table
    }
    return replace(run, **kept)


def _sentence(text: str) -> str:
    """A note as others wrote it, with a capital and a full stop, unless it begins with a name such as a model's."""
    ended = text if text.endswith((".", "!", "?", ":")) else f"{text}."
    first = ended.split(" ", 1)[0]
    return ended[:1].upper() + ended[1:] if first.isalpha() else ended


def _pictures(run: RunFolder) -> dict[tuple[str, str], list[Picture]]:
    """Every drawing by kind of figure and cohort, in the order of importance; the last ones go when the page grows too large."""
    drawn: dict[tuple[str, str], list[Picture]] = {}
    written = 0
    for kind, figure in FIGURES.items():
        for place, cohort in enumerate(run.cohorts):
            drawn[kind, cohort] = []
            for panel, rows in figure.data(run, cohort).groupby("panel", sort=False):
                name = f"{figure.title}, {cohort}: {panel}"
                svg = None
                if written < MOST_CHARACTERS:
                    prefix = f"{kind}-{place}-{len(drawn[kind, cohort])}-"
                    svg = Markup(inline_svg(figure.draw(rows), prefix=prefix, description=name))  # our own drawing, its texts escaped
                    written += len(svg)
                drawn[kind, cohort].append(Picture(name, svg))
    return drawn
