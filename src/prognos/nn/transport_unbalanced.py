"""Entropic transport with both marginals soft, between few columns and many tokens, and the distances that it is given as cost."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEAR = 1e-6
"""What is left of the first error of log v when the sweeps end."""


@torch.no_grad()
def unbalanced_plan(
    cost: Float[Tensor, "batch tokens columns"], *, kl_weight: float, epsilon: float, mask: Bool[Tensor, "batch tokens"] | None = None
) -> Float[Tensor, "batch tokens columns"]:
    """The plan P that minimises <P, C> + epsilon KL(P | a b^T) + tau KL(P 1 | a) + tau KL(P^T 1 | b), a and b uniform.

    By scaling (Chizat et al. 2018): u = (1 / (G b v))^f, v = (1 / (G^T a u))^f with G = exp(-C / epsilon) and f = tau / (tau + epsilon).
    Each half sweep shrinks the error of the logarithms by f, so the number of sweeps is known before the first and a patient's plan does
    not depend on others. Costs between 0 and 1, as those of `relative_distance`, are safe in single precision.

    Args:
        cost: C; anything finite for padded tokens.
        kl_weight: tau > 0, how firmly both marginals are held; a firm hold takes many sweeps.
        epsilon: entropic regularisation, > 0.
        mask: True for real tokens, which share the mass 1; padded ones have none. Of a patient without a token the plan means nothing.
    """
    real = torch.ones_like(cost[:, :, 0], dtype=torch.bool) if mask is None else mask | ~mask.any(dim=1, keepdim=True)
    a = real.to(cost.dtype) / real.sum(dim=1, keepdim=True)
    kernel = torch.exp(cost / -epsilon)
    of_columns = kernel / cost.shape[2]  # G b
    of_tokens = kernel * a[:, :, None]  # G^T a
    f = kl_weight / (kl_weight + epsilon)
    v = cost.new_ones(len(cost), cost.shape[2], 1)
    with torch.autocast(cost.device.type, enabled=False):
        for _ in range(math.ceil(math.log(NEAR) / (2 * math.log(f)))):
            u = (of_columns @ v) ** -f
            v = (of_tokens.transpose(1, 2) @ u) ** -f
    return u * of_tokens * v.transpose(1, 2) / cost.shape[2]


def relative_distance(
    tokens: Float[Tensor, "tokens d_model"], others: Float[Tensor, "columns d_model"], *, power: int
) -> Float[Tensor, "tokens columns"]:
    """Euclidean distances to a power, divided by the largest of them; of vectors from each of which its own least entry was taken off."""
    if not len(tokens):
        return tokens.new_zeros(0, len(others))
    with torch.autocast(tokens.device.type, enabled=False):
        left, right = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (tokens, others))
        distance = torch.cdist(left - left.amin(dim=-1, keepdim=True), right - right.amin(dim=-1, keepdim=True)) ** power
    return distance / distance.max().clamp(min=torch.finfo(distance.dtype).tiny)
