"""Where patches lie on their slide: by rows, and in square regions."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def raster_order(coords: Shaped[Tensor, "patches 2"]) -> Int[Tensor, " patches"]:
    """Places of patches sorted by y, then by x."""
    by_column = coords[:, 0].argsort(stable=True)
    return by_column[coords[by_column, 1].argsort(stable=True)]


def grid_step(coords: Float[Tensor, "patches 2"]) -> float:
    """The commonest gap between neighbours in a row or a column of patches, in the unit of the coordinates; 1 where no two share one.

    A patch that was not drawn makes one gap twice as wide and leaves the commonest one as it is.
    """
    gaps = []
    for places in (coords, coords.flip(1)):
        along, across = places[raster_order(places)].diff(dim=0).T
        gaps.append(along[(across == 0) & (along > 0)])
    found = torch.cat(gaps)
    return float(found.mode().values) if len(found) else 1.0


def square_regions(coords: Float[Tensor, "patches 2"], side: int) -> tuple[Int[Tensor, " patches"], Int[Tensor, " patches"]]:
    """Which square of side x side patches each patch lies in, counted from 0 over those that have one, and its place there, row by row."""
    steps = (coords.double() / grid_step(coords)).floor().long()
    region = steps.div(side, rounding_mode="floor").unique(dim=0, return_inverse=True)[1]
    column, row = (steps % side).T
    return region, row * side + column
