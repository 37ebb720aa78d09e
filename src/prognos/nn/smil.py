"""Learnt noise on vectors: the block of SMIL."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus


class Noise(nn.Module):
    """x softplus(r) with r ~ N(mu(x), sigma(x)); without noise it starts at x.

    Args:
        d_model: width of a vector.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.mean, self.spread = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        nn.init.zeros_(self.mean.weight)
        nn.init.constant_(self.mean.bias, math.log(math.expm1(1.0)))  # softplus of it is 1

    def forward(self, vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The noised vectors."""
        return vectors * softplus(self.mean(vectors) + softplus(self.spread(vectors)) * torch.randn_like(vectors))
