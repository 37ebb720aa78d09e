"""Small networks that stand for encoders in tests: quick, deterministic, no weights to load."""

import time

import numpy as np
import torch
from torch import nn

from prognos.slides.encoders import Encoder, load_encoder

STUB = "tests.unit.slides.networks_of_tests:colours"


class Colours(nn.Module):
    """Mean and spread of each colour, and their products with a fixed matrix: `d_patch` numbers that tell patches apart."""

    patch_size = 32
    mean = (0.5, 0.5, 0.5)
    sd = (0.25, 0.25, 0.25)

    def __init__(self, d_patch: int = 8):
        super().__init__()
        self.register_buffer("matrix", torch.randn(6, d_patch, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1) @ self.matrix


class Map(nn.Module):
    """Forgets to pool over space."""

    def forward(self, images):
        return images


class Huge(Colours):
    """Features beyond float16."""

    def forward(self, images):
        return super().forward(images) * 1e6


class Broken(Colours):
    """Features that are no numbers."""

    def forward(self, images):
        return super().forward(images) * float("nan")


def colours() -> nn.Module:
    return Colours()


def wide_map() -> nn.Module:
    return Map()


def huge() -> nn.Module:
    return Huge()


def broken() -> nn.Module:
    return Broken()


def nothing() -> str:
    return "a network"


def stub(function: str = "colours", **options) -> Encoder:
    """The encoder of a function of this module."""
    return load_encoder(f"{__name__}:{function}", **options)


def patches(n: int = 5, side: int = 32, seed: int = 0) -> np.ndarray:
    """Patches of noise."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


class Slow(Colours):
    """Takes its time, so that a run can be killed inside a slide."""

    def forward(self, images):
        time.sleep(0.01)
        return super().forward(images)


def slow() -> nn.Module:
    return Slow()
