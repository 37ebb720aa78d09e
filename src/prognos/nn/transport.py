"""Entropic transport of tokens to prototypes with a prescribed total mass: the plan of TTA's Algorithm 2.

Of N real tokens, each with mass 1/N, the fraction rho (`mass`) goes to K prototypes, cheap tokens first; a sink takes
the rest (Eq. 29, solved as Eq. 37 with entropy). How the prototypes share is softly held near uniform by gamma
(`kl_weight`); an infinite gamma makes it exact.

- `curriculum_plan`: Algorithm 2, fast, exact in mass and rows. rho = 1 is unbalanced transport without curriculum
  (Eq. 28); rho = 1 with an infinite `kl_weight` is balanced entropic transport.
- `differentiable_plan`: the same plan with a gradient for the cost, by the implicit function theorem.
- `soft_sink_plan`: Eq. 11 as printed in the main text, for the ablation; nearly everything goes to its sink.
- `log_domain_plan`: Algorithm 2 line by line in float64, slow, for tests.

Departures: padded tokens take no part (N counts real tokens). Eq. 8's row constraint contradicts its prior; Eq. 29's is
meant. epsilon is not printed; 0.1 is what such solvers use.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prognos.nn.transport_gradient import PlanGradient
from prognos.nn.transport_iterations import WITHOUT_SINK, fixed_point, level_bounds
from prognos.nn.transport_kernels import Kernel, LogKernel, ScaledKernel
from prognos.nn.transport_marginals import Marginals, Range, shifted
from prognos.nn.transport_problem import Arithmetic, Problem, checked_problem, checked_start, parts

SAMPLED_TOKENS = 256  # from at least so many the start is found, where there are twice as many
LARGEST_STRIDE = 16  # from one token of the sample to the next
ROUNDS, ROUGH = 2, 0.1  # sweeps over the sample, at most, and the tolerance: more does not bring the start nearer to the whole
MASS_ERROR = 1e-5  # relative; above it a plan has not converged, whatever its residual


@dataclass(frozen=True)
class Plan:
    """A transport plan for each patient of a batch.

    Args:
        plan: mass that goes from each token to each prototype; sums to rho for each patient. 0 for padded tokens.
        sink: mass of each token that goes nowhere; with the plan's row it sums to 1/N. 0 for padded tokens.
        iterations: sweeps over the cost that each patient took.
        converged: True where the fixed point was met to the tolerance and the mass to a relative 1e-5.
        log_column: log v of Eq. 54, to start from when the costs have changed a little.
    """

    plan: Float[Tensor, "batch tokens prototypes"]
    sink: Float[Tensor, "batch tokens"]
    iterations: Int[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]
    log_column: Float[Tensor, "batch prototypes"]


def curriculum_plan(
    cost: Float[Tensor, "batch tokens prototypes"],
    mass: float | int | Float[Tensor, " batch"],
    *,
    kl_weight: float,
    epsilon: float,
    mask: Bool[Tensor, "batch tokens"] | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
    start: Float[Tensor, "batch prototypes"] | None = None,
) -> Plan:
    """The plan of Algorithm 2: Eq. 47 at the fixed point of Eq. 54, without a gradient.

    Args:
        cost: C of Eq. 5; any order of strides (prototypes stored before tokens saves two transpositions).
        mass: rho in 0..1, one number or one a patient.
        kl_weight: gamma > 0 of Eq. 29; infinity for hard prototype marginals.
        epsilon: entropic regularisation, > 0.
        mask: True for real tokens.
        max_iterations: sweeps after which a patient is given up (`converged` False).
        tolerance: size of the step of log v with which the iteration ends, once it has been made.
        start: `Plan.log_column` of a similar problem.

    Raises:
        ValueError: mass outside 0..1, weights not positive, a cost that is not finite, a patient without a token, or
            shapes that do not fit.

    Example:
        >>> plan = curriculum_plan(torch.eye(3)[None], 0.5, kl_weight=0.1, epsilon=0.1)
        >>> round(float(plan.plan.sum()), 4), bool(plan.converged.all())
        (0.5, True)
    """
    problem = checked_problem(cost.detach(), mass, kl_weight, epsilon, mask)
    return solved(problem, checked_start(start, problem), max_iterations, tolerance, rounds=ROUNDS if start is None else 0)


def soft_sink_plan(
    cost: Float[Tensor, "batch tokens prototypes"],
    mass: float | int | Float[Tensor, " batch"],
    *,
    kl_weight: float,
    epsilon: float,
    mask: Bool[Tensor, "batch tokens"] | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Plan:
    """The plan of Eq. 11, whose sink is as soft as the prototypes; for the ablation only, without a gradient.

    A sink of cost 0 beside prototypes of positive cost then takes nearly all mass: the plan sums to what it likes, not
    to rho. It is unbalanced transport (Eq. 34) to K + 1 columns with the prior of Eq. 10. Arguments as in `curriculum_plan`.
    """
    hard = checked_problem(cost.detach(), mass, kl_weight, epsilon, mask)
    batch, tokens, prototypes = hard.cost.shape
    rho = hard.marginals.mass
    inside = (rho > 0) & (rho < 1)  # at 0 and 1 one side of the prior is empty, and the hard sink says the same
    to_prototypes = np.where(inside, rho, 0.5)[:, None]
    prior = np.concatenate([np.repeat(to_prototypes / prototypes, prototypes, axis=1), 1 - to_prototypes], axis=1)  # Eq. 10
    marginals = Marginals(hard.marginals.n_tokens, np.ones_like(rho), np.log(prior), hard.marginals.softness)
    extended = torch.cat([hard.cost, hard.cost.new_zeros(batch, tokens, 1)], dim=2)
    limits = Range(np.minimum(hard.limits.low, 0), np.maximum(hard.limits.high, 0))
    problem = Problem(extended, hard.real, epsilon, marginals, limits)
    soft = solved(problem, checked_start(None, problem), max_iterations, tolerance)
    plan = Plan(soft.plan[:, :, :-1], soft.plan[:, :, -1], soft.iterations, soft.converged, soft.log_column[:, :-1])
    if inside.all():
        return plan
    edge = solved(hard, checked_start(None, hard), max_iterations, tolerance)
    kept = torch.from_numpy(inside).to(plan.plan.device)
    return Plan(
        torch.where(kept[:, None, None], plan.plan, edge.plan),
        torch.where(kept[:, None], plan.sink, edge.sink),
        torch.where(kept, plan.iterations, edge.iterations),
        torch.where(kept, plan.converged, edge.converged),
        torch.where(kept[:, None], plan.log_column, edge.log_column),
    )


def log_domain_plan(
    cost: Float[Tensor, "batch tokens prototypes"],
    mass: float | int | Float[Tensor, " batch"],
    *,
    kl_weight: float,
    epsilon: float,
    mask: Bool[Tensor, "batch tokens"] | None = None,
    max_iterations: int = 20_000,
    tolerance: float = 1e-10,
) -> Plan:
    """Algorithm 2 as printed, in float64 and logarithms, with an infinite weight on the sink (Eq. 36).

    Stops when log v moves by less than `tolerance`, then updates the rows once more. Slow: about 1 / rho times the sweeps of
    `curriculum_plan`. Arguments as there.
    """
    problem = checked_problem(cost.detach(), mass, kl_weight, epsilon, mask)
    marginals, n_prototypes = problem.marginals, cost.shape[2]
    kernel = torch.cat([problem.cost.double() / -epsilon, cost.new_zeros(*cost.shape[:2], 1).double()], dim=2)
    log_a = -np.log(marginals.n_tokens)[:, None].repeat(cost.shape[1], axis=1)
    log_a = torch.from_numpy(log_a).to(kernel)
    if problem.real is not None:
        log_a = log_a.masked_fill(~problem.real, -math.inf)
    prior = np.concatenate([marginals.mass[:, None].repeat(n_prototypes, axis=1) / n_prototypes, 1 - marginals.mass[:, None]], axis=1)
    log_b = torch.from_numpy(prior).to(kernel).log()  # Eq. 10
    factor = torch.full_like(log_b, 1 / (1 + marginals.softness))
    factor[:, -1] = 1  # Eq. 46 with Eq. 36
    log_v = torch.zeros_like(log_b)
    iterations = torch.zeros(len(cost), dtype=torch.long, device=cost.device)
    moving = torch.ones(len(cost), dtype=torch.bool, device=cost.device)
    for _ in range(max_iterations):
        log_u = log_a - torch.logsumexp(kernel + log_v[:, None], dim=2)
        following = factor * (log_b - torch.logsumexp(kernel + log_u[:, :, None], dim=1))
        change = torch.where(following == log_v, 0.0, (following - log_v).abs()).amax(dim=1)
        log_v = following
        iterations += moving
        moving = moving & (change > tolerance)
        if not bool(moving.any()):
            break
    log_u = log_a - torch.logsumexp(kernel + log_v[:, None], dim=2)
    whole = (kernel + log_u[:, :, None] + log_v[:, None]).exp()
    return Plan(whole[:, :, :n_prototypes], whole[:, :, -1], iterations, ~moving, log_v[:, :n_prototypes])


def differentiable_plan(
    cost: Float[Tensor, "batch tokens prototypes"],
    mass: float | int | Float[Tensor, " batch"],
    *,
    kl_weight: float,
    epsilon: float,
    mask: Bool[Tensor, "batch tokens"] | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Plan:
    """The plan of `curriculum_plan`, whose `plan` and `sink` have a gradient for the cost (not for the mass).

    The backward pass differentiates the fixed point of Eq. 54, not the iterations: one linear solve of K + 1 unknowns
    a patient. It is as exact as the plan is converged. Arguments as in `curriculum_plan`.
    """
    problem = checked_problem(cost.detach(), mass, kl_weight, epsilon, mask)
    found = solved(problem, checked_start(None, problem), max_iterations, tolerance)
    plan, sink = PlanGradient.apply(cost, found.plan, found.sink, problem.marginals, epsilon)
    return Plan(plan, sink, found.iterations, found.converged, found.log_column)


def solved(
    problem: Problem, start: Float[np.ndarray, "batch prototypes"], max_iterations: int, tolerance: float, *, rounds: int = ROUNDS
) -> Plan:
    """Plans of checked problems, part by part, each with the cheapest arithmetic that is safe for it.

    `rounds` is how many sweeps over a sample of the tokens may precede; 0 for a start that is already near.
    """
    cost, dtype = problem.cost, problem.dtype
    batch, tokens, prototypes = cost.shape
    prototypes_first = cost.transpose(1, 2).is_contiguous() and not cost.is_contiguous()
    plan = cost.new_empty((batch, prototypes, tokens) if prototypes_first else cost.shape, dtype=dtype)
    plan = plan.transpose(1, 2) if prototypes_first else plan
    sink = cost.new_empty((batch, tokens), dtype=dtype)
    log_column, iterations, converged = start.copy(), np.zeros(batch, dtype=np.int64), np.ones(batch, dtype=bool)
    for part, arithmetic in parts(problem):
        marginals = problem.marginals.of(part)
        kernel_dtype = torch.float32 if arithmetic.startswith("float32") else torch.float64
        token = torch.from_numpy(1 / marginals.n_tokens).to(cost.device, kernel_dtype)[:, None]
        if arithmetic == "nothing":
            plan[part] = 0
            sink[part] = token if problem.real is None else token * problem.real[part]
            continue
        limits, real = problem.limits.of(part), None if problem.real is None else problem.real[part]
        begin = start_of(problem, part, arithmetic, shifted(start[part], marginals), rounds)
        kernel = kernel_of(cost[part], real, problem.epsilon, arithmetic, limits, plan[part])
        end = fixed_point(kernel, marginals, limits, begin, max_iterations, tolerance)
        found, moved = kernel.plan(end.share * token, end.log_column)
        if found.data_ptr() != plan[part].data_ptr():
            plan[part] = found
        sink[part] = end.rest * token
        log_column[part], iterations[part] = end.log_column, end.iterations
        converged[part] = end.converged & (np.abs(moved - marginals.mass) <= MASS_ERROR * marginals.mass)
    on_device = [torch.from_numpy(values).to(cost.device) for values in (iterations, converged, log_column)]
    return Plan(plan, sink, *on_device)


def start_of(
    problem: Problem, part: slice, arithmetic: Arithmetic, log_column: Float[np.ndarray, "part prototypes"], rounds: int
) -> tuple[Float[np.ndarray, "part prototypes"], Float[np.ndarray, " part"]]:
    """Where the iteration starts: log v after some rounds on a sample of the tokens, and about the level that belongs to it."""
    whole, limits = problem.marginals.of(part), problem.limits.of(part)
    level = np.where(whole.has_sink, np.mean(level_bounds(log_column, limits, whole), axis=0), WITHOUT_SINK)
    stride = min(LARGEST_STRIDE, problem.cost.shape[1] // SAMPLED_TOKENS)
    if stride < 2:
        return log_column, level
    cost = problem.cost[part, ::stride].contiguous()
    real, n_tokens, few = None, np.full(len(cost), float(cost.shape[1])), np.zeros(len(cost), dtype=bool)
    if problem.real is not None:
        real = problem.real[part, ::stride]
        few = (real.sum(dim=1) < SAMPLED_TOKENS // 4).cpu().numpy()
        real = real | torch.from_numpy(few).to(real.device)[:, None]  # of these nothing is used
        n_tokens = real.sum(dim=1).double().cpu().numpy()
    sample = Marginals(n_tokens, whole.mass, whole.log_prior, whole.softness)
    kernel = kernel_of(cost, real, problem.epsilon, arithmetic, limits, None)
    end = fixed_point(kernel, sample, limits, (log_column, level), rounds, ROUGH)
    return np.where(few[:, None], log_column, end.log_column), np.where(few, level, end.level)


def kernel_of(
    cost: Float[Tensor, "part tokens prototypes"],
    real: Bool[Tensor, "part tokens"] | None,
    epsilon: float,
    arithmetic: Arithmetic,
    limits: Range,
    memory: Float[Tensor, "part tokens prototypes"] | None,
) -> Kernel:
    """The kernel of some problems, in this memory where its type allows it."""
    if arithmetic == "logarithms":
        return LogKernel(cost, real, epsilon)
    dtype = torch.float64 if arithmetic == "float64" else torch.float32
    if memory is None or memory.dtype != dtype:
        memory = torch.empty_like(cost, dtype=dtype)
    return ScaledKernel(cost, real, epsilon, limits.high if arithmetic == "float32" else None, memory)
