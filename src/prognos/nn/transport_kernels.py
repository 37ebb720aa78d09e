"""The kernel exp(-C / epsilon) of a transport problem in two forms: plain numbers, and logarithms for extreme costs.

A kernel turns log v and the sink's log s (`level`) into the row sums x = G v, the shares p = x / (x + s) of each
token's mass that go to prototypes, and the column sums G^T u with u = p / x: one sweep of Eq. 54. The plan is
diag(u) G diag(v) (Eq. 47). Nothing here knows what the columns shall sum to.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SLACK = 0.01  # that bounds are too wide, for the sake of rounding


@dataclass(frozen=True)
class Range:
    """Least and largest log G = -C / epsilon of each problem."""

    low: Float[Tensor, " batch"]
    high: Float[Tensor, " batch"]

    def of(self, part: slice) -> "Range":
        """The range of some of the problems."""
        return Range(self.low[part], self.high[part])

    def of_log_rows(self, log_column: Float[Tensor, "batch prototypes"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Bounds of log(G v) of every token."""
        top = log_column.amax(dim=1)
        return top + self.low - SLACK, top + math.log(log_column.shape[1]) + self.high + SLACK


@dataclass(frozen=True)
class Sweep:
    """Shares of the tokens (0 for padded ones) and log(G^T u), both at the level that the sweep was given."""

    share: Float[Tensor, "batch tokens"]
    log_columns: Float[Tensor, "batch prototypes"]


