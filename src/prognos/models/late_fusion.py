"""Late fusion: the mean of what the genes alone and the patches alone say.

z_m = (r_m - mean of r_m over the training fold) / (standard deviation of r_m over the training fold),
r = mean of z_m over the modalities m that the patient has, with r_m from SNN and ABMIL, each trained on its own.

A fused model that does not beat this has not shown that fusing early helps.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from prognos.models.contract import Model, ModelConfig, Needs, PatchMap
from prognos.risk import CoxHead
from prognos.types import Bag, InputShape, Prediction, Progress, TrainingFold


class LateFusionConfig(ModelConfig):
    """Late fusion has nothing to set; its parts are configured as the models that they are."""


class LateFusion(Model):
    """Mean of z-scored risks of its parts.

    Evidence: `part_risks` (batch, parts), z-scored, NaN where a part has no input; `parts`, the evidence of each part by name.
    """

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
        one_by_one = train.bags()  # a padded batch of large bags is huge
        risks = torch.cat([self._risks(bag, self._predictions(bag)) for bag in one_by_one])
        for m in range(risks.shape[1]):
            known = risks[~risks[:, m].isnan(), m]
            spread = float(known.std()) if len(known) > 1 else 0.0
            self.mean[m] = known.mean()
            self.deviation[m] = spread if spread > 0 else 1.0  # a part that says the same of everyone adds nothing
        with torch.no_grad():
            self.head.weight.weight.fill_(1.0)

    def _predictions(self, bag: Bag) -> dict[str, Prediction]:
        """What each part says, with a gradient for inputs that ask for one; the parts are not trained."""
        asked = any(tokens.values.requires_grad for tokens in bag.modalities.values())
        with torch.set_grad_enabled(asked and torch.is_grad_enabled()):
            return {name: self.parts[name](bag) for name in self.needs.parts}

    def _risks(self, bag: Bag, predictions: Mapping[str, Prediction]) -> Tensor:
        """Raw risk of each part, NaN where the patient lacks its modality."""
        columns = []
        for name, prediction in predictions.items():
            present = torch.stack([bag[m].present for m in self._part(name).needs.modalities]).all(dim=0)
            columns.append(torch.where(present, prediction.risk, torch.nan))
        return torch.stack(columns, dim=1)

    def _part(self, name: str) -> Model:
        return cast(Model, self.parts[name])

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Those of the parts."""
        said = {name: Prediction(prediction.risk, evidence=evidence) for name, evidence in prediction.evidence["parts"].items()}
        return tuple(found for name, of_part in said.items() for found in self._part(name).patch_maps(bag, of_part, patient))

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The mean z-score; 0, the training average, for a patient with neither modality."""
        predictions = self._predictions(bag)
        scores = (self._risks(bag, predictions) - self.mean) / self.deviation
        known = ~scores.isnan()
        risk = torch.where(known, scores, torch.zeros_like(scores)).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        evidence = {"part_risks": scores, "parts": {name: said.evidence for name, said in predictions.items()}}
        return Prediction(self.head(risk[:, None]).risk, evidence=evidence)
