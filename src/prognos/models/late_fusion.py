"""Late fusion: the mean of what the genes alone and the patches alone say.

z_m = (r_m - mean of r_m over the training fold) / (standard deviation of r_m over the training fold),
r = mean of z_m over the modalities m that the patient has, with r_m from SNN and ABMIL, each trained on its own.

A fused model that does not beat this has not shown that fusing early helps.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from prognos.models.contract import Beside, Model, ModelConfig, Needs
from prognos.risk import CoxHead
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold


class LateFusionConfig(ModelConfig):
    """Late fusion has nothing to set; its parts are configured as the models that they are."""


class LateFusion(Model):
    """Mean of z-scored risks of its parts. Evidence: `part_risks` (batch, parts), z-scored; NaN where a part has no input."""

    Config = LateFusionConfig
    needs = Needs(modalities=("omics", "histology"), omics="genes", parts=("snn", "abmil"))
    trained = False
    head: CoxHead
    parts: nn.ModuleDict
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: LateFusionConfig, shape: InputShape):
        super().__init__(config, shape)
        self.parts = nn.ModuleDict()
        self.head = CoxHead(1)
        self.register_buffer("mean", torch.zeros(len(self.needs.parts)))
        self.register_buffer("deviation", torch.ones(len(self.needs.parts)))

    def take_parts(self, parts: Mapping[str, Model]) -> None:
        """The fitted models that are fused; they are not trained further."""
        for name in self.needs.parts:
            self.parts[name] = parts[name]

    def learn(self, train: TrainingFold) -> None:
        """Mean and standard deviation of each part's risk over the training patients that have its modality."""
        self.parts.eval()
        risks = torch.cat([self._risks(bag) for bag in train.bags()])  # one by one: a padded batch of large bags is huge
        for m in range(risks.shape[1]):
            known = risks[~risks[:, m].isnan(), m]
            spread = float(known.std()) if len(known) > 1 else 0.0
            self.mean[m] = known.mean()
            self.deviation[m] = spread if spread > 0 else 1.0  # a part that says the same of everyone adds nothing
        with torch.no_grad():
            self.head.weight.weight.fill_(1.0)

    def _risks(self, bag: Bag) -> Tensor:
        """Raw risk of each part, NaN where the patient lacks its modality."""
        columns = []
        for name in self.needs.parts:
            part = cast(Model, self.parts[name])
            with torch.no_grad():
                risk = part(bag).risk
            present = torch.stack([bag[m].present for m in part.needs.modalities]).all(dim=0)
            columns.append(torch.where(present, risk, torch.nan))
        return torch.stack(columns, dim=1)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The mean z-score; 0, the training average, for a patient with neither modality."""
        scores = (self._risks(bag) - self.mean) / self.deviation
        known = ~scores.isnan()
        risk = torch.where(known, scores, torch.zeros_like(scores)).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        return Prediction(self.head(risk[:, None]).risk, evidence={"part_risks": scores})

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Nothing is trained here; the parts were."""
        return {"survival": self.head.loss(self(bag, progress), survival, beside)}
