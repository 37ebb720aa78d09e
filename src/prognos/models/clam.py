"""CLAM: attention pooling, with the most and the least attended patches told apart.

M. Y. Lu, D. F. K. Williamson, T. Y. Chen, R. J. Chen, M. Barbieri, F. Mahmood, "Data-efficient and weakly supervised computational
pathology on whole-slide images", Nature Biomedical Engineering 2021; with a survival head.

Gated attention pools the patches. Beside the risk's loss, a patient's most attended patches are examples of its class and its least
attended ones examples against it, for a small classifier a class.

Departures: CLAM classifies, and survival has no class. The class is the time bin of a patient whose event was observed; who is censored
has none and takes no part in the loss of patches. A patient with few patches has as many examples on each side as half of them; Cox's
loss for the patient by default.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from prognos.models.contract import Beside, HeadConfig, Model, Needs, PatchMap, attention_map
from prognos.nn.attention import GatedAttention
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.risk.discrete import quantile_cuts
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold


class CLAMConfig(HeadConfig):
    """Hyperparameters of CLAM."""

    d_model: int = Field(256, ge=1, description="width of a patch token")
    d_attention: int = Field(256, ge=1, description="width of the attention gate")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")
    n_examples: int = Field(8, ge=1, description="B: patches on each side that the classifiers learn from")
    patch_weight: float = Field(0.3, ge=0, lt=1, description="weight of the loss of patches; the patient's has the rest")
    n_bins: int = Field(4, ge=2, description="time bins: of the discrete head, and the classes of the loss of patches")


class CLAM(Model):
    """Patches -> attention -> risk. Evidence: `attention`, one (patches,) tensor a patient; `embedding` (batch, d_model)."""

    Config = CLAMConfig
    config: CLAMConfig
    needs = Needs(modalities=("histology",))
    classes: Tensor

    def __init__(self, config: CLAMConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.ReLU(), dropout=config.dropout)
        self.score = GatedAttention(d, config.d_attention, config.dropout, bias=False)
        self.head = config.head(d)
        if config.patch_weight:
            self.classifiers = nn.Linear(d, 2 * config.n_bins)
        self.register_buffer("classes", torch.arange(1, config.n_bins, dtype=torch.float64))

    def learn(self, train: TrainingFold) -> None:
        """Time bins, of the head and of the classes."""
        super().learn(train)
        self.classes = quantile_cuts(train.survival.time, train.survival.event, self.config.n_bins)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        return self._predict(bag)[0]

    def _predict(self, bag: Bag) -> tuple[Prediction, list[Tensor]]:
        """The prediction, and the tokens of each patient's patches."""
        tokens = by_patient(self.patches, [bag["histology"].rows(i) for i in range(len(bag))])
        attention = [torch.softmax(scores, dim=0) for scores in by_patient(self.score, tokens)]
        embedding = torch.stack([a @ x for a, x in zip(attention, tokens, strict=True)])
        prediction = self.head(embedding)
        evidence = {"attention": [a.detach() for a in attention], "embedding": embedding.detach()}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), tokens

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, and the classifiers' over the most and least attended patches."""
        weight = self.config.patch_weight
        prediction, tokens = self._predict(bag)
        terms = {"survival": (1 - weight) * self.head.loss(prediction, survival, beside)}
        if weight:
            terms["patches"] = weight * self._of_patches(tokens, prediction.evidence["attention"], survival)
        return terms

    def _of_patches(self, tokens: list[Tensor], attention: list[Tensor], survival: Survival) -> Float[Tensor, ""]:
        """Cross-entropy of their class's classifier, averaged over patients with an observed event; 0 with a gradient without one."""
        classes = torch.searchsorted(self.classes, survival.time.double(), right=True)
        found = []
        for x, a, own, event in zip(tokens, attention, classes.tolist(), survival.event.tolist(), strict=True):
            b = min(self.config.n_examples, len(x) // 2)
            if event and b:
                order = a.argsort(descending=True)
                examples = torch.cat([x[order[:b]], x[order[-b:]]])
                sides = torch.tensor([1] * b + [0] * b, device=x.device)
                found.append(cross_entropy(self.classifiers(examples).unflatten(1, (-1, 2))[:, own], sides))
        return torch.stack(found).mean() if found else self.classifiers.weight.sum() * 0.0

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The attention."""
        return (attention_map(prediction.evidence["attention"][patient]),)
