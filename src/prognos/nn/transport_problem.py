"""Transport problems as given: what is refused, and which arithmetic each of them needs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prognos.nn.transport_kernels import Range, ScaledKernel
from prognos.nn.transport_marginals import Marginals

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
    least, largest = (torch.stack(values).double() for values in zip(*extremes, strict=True))
    refuse(~(least.isfinite() & largest.isfinite()), "a cost that is not finite (NaN or infinite)", "look at their tokens")
    rho = checked_mass(cost, mass)
    prior = torch.where(rho > 0, rho, 1.0).log() - math.log(cost.shape[2])
    marginals = Marginals(n_tokens, rho, prior[:, None].expand(-1, cost.shape[2]), epsilon / kl_weight)
    return Problem(cost, real, epsilon, marginals, Range(largest / -epsilon, least / -epsilon))


def checked_mask(
    cost: Float[Tensor, "batch tokens prototypes"], mask: Bool[Tensor, "batch tokens"] | None
) -> tuple[Bool[Tensor, "batch tokens"] | None, Float[Tensor, " batch"]]:
    """The mask, None when it hides nothing, and the number of real tokens of each patient."""
    batch, tokens, _ = cost.shape
    if mask is None:
        return None, torch.full((batch,), float(tokens), dtype=torch.float64, device=cost.device)
    if mask.shape != cost.shape[:2]:
        raise ValueError(f"mask has the shape {tuple(mask.shape)} and cost {tuple(cost.shape)}; mask must be (batch, tokens) of cost.")
    n_tokens = mask.sum(dim=1).double()
    refuse(n_tokens == 0, "no real token", "leave them out, or give each at least one token")
    return (None if bool(mask.all()) else mask), n_tokens


def checked_mass(cost: Float[Tensor, "batch tokens prototypes"], mass: float | int | Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """rho of each patient, in float64."""
    rho = torch.as_tensor(mass, dtype=torch.float64, device=cost.device).detach()
    if rho.dim() > 0 and rho.shape != cost.shape[:1]:
        raise ValueError(f"mass has the shape {tuple(rho.shape)} for {len(cost)} patients; give one number, or one a patient.")
    rho = rho.expand(len(cost))
    wrong = ~((rho >= 0) & (rho <= 1))
    values = ", ".join(f"{value:g}" for value in rho[wrong][:SHOWN].tolist())
    refuse(wrong, f"a mass outside 0..1 ({values})", "mass is the fraction rho of the tokens' mass that prototypes get")
    return rho


def checked_start(start: Float[Tensor, "batch prototypes"] | None, problem: Problem) -> Float[Tensor, "batch prototypes"]:
    """log v to start from: `start`, or zeros."""
    batch, _, prototypes = problem.cost.shape
    if start is None:
        return torch.zeros(batch, prototypes, dtype=torch.float64, device=problem.cost.device)
    if start.shape != (batch, prototypes):
        raise ValueError(f"start has the shape {tuple(start.shape)}; log v of this cost has (batch, prototypes) = ({batch}, {prototypes}).")
    start = start.detach().double()
    refuse(~start.isfinite().all(dim=1), "a start that is not finite", "pass Plan.log_column of a converged plan, or None")
    return start


def refuse(wrong: Bool[Tensor, " batch"], what: str, remedy: str) -> None:
    """Raise a ValueError that names the patients, if any, where `wrong` holds."""
    if not bool(wrong.any()):
        return
    places = wrong.nonzero()[:, 0].tolist()
    named = ", ".join(map(str, places[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
    raise ValueError(f"{len(places)} of {len(wrong)} patients of the batch (at {named}) have {what}; {remedy}.")


def arithmetic_of(problem: Problem) -> list[Arithmetic]:
    """For each problem the cheapest arithmetic in which no sum over- or underflows and no digit that counts is lost."""
    mass, limits = problem.marginals.mass, problem.limits
    spread = limits.high - limits.low
    size = torch.maximum(limits.high.abs(), limits.low.abs())
    by_row = spread > ScaledKernel.widest(torch.float32)
    if bool(by_row.any()):
        rows = (problem.cost[by_row].amax(dim=2) - problem.cost[by_row].amin(dim=2)).amax(dim=1)
        spread = spread.masked_scatter(by_row, rows.double() / problem.epsilon)
    single = (spread <= ScaledKernel.widest(torch.float32)) & (size <= 500) & (mass >= 1e-3)
    single &= ((mass <= 1 - 1e-5) | (mass == 1)) & (problem.dtype == torch.float32)
    double = (spread <= ScaledKernel.widest(torch.float64)) & (size <= 1e6) & (mass >= 1e-30)
    kinds = torch.where(single, 3 - by_row.long(), double.long())
    return [ARITHMETICS[kind] for kind in torch.where(mass == 0, 4, kinds).tolist()]


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
