"""Diagonal Gaussians: draws, densities, divergences, products of experts, and mixtures of them by expectation maximisation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prognos.nn.patches import CHUNK


class Gaussian(NamedTuple):
    """Gaussians with a diagonal covariance, one a row; the logarithm of the variance is what networks give."""

    mean: Float[Tensor, "*batch width"]
    log_variance: Float[Tensor, "*batch width"]

    @classmethod
    def of(cls, both: Float[Tensor, "*batch twice"]) -> "Gaussian":
        """The Gaussian whose mean is the first half of each row and whose log-variance is the second."""
        return cls(*both.chunk(2, dim=-1))

    def drawn(self, noise: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch width"]:
        """mean + sigma * noise, with a gradient for both; the mean itself without noise."""
        return self.mean if noise is None else self.mean + torch.exp(0.5 * self.log_variance) * noise

    def or_standard(self, has: Bool[Tensor, " batch"]) -> "Gaussian":
        """N(0, I) in the place of patients who have none of their own."""
        return Gaussian(self.mean * has[:, None], self.log_variance * has[:, None])


def log_density(of: Gaussian, at: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
    """log N(at; mean, sigma^2), summed over the width."""
    squared = (at - of.mean).square() * torch.exp(-of.log_variance)
    return -0.5 * (squared + of.log_variance + math.log(2 * math.pi)).sum(dim=-1)


def kl_to_standard(of: Gaussian) -> Float[Tensor, "*batch"]:
    """KL(N(mean, sigma^2) || N(0, I)) = sum of (sigma^2 + mean^2 - 1 - log sigma^2) / 2 over the width."""
    return 0.5 * (of.log_variance.exp() + of.mean.square() - 1 - of.log_variance).sum(dim=-1)


def product_of_experts(experts: Sequence[Gaussian], present: Sequence[Bool[Tensor, " batch"]]) -> Gaussian:
    """The product of N(0, I) and of the experts that a patient has: precisions add up, means are weighted with them.

    Without an expert it is N(0, I).

    Args:
        experts: each with one row a patient.
        present: for each expert, the patients who have it.
    """
    precision = torch.ones_like(experts[0].mean)
    weighted = torch.zeros_like(precision)
    for expert, has in zip(experts, present, strict=True):
        own = torch.exp(-expert.log_variance) * has[:, None]
        precision = precision + own
        weighted = weighted + own * expert.mean
    return Gaussian(weighted / precision, -precision.log())


class Mixture(NamedTuple):
    """A mixture of K Gaussians: pi, mu and the diagonals of Sigma."""

    weight: Float[Tensor, " prototypes"]
    mean: Float[Tensor, "prototypes width"]
    variance: Float[Tensor, "prototypes width"]


def prior_mixture(centres: Float[Tensor, "prototypes width"], variance: float) -> Mixture:
    """Equal weights, means on the centres, one variance for all."""
    return Mixture(centres.new_full((len(centres),), 1 / len(centres)), centres, torch.full_like(centres, variance))


def responsibilities(rows: Float[Tensor, "tokens width"], of: Mixture) -> Float[Tensor, "tokens prototypes"]:
    """The probability of each Gaussian of a mixture to have made each row; rows sum to 1."""
    precision = 1 / of.variance
    distance = rows.square() @ precision.T - 2 * rows @ (of.mean * precision).T + (of.mean.square() * precision).sum(dim=1)
    return torch.softmax(of.weight.log() - 0.5 * (distance + of.variance.log().sum(dim=1)), dim=1)


@torch.no_grad()
def posterior_mixture(
    rows: Float[Tensor, "tokens width"], prior: Mixture, *, strength: float, steps: int = 1
) -> tuple[Mixture, Float[Tensor, "tokens prototypes"]]:
    """The mixture of some rows after steps of maximum a posteriori EM from the prior, and who made each row in the last step.

    A step is n_k = sum_i r_ik, pi_k = (n_k + tau) / sum_j (n_j + tau), mu_k = (sum_i r_ik x_i + tau m_k) / (n_k + tau),
    Sigma_k = (sum_i r_ik x_i^2 + tau (V + m_k^2)) / (n_k + tau) - mu_k^2. The difference is at least tau V / (n_k + tau), and double
    precision keeps it so. Without rows the prior is what it was. Memory does not grow with the number of rows beyond r.

    Args:
        rows: of any precision.
        prior: m_k and V, from which the steps start.
        strength: tau, above 0: how many rows the prior counts for.
        steps: of EM.
    """
    prior = Mixture(*(part.double() for part in prior))
    found, kept = prior, rows.new_zeros(len(rows), len(prior.mean))
    for _ in range(steps):
        found, kept = _map_step(rows, found, prior, strength)
    return found, kept


def _map_step(rows: Tensor, start: Mixture, prior: Mixture, strength: float) -> tuple[Mixture, Tensor]:
    count, total, squares = torch.zeros_like(prior.weight), torch.zeros_like(prior.mean), torch.zeros_like(prior.mean)
    kept = []
    for chunk in rows.split(CHUNK):
        x = chunk.double()
        r = responsibilities(x, start)
        count, total, squares = count + r.sum(dim=0), total + r.T @ x, squares + r.T @ x.square()
        kept.append(r.float())
    n = (count + strength)[:, None]
    mean = (total + strength * prior.mean) / n
    variance = (squares + strength * (prior.variance + prior.mean.square())) / n - mean.square()
    return Mixture(n[:, 0] / n.sum(), mean, variance), torch.cat(kept)
