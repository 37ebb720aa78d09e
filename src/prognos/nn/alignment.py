"""Tokens of several modalities -> prototypes: curriculum, assignment, aggregation, agreement of views (TTA, Sec. 3.2)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from prognos.nn.transport import Plan, curriculum_plan, differentiable_plan, soft_sink_plan

Rows = dict[str, list[Tensor]]
"""For each modality, one (tokens, width) tensor a patient: never padded."""


def curriculum_mass(share: float, base: float, upper: float) -> float:
    """rho(t) = rho_base + (rho_upper - rho_base) exp(-5 (1 - t / T)^2), Eq. 9, constant once t has reached T.

    Args:
        share: t / T, how much of the ramp is done.
        base: rho_base.
        upper: rho_upper.
    """
    return base + (upper - base) * math.exp(-5 * (1 - min(share, 1.0)) ** 2)


@dataclass(frozen=True)
class Assignment:
    """How much of each token each prototype takes, beside the softmax of the logits.

    Args:
        rows: for each modality and patient (tokens, prototypes), in the scale that Eq. 12 and 14 use; None = no plan.
        sink: for each modality and patient (tokens,), the share of each token that no prototype takes.
        converged: for each patient, whether all of its plans met their tolerance.
    """

    rows: Rows | None
    sink: Rows | None
    converged: Bool[Tensor, " batch"] | None


@dataclass(frozen=True)
class Alignment:
    """Tokens, their assignment, and the prototype tokens made of them.

    Args:
        tokens: X^m.
        log_p: log softmax of the logits.
        assignment: the transport plan, where there is one.
        prototype_tokens: H^m of Eq. 13 by modality, (batch, prototypes, d_model).
        cross_entropy: L_CE^m of Eq. 14 by modality, averaged over the patients that have it.
    """

    tokens: Rows
    log_p: Rows
    assignment: Assignment
    prototype_tokens: Mapping[str, Float[Tensor, "batch prototypes d_model"]]
    cross_entropy: Mapping[str, Float[Tensor, ""]]

    def evidence(self) -> dict[str, Rows | Tensor | None]:
        """What maps and rankings are drawn from, without gradient."""
        log_p = {m: [x.detach() for x in rows] for m, rows in self.log_p.items()}
        assignment = self.assignment
        return {"log_probability": log_p, "plan": assignment.rows, "sink": assignment.sink, "converged": assignment.converged}


def aggregate(tokens: Rows, log_p: Rows, assignment: Assignment, *, mixing: float, renormalise: bool) -> Alignment:
    """Eq. 12-14: mixed weights W, prototype tokens H^m = W^T X^m, and the cross-entropy towards the plan.

    W = (1 - beta) softmax(L) + beta Q;  L_CE = -(1 / N_m) sum_i <Q_i, log softmax(L_i)>.

    Args:
        tokens: X^m.
        log_p: log softmax of L^m.
        assignment: Q^m in the scale in which it is mixed; without one, W = softmax(L).
        mixing: beta.
        renormalise: scale the rows of W to sum to 1.
    """
    prototype_tokens, cross_entropy = {}, {}
    for m, patients in tokens.items():
        summed, entropies = [], []
        for i, x in enumerate(patients):
            plan = None if assignment.rows is None else assignment.rows[m][i]
            if plan is not None and len(x):
                entropies.append(-(plan * log_p[m][i]).sum() / len(x))
            summed.append(mixed_weights(log_p[m][i].exp(), plan, mixing=mixing, renormalise=renormalise).T @ x)
        prototype_tokens[m] = torch.stack(summed)
        cross_entropy[m] = torch.stack(entropies).mean() if entropies else prototype_tokens[m].new_zeros(())
    return Alignment(tokens, log_p, assignment, prototype_tokens, cross_entropy)


def mixed_weights(
    probability: Float[Tensor, "tokens prototypes"], plan: Float[Tensor, "tokens prototypes"] | None, *, mixing: float, renormalise: bool
) -> Float[Tensor, "tokens prototypes"]:
    """W of Eq. 12: (1 - beta) softmax(L) + beta Q; softmax(L) without a plan.

    Args:
        probability: softmax(L).
        plan: Q in the scale in which it is mixed.
        mixing: beta.
        renormalise: scale the rows of W to sum to 1.
    """
    weights = probability if plan is None else (1 - mixing) * probability + mixing * plan
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12) if renormalise else weights


def nearest(points: Rows, centroids: Mapping[str, Float[Tensor, "prototypes d_model"]]) -> Assignment:
    """Each token wholly to its nearest centroid (the k-means ablation of Table 6)."""
    rows = {
        m: [one_hot(torch.cdist(x, centroids[m]).argmin(dim=-1), len(centroids[m])).to(x.dtype) for x in patients]
        for m, patients in points.items()
    }
    return Assignment(rows, {m: [x.new_zeros(len(x)) for x in patients] for m, patients in rows.items()}, None)


def transport(
    log_p: Rows,
    mass: float,
    *,
    groups: Sequence[Sequence[str]],
    kl_weight: float,
    epsilon: float,
    soft_sink: bool = False,
    scaled: bool = True,
    similar: tuple[float, Rows] | None = None,
) -> Assignment:
    """The plan of each patient over the tokens of each group of modalities, Eq. 4-11.

    Where gradients are enabled, the plan has one for the logits, unless its sink is soft or its cost has a semantic term.

    Args:
        log_p: log softmax of the logits; the cost is its negative (Eq. 4).
        mass: rho.
        groups: modalities that share one plan (Eq. 5), or one group each.
        kl_weight: gamma.
        epsilon: entropic weight.
        soft_sink: Eq. 11's sink, relaxed like the prototypes.
        scaled: multiply the plan by the number of tokens that share it.
        similar: weight and unit vectors of a semantic term: cost - weight (S + S^T) Q with S the cosine similarity.
    """
    rows: Rows = {m: [] for group in groups for m in group}
    sink: Rows = {m: [] for group in groups for m in group}
    converged = []
    solver = soft_sink_plan if soft_sink else differentiable_plan if similar is None and torch.is_grad_enabled() else curriculum_plan
    for group in groups:
        lengths = [[len(x) for x in patients] for patients in zip(*(log_p[m] for m in group), strict=True)]
        cost = _padded([torch.cat([-log_p[m][i] for m in group]) for i in range(len(lengths))])
        points = None if similar is None else _padded([torch.cat([similar[1][m][i] for m in group]) for i in range(len(lengths))])
        n_tokens = torch.tensor([max(1, sum(n)) for n in lengths], device=cost.device)  # nobody's plan is cut away below
        mask = torch.arange(cost.shape[1], device=cost.device) < n_tokens[:, None]
        solve = partial(solver, mass=mass, kl_weight=kl_weight, epsilon=epsilon, mask=mask)
        found = solve(cost) if points is None or similar is None else _pulled(solve, cost, points, similar[0])
        converged.append(found.converged)
        for i, n in enumerate(lengths):
            shares = found.sink[i, : sum(n)] * n_tokens[i]
            plan = found.plan[i, : sum(n)] * (n_tokens[i] if scaled else 1)
            for m, part, left in zip(group, plan.split(n), shares.split(n), strict=True):
                rows[m].append(part)
                sink[m].append(left)
    return Assignment(rows, sink, torch.stack(converged).all(dim=0))


def _pulled(
    solve: Callable[[Tensor], Plan],
    cost: Float[Tensor, "batch tokens prototypes"],
    points: Float[Tensor, "batch tokens d_model"],
    weight: float,
) -> Plan:
    """The plan that stands still under cost - weight (S + S^T) Q; S = F F^T is never built: S Q = F (F^T Q)."""
    plan = solve(cost)
    for _ in range(100):
        previous = plan.plan
        plan = solve(cost - 2 * weight * (points @ (points.transpose(1, 2) @ previous)))
        if float((plan.plan - previous).abs().sum(dim=(1, 2)).max()) < 1e-4:
            break
    return plan


def _padded(patients: Sequence[Float[Tensor, "_ width"]]) -> Float[Tensor, "batch tokens width"]:
    """Patients stacked, filled with zeros; at least one row, so that a patient without a token has a place."""
    longest = max(1, *(len(x) for x in patients)) if len(patients) > 1 else max(1, len(patients[0]))
    out = patients[0].new_zeros(len(patients), longest, patients[0].shape[1])
    for i, x in enumerate(patients):
        out[i, : len(x)] = x
    return out


def two_views(
    n_tokens: int, device: torch.device, *, share: float = 0.8, exchanged: float = 0.2
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"]]:
    """Positions of two random subsets of a patient's tokens (App. B).

    The first keeps a share of the tokens; the second replaces a share of these by tokens that the first did not keep.
    """
    order = torch.randperm(n_tokens, device=device)
    n_kept = max(1, round(share * n_tokens))
    n_exchanged = min(round(exchanged * n_kept), n_tokens - n_kept)
    return order[:n_kept], order[n_exchanged : n_kept + n_exchanged]


def bag_agreement(
    logits: Sequence[Float[Tensor, "heads _ prototypes"]],
    views: Sequence[tuple[Tensor, Tensor]],
    mass: float,
    *,
    kl_weight: float,
    epsilon: float,
) -> Float[Tensor, " heads"]:
    """How badly two views of the same patients agree in each head, at the level of bags.

    A view is the mean of its tokens' logits. In each head, the plan over the b patients' views of one side gives soft
    targets, and the other side is asked for them: mean of -<b Q', log softmax L> over patients and both directions.

    Args:
        logits: L of every head, one entry a patient.
        views: positions of the two views of each patient.
        mass: rho of the plans.
        kl_weight: gamma of the plans.
        epsilon: entropic weight of the plans.
    """
    sides = [torch.stack([x[:, view[side]].mean(dim=1) for x, view in zip(logits, views, strict=True)], dim=1) for side in (0, 1)]
    log_p = log_softmax(torch.stack(sides), dim=-1)  # side, head, patient, prototype
    with torch.no_grad():
        plan = curriculum_plan(-log_p.flatten(0, 1), mass, kl_weight=kl_weight, epsilon=epsilon).plan
        target = plan.view_as(log_p) * log_p.shape[2]
    return -(target.flip(0) * log_p).sum(dim=-1).mean(dim=(0, 2))


def token_agreement(
    logits: Sequence[Float[Tensor, "heads _ prototypes"]],
    views: Sequence[tuple[Tensor, Tensor]],
    mass: float,
    *,
    kl_weight: float,
    epsilon: float,
) -> Float[Tensor, " heads"]:
    """The same at the level of tokens: the plan of one view is the target of the tokens that both views hold."""
    total = logits[0].new_zeros(len(logits[0]))
    for x, (first, second) in zip(logits, views, strict=True):
        common = first[torch.isin(first, second)]
        for view in (first, second):
            log_p = log_softmax(x[:, view], dim=-1)
            with torch.no_grad():
                plan = curriculum_plan(-log_p, mass, kl_weight=kl_weight, epsilon=epsilon).plan * len(view)
            place = torch.zeros(x.shape[1], dtype=torch.long, device=x.device)
            place[view] = torch.arange(len(view), device=x.device)
            target = plan[:, place[common]]
            total = total - (target * log_softmax(x[:, common], dim=-1)).sum(dim=-1).mean(dim=1) / 2
    return total / len(logits)
