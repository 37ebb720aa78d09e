"""What precedes the encoder: a slide's lock, its tissue, its patches, and whether its features are there already."""

import importlib.metadata
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prognos.files import InUseError, OutputError, locked
from prognos.slides.check import SlideSource
from prognos.slides.encoders import Encoder
from prognos.slides.feature_file import STORED, Fact, FeatureFacts, differences, facts_in
from prognos.slides.grid import Grid, grid_of
from prognos.slides.outlines import save_tissue, tissue_from_geojson
from prognos.slides.reading import Slide, SlideError
from prognos.slides.resolution import ASSUMED, FROM_MANIFEST
from prognos.slides.status import DONE, FAILED, WORK, SlideStatus
from prognos.slides.tissue import FOUND, Tissue, find_tissue

NO_TISSUE = "no tissue was found: the feature file has no patch"
ON_FEATURES = ("prognos", "torch", "openslide-python", "openslide-bin", "pillow")
"""Packages whose versions the bytes of a feature file may depend on."""


@dataclass(frozen=True)
class Settings:
    """What patches are cut, and how they are encoded and stored.

    Args:
        patch_size: side in pixels of `patch_mpp` microns.
        patch_mpp: microns a pixel of a patch.
        overlap: pixels that neighbours share.
        least_tissue: share of a patch that has to be tissue.
        batch_size: patches that are encoded at once. Boundaries of batches are always at the same places, as the last digits of a
            feature may depend on its batch.
        stored: `float16` or `float32`.
        outlines: folder of SLIDE_ID.geojson that replace the tissue that is found.
        readers: threads that read ahead of the encoder; 0 for one a core.

    Raises:
        ValueError: a batch of no patch, or another type of numbers.
    """

    patch_size: int = 256
    patch_mpp: float = 0.5
    overlap: int = 0
    least_tissue: float = 0.5
    batch_size: int = 32
    stored: str = "float16"
    outlines: Path | None = None
    readers: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"a batch cannot hold {self.batch_size} patches; choose at least 1, such as 32.")
        if self.stored not in STORED:
            raise ValueError(f"features cannot be stored as {self.stored!r}; choose {' or '.join(STORED)}.")
        if self.outlines is not None and not self.outlines.is_dir():
            raise ValueError(f"{self.outlines}: there is no such folder; give the one that holds SLIDE_ID.geojson.")


@dataclass(frozen=True)
class Prepared:
    """A slide that waits for the encoder, open and locked until `close`.

    Args:
        slide: the open slide.
        grid: its patches.
        facts: what its feature file will say.
        about: what its row of slides_status.csv will say whatever happens.
        seconds: that it took to come here.
        held: the lock and the open file.
    """

    slide: Slide
    grid: Grid
    facts: FeatureFacts
    about: Mapping[str, Any]
    seconds: float
    held: ExitStack

    def close(self) -> None:
        """Closes the slide and lets other processes have it."""
        self.held.close()


Outcome = Prepared | SlideStatus | None
"""A slide that waits for the encoder; the row of one that is done already or failed; None for one that another process works on."""


def prepare(source: SlideSource, encoder: Encoder, settings: Settings, out: Path) -> Outcome:
    """Locks and opens a slide, finds its tissue and its patches, and saves the tissue.

    Args:
        source: the slide.
        encoder: what its patches are for.
        settings: what patches.
        out: the folder of the feature files.

    Raises:
        ValueError: an option of the patches is out of its range.
        OutputError: the folder cannot be written in.
    """
    about: dict[str, Any] = {"slide_id": source.slide_id, "file": str(source.path.resolve())}
    about |= {"encoder": encoder.name, "versions": versions()}
    begun = time.monotonic()
    with ExitStack() as held:
        try:
            held.enter_context(locked(out / WORK / source.slide_id))
            final = out / f"{source.slide_id}.h5"
            if final.exists():
                return _there_already(final, about, source, _wanted(source.slide_id, encoder, settings))
            slide = held.enter_context(source.open())
            resolution = slide.known_resolution()
            about |= {"mpp": resolution.mpp, "mpp_source": resolution.source}
            tissue = _tissue(slide, settings)
            save_tissue(tissue, slide, out / "tissue")
            sizes: dict[str, Any] = {"patch_size": settings.patch_size, "mpp": settings.patch_mpp, "overlap": settings.overlap}
            grid = grid_of(slide, tissue, **sizes, least_tissue=settings.least_tissue)
        except InUseError:
            return None
        except OutputError:
            raise
        except (SlideError, OSError, MemoryError) as error:
            return failure(about, error)
        facts = facts_of(slide, tissue, grid, encoder, settings)
        return Prepared(slide, grid, facts, about, time.monotonic() - begun, held.pop_all())


