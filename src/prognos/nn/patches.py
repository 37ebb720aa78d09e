"""Patch features -> patch tokens, patient by patient."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prognos.nn.dropout import Dropout

CHUNK = 8192
"""Rows that are projected at a time when no gradient is wanted, so that memory does not grow with the bag."""


class PatchEncoder(nn.Module):
    """One linear layer with its activation and dropout on each patch of a patient.

    Args:
        d_patch: width of the encoder's features.
        d_model: D, width of a token.
        activation: module applied after the linear layer.
        dropout: share of token entries dropped in training.
    """

    def __init__(self, d_patch: int, d_model: int, *, activation: nn.Module, dropout: float):
        super().__init__()
        self.linear = nn.Linear(d_patch, d_model)
        self.activation = activation
        self.dropout = Dropout(dropout)

    def forward(self, rows: Float[Tensor, "patches d_patch"]) -> Float[Tensor, "patches d_model"]:
        """Tokens of one patient's patches; half-precision features are cast here, in chunks where no gradient is wanted."""
        if torch.is_grad_enabled() or len(rows) <= CHUNK:
            return self._encode(rows)
        return torch.cat([self._encode(chunk) for chunk in rows.split(CHUNK)])

    def _encode(self, rows: Float[Tensor, "patches d_patch"]) -> Float[Tensor, "patches d_model"]:
        return self.dropout(self.activation(self.linear(rows.to(self.linear.weight.dtype))))
