"""How fast `prognos slides` is against its encoder alone, and how much memory very large slides take.

    python benchmarks/slides.py pace [--patches 256] [--encoder efficientnet-lite0] [--repeats 5]
    python benchmarks/slides.py memory [--share 0.05] [--patch-size 256] [--encoder colours]

`pace`: the whole way of a made slide (opening it, tissue, patches, reading, encoding, writing) against the encoder on the same patches
held in memory, in turns, in one process; the encoder has one thread, one thread reads ahead. The ratio is of patches a second of wall
time. Beside it: the same of CPU time, which is what a single core would see, and the share of the whole way that the network computes;
where other work takes the second core, the last says whether the encoder waits.

`memory`: a pyramid of 100,000 x 80,000 pixels, of which a share is tissue, is written tile by tile and processed in a process of its
own, whose peak resident memory is measured. `colours` is an encoder that costs next to nothing, so that reading is what is measured.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import argparse
import functools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from torch import nn

from prognos.slides.ahead import batches_ahead
from prognos.slides.check import SlideSource
from prognos.slides.encoders import load_encoder
from prognos.slides.grid import grid_of
from prognos.slides.prepare import Settings
from prognos.slides.process import process_slide
from prognos.slides.reading import Slide
from prognos.slides.tissue import find_tissue

SIZE = (100_000, 80_000)
MPP = 0.5
TILE = 256
GLASS = (243, 242, 244)
NEEDED_SHARE = 0.9
NEEDED_GIGABYTES = 1.5


class Colours(nn.Module):
    """Mean and spread of each colour, as many times as features are wide."""

    patch_size = 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Six numbers a patch, repeated."""
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1).repeat(1, 128)


class Timed(nn.Module):
    """A network that counts the seconds it computes."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the network gives."""
        begun = time.perf_counter()
        features = self.network(images)
        self.seconds += time.perf_counter() - begun
        return features


def tissue() -> np.ndarray:
    """A tile of pink with purple nuclei, with a period of 16 pixels so that it compresses well."""
    rows, columns = np.mgrid[0:TILE, 0:TILE] % 16 - 8
    nucleus = rows**2 + columns**2 <= 16
    pixels = np.where(nucleus[..., None], (96, 62, 140), (222, 150, 190)) + (rows * 5 + columns * 3)[..., None] % 7
    return pixels.astype(np.uint8)


