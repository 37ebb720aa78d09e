"""Transport problems as given: what is refused, and which arithmetic each of them needs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prognos.nn.transport_kernels import ScaledKernel
from prognos.nn.transport_marginals import Marginals, Range

ENTRIES_AT_ONCE = {"cpu": 8_000_000}  # entries of the cost solved together: as many as a large cache holds
ENTRIES_AT_ONCE_ELSEWHERE = 64_000_000
SHOWN = 3  # patients that a message names

Arithmetic = Literal["logarithms", "float64", "float32 by row", "float32", "nothing"]
ARITHMETICS: tuple[Arithmetic, ...] = ("logarithms", "float64", "float32 by row", "float32", "nothing")


@dataclass(frozen=True)
class Problem:
    """A checked batch of problems.

    Args:
        cost: C, finite everywhere: 0 for padded tokens.
        real: True for real tokens; None when all are.
        epsilon: entropic regularisation.
        marginals: what rows and columns shall sum to.
        limits: least and largest -C / epsilon of each problem, padding included.
    """

    cost: Float[Tensor, "batch tokens prototypes"]
    real: Bool[Tensor, "batch tokens"] | None
    epsilon: float
    marginals: Marginals
    limits: Range

    @property
    def dtype(self) -> torch.dtype:
        """Type of the plan: float64 for float64 costs, else float32."""
        return torch.float64 if self.cost.dtype == torch.float64 else torch.float32


def checked_problem(
    cost: Float[Tensor, "batch tokens prototypes"],
    mass: float | int | Float[Tensor, " batch"],
    kl_weight: float,
    epsilon: float,
    mask: Bool[Tensor, "batch tokens"] | None,
) -> Problem:
    """The problem that these arguments describe, or a ValueError that says what is wrong with them."""
    if cost.dim() != 3 or min(cost.shape) == 0:
        raise ValueError(f"cost has the shape {tuple(cost.shape)}; it needs three axes, (batch, tokens, prototypes), none of them empty.")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon is {epsilon}; it divides the cost and must be a finite number above 0.")
    if not kl_weight > 0:
        raise ValueError(f"kl_weight is {kl_weight}; it must be above 0, or float('inf') for hard prototype marginals.")
    if cost.dtype not in (torch.float32, torch.float64):
        cost = cost.float()
    real, n_tokens = checked_mask(cost, mask)
    if real is not None:
        cost = cost.masked_fill(~real[:, :, None], 0.0)
    extremes = [(one.amin(), one.amax()) for one in cost]  # both keep NaN; one by one, from the cache
    least, largest = (torch.stack(values).double().cpu().numpy() for values in zip(*extremes, strict=True))
    refuse(~(np.isfinite(least) & np.isfinite(largest)), "a cost that is not finite (NaN or infinite)", "look at their tokens")
    rho = checked_mass(cost, mass)
    prior = np.log(np.where(rho > 0, rho, 1.0)) - math.log(cost.shape[2])
    marginals = Marginals(n_tokens, rho, np.repeat(prior[:, None], cost.shape[2], axis=1), epsilon / kl_weight)
    return Problem(cost, real, epsilon, marginals, Range(largest / -epsilon, least / -epsilon))


def checked_mask(
    cost: Float[Tensor, "batch tokens prototypes"], mask: Bool[Tensor, "batch tokens"] | None
) -> tuple[Bool[Tensor, "batch tokens"] | None, Float[np.ndarray, " batch"]]:
    """The mask, None when it hides nothing, and the number of real tokens of each patient."""
    batch, tokens, _ = cost.shape
    if mask is None:
        return None, np.full(batch, float(tokens))
    if mask.shape != cost.shape[:2]:
        raise ValueError(f"mask has the shape {tuple(mask.shape)} and cost {tuple(cost.shape)}; mask must be (batch, tokens) of cost.")
    n_tokens = mask.sum(dim=1).double().cpu().numpy()
    refuse(n_tokens == 0, "no real token", "leave them out, or give each at least one token")
    return (None if bool(mask.all()) else mask), n_tokens


def checked_mass(
    cost: Float[Tensor, "batch tokens prototypes"], mass: float | int | Float[Tensor, " batch"]
) -> Float[np.ndarray, " batch"]:
    """The mass of each patient."""
    rho = torch.as_tensor(mass, dtype=torch.float64).detach().cpu().numpy()
    if rho.ndim > 0 and rho.shape != cost.shape[:1]:
        raise ValueError(f"mass has the shape {rho.shape} for {len(cost)} patients; give one number, or one a patient.")
    rho = np.array(np.broadcast_to(rho, len(cost)))
    wrong = ~((rho >= 0) & (rho <= 1))
    values = ", ".join(f"{value:g}" for value in rho[wrong][:SHOWN])
    refuse(wrong, f"a mass outside 0..1 ({values})", "mass is the fraction rho of the tokens' mass that prototypes get")
    return rho


def checked_start(start: Float[Tensor, "batch prototypes"] | None, problem: Problem) -> Float[np.ndarray, "batch prototypes"]:
    """Where log v starts: `start`, or zeros."""
    batch, _, prototypes = problem.cost.shape
    if start is None:
        return np.zeros((batch, prototypes))
    if start.shape != (batch, prototypes):
        raise ValueError(f"start has the shape {tuple(start.shape)}; log v of this cost has (batch, prototypes) = ({batch}, {prototypes}).")
    values = start.detach().double().cpu().numpy()
    refuse(~np.isfinite(values).all(axis=1), "a start that is not finite", "pass Plan.log_column of a converged plan, or None")
    return values


def refuse(wrong: Bool[np.ndarray, " batch"], what: str, remedy: str) -> None:
    """Raise a ValueError that names the patients, if any, where `wrong` holds."""
    if not wrong.any():
        return
    places = np.flatnonzero(wrong)
    named = ", ".join(map(str, places[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
    raise ValueError(f"{len(places)} of {len(wrong)} patients of the batch (at {named}) have {what}; {remedy}.")


def arithmetic_of(problem: Problem) -> list[Arithmetic]:
    """For each problem the cheapest arithmetic in which no sum over- or underflows and no digit that counts is lost."""
    mass, limits = problem.marginals.mass, problem.limits
    spread = limits.high - limits.low
    size = np.maximum(np.abs(limits.high), np.abs(limits.low))
    by_row = spread > ScaledKernel.widest(torch.float32)
    if by_row.any():
        wide = [(one.amax(dim=1) - one.amin(dim=1)).amax() for one, needed in zip(problem.cost, by_row, strict=True) if needed]
        spread[by_row] = torch.stack(wide).double().cpu().numpy() / problem.epsilon
    single = (spread <= ScaledKernel.widest(torch.float32)) & (size <= 500) & (mass >= 1e-3)
    single &= ((mass <= 1 - 1e-5) | (mass == 1)) & (problem.dtype == torch.float32)
    double = (spread <= ScaledKernel.widest(torch.float64)) & (size <= 1e6) & (mass >= 1e-30)
    kinds = np.select([mass == 0, single & ~by_row, single, double], [4, 3, 2, 1], 0)
    return [ARITHMETICS[kind] for kind in kinds]


def parts(problem: Problem) -> Iterator[tuple[slice, Arithmetic]]:
    """Runs of neighbouring problems that share their arithmetic and are solved together."""
    kinds = arithmetic_of(problem)
    entries = ENTRIES_AT_ONCE.get(problem.cost.device.type, ENTRIES_AT_ONCE_ELSEWHERE)
    at_once = max(1, entries // problem.cost[0].numel())
    first = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[first] or i - first == at_once:
            yield slice(first, i), kinds[first]
            first = i
