"""The encoder of TransMIL, which MUST and CMTA have too."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prognos.nn.multihead import with_class
from prognos.nn.nystrom import NystromLayer
from prognos.nn.positions import PPEG

LARGE = 65_536
"""Tokens beyond which a layer's activations are computed again in the backward pass, so that one layer's are held at a time."""


class TransMILEncoder(nn.Module):
    """A patient's patch tokens -> one global vector and tokens that know of each other (TransMIL, Shao et al. 2021).

    Class token and tokens; Nystrom layer; PPEG; Nystrom layer; LayerNorm. The activations of a large patient are computed again in
    the backward pass.

    Args:
        d_model: width of a token.
        heads: number of heads.
        landmarks: the most landmarks there are.
        dropout: share of the attended entries dropped in training.
        zeros_in_front: see `NystromAttention`.
    """

    def __init__(self, d_model: int, *, heads: int = 8, landmarks: int = 128, dropout: float = 0.0, zeros_in_front: bool = False):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.before = NystromLayer(d_model, heads=heads, landmarks=landmarks, dropout=dropout, zeros_in_front=zeros_in_front)
        self.position = PPEG(d_model)
        self.after = NystromLayer(d_model, heads=heads, landmarks=landmarks, dropout=dropout, zeros_in_front=zeros_in_front)
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self, tokens: Float[Tensor, "*batch tokens d_model"]
    ) -> tuple[Float[Tensor, "*batch d_model"], Float[Tensor, "*batch tokens d_model"]]:
        """The global vector, which is the class token's, and the updated tokens."""
        updated = self.norm(_kept_small(self.after, self._placed(tokens)))
        return updated[..., 0, :], updated[..., 1:, :]

    def first(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The global vector alone, the same numbers; the last layer computes the class token's row only."""
        return self.norm(_kept_small(self.after.first, self._placed(tokens)))

    def _placed(self, tokens: Tensor) -> Tensor:
        return self.position(_kept_small(self.before, with_class(self.class_token, tokens)))


def _kept_small(function: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """function(tokens); beyond `LARGE` tokens, computed again in the backward pass."""
    if torch.is_grad_enabled() and tokens.shape[:-1].numel() > LARGE:
        return checkpoint(function, tokens, use_reentrant=False)
    return function(tokens)
