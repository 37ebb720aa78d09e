"""Slides to feature files: one after the other, each under its lock, each from where it was left, a failed one a row and not the end."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from prognos import runtime
from prognos.files import OutputError
from prognos.slides.ahead import batches_ahead
from prognos.slides.check import Problem, SlideSource
from prognos.slides.encoders import Encoder, EncoderError
from prognos.slides.feature_file import write_features
from prognos.slides.part_file import PartFile
from prognos.slides.prepare import NO_TISSUE, Outcome, Prepared, Settings, failure, prepare, prepared_ahead, versions
from prognos.slides.reading import SlideError
from prognos.slides.status import DONE, FAILED, WORK, SlideStatus, merge_status

MOST_READERS = 16


@dataclass(frozen=True)
class Progress:
    """How far the slides are.

    Args:
        done: slides that are behind us, failed ones included.
        total: slides.
        share: of the work, by bytes of the files.
        patches: encoded in this run.
        seconds: since the start.
    """

    done: int
    total: int
    share: float
    patches: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far; None at the start."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0.01 else None


def process(
    sources: Sequence[SlideSource],
    encoder: Encoder,
    settings: Settings,
    out: Path,
    *,
    refused: Sequence[Problem] = (),
    show: Callable[[Progress], None] | None = None,
) -> list[SlideStatus]:
    """Writes the features of slides into a folder and returns what became of each; slides_status.csv is kept up to date.

    Slides that are done already are left as they are. Those that another process is working on are passed over; they are missing
    in what is returned unless that process has finished them by the end.

    Args:
        sources: the slides.
        encoder: what turns patches into features.
        settings: what patches, and how they are stored.
        out: the folder; SLIDE_ID.h5, tissue/SLIDE_ID.png and .geojson, slides_status.csv.
        refused: what `problems` says of the slides: these are not tried, and become rows that say why.
        show: is told how far it is, after each batch and slide.

    Raises:
        ValueError: an option of the patches is out of its range.
        EncoderError: the encoder does not work on these patches.
        OutputError: the folder cannot be written in.
    """
    rows = [_refusal(problem, encoder) for problem in refused]
    if rows:
        merge_status(out, rows)
    bad = {problem.path for problem in refused}
    tried = [source for source in sources if source.path not in bad]
    pace, elsewhere = _Pace(tried, show), []
    with closing(prepared_ahead(tried, encoder, settings, out)) as prepared:
        for source, ready in zip(tried, prepared, strict=True):
            row = _encode(ready, encoder, settings, out, pace.within)
            if row is None:
                elsewhere.append(source)
            else:
                rows.append(row)
                merge_status(out, [row])
            pace.next_slide()
    for source in elsewhere:
        if (row := process_slide(source, encoder, settings, out)) is not None:
            rows.append(row)
            merge_status(out, [row])
    return rows


class _Pace:
    """Counts slides, bytes and patches, and tells `show`."""

    def __init__(self, sources: Sequence[SlideSource], show: Callable[[Progress], None] | None):
        self._weights = [max(1, source.path.stat().st_size) if source.path.is_file() else 1 for source in sources]
        self._show = show
        self._done = self._patches = 0
        self._begun = time.monotonic()

    def within(self, share: float, patches: int) -> None:
        self._patches += patches
        self._tell(share * self._weights[self._done])

    def next_slide(self) -> None:
        self._done += 1
        self._tell(0.0)

    def _tell(self, weight: float) -> None:
        if self._show is not None:
            share = (sum(self._weights[: self._done]) + weight) / sum(self._weights)
            self._show(Progress(self._done, len(self._weights), share, self._patches, time.monotonic() - self._begun))


def _refusal(problem: Problem, encoder: Encoder) -> SlideStatus:
    file = "" if problem.path is None else str(problem.path.resolve())
    return SlideStatus(problem.slide_id, file, FAILED, problem.reason, encoder=encoder.name, versions=versions())


def process_slide(
    source: SlideSource, encoder: Encoder, settings: Settings, out: Path, tell: Callable[[float, int], None] | None = None
) -> SlideStatus | None:
    """Writes the features of one slide and returns what became of it; None while another process is working on it.

    Args:
        source: the slide.
        encoder: what turns patches into features.
        settings: what patches, and how they are stored.
        out: the folder.
        tell: is told the share of the slide that is done and how many patches the last batch had.

    Raises:
        ValueError: an option of the patches is out of its range.
        EncoderError: the encoder does not work on these patches.
        OutputError: the folder cannot be written in.
    """
    return _encode(prepare(source, encoder, settings, out), encoder, settings, out, tell or (lambda share, patches: None))


def _encode(ready: Outcome, encoder: Encoder, settings: Settings, out: Path, tell: Callable[[float, int], None]) -> SlideStatus | None:
    """The row of a slide; one that waits for the encoder is encoded and closed."""
    if not isinstance(ready, Prepared):
        return ready
    begun = time.monotonic()
    try:
        n_patches = _features(ready, encoder, settings, out, tell)
    except (EncoderError, OutputError):
        raise
    except (SlideError, OSError, MemoryError) as error:
        return failure(ready.about, error)
    finally:
        ready.close()
    seconds = round(ready.seconds + time.monotonic() - begun, 1)
    return SlideStatus(**ready.about, status=DONE, reason="" if n_patches else NO_TISSUE, patches=n_patches, seconds=seconds)


def _features(ready: Prepared, encoder: Encoder, settings: Settings, out: Path, tell: Callable[[float, int], None]) -> int:
    """The patches of a slide through the encoder into its feature file; their number."""
    slide, coords, facts = ready.slide, ready.grid.coords, ready.facts
    head = {
        "coords": dict(facts.coords),
        "features": dict(facts.features),
        "places": runtime.derive_seed(coords.tobytes()),
        "bytes": slide.path.stat().st_size,
        "place": encoder.place(),
    }
    path = out / WORK / slide.slide_id / "features.part"
    with PartFile(path, head, (len(coords), settings.batch_size, encoder.d_patch), settings.stored) as part:
        readers = settings.readers or min(MOST_READERS, runtime.usable_cores())
        options = {"batch_size": settings.batch_size, "first": part.n_batches, "readers": readers}
        with closing(batches_ahead(slide, coords, ready.grid.patch_size_level0, encoder.patch_size, **options)) as batches:
            for batch in batches:
                part.append(_stored(encoder(batch), settings.stored, slide.slide_id))
                tell(min(1.0, part.n_batches * settings.batch_size / len(coords)), len(batch))
        write_features(out / f"{slide.slide_id}.h5", part.batches(), coords, (encoder.d_patch, settings.stored), facts)
    path.unlink()
    return len(coords)


def _stored(features: Float32[np.ndarray, "batch d_patch"], stored: str, slide_id: str) -> Float[np.ndarray, "batch d_patch"]:
    """Features as they are stored.

    Raises:
        SlideError: one is NaN or infinite, or becomes so.
    """
    with np.errstate(over="ignore"):
        kept = features.astype(stored)
    wrong = ~np.isfinite(kept).all(axis=1)
    if wrong.any():
        what, advice = "numbers", "use --precision float32, or look at the weights"
        if np.isfinite(features).all():
            what, advice = "float16", f"the largest is {np.abs(features).max():.3g}: use --stored float32"
        raise SlideError(f"{slide_id}: the features of {int(wrong.sum())} of {len(wrong)} patches of a batch are no {what}; {advice}")
    return kept
