"""What PANTHER and MMP share: a slide as a Gaussian mixture of a few kinds of tissue."""

from collections.abc import Mapping

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from prognos.models.contract import HeadConfig, Model, PatchMap, prototype_maps
from prognos.nn.mixture import MixtureTokens
from prognos.types import Bag, InputShape, Prediction, TrainingFold


class MixtureConfig(HeadConfig):
    """Hyperparameters of the mixture."""

    n_prototypes: int = Field(16, ge=1, description="K")
    prototype_patches: int = Field(20_000, ge=1, description="training patches that the prototypes are found on")
    strength: float = Field(1.0, gt=0, description="tau: how many patches the prior of a prototype counts for")
    prior_variance: float = Field(1.0, gt=0, description="V: variance of the prior")
    steps: int = Field(1, ge=1, description="steps of expectation maximisation")


class MixtureBased(Model):
    """A model that reads `self.mixture` of the patches. Evidence: `responsibilities`, one (patches, prototypes) tensor a patient."""

    config: MixtureConfig

    def __init__(self, config: MixtureConfig, shape: InputShape):
        super().__init__(config, shape)
        self.mixture = MixtureTokens(
            shape.d_patch, config.n_prototypes, strength=config.strength, variance=config.prior_variance, steps=config.steps
        )

    def learn(self, train: TrainingFold) -> None:
        """Time bins, and the prototypes."""
        super().learn(train)
        self.mixture.learn(train, self.config.prototype_patches)

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Which prototype each patch is taken for."""
        return prototype_maps(prediction.evidence["responsibilities"][patient], "probability that the patch is of the prototype")

    def prototype_banks(self) -> Mapping[str, Float[Tensor, "prototypes d_patch"]]:
        """The prototypes of patches."""
        return {"histology": self.mixture.prototypes}

    def prototype_weights(self, prediction: Prediction, patient: int) -> Mapping[str, Float[Tensor, "tokens prototypes"]]:
        """The probability of each prototype for each patch."""
        return {"histology": prediction.evidence["responsibilities"][patient]}
