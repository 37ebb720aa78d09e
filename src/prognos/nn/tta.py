"""Blocks of TTA alone: the anchor refiner and the co-attention of two token groups. See `alignment` for the rest."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.nn.attention import FeedForward, SelfAttention

CoAttentionKind = Literal["full", "cross", "legacy"]


class Refiner(nn.Module):
    """Self-attention over a modality's prototype tokens and its anchor, Eq. 16, then head_K, Eq. 17.

    Layer norm, single-head attention, layer norm, feed-forward, layer norm; with `residual`, each of the two adds to
    what it read.

    Args:
        d_model: D', width of the tokens and of the anchor.
        dropout: dropout inside the feed-forward layer.
        residual: whether attention and feed-forward add to their input.
    """

    def __init__(self, d_model: int, *, dropout: float, residual: bool):
        super().__init__()
        self.before, self.between, self.after = nn.LayerNorm(d_model), nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = SelfAttention(d_model)
        self.feed_forward = FeedForward(d_model, d_model, dropout)
        self.residual = residual

    def forward(
        self, tokens: Float[Tensor, "batch prototypes d_model"], anchor: Float[Tensor, " d_model"]
    ) -> Float[Tensor, "batch prototypes d_model"]:
        """The refined prototype tokens, the anchor taken off again."""
        with_anchor = torch.cat([tokens, anchor.expand(len(tokens), 1, -1)], dim=1)  # [H; a]
        attended = self.attention(self.before(with_anchor))[0]
        if self.residual:
            attended = attended + with_anchor
        refined = self.feed_forward(self.between(attended))
        if self.residual:
            refined = refined + attended
        return self.after(refined)[:, : tokens.shape[1]]  # head_K


class CoAttention(nn.Module):
    """One attention layer over the prototype tokens of both modalities, a feed-forward layer and a norm (Sec. 3.4).

    `full`: one softmax over the tokens of both modalities. `cross`: each modality looks at the other alone. `legacy`:
    the second group takes a softmax over its cross scores, sets these weights beside its raw own scores, and takes the
    softmax again, as published code does.

    Args:
        d_model: width of a token.
        dropout: dropout inside the feed-forward layer.
        kind: which tokens a token looks at.
    """

    def __init__(self, d_model: int, *, dropout: float, kind: CoAttentionKind):
        super().__init__()
        self.before, self.after = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = SelfAttention(d_model)
        self.feed_forward = FeedForward(d_model, d_model, dropout)
        self.kind = kind

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], n_first: int, real: Bool[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch tokens d_model"], Float[Tensor, "batch tokens tokens"]]:
        """The attended tokens and the attention; the first `n_first` tokens are one modality, the rest the other.

        Args:
            tokens: [omics; histology].
            n_first: tokens of the first group.
            real: False for the tokens of a modality that the patient lacks.
        """
        allowed = real[:, None, :].expand(-1, tokens.shape[1], -1)
        first = torch.arange(tokens.shape[1], device=tokens.device) < n_first
        own = first[:, None] == first[None, :]
        if self.kind == "cross":
            other = allowed & ~own
            allowed = torch.where(other.any(dim=-1, keepdim=True), other, allowed)  # nobody to ask: look at one's own group
        if self.kind == "legacy":
            attended, attention = self.attention.softmax_twice(self.before(tokens), ~first, allowed)
        else:
            attended, attention = self.attention(self.before(tokens), allowed)
        return self.after(self.feed_forward(attended)), attention
