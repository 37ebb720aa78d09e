"""Attention with several heads, and pooling by a class token."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from prognos.nn.dropout import Dropout

FEW = 16
"""Queries up to which keys and values may stay unprojected."""


class MultiHeadAttention(nn.Module):
    """Queries look at a context: softmax(Q W_Q (K W_K)^T / sqrt(d_k)) V W_V a head, then one linear layer over all heads.

    Where it takes fewer multiply-adds, few queries meet a context that is never projected: (Q W_Q W_K^T) K^T and (A V) W_V are the same
    numbers in another order. A query that may look at nothing gets the bias of the last layer.

    Args:
        d_model: width of a token, of all heads together.
        heads: number of heads; d_k = d_model / heads.
        dropout: share of the outcome's entries dropped in training.

    Raises:
        ValueError: where d_model is not a multiple of heads.
    """

    def __init__(self, d_model: int, heads: int, *, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.width = head_width(d_model, heads)
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.output = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "*batch queries d_model"],
        context: Float[Tensor, "*batch keys d_model"],
        allowed: Bool[Tensor, "*batch queries keys"] | None = None,
    ) -> Float[Tensor, "*batch queries d_model"]:
        """What each query found in the context that it may look at."""
        if unprojected_is_cheaper(queries.shape[-2], context.shape[-2], queries.shape[-1], self.heads):
            found = self._unprojected(queries, context, allowed)
        else:
            found = self._projected(queries, context, allowed)
        return self.dropout(self.output(found.transpose(-3, -2).flatten(-2)))

    @torch.no_grad()
    def attention(
        self,
        queries: Float[Tensor, "*batch queries d_model"],
        context: Float[Tensor, "*batch keys d_model"],
        allowed: Bool[Tensor, "*batch queries keys"] | None = None,
    ) -> Float[Tensor, "*batch queries keys"]:
        """How much each query looks at each key, mean of the heads, without gradient; rows sum to 1, or to 0 where none is allowed."""
        directions = self._directions(queries)
        scores = (directions.flatten(-3, -2) @ context.transpose(-1, -2)).unflatten(-2, directions.shape[-3:-1]) / math.sqrt(self.width)
        if allowed is None:
            return scores.softmax(dim=-1).mean(dim=-3)
        weights = scores.masked_fill(~allowed.unsqueeze(-3), -torch.inf).softmax(dim=-1).mean(dim=-3)
        return torch.where(allowed.any(dim=-1, keepdim=True), weights, 0)

    def _projected(self, queries: Tensor, context: Tensor, allowed: Tensor | None) -> Tensor:
        query, key, value = self._split(self.query(queries)), self._split(self.key(context)), self._split(self.value(context))
        return _attended(query, key, value, None if allowed is None else allowed.unsqueeze(-3), self.width)

    def _unprojected(self, queries: Tensor, context: Tensor, allowed: Tensor | None) -> Tensor:
        directions = self._directions(queries)
        if allowed is not None:
            allowed = torch.cat([allowed] * self.heads, dim=-2)
        seen = _attended(directions.flatten(-3, -2), context, context, allowed, self.width).unflatten(-2, directions.shape[-3:-1])
        return seen @ self.value.weight.view(self.heads, self.width, -1).transpose(1, 2)

    def _directions(self, queries: Tensor) -> Tensor:
        """Q W_Q W_K^T: where each head of a query looks in the space of the context."""
        return self._split(self.query(queries)) @ self.key.weight.view(self.heads, self.width, -1)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, self.width)).transpose(-3, -2)


class ClassPool(nn.Module):
    """Self-attention over a learnt class token and the tokens, of which the class token's row alone is computed.

    class + attention(norm(class), norm([class; tokens])), then a LayerNorm. Memory and time grow with the number of tokens.

    Args:
        d_model: width of a token.
        heads: number of heads.
        dropout: share of the attended entries dropped in training.
        final_norm: normalise the outcome.
    """

    def __init__(self, d_model: int, heads: int, *, dropout: float = 0.0, final_norm: bool = True):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.norm = nn.LayerNorm(d_model)
        self.look = MultiHeadAttention(d_model, heads, dropout=dropout)
        self.final = nn.LayerNorm(d_model) if final_norm else nn.Identity()

    def forward(
        self, tokens: Float[Tensor, "*batch tokens d_model"], allowed: Bool[Tensor, "*batch tokens"] | None = None
    ) -> Float[Tensor, "*batch d_model"]:
        """One vector for each set of tokens; of no tokens at all, the class token's own."""
        context, seen = self._context(tokens, allowed)
        return self.final(self.class_token + self.look(context[..., :1, :], context, seen).squeeze(-2))

    @torch.no_grad()
    def attention(
        self, tokens: Float[Tensor, "*batch tokens d_model"], allowed: Bool[Tensor, "*batch tokens"] | None = None
    ) -> Float[Tensor, "*batch tokens"]:
        """How much the class token looks at each token, mean of the heads, without gradient; what lacks to 1 it keeps for itself."""
        context, seen = self._context(tokens, allowed)
        return self.look.attention(context[..., :1, :], context, seen)[..., 0, 1:]

    def _context(self, tokens: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        together = self.norm(with_class(self.class_token, tokens))
        return together, None if allowed is None else nn.functional.pad(allowed, (1, 0), value=True).unsqueeze(-2)


def with_class(
    class_token: Float[Tensor, " d_model"], tokens: Float[Tensor, "*batch tokens d_model"]
) -> Float[Tensor, "*batch tokens_and_class d_model"]:
    """[class; tokens]: the class token stands first."""
    return torch.cat([class_token.to(tokens.dtype).expand(*tokens.shape[:-2], 1, -1), tokens], dim=-2)


def head_width(d_model: int, heads: int) -> int:
    """d_k = d_model / heads.

    Raises:
        ValueError: where that is not a whole number.
    """
    if d_model % heads:
        raise ValueError(f"a width of {d_model} cannot be shared by {heads} heads: choose a d_model that is a multiple of heads.")
    return d_model // heads


def unprojected_is_cheaper(queries: int, keys: int, d_model: int, heads: int) -> bool:
    """Whether few queries that look at tokens as they are need fewer multiply-adds than projecting every key and value."""
    projected = 2 * keys * d_model * d_model + 2 * queries * keys * d_model
    unprojected = 2 * queries * d_model * d_model + 2 * heads * queries * keys * d_model
    return queries <= FEW and queries < keys and unprojected < projected


def _attended(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, width: int) -> Tensor:
    """softmax(query key^T / sqrt(width)) value; zeros for a query that may look at nothing."""
    if allowed is None:
        return fused_attention(query, key, value, width=width)
    some = allowed.any(dim=-1, keepdim=True)
    return torch.where(some, fused_attention(query, key, value, allowed | ~some, width), 0)


def fused_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None, width: int | None = None) -> Tensor:
    """softmax(query key^T / sqrt(width)) value, for any axes in front; the width is that of the queries unless told.

    The fused kernels take four axes only; with others torch would write all scores down.
    """
    axes = query.dim()
    if axes < 4:
        query, key, value = (part[(None,) * (4 - axes)] for part in (query, key, value))
        allowed = None if allowed is None else allowed[(None,) * (4 - axes)]
    found = scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=(width or query.shape[-1]) ** -0.5)
    return found.view(found.shape[4 - axes :]) if axes < 4 else found
