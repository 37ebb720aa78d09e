"""slides_status.csv: a row a slide, done or failed and why; several processes add to one table."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from prognos.files import InUseError, locked, write_csv

STATUS_FILE = "slides_status.csv"
WORK = ".work"
"""The folder of what is not finished, and of locks, beside the feature files."""

DONE = "done"
FAILED = "failed"
PATIENCE = 30.0
"""Seconds to wait for another process that writes the table."""


@dataclass(frozen=True)
class SlideStatus:
    """What became of one slide.

    Args:
        slide_id: its name; of its feature file too.
        file: where it lies; two files of one name are two rows.
        status: `done` or `failed`.
        reason: why it failed, or what is to be known of one that is done, such as no tissue; else empty.
        patches: how many; None when it failed.
        seconds: from opening it to its feature file, in the run that finished it; None where that is not known.
        mpp: microns a level-0 pixel.
        mpp_source: who says so.
        encoder: its name.
        versions: of what the features depend on.
    """

    slide_id: str
    file: str
    status: str
    reason: str = ""
    patches: int | None = None
    seconds: float | None = None
    mpp: float | None = None
    mpp_source: str = ""
    encoder: str = ""
    versions: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(SlideStatus))


def read_status(folder: Path) -> pd.DataFrame:
    """The table of a folder as text; empty where there is none.

    Raises:
        ValueError: the table was changed so that it cannot be read.
    """
    path = folder / STATUS_FILE
    if not path.is_file():
        return pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _unreadable(path) from error
    if tuple(frame.columns) != COLUMNS:
        raise _unreadable(path)
    return frame


def merge_status(folder: Path, rows: Iterable[SlideStatus]) -> Path:
    """Adds rows to the table of a folder, each in place of an older one of the same file; returns the path of the table.

    The row of a run that found a slide done already does not replace the one of the run that did it, with its seconds.

    Raises:
        InUseError: another process has been writing the table for long.
        ValueError: the table was changed so that it cannot be read.
    """
    with _the_only_writer(folder / WORK):
        old = read_status(folder)
        finished = set(old.loc[old["status"] == DONE, "file"])
        news = [row for row in rows if not (row.status == DONE and row.seconds is None and row.file in finished)]
        new = pd.DataFrame([dataclasses.asdict(row) for row in news], columns=list(COLUMNS)).astype(object)
        new = new.map(lambda cell: "" if cell is None else str(cell))
        same_file = old["file"].isin(new["file"]) & (old["file"] != "")
        was_lost = old["slide_id"].isin(new["slide_id"]) & (old["file"] == "")
        kept = old[~same_file & ~was_lost]
        merged = pd.concat([kept, new]).sort_values(["slide_id", "file"], kind="stable").reset_index(drop=True)
        return write_csv(folder / STATUS_FILE, merged)


@contextmanager
def _the_only_writer(folder: Path) -> Iterator[None]:
    """The lock of a folder, waited for."""
    latest = time.monotonic() + PATIENCE
    while True:
        lock = locked(folder)
        try:
            lock.__enter__()
        except InUseError:
            if time.monotonic() > latest:
                raise
            time.sleep(0.05)
            continue
        break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _unreadable(path: Path) -> ValueError:
    return ValueError(
        f"{path.name} in {path.parent} is not the table that this command wrote: remove it and start again; "
        "slides that are done are not computed again."
    )
