"""The drawings of a run: what the page shows, and what lies beside it as SVG, PDF and CSV."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from prognos import files
from prognos.report.figures import FIGURES
from prognos.report.figures.style import pdf_of, svg_file, svg_of
from prognos.report.run_folder import RunFolder

FOLDER = "figures"
"""Where a run keeps its drawings as files."""
LONGEST_NAME = 120  # characters; file systems take 255 bytes, and a run folder may lie deep


@dataclass(frozen=True)
class Drawing:
    """One panel of one figure of one cohort; it is drawn when it is asked for.

    Args:
        kind: name in `FIGURES`.
        cohort: whose numbers.
        title: what it shows, in words.
        name: of its files, without a suffix; no other drawing of the run has it, in whatever case.
        rows: its numbers.
    """

    kind: str
    cohort: str
    title: str
    name: str
    rows: pd.DataFrame

    @cached_property
    def svg(self) -> str:
        """The drawing as an SVG element."""
        return svg_of(FIGURES[self.kind].draw(self.rows))

    @property
    def pdf(self) -> bytes:
        """The drawing as PDF."""
        return pdf_of(FIGURES[self.kind].draw(self.rows), title=self.title)

    @cached_property
    def csv(self) -> str:
        """The numbers of the drawing, with seven digits where they are not whole."""
        return self.rows.to_csv(index=False, float_format="%.7g", lineterminator="\n")


def drawings(run: RunFolder) -> list[Drawing]:
    """Every panel of every figure and cohort, in the order of importance; nothing is drawn yet."""
    found: list[Drawing] = []
    taken: set[str] = set()
    for kind, figure in FIGURES.items():
        for cohort in run.cohorts:
            for panel, rows in figure.data(run, cohort).groupby("panel", sort=False):
                name = file_name((kind.replace("_", "-"), cohort, str(panel)), taken)
                taken.add(name)
                found.append(Drawing(kind, cohort, f"{figure.title}, {cohort}: {panel}", name, rows))
    return found


def file_name(parts: Sequence[str], taken: Iterable[str]) -> str:
    """A name that says its parts and that every file system takes: lower case, letters, digits, '@', '.', '-' and '_' only.

    Args:
        parts: what it says, such as figure, cohort, model and missing pattern.
        taken: names that are used already; one of these gets a number.
    """
    plain = [unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode().lower() for part in parts]
    name = "_".join(re.sub(r"[^a-z0-9@.]+", "-", part).strip("-.") for part in plain)[:LONGEST_NAME].rstrip("-.")
    others, number = set(taken), 2
    free = name
    while free in others:
        free, number = f"{name}-{number}", number + 1
    return free


def write_drawings(drawn: Iterable[Drawing], folder: Path) -> list[Path]:
    """Writes NAME.svg, NAME.pdf and NAME.csv of every drawing and returns where they lie; the same run gives the same bytes.

    Args:
        drawn: what to write.
        folder: where; made when it is not there.
    """
    written = []
    for drawing in drawn:
        paths = [folder / f"{drawing.name}.{suffix}" for suffix in ("svg", "pdf", "csv")]
        files.write_text(paths[0], svg_file(drawing.svg, title=drawing.title))
        with files.writing(paths[1]) as temporary:
            temporary.write_bytes(drawing.pdf)
        files.write_text(paths[2], drawing.csv)
        written += paths
    return written
