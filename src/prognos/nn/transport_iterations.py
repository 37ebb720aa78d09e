"""The fixed point of Eq. 54 with an exact sink, a closed-form shift and Anderson acceleration.

Given log v, the row update sends the share p_i = x_i / (x_i + s) of token i to the prototypes, where x = G v and s
is the sink's v. Here s is the root of sum_i a p_i = rho (Eq. 43), so that log v alone is iterated. The plain loop
moves s by one scaling a sweep and needs about 1 / rho times more sweeps.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prognos.nn.transport_kernels import Kernel
from prognos.nn.transport_marginals import Marginals, Range, logit, shifted

MEMORY = 3  # differences that the Anderson acceleration keeps
RELAXATION = 1.5  # the plain step falls short, by up to 1 + gamma / epsilon times where tokens are decided; 2 is the limit
WITHOUT_SINK = -1e30  # level of a patient with rho = 1: exp(-1e30) is exactly 0
FAR = 0.5  # error of logit(mass) above which one Newton step is not enough
STEPS_TO_ROOT = 200
SLACK = 0.01  # that bounds are too wide, for the sake of rounding


@dataclass(frozen=True)
class FixedPoint:
    """Where the iteration stopped: its last step made, the rows updated for it.

    Args:
        share: fraction of its mass that each token sends to the prototypes.
        rest: 1 - share, which goes to the sink; both are 0 for padded tokens.
        log_column: log v.
        level: log s.
        iterations: sweeps made.
        converged: True where the last step of log v, and the error of the sink before its last correction, were small.
    """

    share: Float[Tensor, "batch tokens"]
    rest: Float[Tensor, "batch tokens"]
    log_column: Float[np.ndarray, "batch prototypes"]
    level: Float[np.ndarray, " batch"]
    iterations: Int[np.ndarray, " batch"]
    converged: Bool[np.ndarray, " batch"]


def fixed_point(
    kernel: Kernel,
    marginals: Marginals,
    limits: Range,
    start: tuple[Float[np.ndarray, "batch prototypes"], Float[np.ndarray, " batch"]],
    max_iterations: int,
    tolerance: float,
) -> FixedPoint:
    """The v with log v = shift(f (log b - log G^T u)), f = 1 / (1 + epsilon / gamma) (Eq. 54), to within `tolerance`.

    Starts from a shifted log v and a level, log s. The level follows log v by one Newton step a sweep; where that would
    not do, its root is found. The step that is small enough to end with is made too: its rows cost half a sweep, and the
    plan is some five times nearer for it.
    """
    exact = 1e-12 if kernel.dtype == torch.float64 else 4e-6
    factor = 1 / (1 + marginals.softness)
    log_target = marginals.log_prior + np.log(marginals.n_tokens)[:, None]
    log_column, level = start
    active = list(range(len(level)))
    iterations, done = np.zeros(len(level), dtype=np.int64), np.zeros(len(level), dtype=bool)
    anderson = Anderson(log_column.shape)
    for _ in range(max_iterations):
        sweep = kernel.sweep(log_column, level, active)
        error, correction = level_error(sweep.share, marginals)
        log_columns = sweep.log_columns
        if not ((np.abs(error) <= FAR) & (np.abs(correction) <= 4 * FAR)).all():
            level, _ = exact_level(kernel, level, level_bounds(log_column, limits, marginals), marginals, exact)
            log_columns = kernel.log_columns(level, active)
            error = correction = np.zeros_like(level)
        step = shifted(factor * (log_target - log_columns), marginals) - log_column
        size = np.abs(step).max(axis=1)
        iterations += ~done
        move = anderson.move(log_column, step, size)
        move[done] = correction[done] = 0
        sums = np.exp(log_column + log_columns)  # of the plan's columns, up to a factor
        level = level + correction + (sums * move).sum(axis=1) / sums.sum(axis=1)
        log_column = log_column + move
        done = done | ((size <= tolerance) & (np.abs(error) * marginals.sink_mass <= tolerance))
        if done.all():
            break
        active = np.flatnonzero(~done).tolist()
    kernel.multiply(log_column)
    level, share = exact_level(kernel, level, level_bounds(log_column, limits, marginals), marginals, exact)
    return FixedPoint(share, kernel.rest(level), log_column, level, iterations, done)


def level_bounds(
    log_column: Float[np.ndarray, "batch prototypes"], limits: Range, marginals: Marginals
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """What the level lies between: the least and the largest possible log(G v), less logit(rho)."""
    top = log_column.max(axis=1) - marginals.logit_mass
    return top + limits.low - SLACK, top + math.log(log_column.shape[1]) + limits.high + SLACK


def level_error(
    share: Float[Tensor, "batch tokens"], marginals: Marginals
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Logit of the mean share minus logit(rho), nearly linear in the level, and Newton's step to its root; 0 without a sink."""
    if not marginals.has_sink.any():
        return np.zeros(len(share)), np.zeros(len(share))
    moved = share.sum(dim=1).cpu().numpy().astype(np.float64)
    squares = torch.linalg.vector_norm(share, dim=1).cpu().numpy().astype(np.float64) ** 2
    mean = np.minimum(moved / marginals.n_tokens, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(marginals.has_sink, logit(mean) - marginals.logit_mass, 0.0)
        return error, np.where(error == 0, 0.0, error * (moved - moved * mean) / (moved - squares))


def exact_level(
    kernel: Kernel,
    level: Float[np.ndarray, " batch"],
    bounds: tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]],
    marginals: Marginals,
    tolerance: float,
) -> tuple[Float[np.ndarray, " batch"], Float[Tensor, "batch tokens"]]:
    """The level at which the kernel's last rows have a mean share of rho, and the shares, by Newton within bounds.

    `tolerance` is that of the mass, relative to rho.
    """
    low, high = bounds
    for _ in range(STEPS_TO_ROOT):
        share = kernel.share(level)
        error, step = level_error(share, marginals)
        found = np.abs(error) * marginals.sink_mass <= tolerance
        if found.all():
            break
        low = np.where(error > 0, np.maximum(low, level), low)
        high = np.where(error < 0, np.minimum(high, level), high)
        step = level + step
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        level = np.where(found, level, step)
    return level, share


