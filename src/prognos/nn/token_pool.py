"""A few tokens of a patient: they look at each other, and become one vector."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.nn.attention import FeedForward, GatedAttention
from prognos.nn.multihead import MultiHeadAttention


class TokenMixer(nn.Module):
    """tokens + attention(norm(tokens)) over a few tokens.

    Args:
        d_model: D.
        heads: of the attention.
        dropout: share of attended entries dropped in training.
    """

    def __init__(self, d_model: int, *, heads: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, heads, dropout=dropout)

    def forward(
        self, tokens: Float[Tensor, "*batch tokens d_model"], allowed: Bool[Tensor, "*batch tokens tokens"] | None = None
    ) -> Float[Tensor, "*batch tokens d_model"]:
        """Tokens that know of each other; `allowed` says which one may look at which."""
        normed = self.norm(tokens)
        return tokens + self.attention(normed, normed, allowed)


class TransformerLayer(nn.Module):
    """tokens + attention(norm(tokens)), then tokens + network(norm(tokens)), for a few tokens.

    Args:
        d_model: width of a token.
        heads: of the attention.
        d_hidden: width of the network in between.
        dropout: share of entries dropped in training.
    """

    def __init__(self, d_model: int, *, heads: int, d_hidden: int, dropout: float):
        super().__init__()
        self.mix = TokenMixer(d_model, heads=heads, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)
        self.network = FeedForward(d_model, d_hidden, dropout)

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], allowed: Bool[Tensor, "batch tokens tokens"] | None = None
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Tokens that know of each other; `allowed` says which one may look at which."""
        tokens = self.mix(tokens, allowed)
        return tokens + self.network(self.norm(tokens))


class TokenPool(nn.Module):
    """Transformer layers, gated attention over the tokens, one dense layer.

    Args:
        d_model: width of a token.
        heads: of the attention.
        d_hidden: width of the networks inside the layers.
        layers: how many.
        dropout: share of entries dropped in training.
    """

    def __init__(self, d_model: int, *, heads: int, d_hidden: int, layers: int, dropout: float):
        super().__init__()
        self.mix = nn.Sequential(
            *(TransformerLayer(d_model, heads=heads, d_hidden=d_hidden, dropout=dropout) for _ in range(layers)), nn.LayerNorm(d_model)
        )
        self.score = GatedAttention(d_model, d_model, dropout, bias=False)
        self.dense = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Dropout(dropout))

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"]
    ) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, "batch tokens"]]:
        """One vector a patient, and how much each token counts in it (rows sum to 1)."""
        mixed = self.mix(tokens)
        weights = torch.softmax(self.score(mixed), dim=1)
        return self.dense((weights[:, :, None] * mixed).sum(dim=1)), weights
