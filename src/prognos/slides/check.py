"""Which slides there are, and which of them will fail and why, before anything is computed.

Only headers, the places of the data in the file and one patch of each slide are read.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from prognos.slides.complete import missing_part
from prognos.slides.grid import too_coarse
from prognos.slides.pyramid import PLAIN_IMAGES
from prognos.slides.reading import SUFFIXES, Slide, SlideError, slide_id_of
from prognos.slides.resolution import ASSUMED, FROM_MANIFEST

READERS = 4
"""Slides that are looked at at once: the disk is waited for, not the processor."""

SERIES = "dicom.SeriesInstanceUID"

Manifest = Mapping[str, float | None]
"""Microns a level-0 pixel by slide id; None where the cell is empty."""


@dataclass(frozen=True)
class SlideSource:
    """A slide file and what is known of its resolution.

    Args:
        path: the file.
        mpp: microns a level-0 pixel; None where only the file can say.
        mpp_source: who says so: `slides.csv` or `--mpp`.
    """

    path: Path
    mpp: float | None = None
    mpp_source: str = ASSUMED

    @property
    def slide_id(self) -> str:
        """The name of the file without suffix."""
        return slide_id_of(self.path)

    def open(self) -> Slide:
        """The open slide; see `Slide.open`."""
        return Slide.open(self.path, mpp=self.mpp, mpp_source=self.mpp_source)


@dataclass(frozen=True)
class Problem:
    """A slide that will fail.

    Args:
        slide_id: its name.
        path: its file; None where there is none.
        reason: what is wrong and what to do, in a sentence that names the file.
    """

    slide_id: str
    path: Path | None
    reason: str


def read_manifest(path: str | os.PathLike[str]) -> dict[str, float | None]:
    """The slides of a slides.csv and, where it has a column mpp, their resolutions; other columns are not looked at.

    Raises:
        ValueError: the file cannot be read, has no column slide_id, names a slide twice, or a cell of mpp is no positive number.
    """
    file = Path(path)
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as CSV ({error}); correct the path or export it again.") from error
    if "slide_id" not in table:
        raise ValueError(f"{file.name}: there is no column slide_id (columns: {', '.join(table)}); rename the one with the slides.")
    slide_ids = [_without_suffix(name.strip()) for name in table["slide_id"]]
    twice = [name for name, count in pd.Series(slide_ids, dtype=object).value_counts(sort=False).items() if count > 1]
    if twice:
        raise ValueError(f"{file.name}: {len(twice)} slides are listed more than once ({_naming(twice)}); keep one row a slide.")
    text = table["mpp"].str.strip() if "mpp" in table else pd.Series("", index=table.index)
    numbers = pd.to_numeric(text.where(text != "", None), errors="coerce")
    wrong = (text != "") & ~((numbers > 0) & (numbers < float("inf")))
    if wrong.any():
        cells = _naming(f"{cell!r} of {name}" for cell, name, bad in zip(text, slide_ids, wrong, strict=True) if bad)
        raise ValueError(
            f"{file.name}, column mpp: {int(wrong.sum())} cells are no microns a pixel ({cells}); correct them or leave them empty."
        )
    return {name: None if pd.isna(number) else float(number) for name, number in zip(slide_ids, numbers, strict=True)}


def find_slides(
    sources: Iterable[str | os.PathLike[str]], manifest: Manifest | None = None, *, mpp: float | None = None
) -> list[SlideSource]:
    """The slide files that are named and those in folders that are named, with what is known of their resolutions, sorted by path.

    Folders are searched with all that is in them, hidden files apart. Plain images of a folder are taken only where it holds no
    slide of a scanner: beside one, they are pictures of it.

    Args:
        sources: files and folders.
        manifest: resolutions that go before what a file says.
        mpp: the resolution that is assumed where neither says anything.

    Raises:
        ValueError: a file or folder is not there, or there is no slide in any.
    """
    paths: set[Path] = set()
    named = [Path(source) for source in sources]
    for place in named:
        if place.is_dir():
            paths |= _slides_within(place)
        elif place.is_file():
            paths.add(place)
        else:
            raise ValueError(f"{place}: there is no such file or folder; correct the path.")
    if not paths:
        raise ValueError(
            f"{_naming(named)}: no slide is in there; files are looked for that end in {', '.join(SUFFIXES)}, others have to be named."
        )
    known = manifest or {}
    found = []
    for path in sorted(paths):
        own = known.get(slide_id_of(path))
        found.append(SlideSource(path, mpp, ASSUMED) if own is None else SlideSource(path, own, FROM_MANIFEST))
    return found


def problems(slides: Sequence[SlideSource], manifest: Manifest | None = None, *, patch_mpp: float = 0.5) -> list[Problem]:
    """Every slide that will fail and why, in the order of `slides`, then those of the manifest that have no file.

    A slide fails that cannot be opened, was cut, has a damaged patch in its middle, has no resolution or pixels more than a tenth
    larger than `patch_mpp`; that has the bytes, or is of the DICOM series, of an earlier one; or whose name another slide has as
    well. Of files with the same bytes the first is kept; of different slides with one name none, as it is not known which is meant.

    Args:
        slides: what is going to be processed.
        manifest: the slides that there should be.
        patch_mpp: microns a pixel of the patches that will be cut.
    """
    reasons = _duplicates(slides)
    with ThreadPoolExecutor(READERS) as threads:
        looks = list(threads.map(lambda slide: _look(slide, patch_mpp), slides))
    series: dict[str, Path] = {}
    for slide, (reason, its_series) in zip(slides, looks, strict=True):
        if its_series and (first := series.setdefault(its_series, slide.path)) != slide.path:
            reason = f"{slide.path.name}: belongs to the same DICOM series as {first.name}; name one file of each slide."
        if reason is not None:
            reasons.setdefault(slide.path, reason)
    found = [Problem(slide.slide_id, slide.path, reasons[slide.path]) for slide in slides if slide.path in reasons]
    there = {slide.slide_id for slide in slides}
    absent = [slide_id for slide_id in manifest or () if slide_id not in there]
    lost = "{}: is named in the manifest, but no such file was found; add the file or remove the row."
    return found + [Problem(slide_id, None, lost.format(slide_id)) for slide_id in absent]


def _slides_within(folder: Path) -> set[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    scans = {path for path in found if path.suffix.lower() not in PLAIN_IMAGES}
    beside = {path.parent for path in scans}
    return scans | {path for path in found if path not in scans and beside.isdisjoint((path.parent, *path.parent.parents))}


def _look(source: SlideSource, patch_mpp: float) -> tuple[str | None, str]:
    """Why a slide will fail, if it will, and the DICOM series that it is of."""
    try:
        if (missing := missing_part(source.path)) is not None:
            return f"{source.path.name}: {missing}; the file was cut: copy it again.", ""
        with source.open() as slide:
            refusal = too_coarse(slide.known_resolution(), patch_mpp)
            if refusal is not None:
                return f"{source.path.name}: {refusal}", ""
            if source.path.suffix.lower() not in PLAIN_IMAGES:  # those would be decoded whole
                side = min(256, *slide.size)
                slide.region((slide.size[0] - side) // 2, (slide.size[1] - side) // 2, side, side)
            return None, slide.properties.get(SERIES, "")
    except SlideError as error:
        return str(error), ""


def _duplicates(slides: Sequence[SlideSource]) -> dict[Path, str]:
    """Reasons against slides that are there twice, under one name or two."""
    reasons: dict[Path, str] = {}
    first_of: dict[tuple[int, str], Path] = {}
    of_size: dict[int, list[Path]] = defaultdict(list)
    for slide in slides:
        of_size[slide.path.stat().st_size].append(slide.path)
    for size, paths in of_size.items():
        for path in paths if len(paths) > 1 and size > 0 else ():
            if (first := first_of.setdefault((size, _digest(path)), path)) != path:
                reasons[path] = f"{path.name}: has the same bytes as {_told_apart(first, path)}; leave one of them out."
    of_name: dict[str, list[Path]] = defaultdict(list)
    for slide in slides:
        if slide.path not in reasons:
            of_name[slide.slide_id].append(slide.path)
    for slide_id, paths in of_name.items():
        for path in paths if len(paths) > 1 else ():
            others = _naming(_told_apart(other, path) for other in paths if other != path)
            reasons[path] = f"{path.name}: {others} would have the same features file, {slide_id}.h5; rename one of them."
    return reasons


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told_apart(other: Path, path: Path) -> str:
    """The name of another file, with its folder where the names are the same."""
    return str(other) if other.name == path.name else other.name


def _without_suffix(name: str) -> str:
    """The slide that a cell of the manifest names; many name the file."""
    return slide_id_of(name) if name.lower().endswith(SUFFIXES) else name


def _naming(names: Iterable[object]) -> str:
    """At most three of the names, and how many more there are."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