class Kernel(Protocol):
    """What the fixed point needs. A kernel remembers the row sums of its last sweep.

    `active` are the problems to compute anew; of the others the last values are returned.
    """

    dtype: torch.dtype

    def sweep(self, log_column: Float[Tensor, "batch prototypes"], level: Float[Tensor, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums."""
        ...

    def log_rows(self) -> Float[Tensor, "batch tokens"]:
        """The last log(G v), -inf for padded tokens."""
        ...

    def log_columns(self, level: Float[Tensor, " batch"], active: list[int]) -> Float[Tensor, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        ...

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[Tensor, "batch prototypes"]
    ) -> Float[Tensor, "batch tokens prototypes"]:
        """G diag(v), its rows scaled to sum to `row_mass`, in the kernel's own memory: the kernel is used up."""
        ...


class ScaledKernel:
    """G in plain numbers, divided by the largest entry of each problem, or of each row where costs need it.

    Safe while (dearest - cheapest cost) / epsilon is at most `widest(dtype)`, of a problem or of every row alone.

    Args:
        cost: finite everywhere, padded tokens included; its strides are kept.
        real: True for real tokens; None when all are.
        epsilon: entropic regularisation.
        peak: largest log G of each problem; None to divide row by row.
        memory: where G is kept, of the shape of the cost; its type is the kernel's.
    """

    def __init__(
        self,
        cost: Float[Tensor, "batch tokens prototypes"],
        real: Bool[Tensor, "batch tokens"] | None,
        epsilon: float,
        peak: Float[Tensor, " batch"] | None,
        memory: Float[Tensor, "batch tokens prototypes"],
    ) -> None:
        self.dtype = memory.dtype
        peaks = (cost.amin(dim=2) / -epsilon if peak is None else peak[:, None]).to(self.dtype)
        for i in range(len(cost)):  # one by one: what was added is still in the cache for the exponential
            torch.add(-peaks[i, :, None], cost[i].to(self.dtype), alpha=-1 / epsilon, out=memory[i]).exp_()
        self._even = peak is not None and real is None  # one peak a problem, and no token to leave out
        self._peak = peaks if real is None else torch.where(real, peaks, -math.inf)
        self._kernel = memory
        self._rows = memory.new_empty(cost.shape[:2])
        self._weight = memory.new_empty(cost.shape[:2])
        self._columns = memory.new_empty(cost.shape[0], cost.shape[2])
        self._top = memory.new_zeros(len(cost), dtype=torch.float64)
        self._problems = list(zip(memory, memory.transpose(1, 2), self._rows, self._weight, self._columns, strict=True))
        self._one_by_one = memory.device.type == "cpu"  # faster there than batched products

    @staticmethod
    def widest(dtype: torch.dtype) -> float:
        """Largest range of costs / epsilon for which no sum over- or underflows."""
        return 600.0 if dtype == torch.float64 else 75.0

    def sweep(self, log_column: Float[Tensor, "batch prototypes"], level: Float[Tensor, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums, computed with v / max v."""
        self._top = log_column.amax(dim=1)
        column = (log_column - self._top[:, None]).exp_().to(self.dtype)
        sink = self._sink(level)
        if self._one_by_one:
            columns, sinks = column.unbind(), sink.unbind()
            for i in active:
                kernel, transposed, rows, weight, sums = self._problems[i]
                torch.mv(kernel, columns[i], out=rows)
                torch.add(rows, sinks[i], out=weight).reciprocal_()
                torch.mv(transposed, weight, out=sums)
        else:
            torch.bmm(self._kernel, column[:, :, None], out=self._rows[:, :, None])
            torch.add(self._rows, sink, out=self._weight).reciprocal_()
            torch.bmm(self._weight[:, None], self._kernel, out=self._columns[:, None])
        return Sweep(self._rows * self._weight, self._columns.double().log().sub_(self._top[:, None]))

    def log_rows(self) -> Float[Tensor, "batch tokens"]:
        """The last log(G v)."""
        return self._rows.log().add_(self._peak + self._top[:, None].to(self.dtype))

    def log_columns(self, level: Float[Tensor, " batch"], active: list[int]) -> Float[Tensor, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        torch.add(self._rows, self._sink(level), out=self._weight).reciprocal_()
        if self._one_by_one:
            for i in active:
                _, transposed, _, weight, sums = self._problems[i]
                torch.mv(transposed, weight, out=sums)
        else:
            torch.bmm(self._weight[:, None], self._kernel, out=self._columns[:, None])
        return self._columns.double().log().sub_(self._top[:, None])

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[Tensor, "batch prototypes"]
    ) -> Float[Tensor, "batch tokens prototypes"]:
        """G diag(v), its rows scaled to sum to `row_mass`, in place."""
        column = (log_column - self._top[:, None]).exp().to(self.dtype)
        weight = row_mass / self._rows
        for i in range(len(column)):
            self._kernel[i].mul_(column[i]).mul_(weight[i][:, None])
        return self._kernel

    def _sink(self, level: Float[Tensor, " batch"]) -> Float[Tensor, "batch _"]:
        """The sink's s in the scale of the stored row sums: one number a problem, or one a token (inf when padded)."""
        scaled = (level - self._top)[:, None]
        return (scaled - self._peak[:, :1]).exp().to(self.dtype) if self._even else (scaled.to(self.dtype) - self._peak).exp_()


class LogKernel:
    """G as logarithms in float64: no cost is too large, every pass takes an exponential of every entry."""

    def __init__(self, cost: Float[Tensor, "batch tokens prototypes"], real: Bool[Tensor, "batch tokens"] | None, epsilon: float) -> None:
        self.dtype = torch.float64
        self._log_kernel = cost.double() / -epsilon
        self._real = real
        self._log_rows = self._log_kernel[:, :, 0]

    def sweep(self, log_column: Float[Tensor, "batch prototypes"], level: Float[Tensor, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums."""
        self._log_rows = torch.logsumexp(self._log_kernel + log_column[:, None], dim=2)
        return Sweep(torch.sigmoid(self.log_rows() - level[:, None]), self.log_columns(level, active))

    def log_rows(self) -> Float[Tensor, "batch tokens"]:
        """The last log(G v)."""
        return self._log_rows if self._real is None else self._log_rows.masked_fill(~self._real, -math.inf)

    def log_columns(self, level: Float[Tensor, " batch"], active: list[int]) -> Float[Tensor, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        log_weight = -torch.logaddexp(self._log_rows, level[:, None])
        if self._real is not None:
            log_weight = log_weight.masked_fill(~self._real, -math.inf)
        return torch.logsumexp(self._log_kernel + log_weight[:, :, None], dim=1)

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[Tensor, "batch prototypes"]
    ) -> Float[Tensor, "batch tokens prototypes"]:
        """G diag(v), its rows scaled to sum to `row_mass`, in place."""
        return self._log_kernel.add_(log_column[:, None]).add_((row_mass.log() - self._log_rows)[:, :, None]).exp_()
