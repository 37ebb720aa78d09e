"""The kernel exp(-C / epsilon) of a transport problem in two forms: plain numbers, and logarithms for extreme costs.

A kernel turns log v and the sink's log s (`level`) into the row sums x = G v, the shares p = x / (x + s) of each
token's mass that go to prototypes, and the column sums G^T u with u = p / x: one sweep of Eq. 54. The plan is
diag(u) G diag(v) (Eq. 47). Nothing here knows what the columns shall sum to.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

ONE_BY_ONE = 50_000  # entries from which a problem is worth calls of its own


@dataclass(frozen=True)
class Sweep:
    """Shares of the tokens (0 for padded ones) and log(G^T u), both at the level that the sweep was given."""

    share: Float[Tensor, "batch tokens"]
    log_columns: Float[np.ndarray, "batch prototypes"]


@runtime_checkable
class Kernel(Protocol):
    """What the fixed point needs. A kernel remembers the row sums of its last sweep.

    `active` are the problems to compute anew, at first all; of the others the last values are returned.
    """

    dtype: torch.dtype

    def sweep(self, log_column: Float[np.ndarray, "batch prototypes"], level: Float[np.ndarray, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums."""
        ...

    def multiply(self, log_column: Float[np.ndarray, "batch prototypes"]) -> None:
        """Row sums of all problems, without what else belongs to a sweep."""
        ...

    def share(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """Shares of the last rows at another level."""
        ...

    def log_columns(self, level: Float[np.ndarray, " batch"], active: list[int]) -> Float[np.ndarray, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        ...

    def rest(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """1 - share without cancellation; 0 for padded tokens."""
        ...

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[np.ndarray, "batch prototypes"]
    ) -> tuple[Float[Tensor, "batch tokens prototypes"], Float[np.ndarray, " batch"]]:
        """G diag(v), its rows scaled to sum to `row_mass`, in the kernel's own memory (it is used up), and its sums."""
        ...


class ScaledKernel:
    """G in plain numbers, divided by the largest entry of each problem, or of each row where costs need it.

    Safe while (dearest - cheapest cost) / epsilon is at most `widest(dtype)`, of a problem or of every row alone.

    Args:
        cost: finite everywhere, padded tokens included; its strides are kept.
        real: True for real tokens; None when all are.
        epsilon: entropic regularisation.
        peak: largest log G of each problem; None to divide row by row.
        memory: where G is kept, of the shape of the cost; its type is the kernel's. It is filled by the first sweep,
            while a problem is in the cache.
    """

    def __init__(
        self,
        cost: Float[Tensor, "batch tokens prototypes"],
        real: Bool[Tensor, "batch tokens"] | None,
        epsilon: float,
        peak: Float[np.ndarray, " batch"] | None,
        memory: Float[Tensor, "batch tokens prototypes"],
    ) -> None:
        self.dtype = memory.dtype
        self._device = memory.device
        self._peak: np.ndarray | Tensor = cost.amin(dim=2).double() / -epsilon if peak is None else peak
        self._peaks = self._peak.to(self.dtype) if isinstance(self._peak, Tensor) else self._tensor(self._peak)[:, None]
        self._cost: Tensor | None = cost
        self._epsilon = epsilon
        self._real = None if real is None else real.to(self.dtype)
        self._kernel = memory
        self._rows = memory.new_empty(cost.shape[:2])
        self._weight = memory.new_empty(cost.shape[:2])
        self._columns = memory.new_empty(cost.shape[0], cost.shape[2])
        # On a CPU one problem after the other is faster: it stays in the cache; unless the calls cost more than the work.
        self._one_by_one = self._device.type == "cpu" and memory[0].numel() >= ONE_BY_ONE
        self._problems = list(zip(memory, memory.mT, self._rows, self._weight, self._columns, strict=True)) if self._one_by_one else []

    @staticmethod
    def widest(dtype: torch.dtype) -> float:
        """Largest range of costs / epsilon for which no sum over- or underflows."""
        return 600.0 if dtype == torch.float64 else 75.0

    def sweep(self, log_column: Float[np.ndarray, "batch prototypes"], level: Float[np.ndarray, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums, computed with v / max v."""
        column = self._column(log_column)
        if self._one_by_one:
            sink = self._sink(level)
            columns, sinks = column.unbind(), sink.unbind()
            for i in active:
                kernel, transposed, rows, weight, sums = self._problems[i]
                if self._cost is not None:
                    self._fill(kernel, self._cost[i], self._peaks[i])
                torch.mv(kernel, columns[i], out=rows)
                torch.add(rows, sinks[i], out=weight).reciprocal_()
                if self._real is not None:
                    weight.mul_(self._real[i])
                torch.mv(transposed, weight, out=sums)
            self._cost = None
            return Sweep(self._rows * self._weight, self._log_columns())
        self._multiply(column)
        return Sweep(self.share(level), self.log_columns(level, active))

    def multiply(self, log_column: Float[np.ndarray, "batch prototypes"]) -> None:
        """Row sums of all problems, computed with v / max v."""
        self._multiply(self._column(log_column))

    def share(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """Shares of the last rows at another level."""
        self._weigh(level)
        return self._rows * self._weight

    def log_columns(self, level: Float[np.ndarray, " batch"], active: list[int]) -> Float[np.ndarray, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        self._weigh(level)
        if self._one_by_one:
            for i in active:
                _, transposed, _, weight, sums = self._problems[i]
                torch.mv(transposed, weight, out=sums)
        else:
            torch.bmm(self._weight[:, None], self._kernel, out=self._columns[:, None])
        return self._log_columns()

    def rest(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """1 - share, as 1 / (1 + x / s)."""
        rest = (self._rows / self._sink(level)).add_(1).reciprocal_()
        return rest if self._real is None else rest * self._real

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[np.ndarray, "batch prototypes"]
    ) -> tuple[Float[Tensor, "batch tokens prototypes"], Float[np.ndarray, " batch"]]:
        """G diag(v), its rows scaled to sum to `row_mass`, in place, and its sums: those of its rows, as nothing underflows."""
        column = self._tensor(np.exp(log_column - self._top[:, None]))
        weight = row_mass / self._rows
        for kernel, one, by_token in zip(self._kernel, column, weight[:, :, None], strict=True):
            kernel.mul_(one).mul_(by_token)
        return self._kernel, row_mass.sum(dim=1).double().cpu().numpy()

    def _fill(
        self,
        kernel: Float[Tensor, "*part tokens prototypes"],
        cost: Float[Tensor, "*part tokens prototypes"],
        peaks: Float[Tensor, "*part _"],
    ) -> None:
        """G of one problem, or of all."""
        torch.add(-peaks[..., None], cost.to(self.dtype), alpha=-1 / self._epsilon, out=kernel).exp_()

    def _multiply(self, column: Float[Tensor, "batch prototypes"]) -> None:
        """G v of all problems."""
        if self._cost is not None:
            self._fill(self._kernel, self._cost, self._peaks)
            self._cost = None
        if self._one_by_one:
            for (kernel, _, rows, _, _), one in zip(self._problems, column, strict=True):
                torch.mv(kernel, one, out=rows)
        else:
            torch.bmm(self._kernel, column[:, :, None], out=self._rows[:, :, None])

    def _column(self, log_column: Float[np.ndarray, "batch prototypes"]) -> Float[Tensor, "batch prototypes"]:
        """v of a new sweep, divided by its largest entry."""
        self._top = log_column.max(axis=1)
        return self._tensor(np.exp(log_column - self._top[:, None]))

    def _weigh(self, level: Float[np.ndarray, " batch"]) -> None:
        """u of the last rows, up to the scale of v."""
        torch.add(self._rows, self._sink(level), out=self._weight).reciprocal_()
        if self._real is not None:
            self._weight.mul_(self._real)

    def _sink(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch _"]:
        """The sink's s in the scale of the stored row sums: one number a problem, or one a token."""
        scaled = level - self._top
        if isinstance(self._peak, Tensor):
            return (torch.from_numpy(scaled).to(self._device)[:, None] - self._peak).exp_().to(self.dtype)
        return self._tensor(np.exp(scaled - self._peak))[:, None]

    def _log_columns(self) -> Float[np.ndarray, "batch prototypes"]:
        with np.errstate(divide="ignore"):  # a level far off empties a column; its root is found then, and this done again
            return np.log(self._columns.cpu().numpy().astype(np.float64)) - self._top[:, None]

    def _tensor(self, values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
        return torch.from_numpy(values).to(self._device, self.dtype)


class LogKernel:
    """G as logarithms in float64: no cost is too large, every pass takes an exponential of every entry."""

    def __init__(
        self,
        cost: Float[Tensor, "batch tokens prototypes"],
        real: Bool[Tensor, "batch tokens"] | None,
        epsilon: float,
    ) -> None:
        self.dtype = torch.float64
        self._log_kernel = cost.double() / -epsilon
        self._log_rows = self._log_kernel[:, :, 0]
        self._real = torch.ones_like(self._log_rows, dtype=torch.bool) if real is None else real

    def sweep(self, log_column: Float[np.ndarray, "batch prototypes"], level: Float[np.ndarray, " batch"], active: list[int]) -> Sweep:
        """Row sums, shares and column sums."""
        self.multiply(log_column)
        return Sweep(self.share(level), self.log_columns(level, active))

    def multiply(self, log_column: Float[np.ndarray, "batch prototypes"]) -> None:
        """Row sums of all problems."""
        self._log_rows = torch.logsumexp(self._log_kernel + self._tensor(log_column)[:, None], dim=2)

    def share(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """Shares of the last rows at another level."""
        return torch.sigmoid(self._log_rows - self._tensor(level)[:, None]) * self._real

    def log_columns(self, level: Float[np.ndarray, " batch"], active: list[int]) -> Float[np.ndarray, "batch prototypes"]:
        """Column sums log(G^T u) of the last rows at another level."""
        log_weight = -torch.logaddexp(self._log_rows, self._tensor(level)[:, None])
        log_weight = log_weight.masked_fill(~self._real, -math.inf)
        return torch.logsumexp(self._log_kernel + log_weight[:, :, None], dim=1).cpu().numpy()

    def rest(self, level: Float[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens"]:
        """1 - share without cancellation."""
        return torch.sigmoid(self._tensor(level)[:, None] - self._log_rows) * self._real

    def plan(
        self, row_mass: Float[Tensor, "batch tokens"], log_column: Float[np.ndarray, "batch prototypes"]
    ) -> tuple[Float[Tensor, "batch tokens prototypes"], Float[np.ndarray, " batch"]]:
        """G diag(v), its rows scaled to sum to `row_mass`, in place, and its sums."""
        log_row = (row_mass.log() - self._log_rows)[:, :, None]
        plan = self._log_kernel.add_(self._tensor(log_column)[:, None]).add_(log_row).exp_()
        return plan, plan.sum(dim=(1, 2)).cpu().numpy()

    def _tensor(self, values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
        return torch.from_numpy(values).to(self._log_kernel)
