"""Where patches lie on their slide: by rows, and in square regions."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def raster_order(coords: Shaped[Tensor, "patches 2"], slide: Int[Tensor, " patches"] | None = None) -> Int[Tensor, " patches"]:
    """Places of patches sorted by slide, then by y, then by x."""
    order = coords[:, 0].argsort(stable=True)
    for key in (coords[:, 1], slide):
        order = order if key is None else order[key[order].argsort(stable=True)]
    return order


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


def square_regions(
    coords: Float[Tensor, "patches 2"], side: int, slide: Int[Tensor, " patches"] | None = None
) -> tuple[Int[Tensor, " patches"], Int[Tensor, " patches"]]:
    """Which square of side x side patches each patch lies in, counted from 0 over those that have one, and its place there, row by row.

    Each slide has a grid and squares of its own; without `slide` all patches are of one.
    """
    slide = torch.zeros(len(coords), dtype=torch.long, device=coords.device) if slide is None else slide.long()
    steps = torch.zeros(len(coords), 2, dtype=torch.long, device=coords.device)
    for one in slide.unique():
        here = slide == one
        steps[here] = (coords[here].double() / grid_step(coords[here])).floor().long()
    squares = torch.cat([slide[:, None], steps.div(side, rounding_mode="floor")], dim=1)
    region = squares.unique(dim=0, return_inverse=True)[1]
    column, row = (steps % side).T
    return region, row * side + column
