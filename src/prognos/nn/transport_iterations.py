"""The fixed point of Eq. 54 with an exact sink, a closed-form shift and Anderson acceleration.

Given log v, the row update sends the share p_i = x_i / (x_i + s) of token i to the prototypes, where x = G v and s
is the sink's v. Here s is the root of sum_i a p_i = rho (Eq. 43), so that log v alone is iterated. The plain loop
moves s by one scaling a sweep and needs about 1 / rho times more sweeps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prognos.nn.transport_kernels import Kernel, Range
from prognos.nn.transport_marginals import Marginals, shifted

MEMORY = 3  # differences that the Anderson acceleration keeps
RELAXATION = 1.5  # the step falls short by up to 1 + gamma / epsilon times where tokens are decided; 2 would be the limit
WITHOUT_SINK = -1e30  # level of a patient with rho = 1: sigmoid(x + 1e30) is exactly 1 for real, 0 for padded tokens
FAR = 0.1  # error of logit(mass) above which one Newton step is not enough
STEPS_TO_ROOT = 200


@dataclass(frozen=True)
class FixedPoint:
    """Where the iteration stopped, after one more row update.

    Args:
        log_odds: log of what each token sends to the prototypes over what it sends to the sink; -inf for padded tokens.
        share: what it sends to the prototypes, sigmoid(log_odds), as a fraction of its mass.
        log_column: log v.
        iterations: sweeps made.
        converged: True where the last step of log v, and the error of the sink before its last correction, were small.
    """

    log_odds: Float[Tensor, "batch tokens"]
    share: Float[Tensor, "batch tokens"]
    log_column: Float[Tensor, "batch prototypes"]
    iterations: Int[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def fixed_point(
    kernel: Kernel,
    marginals: Marginals,
    limits: Range,
    start: Float[Tensor, "batch prototypes"],
    max_iterations: int,
    tolerance: float,
) -> FixedPoint:
    """The v with log v = shift(f (log b - log G^T u)), f = 1 / (1 + epsilon / gamma) (Eq. 54), to within `tolerance`.

    The level, log s, follows log v by one Newton step a sweep; where that would not do, its root is found.
    """
    exact = 1e-12 if kernel.dtype == torch.float64 else 4e-6
    factor = 1 / (1 + marginals.softness)
    log_target = marginals.log_prior + marginals.n_tokens.log()[:, None]
    log_column = shifted(start, marginals)
    level = first_level(limits.of_log_rows(log_column), marginals)
    active = list(range(len(start)))
    iterations = torch.zeros(len(start), dtype=torch.long, device=start.device)
    done = torch.zeros_like(iterations, dtype=torch.bool)
    anderson = Anderson()
    for _ in range(max_iterations):
        sweep = kernel.sweep(log_column, level, active)
        error, correction = level_error(sweep.share, marginals)
        log_columns = sweep.log_columns
        if not bool(((error.abs() <= FAR) & (correction.abs() <= 1)).all()):
            _, _, level = row_shares(kernel.log_rows(), level, limits.of_log_rows(log_column), marginals, exact)
            log_columns = kernel.log_columns(level, active)
            error = correction = torch.zeros_like(level)
        step = shifted(factor * (log_target - log_columns), marginals) - log_column
        size = step.abs().amax(dim=1)
        iterations += ~done
        done = done | ((size <= tolerance) & (error.abs() <= tolerance))
        active = (~done).nonzero()[:, 0].tolist()
        if not active:
            break
        move = torch.where(done[:, None], 0.0, anderson.move(log_column, step, size))
        weights = torch.softmax(log_column + log_columns, dim=1)  # of the columns' sums
        level = level + torch.where(done, 0.0, correction) + (weights * move).sum(dim=1)
        log_column = log_column + move
    else:
        kernel.sweep(log_column, level, active)
    log_odds, share, _ = row_shares(kernel.log_rows(), level, limits.of_log_rows(log_column), marginals, exact)
    return FixedPoint(log_odds, share, log_column, iterations, done)


def first_level(bounds: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]], marginals: Marginals) -> Float[Tensor, " batch"]:
    """The level that would be right if all tokens were alike, in the middle between the bounds of log x."""
    low, high = bounds
    return torch.where(marginals.mass < 1, (low + high) / 2 - torch.logit(marginals.mass), WITHOUT_SINK)


def level_error(share: Float[Tensor, "batch tokens"], marginals: Marginals) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Logit of the mean share minus logit(rho), nearly linear in the level, and Newton's step to its root."""
    moved = share.sum(dim=1).double()
    squares = torch.linalg.vector_norm(share, dim=1).double().square()
    mean = moved / marginals.n_tokens
    error = torch.where(marginals.mass < 1, torch.logit(mean) - torch.logit(marginals.mass), 0.0)
    step = error * (moved - moved * mean) / (moved - squares)
    return error, torch.where(error == 0, 0.0, step)


def row_shares(
    log_rows: Float[Tensor, "batch tokens"],
    level: Float[Tensor, " batch"],
    bounds: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]],
    marginals: Marginals,
    tolerance: float,
) -> tuple[Float[Tensor, "batch tokens"], Float[Tensor, "batch tokens"], Float[Tensor, " batch"]]:
    """Log-odds log x - level, shares p = sigmoid(log-odds) with mean rho over the real tokens, and the level.

    Newton's method within a bracket: the level lies between the least and the largest log x minus logit(rho).
    `tolerance` is that of the logit of the mean share.
    """
    log_odds = log_rows - level[:, None].to(log_rows.dtype)
    away = torch.logit(marginals.mass) + level
    low, high = bounds[0] - away, bounds[1] - away
    for _ in range(STEPS_TO_ROOT):
        share = torch.sigmoid(log_odds)
        error, step = level_error(share, marginals)
        found = error.abs() <= tolerance
        if bool(found.all()):
            break
        low = torch.where(error > 0, low.clamp(min=0), low)
        high = torch.where(error < 0, high.clamp(max=0), high)
        step = torch.where((step > low) & (step < high), step, (low + high) / 2)
        step = torch.where(found, 0.0, step)
        log_odds = log_odds - step[:, None].to(log_odds.dtype)
        level, low, high = level + step, low - step, high - step
    return log_odds, share, level


class Anderson:
    """Anderson acceleration of a batch of fixed-point iterations; a problem whose step grows starts afresh."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor, Tensor] | None = None
        self._moves: list[Tensor] = []
        self._turns: list[Tensor] = []

    def move(
        self, point: Float[Tensor, "batch prototypes"], step: Float[Tensor, "batch prototypes"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch prototypes"]:
        """What to add to the point; `step` is the plain iteration's move from here, `size` its largest entry."""
        if self._last is not None:
            last_point, last_step, last_size = self._last
            self._moves = [*self._moves, point - last_point][-MEMORY:]
            self._turns = [*self._turns, step - last_step][-MEMORY:]
            if bool((size > 2 * last_size).any()):
                calm = (size <= 2 * last_size).to(point.dtype)[:, None]
                self._moves, self._turns = [move * calm for move in self._moves], [turn * calm for turn in self._turns]
        self._last = (point, step, size)
        if not self._moves:
            return RELAXATION * step
        moves, turns = torch.stack(self._moves, dim=1), torch.stack(self._turns, dim=1)
        gram = turns @ turns.transpose(1, 2)
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal.add_(1e-12 * diagonal.sum(dim=1, keepdim=True) + 1e-300)
        weights = torch.linalg.solve(gram, turns @ step[:, :, None])
        return RELAXATION * step - ((moves + RELAXATION * turns).transpose(1, 2) @ weights)[:, :, 0]