class Anderson:
    """Anderson acceleration of a batch of fixed-point iterations; a problem whose step grows starts afresh."""

    def __init__(self, shape: tuple[int, int]) -> None:
        batch, prototypes = shape
        self._moves = np.zeros((batch, MEMORY, prototypes))
        self._turns = np.zeros((batch, MEMORY, prototypes))
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._next = 0

    def move(
        self,
        point: Float[np.ndarray, "batch prototypes"],
        step: Float[np.ndarray, "batch prototypes"],
        size: Float[np.ndarray, " batch"],
    ) -> Float[np.ndarray, "batch prototypes"]:
        """What to add to the point; `step` is the plain iteration's move from here, `size` its largest entry."""
        last, self._last = self._last, (point, step, size)
        if last is None:
            return RELAXATION * step
        np.subtract(point, last[0], out=self._moves[:, self._next])
        np.subtract(step, last[1], out=self._turns[:, self._next])
        self._next = (self._next + 1) % MEMORY
        grew = size > 2 * last[2]
        self._moves[grew] = self._turns[grew] = 0
        gram = self._turns @ self._turns.transpose(0, 2, 1)
        diagonal = np.einsum("bii->bi", gram)
        diagonal += 1e-12 * diagonal.sum(axis=1, keepdims=True) + 1e-300
        weights = np.linalg.solve(gram, self._turns @ step[:, :, None])
        return RELAXATION * step - (weights.transpose(0, 2, 1) @ (self._moves + RELAXATION * self._turns))[:, 0]