def write_pyramid(path: Path, size: tuple[int, int], share: float) -> None:
    """A pyramid whose middle is tissue, of this share of its area, written tile by tile; each further level is four times smaller."""
    stained = tissue()

    @functools.cache
    def tile(left: int, top: int, right: int, bottom: int) -> bytes:
        pixels = np.full((TILE, TILE, 3), GLASS, dtype=np.uint8)
        pixels[top:bottom, left:right] = stained[top:bottom, left:right]
        return zlib.compress(pixels.tobytes())

    def tiles(width: int, height: int) -> Iterator[bytes]:
        margin = (1 - share**0.5) / 2
        edges = [round(edge) for edge in (width * margin, height * margin, width * (1 - margin), height * (1 - margin))]
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                yield tile(*(min(max(edge - start, 0), TILE) for edge, start in zip(edges, (left, top, left, top), strict=True)))

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(6):
            width, height = (length // 4**level for length in size)
            if level and max(width, height) < 1024:
                break
            writer.write(
                tiles(width, height),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=1 if level else 0,
                resolution=(1e4 / (MPP * 4**level),) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def pace(n_patches: int, name: str, repeats: int) -> bool:
    """Patches a second of the whole way and of the encoder alone."""
    torch.set_num_threads(1)
    encoder = load_encoder("slides:Colours" if name == "colours" else name)
    side = int(n_patches**0.5)
    settings = Settings(readers=1)
    timed = Timed(encoder.network)
    encoder = replace(encoder, network=timed)
    spent: dict[str, list[tuple[float, float]]] = {"whole": [], "alone": []}
    at_work = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "made.tiff"
        write_pyramid(path, (2 * side * 256, 2 * side * 256), 0.25)
        with Slide.open(path) as slide:
            grid = grid_of(slide, find_tissue(slide))
            batches = list(batches_ahead(slide, grid.coords, grid.patch_size_level0, encoder.patch_size, batch_size=settings.batch_size))
        encoder(batches[0])
        for turn in range(repeats):
            timed.seconds = 0.0
            begun = time.perf_counter(), time.process_time()
            process_slide(SlideSource(path), encoder, settings, Path(scratch) / str(turn))
            between = time.perf_counter(), time.process_time()
            at_work.append(timed.seconds / (between[0] - begun[0]))
            for batch in batches:
                encoder(batch)
            ended = time.perf_counter(), time.process_time()
            spent["whole"].append((between[0] - begun[0], between[1] - begun[1]))
            spent["alone"].append((ended[0] - between[0], ended[1] - between[1]))
    n_patches = len(grid.coords)
    wall = statistics.median(alone[0] / whole[0] for whole, alone in zip(spent["whole"], spent["alone"], strict=True))
    cpu = statistics.median(alone[1] / whole[1] for whole, alone in zip(spent["whole"], spent["alone"], strict=True))
    rates = {which: n_patches / statistics.median(seconds for seconds, _ in turns) for which, turns in spent.items()}
    print(f"{n_patches} patches, {encoder.name}: whole {rates['whole']:.1f} patches/s, alone {rates['alone']:.1f}")
    print(f"ratio {wall:.3f} (needed {NEEDED_SHARE}); of CPU time {cpu:.3f}; the network is at work {statistics.median(at_work):.3f}")
    print(f"load of the machine {os.getloadavg()[0]:.1f}")
    return wall >= NEEDED_SHARE


def memory(share: float, patch_size: int, name: str) -> bool:
    """Peak memory of a very large slide."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "large.tiff"
        write_pyramid(path, SIZE, share)
        print(f"{SIZE[0]:,} x {SIZE[1]:,} pixels, {share:.0%} tissue, {path.stat().st_size / 1e6:.0f} MB on disk")
        arguments = [__file__, "one", str(path), str(patch_size), name, scratch]
        result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
        told = json.loads(result.stdout.splitlines()[-1])
    print(f"{told['patches']:,} patches in {told['seconds']:.0f} s, peak {told['gigabytes']:.2f} GB (needed {NEEDED_GIGABYTES})")
    return told["gigabytes"] < NEEDED_GIGABYTES


def one(path: Path, patch_size: int, name: str, scratch: Path) -> None:
    """Processes one slide and prints patches, seconds and peak memory."""
    torch.set_num_threads(1)
    encoder = load_encoder("slides:Colours" if name == "colours" else name)
    begun = time.perf_counter()
    row = process_slide(SlideSource(path), encoder, Settings(patch_size=patch_size), scratch / "out")
    assert row is not None
    assert row.status == "done", row.reason
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"patches": row.patches, "seconds": time.perf_counter() - begun, "gigabytes": peak}))


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_pace = verbs.add_parser("pace")
    of_pace.add_argument("--patches", type=int, default=256)
    of_pace.add_argument("--encoder", default="efficientnet-lite0")
    of_pace.add_argument("--repeats", type=int, default=5)
    of_memory = verbs.add_parser("memory")
    of_memory.add_argument("--share", type=float, default=0.05)
    of_memory.add_argument("--patch-size", type=int, default=256)
    of_memory.add_argument("--encoder", default="colours")
    of_one = verbs.add_parser("one")
    for name, kind in (("path", Path), ("patch_size", int), ("encoder", str), ("scratch", Path)):
        of_one.add_argument(name, type=kind)
    options = parser.parse_args()
    if options.verb == "one":
        one(options.path, options.patch_size, options.encoder, options.scratch)
        return
    if options.verb == "pace":
        met = pace(options.patches, options.encoder, options.repeats)
    else:
        met = memory(options.share, options.patch_size, options.encoder)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
