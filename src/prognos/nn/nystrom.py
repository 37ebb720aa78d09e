"""Self-attention over a whole patient in time and memory that grow with the number of tokens.

Nystromformer (Xiong et al. 2021) writes softmax attention as A1 A2^+ A3 V with landmarks, the means of consecutive tokens:
A1 tokens to landmarks, A2 landmarks to landmarks, A3 landmarks to tokens. A2^+ is found by a fixed number of iterations (Razavi et al.
2014). Here the product is taken from the right, A1 (A2^+ (A3 V)), so that A1 and A3 are two fused attention calls and no matrix of tokens
by landmarks is ever written; and a layer of which only the class token is read computes no other row.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from prognos.nn.depthwise import along_sequence
from prognos.nn.dropout import Dropout
from prognos.nn.multihead import fused_attention, head_width


class NystromAttention(nn.Module):
    """Self-attention of a patient's tokens through landmarks, plus a depthwise convolution of the values along the sequence.

    A landmark is the mean of ceil(tokens / landmarks) consecutive tokens; the first one takes what is left over, so there may be fewer
    landmarks than asked for, and nothing is padded. A few tokens have the plain softmax attention that landmarks stand for: up to as
    many as that takes fewer multiply-adds (two thousand of them cost less than the pseudo-inverse of 128 landmarks).

    Args:
        d_model: width of a token, of all heads together.
        heads: number of heads; scores are divided by the square root of a head's width.
        landmarks: the most landmarks there are.
        iterations: of the pseudo-inverse.
        kernel: taps of the convolution, odd; one kernel a head.
        dropout: share of the outcome's entries dropped in training.
        exact_up_to: tokens up to which attention is exact; None: as many as `cheaper_exact_up_to`. Where each token would be its own
            landmark, A A^+ A = A and it always is.
        zeros_in_front: as the published code does: zero tokens in front up to a multiple of landmarks take part, for any number of tokens.

    Raises:
        ValueError: where d_model is not a multiple of heads, or the kernel is even.
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: int = 8,
        landmarks: int = 128,
        iterations: int = 6,
        kernel: int = 33,
        dropout: float = 0.0,
        exact_up_to: int | None = None,
        zeros_in_front: bool = False,
    ):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a convolution of {kernel} taps has no middle: choose an odd kernel.")
        self.heads = heads
        self.width = head_width(d_model, heads)
        self.landmarks = landmarks
        self.iterations = iterations
        self.exact_up_to = max(
            landmarks, cheaper_exact_up_to(d_model, heads, landmarks, iterations) if exact_up_to is None else exact_up_to
        )
        self.zeros_in_front = zeros_in_front
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.taps = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(heads, kernel), a=math.sqrt(5)))
        self.output = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch tokens d_model"]:
        """Every token's row."""
        query, key, value = (linear(tokens, weight) for weight in self._weights())
        found = self._looked(tokens, query, key, value)
        return self._close(found + along_sequence(value, self.taps))

    def first(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The first token's row alone, the same numbers: no query but its own, one place of the convolution."""
        of_query, of_key, of_value = self._weights()
        taps = self.taps[:, self.taps.shape[1] // 2 :]  # before the first token there is nothing
        near = tokens[..., : taps.shape[1], :]
        found = self._looked(tokens, linear(near[..., :1, :], of_query), linear(tokens, of_key), linear(tokens, of_value))
        around = taps[:, None, : near.shape[-2]] @ self._split(linear(near, of_value))
        return self._close(found + _joined(around)).squeeze(-2)

    def _looked(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Each query's row of the attention."""
        query, key, value = self._split(query), self._split(key), self._split(value)
        if tokens.shape[-2] > self.exact_up_to or self.zeros_in_front:
            landmark_query, landmark_key = self._landmarks(tokens)
            key, value = landmark_key, self._summary(landmark_query, landmark_key, key, value)
        return _joined(fused_attention(query, key, value))

    def _landmarks(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys of the landmarks: projections of means are means of projections."""
        n = tokens.shape[-2]
        length = -(-n // self.landmarks)
        count = self.landmarks if self.zeros_in_front else -(-n // length)
        means = segment_means(tokens, length, count, whole_first=self.zeros_in_front)
        query, key = linear(means, self.query_key_value.weight[: 2 * tokens.shape[-1]]).chunk(2, dim=-1)
        return self._split(query), self._split(key)

    def _summary(self, landmark_query: Tensor, landmark_key: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """A2^+ (A3 V): what each landmark has for those who look at it."""
        if self.zeros_in_front:
            front = -key.shape[-2] % self.landmarks
            key, value = pad(key, (0, 0, front, 0)), pad(value, (0, 0, front, 0))
        found = fused_attention(landmark_query, key, value)
        between = torch.softmax(landmark_query @ landmark_key.transpose(-1, -2) * self.width**-0.5, dim=-1)
        return pseudo_inverse_product(between, found, self.iterations)

    def _close(self, found: Tensor) -> Tensor:
        return self.dropout(self.output(found))

    def _weights(self) -> tuple[Tensor, ...]:
        return self.query_key_value.weight.chunk(3)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, self.width)).transpose(-3, -2)


def _joined(heads: Tensor) -> Tensor:
    """The heads of each token side by side."""
    return heads.transpose(-3, -2).flatten(-2)


class NystromLayer(nn.Module):
    """tokens + attention(norm(tokens)).

    Args:
        d_model: width of a token.
        heads: number of heads.
        landmarks: the most landmarks there are.
        dropout: share of the attended entries dropped in training.
        zeros_in_front: see `NystromAttention`.
    """

    def __init__(self, d_model: int, *, heads: int = 8, landmarks: int = 128, dropout: float = 0.0, zeros_in_front: bool = False):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.attention = NystromAttention(d_model, heads=heads, landmarks=landmarks, dropout=dropout, zeros_in_front=zeros_in_front)

    def forward(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch tokens d_model"]:
        """Every token."""
        return tokens + self.attention(self.norm(tokens))

    def first(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The first token alone, the same numbers."""
        return tokens[..., 0, :] + self.attention.first(self.norm(tokens))


def cheaper_exact_up_to(d_model: int, heads: int, landmarks: int, iterations: int) -> int:
    """The most tokens n of which every one looks at every other, 2 n^2 D multiply-adds, for no more than landmarks take.

    Those take 4 n m D with m landmarks, and 4 m^3 a head in each iteration of the pseudo-inverse.
    """
    inverse = 4 * heads * iterations * landmarks**3
    return int(landmarks + math.sqrt(landmarks**2 + inverse / (2 * d_model)))


def segment_means(
    tokens: Float[Tensor, "*batch tokens d_model"], length: int, count: int, *, whole_first: bool = False
) -> Float[Tensor, "*batch landmarks d_model"]:
    """Means of `count` consecutive segments that end with the last token; the first ones may be short or empty.

    Args:
        tokens: in their order.
        length: tokens of a segment.
        count: segments; count * length is at least the number of tokens.
        whole_first: divide short segments by `length` too, as if zeros stood in front.
    """
    n = tokens.shape[-2]
    whole = n // length
    short = n - whole * length
    means = tokens[..., short:, :].unflatten(-2, (whole, length)).mean(dim=-2)
    if short:
        first = tokens[..., :short, :].sum(dim=-2, keepdim=True) / (length if whole_first else short)
        means = torch.cat([first, means], dim=-2)
    return pad(means, (0, 0, count - means.shape[-2], 0))


def pseudo_inverse_product(
    matrix: Float[Tensor, "*batch heads landmarks landmarks"], right: Float[Tensor, "*batch heads landmarks width"], iterations: int
) -> Float[Tensor, "*batch heads landmarks width"]:
    """matrix^+ right, by iterations of Z (13 - MZ (15 - MZ (7 - MZ))) / 4 (Razavi et al. 2014); the last one never writes Z down.

    The start is M^T over the largest row sum times the largest column sum of a patient's heads, as in the published attention.
    """
    size = matrix.abs()
    largest = size.sum(dim=-1).amax(dim=(-2, -1)) * size.sum(dim=-2).amax(dim=(-2, -1))
    inverse = matrix.transpose(-1, -2) / largest[..., None, None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations - 1):
        product = matrix @ inverse
        inverse = 0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
    if iterations == 0:
        return inverse @ right

    def product_with(columns: Tensor) -> Tensor:
        return matrix @ (inverse @ columns)

    return 0.25 * inverse @ (13 * right - product_with(15 * right - product_with(7 * right - product_with(right))))
