"""Patches of a patient as a Gaussian mixture on prototypes of the training fold, which PANTHER and MMP share."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prognos.nn.gaussians import posterior_mixture, prior_mixture
from prognos.nn.prototypes import patch_prototypes
from prognos.types import TrainingFold


class MixtureTokens(nn.Module):
    """Patches -> one token [pi_k, mu_k, Sigma_k] a prototype; nothing in it is trained.

    Args:
        d_patch: width of the patch features.
        n_prototypes: K.
        strength: tau, how many patches the prior of each prototype counts for.
        variance: V of the prior.
        steps: of EM.
    """

    prototypes: Tensor

    def __init__(self, d_patch: int, n_prototypes: int, *, strength: float = 1.0, variance: float = 1.0, steps: int = 1):
        super().__init__()
        self.strength = strength
        self.variance = variance
        self.steps = steps
        self.d_token = 1 + 2 * d_patch
        self.register_buffer("prototypes", torch.zeros(n_prototypes, d_patch))

    def learn(self, train: TrainingFold, most: int) -> None:
        """The prototypes: centres of k-means over at most so many patches of the training patients."""
        self.prototypes.copy_(patch_prototypes(train, len(self.prototypes), most=most))

    def forward(
        self, patients: Sequence[Float[Tensor, "_ d_patch"]]
    ) -> tuple[Float[Tensor, "batch prototypes d_token"], list[Float[Tensor, "_ prototypes"]]]:
        """The tokens of each patient, and the probability of each prototype for each patch; without patches the prior's tokens."""
        prior = prior_mixture(self.prototypes, self.variance)
        found = [posterior_mixture(rows, prior, strength=self.strength, steps=self.steps) for rows in patients]
        tokens = [torch.cat([of.weight[:, None], of.mean, of.variance], dim=1) for of, _ in found]
        return torch.stack(tokens).to(self.prototypes.dtype), [r for _, r in found]
