"""Convolutions with columns last are convolutions, value and gradient."""

import pytest
import torch
from torch.nn.functional import conv2d

from prognos.nn.depthwise import along_sequence, over_grid


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def _with_gradients(function, *values):
    outcome = function(*values)
    return [outcome, *torch.autograd.grad((outcome * _normal(*outcome.shape, seed=9).detach()).sum(), values)]


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_along_a_sequence_each_head_weighs_its_neighbours(n):
    def by_hand(rows, taps):
        found = torch.zeros_like(rows)
        for head in range(2):
            columns = slice(3 * head, 3 * head + 3)
            for tap in range(7):
                for place in range(n):
                    if 0 <= place + tap - 3 < n:
                        found[place, columns] = found[place, columns] + taps[head, tap] * rows[place + tap - 3, columns]
        return found

    values = _normal(n, 6), _normal(2, 7, seed=1)
    for ours, theirs in zip(_with_gradients(along_sequence, *values), _with_gradients(by_hand, *values), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "size"), [(1, 1, 7), (2, 3, 7), (9, 9, 7), (8, 5, 3), (6, 6, 5), (4, 4, 1)])
def test_over_a_grid_it_is_a_depthwise_convolution(height, width, size):
    def by_torch(grid, kernel, bias):
        return conv2d(grid.permute(2, 0, 1)[None], kernel[:, None], bias, padding=size // 2, groups=4)[0].permute(1, 2, 0)

    values = _normal(height, width, 4), _normal(4, size, size, seed=1), _normal(4, seed=2)
    for ours, theirs in zip(_with_gradients(over_grid, *values), _with_gradients(by_torch, *values), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
