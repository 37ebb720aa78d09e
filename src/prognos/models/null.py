"""Kaplan-Meier null: the training fold's survival curve for everyone. E. Kaplan, P. Meier, JASA 1958.

A model that does not beat it in the integrated Brier score has learnt nothing about when events happen.
"""

import torch
from torch import Tensor

from prognos.models.contract import Beside, Model, ModelConfig, Needs
from prognos.risk import MarginalHead
from prognos.types import Bag, InputShape, Prediction, Progress, Survival


class NullConfig(ModelConfig):
    """The null has nothing to set."""


class Null(Model):
    """Risk 0 and one curve for every patient."""

    Config = NullConfig
    needs = Needs(modalities=())
    trained = False
    head: MarginalHead

    def __init__(self, config: NullConfig, shape: InputShape):
        super().__init__(config, shape)
        self.head = MarginalHead()

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The same for everyone."""
        return self.head(self.head.curve.new_zeros(len(bag), 1, dtype=torch.float32))

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Nothing is trained."""
        return {"survival": torch.zeros(())}
