"""Where a token stands: convolutions over tokens laid into a square."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from prognos.nn.depthwise import over_grid

LARGEST = 7


class PPEG(nn.Module):
    """Pyramid position encoding of TransMIL (Shao et al. 2021): each token plus depthwise convolutions of three sizes around it.

    The tokens lie row by row in the smallest square that takes them all, filled up with the first ones again; the class token stays as
    it is. Convolutions are linear, so the three and the token itself are one convolution with the sum of their kernels.

    Args:
        d_model: width of a token.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.seven, self.five, self.three = (
            nn.Conv2d(d_model, d_model, size, padding=size // 2, groups=d_model) for size in (LARGEST, 5, 3)
        )

    def forward(self, tokens: Float[Tensor, "*batch tokens_and_class d_model"]) -> Float[Tensor, "*batch tokens_and_class d_model"]:
        """The tokens with what stands around them; the class token stands first."""
        n = tokens.shape[-2] - 1
        if n == 0:
            return tokens
        class_token, patches = tokens.split([1, n], dim=-2)  # gradients of parts of a split are put together once
        grid = as_square(patches)
        side = math.isqrt(grid.shape[-2])
        placed = over_grid(grid.unflatten(-2, (side, side)), *self._merged()).flatten(-3, -2)
        return torch.cat([class_token, placed.split([n, side * side - n], dim=-2)[0]], dim=-2)

    def _merged(self) -> tuple[Tensor, Tensor]:
        parts = [self.seven, self.five, self.three]
        itself = pad(torch.ones_like(self.three.weight[:, :, :1, :1]), [LARGEST // 2] * 4)
        kernels = [pad(part.weight, [(LARGEST - part.weight.shape[-1]) // 2] * 4) for part in parts]
        biases = [part.bias for part in parts if part.bias is not None]
        return torch.stack([itself, *kernels]).sum(dim=0)[:, 0], torch.stack(biases).sum(dim=0)


def as_square(tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch square d_model"]:
    """The tokens and the first of them again, as many as fill the smallest square."""
    n = tokens.shape[-2]
    side = math.isqrt(max(n - 1, 0)) + 1 if n else 0
    if side * side == n:
        return tokens
    again, others = tokens.split([side * side - n, 2 * n - side * side], dim=-2)
    return torch.cat([again, others, again], dim=-2)
