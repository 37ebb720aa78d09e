"""What the sums of a transport plan shall be, and how they answer to log v.

The unknowns of a problem, log v and the sink's log s, are few: they live in numpy float64 on the host, whose small
operations cost a fraction of torch's. The kernel, which is large, lives in torch.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Marginals:
    """What the plans' sums shall be.

    Args:
        n_tokens: real tokens of each problem; each has the mass 1 / n_tokens.
        mass: what all prototypes get together; 1 = there is no sink.
        log_prior: log of what each prototype should get, softly.
        softness: epsilon / gamma; 0 makes the prior a hard marginal.
    """

    n_tokens: Float[np.ndarray, " batch"]
    mass: Float[np.ndarray, " batch"]
    log_prior: Float[np.ndarray, "batch prototypes"]
    softness: float

    @cached_property
    def has_sink(self) -> Bool[np.ndarray, " batch"]:
        """True where some mass goes to the sink."""
        return self.mass < 1

    @cached_property
    def sink_mass(self) -> Float[np.ndarray, " batch"]:
        """What goes to the sink; also the change of log(mass) by a change of logit(mass)."""
        return 1 - self.mass

    @cached_property
    def logit_mass(self) -> Float[np.ndarray, " batch"]:
        """Logit of the mass; 0 where there is no sink."""
        return logit(np.where(self.has_sink, self.mass, 0.5))

    @cached_property
    def log_mass(self) -> Float[np.ndarray, "batch 1"]:
        """Log of the mass."""
        return np.log(self.mass)[:, None]

    def of(self, part: slice) -> "Marginals":
        """The marginals of some of the problems."""
        return Marginals(self.n_tokens[part], self.mass[part], self.log_prior[part], self.softness)


@dataclass(frozen=True)
class Range:
    """Least and largest log G = -C / epsilon of each problem."""

    low: Float[np.ndarray, " batch"]
    high: Float[np.ndarray, " batch"]

    def of(self, part: slice) -> "Range":
        """The range of some of the problems."""
        return Range(self.low[part], self.high[part])


def logit(probability: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """log(p / (1 - p))."""
    return np.log(probability) - np.log1p(-probability)


def shifted(log_column: Float[np.ndarray, "batch prototypes"], marginals: Marginals) -> Float[np.ndarray, "batch prototypes"]:
    """The log v that differs by one number and makes sum_k b_k v_k^(-epsilon / gamma), the prototypes' mass, equal rho.

    The plan does not change when v and s are multiplied by one number, so this move is free; without it, it is the
    slowest one of the iteration. With a hard prior any number will do: the mean of log v is 0 then.
    """
    softness = marginals.softness
    if softness == 0:
        return log_column - log_column.mean(axis=1, keepdims=True)
    wanted = marginals.log_prior - softness * log_column
    top = wanted.max(axis=1, keepdims=True)
    log_mass = top + np.log(np.exp(wanted - top).sum(axis=1, keepdims=True))
    return log_column + (log_mass - marginals.log_mass) / softness


def jacobian(
    plan: Float[Tensor, "batch tokens prototypes"], sink: Float[Tensor, "batch tokens"], marginals: Marginals
) -> Float[Tensor, "batch columns columns"]:
    """The symmetric derivative by log v of sum_i Q_ij - b_j v_j^(-epsilon / gamma) at the fixed point, sink first.

    Directions that leave the plan as it is (an empty column; with a hard prior, all of log v together) would make it
    singular and are filled, so that it can be solved for whatever the plan does depend on.
    """
    whole = torch.cat([sink[:, :, None], plan], dim=2).double()
    sums = whole.sum(dim=1)
    diagonal = (1 + marginals.softness) * sums
    diagonal[:, 0] = sums[:, 0]
    n_tokens = torch.from_numpy(marginals.n_tokens).to(sums)
    result = torch.diag_embed(torch.where(sums > 0, diagonal, 1.0)) - n_tokens[:, None, None] * (whole.transpose(1, 2) @ whole)
    if marginals.softness == 0:
        result = result + sums[:, :, None] * sums[:, None, :]
    return result
