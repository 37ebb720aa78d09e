"""The patch features of a cohort, packed once for fast reading of any rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, Int, Int16

from prognos.cohort import Cohort
from prognos.tokens.packs import HeldSlide, Pack, SlideFile, alone, cache_folder, packs, read_slide, write_pack

IN_MEMORY_BELOW = 64 * 2**20
"""Bytes of float16 features below which a cohort is held in memory, and nothing is written."""

HELD_BYTES = 4 * IN_MEMORY_BELOW

_held: dict[str, HeldSlide] = {}  # slides by key, oldest first: folds and models of one study read the same files


@dataclass(frozen=True, eq=False)
class Run:
    """Consecutive rows of a pack or of a slide in memory."""

    source: Pack | HeldSlide
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class PatchStore:
    """The patches of each patient: those of all slides, one slide after the other in the order of slides.csv.

    Args:
        d_patch: width of the features; 0 without slides.
        runs: for each patient with slides, where the rows are.
        sizes: for each patient with slides, how many patches each slide has.
        origins: (encoder, units of the coordinates) that the feature files name.
    """

    d_patch: int
    runs: Mapping[str, tuple[Run, ...]]
    sizes: Mapping[str, tuple[int, ...]]
    origins: frozenset[tuple[str, str]]

    @classmethod
    def open(
        cls,
        cohort: Cohort,
        folder: str | Path | None = None,
        *,
        in_memory_below: int = IN_MEMORY_BELOW,
        progress: Callable[[int, int], None] | None = None,
    ) -> "PatchStore":
        """The store of a cohort; feature files that were not packed before are read and packed now.

        Args:
            cohort: its slides name the feature files.
            folder: where packed features are kept; the user's cache folder when None.
            in_memory_below: cohorts of fewer bytes (in float16) are held in memory and nothing is written.
            progress: called with the number of slides read and to read.

        Raises:
            ValueError: a feature file cannot be used, or two have different widths; the message names the slide.
            OutputError: the folder cannot be written.
        """
        slides = [SlideFile.of(str(slide), str(path)) for slide, path in zip(cohort.slides["slide_id"], cohort.slides["path"], strict=True)]
        d_patch = _width(slides)
        size = sum(slide.shape[0] for slide in slides) * d_patch * 2
        if size < in_memory_below:
            sources = _in_memory(slides, progress)
        else:
            sources = _packed(slides, cache_folder() if folder is None else Path(folder), progress)
        runs: dict[str, list[Run]] = {}
        sizes: dict[str, list[int]] = {}
        for slide, patient in zip(slides, cohort.slides["patient_id"], strict=True):
            _append(runs.setdefault(patient, []), sources[slide.key][0])
            sizes.setdefault(patient, []).append(slide.shape[0])
        origins = frozenset(sources[slide.key][1] for slide in slides)
        of_patients = {patient: tuple(found) for patient, found in runs.items()}
        return cls(d_patch, of_patients, {patient: tuple(found) for patient, found in sizes.items()}, origins)

    def n_patches(self, patient: str) -> int:
        """Number of patches of a patient; 0 for one without slides."""
        return sum(run.count for run in self.runs.get(patient, ()))

    def rows(
        self, patient: str, index: Int[np.ndarray, " n"] | None = None, *, out: np.ndarray | None = None
    ) -> Float16[np.ndarray, "n d_patch"]:
        """Features of a patient's patches.

        Args:
            patient: one without slides has no rows.
            index: which patches; all when None. Sorted ones are read fastest.
            out: array that the rows are written into, and that is returned; a new one when None.
        """
        return self._taken(patient, index, "values", (self.d_patch, np.float16), out)

    def coords(
        self, patient: str, index: Int[np.ndarray, " n"] | None = None, *, out: np.ndarray | None = None
    ) -> Float32[np.ndarray, "n 2"]:
        """x, y of a patient's patches as the feature file has them; NaN where it has none. Arguments as in `rows`."""
        return self._taken(patient, index, "coords", (2, np.float32), out)

    def slide(self, patient: str, index: Int[np.ndarray, " n"] | None = None) -> Int16[np.ndarray, " n"]:
        """Which of the patient's slides each patch is of, counted from 0 in the order of slides.csv."""
        sizes = self.sizes.get(patient, ())
        if index is None:
            return np.repeat(np.arange(len(sizes), dtype=np.int16), sizes)
        return np.searchsorted(np.cumsum(sizes), index, side="right").astype(np.int16)

    def _taken(self, patient: str, index: np.ndarray | None, name: str, row: tuple[int, type], out: np.ndarray | None) -> np.ndarray:
        """Rows of the values or of the coordinates."""
        runs, total = self.runs.get(patient, ()), self.n_patches(patient)
        n_rows = total if index is None else len(index)
        if out is None:
            out = np.empty((n_rows, row[0]), dtype=row[1])
        if index is not None and n_rows and (index.min() < 0 or index.max() >= total):
            raise IndexError(f"patient {patient} has {total} patches; asked for {index.min()} to {index.max()}.")
        start = 0
        for run in runs:
            rows = getattr(run.source, name)[run.first : run.first + run.count]
            if index is None:
                out[start : start + run.count] = rows
            elif len(runs) == 1:
                np.take(rows, index, axis=0, out=out, mode="clip")  # the index was checked above; "raise" would copy twice
            else:
                inside = np.flatnonzero((index >= start) & (index < start + run.count))
                out[inside] = rows[index[inside] - start]
            start += run.count
        return out