def prepared_ahead(sources: Sequence[SlideSource], encoder: Encoder, settings: Settings, out: Path) -> Generator[Outcome, None, None]:
    """What `prepare` says of slides one after the other; while one is used, a thread prepares the next.

    Whoever takes a prepared slide closes it.
    """
    waiting: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="tissue") as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(prepare, source, encoder, settings, out))
                if len(waiting) == 2:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None and isinstance(left := future.result(), Prepared):
                    left.close()


def failure(about: Mapping[str, Any], error: BaseException) -> SlideStatus:
    """The row of a slide that failed."""
    return SlideStatus(**about, status=FAILED, reason=" ".join(str(error).split()) or type(error).__name__)


def _there_already(final: Path, about: Mapping[str, Any], source: SlideSource, wanted: Mapping[str, Fact]) -> SlideStatus:
    """The row of a slide whose features are there: done, unless they were made otherwise."""
    said = facts_in(final)
    if source.mpp is not None and (source.mpp_source == FROM_MANIFEST or said.get("mpp_source") == ASSUMED):
        wanted = {**wanted, "mpp": source.mpp}
    differ = differences(said, wanted)
    if differ:
        reason = f"{final.name} is there and was made otherwise ({'; '.join(differ)}): choose another --out, or remove the file"
        return SlideStatus(**about, status=FAILED, reason=reason)
    known: dict[str, Any] = {name: said[name] for name in ("mpp", "mpp_source", "versions", "patches")}
    return SlideStatus(**{**about, **known}, status=DONE, reason="" if known["patches"] else NO_TISSUE)


def _tissue(slide: Slide, settings: Settings) -> Tissue:
    outline = _outline(slide.slide_id, settings)
    return find_tissue(slide) if outline is None else tissue_from_geojson(outline, slide)


def _outline(slide_id: str, settings: Settings) -> Path | None:
    """The user's outline of a slide; None where there is none."""
    outline = settings.outlines / f"{slide_id}.geojson" if settings.outlines is not None else None
    return outline if outline is not None and outline.is_file() else None


def facts_of(slide: Slide, tissue: Tissue, grid: Grid, encoder: Encoder, settings: Settings) -> FeatureFacts:
    """What the feature file of a slide says about itself, in TRIDENT's names and ours.

    TRIDENT's magnifications are ten over microns a pixel, rounded; the microns themselves stand beside them.
    """
    resolution = slide.known_resolution()
    coords: dict[str, Fact] = {
        "patch_size": grid.patch_size,
        "patch_level": 0,
        "patch_size_level0": grid.patch_size_level0,
        "level0_magnification": round(10 / resolution.mpp),
        "target_magnification": round(10 / grid.mpp),
        "overlap": grid.overlap,
        "level0_width": slide.size[0],
        "level0_height": slide.size[1],
        "name": slide.slide_id,
        "mpp": resolution.mpp,
        "mpp_source": resolution.source,
        "patch_mpp": grid.mpp,
        "least_tissue": grid.least_tissue,
        "tissue": tissue.source,
    }
    features: dict[str, Fact] = {
        "encoder": encoder.name,
        "name": slide.slide_id,
        "weights": encoder.weights,
        "precision": encoder.precision,
        "stored": settings.stored,
        "batch_size": settings.batch_size,
        "versions": versions(),
    }
    return FeatureFacts(coords, features)


def _wanted(slide_id: str, encoder: Encoder, settings: Settings) -> dict[str, Fact]:
    """The facts that a feature file must have to be the one that is asked for."""
    outline = _outline(slide_id, settings)
    return {
        "encoder": encoder.name,
        "weights": encoder.weights,
        "precision": encoder.precision,
        "stored": settings.stored,
        "patch_size": settings.patch_size,
        "patch_mpp": settings.patch_mpp,
        "overlap": settings.overlap,
        "least_tissue": settings.least_tissue,
        "tissue": FOUND if outline is None else outline.name,
    }


def versions() -> str:
    """Versions of what the bytes of a feature file may depend on, as one line."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ON_FEATURES)
