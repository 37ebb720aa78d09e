"""One token a pathway: fifty small linear layers as one product."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PathwayEncoder(nn.Module):
    """Features of each pathway -> one token each: dropout(leaky_relu(W_c z_c + b_c)), Eq. 2.

    The pathways have different sizes s_c; all weights stand in one tensor padded to the widest, so that all of them are
    one batched product. Padded features are 0, and so are the padded weights and their gradients.

    Args:
        sizes: s_c, the number of features of each pathway.
        d_model: D, width of a token.
        slope: negative slope of the activation.
        dropout: share of token entries dropped in training.
    """

    def __init__(self, sizes: tuple[int, ...], d_model: int, *, slope: float = 0.1, dropout: float = 0.3):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(sizes), max(sizes), d_model))
        self.bias = nn.Parameter(torch.zeros(len(sizes), d_model))
        with torch.no_grad():
            for c, size in enumerate(sizes):
                bound = 1 / math.sqrt(size)
                self.weight[c, :size].uniform_(-bound, bound)
                self.bias[c].uniform_(-bound, bound)
        self.activation = nn.LeakyReLU(slope)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pathways: Float[Tensor, "batch pathways widest"]) -> Float[Tensor, "batch pathways d_model"]:
        """The pathway tokens X^g."""
        linear = torch.einsum("bcs,csd->bcd", pathways, self.weight) + self.bias
        return self.dropout(self.activation(linear))


class GroupEncoder(nn.Module):
    """Two self-normalising layers on each group of measurements: Linear, ELU, alpha dropout, twice; one token a group.

    Groups have different sizes; all first layers are one batched product, padded to the widest group, and so are all second layers.

    Args:
        sizes: number of measurements in each group.
        d_model: D, width of a token.
        d_hidden: width in between; D when None.
        dropout: share of entries dropped in training.
    """

    def __init__(self, sizes: tuple[int, ...], d_model: int, *, d_hidden: int | None = None, dropout: float = 0.25):
        super().__init__()
        d_hidden = d_hidden or d_model
        self.first_weight = nn.Parameter(torch.zeros(len(sizes), max(sizes), d_hidden))
        self.first_bias = nn.Parameter(torch.zeros(len(sizes), d_hidden))
        self.second_weight = nn.Parameter(torch.randn(len(sizes), d_hidden, d_model) / math.sqrt(d_hidden))
        self.second_bias = nn.Parameter(torch.zeros(len(sizes), d_model))
        with torch.no_grad():
            for group, size in enumerate(sizes):
                self.first_weight[group, :size].normal_(std=1 / math.sqrt(size))
        self.activation = nn.ELU()
        self.dropout = nn.AlphaDropout(dropout)

    def forward(self, groups: Float[Tensor, "*batch groups widest"]) -> Float[Tensor, "*batch groups d_model"]:
        """The tokens of the groups."""
        hidden = torch.einsum("...gs,gsd->...gd", groups, self.first_weight) + self.first_bias
        hidden = self.dropout(self.activation(hidden))
        linear = torch.einsum("...gd,gde->...ge", hidden, self.second_weight) + self.second_bias
        return self.dropout(self.activation(linear))


class LinearEach(nn.Module):
    """A linear layer for each place in a sequence of tokens, all of them one batched product; they start at N(0, 1 / d_in), biases at 0.

    Args:
        n_tokens: places.
        d_in: width of a token.
        d_out: width of what becomes of it.
    """

    def __init__(self, n_tokens: int, d_in: int, d_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_tokens, d_in, d_out) / math.sqrt(d_in))
        self.bias = nn.Parameter(torch.zeros(n_tokens, d_out))

    def forward(self, tokens: Float[Tensor, "*batch tokens d_in"]) -> Float[Tensor, "*batch tokens d_out"]:
        """Each token by the layer of its place."""
        return torch.einsum("...ti,tio->...to", tokens, self.weight) + self.bias
