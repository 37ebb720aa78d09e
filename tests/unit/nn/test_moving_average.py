"""The average follows the weights, forgets the first ones soon, and is no parameter."""

import pytest
import torch
from torch import nn

from prognos.nn.moving_average import MovingAverage


def test_the_average_is_that_of_the_formula():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = MovingAverage(network, decay=0.5)
    expected = 1.0
    for n, weight in enumerate([3.0, -1.0, 2.0, 8.0, 5.0, 4.0, 0.0, 7.0, 6.0, 1.0], start=1):
        network.weight.data.fill_(weight)
        average.follow(network)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    assert min(0.5, 9 / 18) == 0.5  # from the eighth step on, the warm-up is over
    assert float(average.network.weight) == pytest.approx(expected, rel=1e-5)


def test_the_average_is_no_parameter_and_shares_no_memory():
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3, elementwise_affine=False))
    average = MovingAverage(network)
    assert not list(average.parameters())
    assert {name for name, _ in average.named_buffers()} == {"updates", "network.0.weight", "network.0.bias"}
    before = average.network[0].weight.clone()
    network[0].weight.data.add_(1.0)
    assert torch.equal(average.network[0].weight, before)


def test_the_average_computes_what_the_network_computes():
    torch.manual_seed(0)
    network, rows = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), torch.randn(5, 3)
    assert torch.equal(MovingAverage(network).network(rows), network(rows))
