"""Attention blocks that several papers share."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Attention scores of Ilse et al. 2018: s_i = w^T (tanh(V h_i) * sigmoid(U h_i)).

    Args:
        d_model: width of a token.
        d_hidden: width of the gate.
        dropout: dropout on both branches.
    """

    def __init__(self, d_model: int, d_hidden: int, dropout: float = 0.25):
        super().__init__()
        self.content = nn.Sequential(nn.Linear(d_model, d_hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(d_model, d_hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.score = nn.Linear(d_hidden, 1)

    def forward(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch tokens"]:
        """One score a token, before the softmax over tokens."""
        return self.score(self.content(tokens) * self.gate(tokens)).squeeze(-1)


class SelfAttention(nn.Module):
    """Single-head self-attention without biases, over the tokens that the mask allows.

    softmax(Q K^T / sqrt(d) + mask) V. A row that may look at nothing gives zeros.

    Args:
        d_model: width of a token, of queries, keys and values.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], allowed: Bool[Tensor, "batch queries keys"] | None = None
    ) -> tuple[Float[Tensor, "batch tokens d_model"], Float[Tensor, "batch tokens tokens"]]:
        """The attended tokens and the attention (rows sum to 1)."""
        query, key, value = self.query_key_value(tokens).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / math.sqrt(tokens.shape[-1])
        attention = masked_softmax(scores, allowed)
        return attention @ value, attention


def masked_softmax(
    scores: Float[Tensor, "batch queries keys"], allowed: Bool[Tensor, "batch queries keys"] | None
) -> Float[Tensor, "batch queries keys"]:
    """Softmax over the allowed keys of each query; zeros where none is allowed."""
    if allowed is None:
        return torch.softmax(scores, dim=-1)
    some = allowed.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~(allowed | ~some), -torch.inf)
    return torch.softmax(scores, dim=-1) * some


class FeedForward(nn.Module):
    """Linear, GELU, dropout, linear, on each token.

    Args:
        d_model: width of a token.
        d_hidden: width in between.
        dropout: share of hidden entries dropped in training.
    """

    def __init__(self, d_model: int, d_hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_model, d_hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_hidden, d_model))

    def forward(self, tokens: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Each token on its own."""
        return self.layers(tokens)