Sources = dict[str, tuple[Run, tuple[str, str]]]


def _in_memory(slides: Sequence[SlideFile], progress: Callable[[int, int], None] | None) -> Sources:
    """The slides in memory; what was read before by this process is not read again."""
    sources: Sources = {}
    for done, slide in enumerate(slides, start=1):
        held = _held.pop(slide.key, None) or read_slide(slide)
        _held[slide.key] = held
        sources[slide.key] = (Run(held, 0, len(held.values)), held.origin)
        if progress is not None:
            progress(done, len(slides))
    size = sum(held.values.nbytes for held in _held.values())
    while size > HELD_BYTES:
        size -= _held.pop(next(iter(_held))).values.nbytes
    return sources


def _packed(slides: Sequence[SlideFile], folder: Path, progress: Callable[[int, int], None] | None) -> Sources:
    """The slides in the packs of a folder; those in none are packed first."""
    sources = _found(slides, folder)
    if any(slide.key not in sources for slide in slides):
        with alone(folder):
            sources = _found(slides, folder)  # another process may have packed them meanwhile
            missing = {slide.key: slide for slide in slides if slide.key not in sources}
            if missing:
                write_pack(folder, list(missing.values()), progress)
        sources = _found(slides, folder)
    return sources


def _found(slides: Sequence[SlideFile], folder: Path) -> Sources:
    """Where the slides are, of those that are in a pack of the folder."""
    wanted = {slide.key for slide in slides}
    sources: Sources = {}
    for pack in packs(folder):
        for key in wanted & pack.places.keys():
            sources.setdefault(key, (Run(pack, *pack.places[key]), pack.origins[key]))
    return sources


def _append(runs: list[Run], run: Run) -> None:
    """Adds rows to a patient's, joined to the last ones where they follow them in the same pack."""
    if runs and runs[-1].source is run.source and runs[-1].first + runs[-1].count == run.first:
        runs[-1] = Run(run.source, runs[-1].first, runs[-1].count + run.count)
    elif run.count:
        runs.append(run)


def _width(slides: Sequence[SlideFile]) -> int:
    """The width of the features; slides on which no patch was found have none."""
    widths: dict[int, list[str]] = {}
    for slide in slides:
        if slide.shape[0]:
            widths.setdefault(slide.shape[1], []).append(slide.slide_id)
    if len(widths) > 1:
        said = "; ".join(f"{width} in {len(ids)} slides ({', '.join(ids[:3])})" for width, ids in sorted(widths.items()))
        raise ValueError(f"features of {len(widths)} widths: {said}. Extract all slides with one encoder.")
    return next(iter(widths), 0)
