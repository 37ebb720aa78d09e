"""Slides that tests make: white glass with pink and purple tissue, as tiled TIFF pyramids that OpenSlide opens as generic-tiff."""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tifffile

GLASS = (243, 242, 244)
STROMA = np.array([222, 150, 190])
NUCLEUS = np.array([96, 62, 140])
TILE = 256

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in level-0 pixels."""


def tissue_pixels(width: int, height: int, *, seed: int = 0) -> np.ndarray:
    """Something like haematoxylin and eosin: round nuclei, eight pixels wide, in pink stroma with a grain."""
    rng = np.random.default_rng(seed)
    pixels = STROMA + rng.normal(0, 9, (height, width, 1))
    n_nuclei = width * height // 400
    rows, columns = rng.integers(0, height, n_nuclei), rng.integers(0, width, n_nuclei)
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            if dy * dy + dx * dx <= 16:
                pixels[(rows + dy) % height, (columns + dx) % width] = NUCLEUS
    return pixels.clip(0, 255).astype(np.uint8)


def slide_pixels(size: tuple[int, int], tissue: Iterable[Box] = (), *, seed: int = 0) -> np.ndarray:
    """Level 0 of a slide of (width, height): glass, and tissue in each box."""
    pixels = np.full((size[1], size[0], 3), GLASS, dtype=np.uint8)
    for number, (left, top, right, bottom) in enumerate(tissue):
        pixels[top:bottom, left:right] = tissue_pixels(right - left, bottom - top, seed=seed + number)
    return pixels


def made_slide(
    path: Path,
    size: tuple[int, int] = (2048, 1536),
    tissue: Sequence[Box] | None = None,
    *,
    mpp: float | None = 0.5,
    levels: int = 2,
    pixels: np.ndarray | None = None,
    seed: int = 0,
) -> Path:
    """Writes a tiled pyramidal TIFF; each further level is four times smaller. Returns the path.

    Args:
        path: ends in .tif or .tiff.
        size: width and height of level 0; not used with `pixels`.
        tissue: boxes of tissue; by default one in the middle, half as wide and half as high as the slide.
        mpp: microns a level-0 pixel; None writes no resolution.
        levels: how many levels.
        pixels: level 0 itself, (height, width, 3) uint8.
        seed: of the grain.
    """
    if pixels is None:
        width, height = size
        boxes = [(width // 4, height // 4, 3 * width // 4, 3 * height // 4)] if tissue is None else tissue
        pixels = slide_pixels(size, boxes, seed=seed)
    with tifffile.TiffWriter(path, bigtiff=False) as writer:
        for level in range(levels):
            scale = 4**level
            unit = {"resolution": (1e4 / (mpp * scale),) * 2, "resolutionunit": "CENTIMETER"} if mpp else {"resolutionunit": "NONE"}
            options = {
                "tile": (TILE, TILE),
                "photometric": "rgb",
                "compression": "zlib",
                "compressionargs": {"level": 1},
                "metadata": None,
                "software": False,
            }
            writer.write(_shrunk(pixels, scale), subfiletype=1 if level else 0, **options, **unit)
    return path


def made_huge_slide(path: Path, size: tuple[int, int], tissue: Sequence[Box], *, mpp: float = 0.5, levels: int = 3, seed: int = 0) -> Path:
    """Writes a slide of any size without holding it in memory: each tile is one of nine that are compressed once.

    Returns the path. Boxes of tissue are rounded to whole tiles of their level.
    """
    tiles = [np.full((TILE, TILE, 3), GLASS, dtype=np.uint8), *(tissue_pixels(TILE, TILE, seed=seed + number) for number in range(8))]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            scale = 4**level
            width, height = size[0] // scale, size[1] // scale
            rows, columns = -(-height // TILE), -(-width // TILE)
            kind = np.zeros((rows, columns), dtype=np.int64)
            for box in tissue:
                left, top, right, bottom = (round(edge / scale / TILE) for edge in box)
                kind[top:bottom, left:right] = 1 + np.arange(kind[top:bottom, left:right].size).reshape(-1, right - left) % 8
            compressed = [zlib.compress(tile, 1) for tile in (tiles if level == 0 else [_softened(tile, scale) for tile in tiles])]
            writer.write(
                (compressed[number] for number in kind.ravel()),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                metadata=None,
                software=False,
                subfiletype=1 if level else 0,
                resolution=(1e4 / (mpp * scale),) * 2,
                resolutionunit="CENTIMETER",
            )
    return path


def _softened(tile: np.ndarray, scale: int) -> np.ndarray:
    """A tile as wide, with what a coarser level keeps of its contrast."""
    mean = tile.mean(axis=(0, 1))
    return (mean + (tile - mean) / scale).round().astype(np.uint8)


def _shrunk(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Means over squares of `scale` pixels; what does not fill a square is left out."""
    height, width = (max(1, side // scale) for side in pixels.shape[:2])
    whole = pixels[: height * scale, : width * scale].astype(np.float32)
    if min(whole.shape[0] // scale, whole.shape[1] // scale) < 1:
        return pixels[::scale, ::scale]
    return whole.reshape(height, scale, width, scale, 3).mean(axis=(1, 3)).round().astype(np.uint8)
