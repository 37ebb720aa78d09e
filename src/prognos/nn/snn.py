"""Self-normalising layers (Klambauer et al. 2017), as survival models use them on omics."""

import math

from torch import nn


def self_normalising_layers(d_in: int, d_hidden: int, n_layers: int, dropout: float) -> nn.Sequential:
    """`n_layers` times Linear, ELU, alpha dropout; weights start at N(0, 1 / fan_in) and biases at 0."""
    layers: list[nn.Module] = []
    for i in range(n_layers):
        linear = nn.Linear(d_in if i == 0 else d_hidden, d_hidden)
        nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ELU(), nn.AlphaDropout(dropout)]
    return nn.Sequential(*layers)
