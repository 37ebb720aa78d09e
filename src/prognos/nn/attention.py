"""Attention blocks that several papers share."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from prognos.nn.dropout import Dropout
from prognos.nn.patches import CHUNK, by_patient


class GatedAttention(nn.Module):
    """Attention scores of Ilse et al. 2018: s_i = w^T (tanh(V h_i) * sigmoid(U h_i)).

    Args:
        d_model: width of a token.
        d_hidden: width of the gate.
        dropout: dropout on both branches.
        maps: how many scores a token has; None for a single one without an axis of its own.
        bias: whether scores have a bias, which a softmax over tokens takes out again.
    """

    def __init__(self, d_model: int, d_hidden: int, dropout: float = 0.25, *, maps: int | None = None, bias: bool = True):
        super().__init__()
        self.maps = maps
        self.content = nn.Sequential(nn.Linear(d_model, d_hidden), nn.Tanh(), Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(d_model, d_hidden), nn.Sigmoid(), Dropout(dropout))
        self.score = nn.Linear(d_hidden, maps or 1, bias=bias)

    def forward(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch_tokens_and_maps"]:
        """One score a token, or one a map, before the softmax over tokens."""
        scores = self.score(self.content(tokens) * self.gate(tokens))
        return scores.squeeze(-1) if self.maps is None else scores


def attention_pool(
    rows: Float[Tensor, "patches d_patch"],
    encode: Callable[[Tensor], Tensor],
    score: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "*maps d_model"], Float[Tensor, "patches *maps"]]:  # noqa: F821
    """z = sum_i a_i h_i with a = softmax of the scores of h_i = encode(row i), and a; memory does not grow with the patient.

    Scores of several maps give a z and an a for each.

    A large patient is read in chunks whose maxima, sums and weighted sums are merged exactly; in training each chunk is
    computed again in the backward pass. A patient without a patch gives zeros.
    """
    if not len(rows):
        empty = encode(rows.new_zeros(1, rows.shape[1]))
        scores = score(empty) * 0.0
        return (scores.unsqueeze(-1) * empty.unsqueeze(-2) if scores.dim() == 2 else empty * 0.0)[0], scores[:0].detach()

    def summary(chunk: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tokens = encode(chunk)
        scores = score(tokens).float()
        top = scores.detach().amax(dim=0)
        weights = torch.exp(scores - top)
        to_tokens = weights.to(tokens.dtype)
        return top, weights.sum(dim=0), (to_tokens if to_tokens.dim() == 1 else to_tokens.T) @ tokens, scores.detach()

    chunks = rows.split(CHUNK)
    again = torch.is_grad_enabled() and len(chunks) > 1
    parts = [checkpoint(summary, chunk, use_reentrant=False) if again else summary(chunk) for chunk in chunks]
    top = torch.stack([part[0] for part in parts])
    highest = top.amax(dim=0)
    share = torch.exp(top - highest)
    total = (share * torch.stack([part[1] for part in parts])).sum(dim=0)
    pooled = (share[..., None] * torch.stack([part[2] for part in parts])).sum(dim=0) / total[..., None]
    scores = torch.cat([part[3] for part in parts])
    return pooled, torch.exp(scores - highest) / total.detach()


def pool_by_patient(
    patients: Sequence[Float[Tensor, "_ d_patch"]], encode: Callable[[Tensor], Tensor], score: Callable[[Tensor], Tensor]
) -> tuple[list[Float[Tensor, " d_model"]], list[Float[Tensor, " _"]]]:
    """z and a of `attention_pool` for each patient, by a single map; very large ones in chunks, the others a few at a time."""
    if any(len(rows) > CHUNK or not len(rows) for rows in patients):
        pairs = [attention_pool(rows, encode, score) for rows in patients]
        return [z for z, _ in pairs], [a for _, a in pairs]
    tokens = by_patient(encode, patients)
    attention = [torch.softmax(s.float(), dim=0).to(s.dtype) for s in by_patient(score, tokens)]
    return [a @ x for a, x in zip(attention, tokens, strict=True)], [a.detach() for a in attention]


class SelfAttention(nn.Module):
    """Single-head self-attention without biases, over the tokens that the mask allows.

    softmax(Q K^T / sqrt(d) + mask) V. A row that may look at nothing gives zeros.

    Args:
        d_model: width of a token.
        width: of queries, keys and values; that of a token unless told.
    """

    def __init__(self, d_model: int, width: int | None = None):
        super().__init__()
        self.query_key_value = nn.Linear(d_model, 3 * (width or d_model), bias=False)

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], allowed: Bool[Tensor, "batch queries keys"] | None = None
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch tokens tokens"]]:
        """The attended tokens and the attention (rows sum to 1)."""
        scores, value = self._scores(tokens)
        attention = masked_softmax(scores, allowed)
        return attention @ value, attention

    def softmax_twice(
        self, tokens: Float[Tensor, "batch tokens d_model"], twice: Bool[Tensor, " tokens"], allowed: Bool[Tensor, "batch queries keys"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch tokens tokens"]]:
        """As published code has it: some tokens take a softmax over their scores with the others, set these weights beside their raw scores
        with each other, and take the softmax again.

        Args:
            tokens: of both groups.
            twice: the tokens that do so; the others have one softmax over all.
            allowed: which keys each query may look at.
        """
        scores, value = self._scores(tokens)
        crossed = masked_softmax(scores, allowed & ~twice)
        again = torch.where(twice, scores, crossed)
        attention = masked_softmax(torch.where(twice[:, None], again, scores), allowed)
        return attention @ value, attention

    def _scores(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Q K^T / sqrt(d), and V."""
        query, key, value = self.query_key_value(tokens).chunk(3, dim=-1)
        return query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), value


def masked_softmax(
    scores: Float[Tensor, "batch queries keys"], allowed: Bool[Tensor, "batch queries keys"] | None
) -> Float[Tensor, "batch queries keys"]:
    """Softmax over the allowed keys of each query; zeros where none is allowed."""
    if allowed is None:
        return torch.softmax(scores, dim=-1)
    some = allowed.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~(allowed | ~some), -torch.inf)
    return torch.softmax(scores, dim=-1) * some


def masked_mean(values: Float[Tensor, " batch"], who: Bool[Tensor, " batch"]) -> Float[Tensor, ""]:
    """The mean over some patients; 0 without one."""
    return (values * who).sum() / who.sum().clamp(min=1)


class FeedForward(nn.Module):
    """Linear, GELU, dropout, linear, on each token.

    Args:
        d_model: width of a token.
        d_hidden: width in between.
        dropout: share of hidden entries dropped in training.
    """

    def __init__(self, d_model: int, d_hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_model, d_hidden), nn.GELU(), Dropout(dropout), nn.Linear(d_hidden, d_model))

    def forward(self, tokens: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Each token on its own."""
        return self.layers(tokens)
