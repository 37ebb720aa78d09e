"""Colours of maps that those who do not tell red from green read too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

AMOUNT = "viridis"
"""Matplotlib's colour map for amounts: dark to light, the same order in grey."""

PROTOTYPES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
"""Okabe and Ito's colours, for classes; more than these cannot be told apart."""

OTHERS = "#8c8c8c"
"""What all further classes share."""


def amount_table() -> UInt8[np.ndarray, "256 3"]:
    """The colours of amounts from 0 to 1 in 256 steps."""
    from matplotlib import colormaps

    return (colormaps[AMOUNT](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def amount_colours(shares: Float[np.ndarray, " patches"]) -> UInt8[np.ndarray, "patches 3"]:
    """The colours of amounts between 0 and 1."""
    return amount_table()[np.clip(shares * 255, 0, 255).round().astype(np.int64)]


@dataclass(frozen=True)
class ClassColours:
    """Which classes have a colour of their own.

    Args:
        shown: places of the classes that take the most patches, the largest first.
        shares: their shares of all patches, and last that of all others.
    """

    shown: tuple[int, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, assigned: Sequence[Int[np.ndarray, " _"]], n_classes: int) -> "ClassColours":
        """The colours for a patient's slides, the same on all of them."""
        counts = np.bincount(np.concatenate(assigned), minlength=n_classes)
        order = [int(place) for place in np.argsort(-counts, kind="stable")[: len(PROTOTYPES)] if counts[place]]
        taken = [int(counts[place]) for place in order]
        total = int(counts.sum())
        return cls(tuple(order), tuple(count / max(1, total) for count in (*taken, total - sum(taken))))

    def of_class(self, place: int) -> str:
        """The colour of one class, `#rrggbb`."""
        return PROTOTYPES[self.shown.index(place)] if place in self.shown else OTHERS

    def table(self, n_classes: int) -> UInt8[np.ndarray, "classes 3"]:
        """The colours of all classes."""
        return np.array([rgb(self.of_class(place)) for place in range(n_classes)], dtype=np.uint8).reshape(-1, 3)


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue
