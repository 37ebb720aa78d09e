"""Slides on several devices at once: each has its encoder and its share of the slides."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from prognos import runtime
from prognos.slides.check import Problem, SlideSource
from prognos.slides.encoders import Encoder
from prognos.slides.prepare import Settings
from prognos.slides.process import MOST_READERS, Progress, process
from prognos.slides.status import SlideStatus


def process_on(
    sources: Sequence[SlideSource],
    encoders: Sequence[Encoder],
    settings: Settings,
    out: Path,
    *,
    refused: Sequence[Problem] = (),
    show: Callable[[Progress], None] | None = None,
) -> list[SlideStatus]:
    """As `process`, with one encoder a device: the slides are divided between them by the sizes of their files.

    Args:
        sources: the slides.
        encoders: the same encoder on each device.
        settings: what patches, and how they are stored.
        out: the folder.
        refused: slides that are not tried, and become rows that say why.
        show: is told how far all of them are together.

    Raises:
        ValueError, EncoderError, OutputError: see `process`; the other devices then stop after the batch that they are at.
    """
    if len(encoders) == 1:
        return process(sources, encoders[0], settings, out, refused=refused, show=show)
    if not settings.readers:
        settings = replace(settings, readers=max(1, min(MOST_READERS, runtime.usable_cores() // len(encoders))))
    bad = {problem.path for problem in refused}
    shares = divided([source for source in sources if source.path not in bad], len(encoders))
    together = _Together([_bytes(share) for share in shares], show)
    rows = process([], encoders[0], settings, out, refused=refused)
    with ThreadPoolExecutor(len(encoders)) as pool:
        jobs = [
            pool.submit(process, share, encoder, settings, out, show=together.of(i))
            for i, (share, encoder) in enumerate(zip(shares, encoders, strict=True))
        ]
        try:
            ended, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            found = [row for job in sorted(ended, key=jobs.index) for row in job.result()]
        finally:
            together.stop()
    order = {str(source.path.resolve()): place for place, source in enumerate(sources)}
    return [*rows, *sorted(found, key=lambda row: order[row.file])]


def divided(sources: Sequence[SlideSource], n_shares: int) -> list[list[SlideSource]]:
    """The slides in shares of about equal size: the largest first, each to the share that has the least; order is kept within a share."""
    shares: list[list[int]] = [[] for _ in range(n_shares)]
    held = [0] * n_shares
    for place in sorted(range(len(sources)), key=lambda place: -_bytes([sources[place]])):
        least = held.index(min(held))
        shares[least].append(place)
        held[least] += _bytes([sources[place]])
    return [[sources[place] for place in sorted(share)] for share in shares]


def _bytes(sources: Sequence[SlideSource]) -> int:
    return sum(max(1, source.path.stat().st_size) if source.path.is_file() else 1 for source in sources)


class Stopped(RuntimeError):
    """Another device failed, or the user interrupted."""


class _Together:
    """The progress of all shares as one, and the word that stops them."""

    def __init__(self, weights: Sequence[int], show: Callable[[Progress], None] | None):
        self._weights = weights
        self._show = show
        self._latest: dict[int, Progress] = {}
        self._stopped = threading.Event()
        self._one_at_a_time = threading.Lock()

    def stop(self) -> None:
        self._stopped.set()

    def of(self, share: int) -> Callable[[Progress], None]:
        """What one share tells its progress to."""

        def tell(progress: Progress) -> None:
            if self._stopped.is_set():
                raise Stopped("the slides on the other devices were stopped")
            with self._one_at_a_time:
                self._latest[share] = progress
                if self._show is not None and len(self._latest) == sum(weight > 0 for weight in self._weights):
                    self._show(self._whole())

        return tell

    def _whole(self) -> Progress:
        parts = self._latest
        share = sum(self._weights[i] * part.share for i, part in parts.items()) / max(1, sum(self._weights))
        done, total, patches = (sum(getattr(part, name) for part in parts.values()) for name in ("done", "total", "patches"))
        return Progress(done, total, share, patches, max(part.seconds for part in parts.values()))
