"""Depthwise convolutions of token rows: each column has a kernel of its own.

Columns stand last in memory. There the CPU's kernels are fast, but for the gradient of a kernel that is wider than three, which takes ten
times as long; it is taken in slices of three columns.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_weight

SLICE = 3
"""Columns of a kernel whose gradient is computed at a time."""


def along_sequence(
    rows: Float[Tensor, "*batch tokens d_model"], taps: Float[Tensor, "heads kernel"]
) -> Float[Tensor, "*batch tokens d_model"]:
    """sum_t taps[head, t] rows[i + t - middle]: each head has its own kernel and its own share of the columns; zeros outside."""
    n, d_model = rows.shape[-2:]
    kernel = taps.repeat_interleave(d_model // len(taps), dim=0)[:, None, :, None]
    column = rows.contiguous().view(-1, n, 1, d_model).permute(0, 3, 1, 2)
    return conv2d(column, kernel, padding=(taps.shape[1] // 2, 0), groups=d_model).permute(0, 2, 3, 1).reshape(rows.shape)


def over_grid(
    grid: Float[Tensor, "*batch height width d_model"], kernel: Float[Tensor, "d_model size size"], bias: Float[Tensor, " d_model"]
) -> Float[Tensor, "*batch height width d_model"]:
    """Cross-correlation of each column with its own square kernel, plus its bias; zeros outside the grid."""
    return _OverGrid.apply(grid, kernel, bias) if grid.device.type == "cpu" else _correlated(grid, kernel, bias)


class _OverGrid(torch.autograd.Function):
    """The gradient of the grid is a convolution with the kernel turned round."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, grid: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(grid, kernel)
        return _correlated(grid, kernel, bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid, kernel = ctx.saved_tensors
        (gradient,) = grad_outputs
        turned = _correlated(gradient, kernel.flip(1, 2), None)
        return turned, kernel_gradient(gradient, grid, kernel.shape[1]), gradient.flatten(0, -2).sum(dim=0)


def kernel_gradient(
    gradient: Float[Tensor, "*batch height width d_model"], grid: Float[Tensor, "*batch height width d_model"], size: int
) -> Float[Tensor, "d_model size size"]:
    """sum over grids and places of the gradient times the grid, shifted as the kernel's entry says."""
    width, d_model = grid.shape[-2:]
    around = pad(grid, (0, 0, size // 2, size // 2))
    slices = []
    for start in range(0, size, SLICE):
        columns = min(SLICE, size - start)
        seen = _as_image(around[..., start : start + width + columns - 1, :])
        slices.append(conv2d_weight(seen, (d_model, 1, size, columns), _as_image(gradient), padding=(size // 2, 0), groups=d_model))
    return torch.cat(slices, dim=3)[:, 0]


def _correlated(grid: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    placed = conv2d(_as_image(grid), kernel[:, None], bias, padding=kernel.shape[1] // 2, groups=grid.shape[-1])
    return placed.permute(0, 2, 3, 1).reshape(grid.shape)


def _as_image(grid: Tensor) -> Tensor:
    """Images whose strides say that columns stand last: the axis of images is there before the axes are turned."""
    return grid.contiguous().view(-1, *grid.shape[-3:]).permute(0, 3, 1, 2)
