"""The fixed point of Eq. 54 with an exact sink, a closed-form shift and Anderson acceleration.

Given log v, the row update sends the share p_i = x_i / (x_i + s) of token i to the prototypes, where x = G v and s
is the sink's v. Here s is the root of sum_i a p_i = rho (Eq. 43), so the sink's marginal holds after every sweep
and log v alone is iterated. The plain loop moves s by one scaling a sweep and needs about 1 / rho times more of them.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prognos.nn.transport_kernels import Kernel, Rows, Shares

MEMORY = 3  # differences that the Anderson acceleration keeps
WITHOUT_SINK = -1e30  # level of a patient with rho = 1: sigmoid(x + 1e30) is exactly 1 for real, 0 for padded tokens
STEPS_TO_ROOT = 200


@dataclass(frozen=True)
class Marginals:
    """What the plans' sums shall be.

    Args:
        n_tokens: real tokens of each problem; each has the mass 1 / n_tokens.
        mass: what all prototypes get together; 1 = there is no sink.
        log_prior: log of what each prototype should get, softly.
        softness: epsilon / gamma; 0 makes the prior a hard marginal.
    """

    n_tokens: Float[Tensor, " batch"]
    mass: Float[Tensor, " batch"]
    log_prior: Float[Tensor, "batch prototypes"]
    softness: float

    def of(self, part: slice) -> "Marginals":
        """The marginals of some of the problems."""
        return Marginals(self.n_tokens[part], self.mass[part], self.log_prior[part], self.softness)


@dataclass(frozen=True)
class FixedPoint:
    """Where the iteration stopped: the last row pass and shares, the log v they belong to, and how it went."""

    rows: Rows
    shares: Shares
    log_column: Float[Tensor, "batch prototypes"]
    iterations: Int[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def row_shares(
    log_rows: Float[Tensor, "batch tokens"],
    level: Float[Tensor, " batch"],
    marginals: Marginals,
    tolerance: float,
) -> tuple[Shares, Float[Tensor, " batch"]]:
    """Shares p = sigmoid(log x - level) with mean rho over the real tokens, and the level, log s, that gives them.

    Newton on the logit of the mean, which is nearly linear in the level, within a bracket: the level lies between
    the least and the largest log x minus logit(rho). `tolerance` is that of the logit.
    """
    sink = marginals.mass < 1
    wanted = torch.logit(marginals.mass.clamp(max=1 - 1e-16))
    log_odds = log_rows - level[:, None].to(log_rows.dtype)
    padded = torch.isneginf(log_odds)
    low = log_odds.masked_fill(padded, math.inf).amin(dim=1).double() - wanted
    high = log_odds.amax(dim=1).double() - wanted
    for _ in range(STEPS_TO_ROOT):
        share = torch.sigmoid(log_odds)
        moved = share.sum(dim=1).double()
        squares = torch.linalg.vector_norm(share, dim=1).double().square()
        mean = moved / marginals.n_tokens
        error = torch.where(sink, torch.logit(mean) - wanted, 0.0)
        if bool((error.abs() <= tolerance).all()):
            break
        low = torch.where(error > 0, low.clamp(min=0), low)
        high = torch.where(error < 0, high.clamp(max=0), high)
        step = error * (moved - moved * mean) / (moved - squares)
        step = torch.where((step > low) & (step < high), step, (low + high) / 2)
        step = torch.where(error.abs() <= tolerance, 0.0, step).to(log_odds.dtype)
        log_odds = log_odds - step[:, None]
        level, low, high = level + step, low - step, high - step
    return Shares(log_odds, share), level


def shifted(log_column: Float[Tensor, "batch prototypes"], marginals: Marginals) -> Float[Tensor, "batch prototypes"]:
    """log v moved by the one number that makes sum_k b_k v_k^(-epsilon / gamma), the prototypes' mass, equal rho.

    The plan does not change when v and s are multiplied by one number, so this move is free; without it, it is the
    slowest one of the iteration. With a hard prior any number will do: the mean of log v is 0 then.
    """
    softness = marginals.softness
    if softness == 0:
        return log_column - log_column.mean(dim=1, keepdim=True)
    log_mass = torch.logsumexp(marginals.log_prior - softness * log_column, dim=1)
    return log_column + ((log_mass - marginals.mass.log()) / softness)[:, None]


class Anderson:
    """Anderson acceleration of a batch of fixed-point iterations; a problem whose residual grows starts afresh."""

    def __init__(self) -> None:
        self._points: list[Tensor] = []
        self._residuals: list[Tensor] = []
        self._sizes: list[Tensor] = []

    def next_point(
        self, point: Float[Tensor, "batch prototypes"], residual: Float[Tensor, "batch prototypes"]
    ) -> Float[Tensor, "batch prototypes"]:
        """The point to try next; `residual` is the plain step from here."""
        self._points = [*self._points, point][-MEMORY - 1 :]
        self._residuals = [*self._residuals, residual][-MEMORY - 1 :]
        self._sizes = [*self._sizes, residual.abs().amax(dim=1)][-MEMORY - 1 :]
        if len(self._points) == 1:
            return point + residual
        points = torch.stack(self._points, dim=1).diff(dim=1)
        residuals = torch.stack(self._residuals, dim=1).diff(dim=1)
        sizes = torch.stack(self._sizes, dim=1)
        fell = sizes[:, 1:] <= 2 * sizes[:, :-1]
        usable = fell.flip(1).cumprod(dim=1).flip(1).to(point.dtype)  # differences since the residual last grew
        residuals = residuals * usable[:, :, None]
        points = points * usable[:, :, None]
        gram = residuals @ residuals.transpose(1, 2)
        ridge = 1e-12 * gram.diagonal(dim1=1, dim2=2).sum(dim=1) + 1e-300
        gram = gram + torch.diag_embed(ridge[:, None].expand(-1, gram.shape[1]))
        weights = torch.linalg.solve(gram, residuals @ residual[:, :, None])
        return point + residual - ((points + residuals).transpose(1, 2) @ weights)[:, :, 0]


def fixed_point(
    kernel: Kernel,
    marginals: Marginals,
    start: Float[Tensor, "batch prototypes"],
    max_iterations: int,
    tolerance: float,
) -> FixedPoint:
    """log v with log v = shift(f (log b - log G^T u)), f = 1 / (1 + epsilon / gamma) (Eq. 54), to within `tolerance`.

    Ends with a row update, so that the rows are exact, and says for each problem whether the residual got there.
    """
    exact = 1e-12 if kernel.dtype == torch.float64 else 1e-6
    factor = 1 / (1 + marginals.softness)
    log_target = marginals.log_prior + marginals.n_tokens.log()[:, None]
    log_column = shifted(start, marginals)
    active = list(range(len(start)))
    iterations = torch.zeros(len(start), dtype=torch.long, device=start.device)
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    anderson = Anderson()
    level = None
    for _ in range(max_iterations):
        rows = kernel.rows(log_column, active)
        if level is None:
            level = first_level(rows.log, marginals)
        shares, level = row_shares(rows.log, level, marginals, exact)
        log_columns = kernel.log_columns(rows, shares, active)
        residual = shifted(factor * (log_target - log_columns), marginals) - log_column
        iterations += ~done
        done = done | (residual.abs().amax(dim=1) <= tolerance)
        active = (~done).nonzero()[:, 0].tolist()
        if not active:
            break
        following = anderson.next_point(log_column, residual)
        following = torch.where(done[:, None], log_column, following)
        level = level + (following - log_column).mean(dim=1).to(level.dtype)
        log_column = following
    else:
        rows = kernel.rows(log_column, active)
        shares, level = row_shares(rows.log, level, marginals, exact)
    return FixedPoint(rows, shares, log_column, iterations, done)


def first_level(log_rows: Float[Tensor, "batch tokens"], marginals: Marginals) -> Float[Tensor, " batch"]:
    """A level to start from: right when all tokens are alike."""
    mean = torch.where(torch.isneginf(log_rows), 0.0, log_rows).sum(dim=1).double() / marginals.n_tokens
    level = mean - torch.logit(marginals.mass.clamp(max=0.999))
    return torch.where(marginals.mass < 1, level, WITHOUT_SINK).to(log_rows.dtype)
