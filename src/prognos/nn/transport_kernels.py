"""The kernel exp(-C / epsilon) of a transport problem in two forms: plain numbers, and logarithms for extreme costs.

A kernel turns log v into the row sums x = G v, shares p of the rows into the column sums G^T u with u = p / x, and
both into the plan diag(u) G diag(v) of Eq. 47. Nothing here knows what the marginals are.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Rows:
    """Row sums x = G v of the last pass: log x (-inf for padded tokens), and what the kernel itself wants back."""

    log: Float[Tensor, "batch tokens"]
    scaled: Float[Tensor, "batch tokens"]
    scale: Float[Tensor, "batch 1"]


@dataclass(frozen=True)
class Shares:
    """How much of its mass each token sends to the prototypes: p = sigmoid(log_odds); 0 for padded tokens."""

    log_odds: Float[Tensor, "batch tokens"]
    share: Float[Tensor, "batch tokens"]


class Kernel(Protocol):
    """What the fixed point needs; `active` are the problems to compute anew, the others keep their last values."""

    dtype: torch.dtype

    def rows(self, log_column: Float[Tensor, "batch prototypes"], active: list[int]) -> Rows:
        """Row sums x = G v."""
        ...

    def log_columns(self, rows: Rows, shares: Shares, active: list[int]) -> Float[Tensor, "batch prototypes"]:
        """log(G^T u), u = p / x."""
        ...

    def write_plan(
        self,
        out: Float[Tensor, "batch tokens prototypes"],
        rows: Rows,
        row_mass: Float[Tensor, "batch tokens"],
        log_column: Float[Tensor, "batch prototypes"],
    ) -> None:
        """Write diag(u) G diag(v), whose rows sum to `row_mass`; the kernel is used up."""
        ...


class ScaledKernel:
    """G in plain numbers, prototypes first, each row divided by its largest entry.

    Safe while the costs of one token differ by at most `widest_row(dtype)` epsilon.

    Args:
        cost: finite everywhere, padded tokens included.
        real: True for real tokens; None when all are.
        epsilon: entropic regularisation.
        memory: where G is kept; its type is the kernel's.
    """

    def __init__(
        self,
        cost: Float[Tensor, "batch tokens prototypes"],
        real: Bool[Tensor, "batch tokens"] | None,
        epsilon: float,
        memory: Float[Tensor, " size"],
    ) -> None:
        batch, tokens, prototypes = cost.shape
        self.dtype = memory.dtype
        self._kernel = memory[: cost.numel()].view(batch, prototypes, tokens)
        torch.mul(cost.transpose(1, 2), -1 / epsilon, out=self._kernel)
        self._peak = self._kernel.amax(dim=1)
        self._kernel.sub_(self._peak[:, None]).exp_()
        if real is not None:
            self._peak.masked_fill_(~real, -math.inf)
        self._row_sums = self._peak.new_empty(batch, tokens)
        self._column_sums = self._peak.new_empty(batch, prototypes)
        self._one_by_one = cost.device.type == "cpu"  # there, a product a problem is faster than a batched one

    @staticmethod
    def widest_row(dtype: torch.dtype) -> float:
        """Largest (dearest - cheapest cost of one token) / epsilon for which no sum over- or underflows."""
        return 600.0 if dtype == torch.float64 else 75.0

    def rows(self, log_column: Float[Tensor, "batch prototypes"], active: list[int]) -> Rows:
        scale = log_column.amax(dim=1, keepdim=True)
        column = (log_column - scale).exp().to(self.dtype)
        if self._one_by_one:
            for i in active:
                torch.mv(self._kernel[i].t(), column[i], out=self._row_sums[i])
        else:
            torch.bmm(column[:, None], self._kernel, out=self._row_sums[:, None])
        return Rows(self._row_sums.log().add_(self._peak).add_(scale.to(self.dtype)), self._row_sums, scale)

    def log_columns(self, rows: Rows, shares: Shares, active: list[int]) -> Float[Tensor, "batch prototypes"]:
        weight = shares.share / rows.scaled
        if self._one_by_one:
            for i in active:
                torch.mv(self._kernel[i], weight[i], out=self._column_sums[i])
        else:
            torch.bmm(self._kernel, weight[:, :, None], out=self._column_sums[:, :, None])
        return self._column_sums.double().log() - rows.scale

    def write_plan(
        self,
        out: Float[Tensor, "batch tokens prototypes"],
        rows: Rows,
        row_mass: Float[Tensor, "batch tokens"],
        log_column: Float[Tensor, "batch prototypes"],
    ) -> None:
        column = (log_column - rows.scale).exp().to(self.dtype)
        self._kernel.mul_((row_mass / rows.scaled)[:, None])
        if out.dtype == self.dtype:
            torch.mul(self._kernel.transpose(1, 2), column[:, None], out=out)
        else:
            out.copy_(self._kernel.mul_(column[:, :, None]).transpose(1, 2))


class LogKernel:
    """G as logarithms in float64: no cost is too large, every pass takes an exponential of every entry."""

    def __init__(self, cost: Float[Tensor, "batch tokens prototypes"], real: Bool[Tensor, "batch tokens"] | None, epsilon: float) -> None:
        self.dtype = torch.float64
        self._log_kernel = cost.transpose(1, 2).double().mul(-1 / epsilon).contiguous()
        self._real = real

    def rows(self, log_column: Float[Tensor, "batch prototypes"], active: list[int]) -> Rows:
        log_rows = torch.logsumexp(self._log_kernel + log_column[:, :, None], dim=1)
        masked = log_rows if self._real is None else log_rows.masked_fill(~self._real, -math.inf)
        return Rows(masked, log_rows, torch.zeros_like(log_column[:, :1]))

    def log_columns(self, rows: Rows, shares: Shares, active: list[int]) -> Float[Tensor, "batch prototypes"]:
        return torch.logsumexp(self._log_kernel + (logsigmoid(shares.log_odds) - rows.scaled)[:, None], dim=2)

    def write_plan(
        self,
        out: Float[Tensor, "batch tokens prototypes"],
        rows: Rows,
        row_mass: Float[Tensor, "batch tokens"],
        log_column: Float[Tensor, "batch prototypes"],
    ) -> None:
        self._log_kernel.add_(log_column[:, :, None]).add_((row_mass.log() - rows.scaled)[:, None]).exp_()
        out.copy_(self._log_kernel.transpose(1, 2))
