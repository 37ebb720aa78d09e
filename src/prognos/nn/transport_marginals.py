"""What the sums of a transport plan shall be, and how they answer to log v."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
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

    n_tokens: Float[Tensor, " batch"]
    mass: Float[Tensor, " batch"]
    log_prior: Float[Tensor, "batch prototypes"]
    softness: float

    def of(self, part: slice) -> "Marginals":
        """The marginals of some of the problems."""
        return Marginals(self.n_tokens[part], self.mass[part], self.log_prior[part], self.softness)


def shifted(log_column: Float[Tensor, "batch prototypes"], marginals: Marginals) -> Float[Tensor, "batch prototypes"]:
    """The log v that differs by one number and makes sum_k b_k v_k^(-epsilon / gamma), the prototypes' mass, equal rho.

    The plan does not change when v and the sink's v are multiplied by one number, so this move is free; without it, it is the
    slowest one of the iteration. With a hard prior any number will do: the mean of log v is 0 then.
    """
    softness = marginals.softness
    if softness == 0:
        return log_column - log_column.mean(dim=1, keepdim=True)
    log_mass = torch.logsumexp(marginals.log_prior - softness * log_column, dim=1)
    return log_column + ((log_mass - marginals.mass.log()) / softness)[:, None]


def jacobian(
    plan: Float[Tensor, "batch tokens prototypes"], sink: Float[Tensor, "batch tokens"], marginals: Marginals
) -> Float[Tensor, "batch columns columns"]:
    """The symmetric derivative by log v of sum_i Q_ij - b_j v_j^(-epsilon / gamma) at the fixed point, sink first.

    Directions that leave the plan as it is (an empty column; with a hard prior, all of log v together) would make it
    singular and are filled, so that it can be solved for whatever the plan does depend on.
    """
    whole = torch.cat([sink[:, :, None], plan], dim=2)
    sums = whole.sum(dim=1).double()
    diagonal = (1 + marginals.softness) * sums
    diagonal[:, 0] = sums[:, 0]
    products = (whole.transpose(1, 2) @ whole).double()
    result = torch.diag_embed(torch.where(sums > 0, diagonal, 1.0)) - marginals.n_tokens[:, None, None] * products
    if marginals.softness == 0:
        result = result + sums[:, :, None] * sums[:, None, :]
    return result
