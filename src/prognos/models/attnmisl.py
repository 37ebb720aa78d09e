"""AttnMISL: patches of a few kinds, the mean of each kind, and attention over kinds.

J. Yao, X. Zhu, J. Jonnagaddala, N. Hawkins, J. Huang, "Whole slide images based cancer survival prediction using attention guided deep
multiple instance learning networks", Medical Image Analysis 2020.

Patches are put to the nearest of k centres; one layer is shared by all patches, and each kind is the mean of its patches; attention
over the kinds that the patient has gives one vector, and a dense layer the risk.

Departures: the centres are k-means over the training patients' patches, so that a kind means the same in every patient (the published
code clusters each patient alone, and its kinds are not aligned); weight decay in place of an L1 penalty that reaches two parameters.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap
from prognos.nn.attention import masked_softmax
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.nn.prototypes import nearest_prototype, patch_prototypes
from prognos.types import Bag, InputShape, Prediction, Progress, TrainingFold


class AttnMISLConfig(HeadConfig):
    """Hyperparameters of AttnMISL."""

    d_model: int = Field(64, ge=2, multiple_of=2, description="width of a patch token; attention and last layer have half of it")
    n_prototypes: int = Field(10, ge=1, description="kinds of patches")
    prototype_patches: int = Field(20_000, ge=1, description="training patches that the kinds are found on")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout")


class AttnMISL(Model):
    """Patches -> kinds -> attention over kinds -> risk.

    Evidence: `kinds`, one (patches,) tensor a patient; `kind_attention` (batch, prototypes), 0 for kinds that a patient has not.
    """

    Config = AttnMISLConfig
    config: AttnMISLConfig
    needs = Needs(modalities=("histology",))
    centres: Tensor

    def __init__(self, config: AttnMISLConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        self.register_buffer("centres", torch.zeros(config.n_prototypes, shape.d_patch))
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.ReLU(), dropout=0.0)
        self.score = nn.Sequential(nn.Linear(d, d // 2), nn.Tanh(), nn.Linear(d // 2, 1, bias=False))
        self.dense = nn.Sequential(nn.Linear(d, d // 2), nn.ReLU(), nn.Dropout(config.dropout))
        self.head = config.head(d // 2)

    def learn(self, train: TrainingFold) -> None:
        """Time bins, and the centres of the kinds."""
        super().learn(train)
        found = patch_prototypes(train, self.config.n_prototypes, most=self.config.prototype_patches)
        self.centres.copy_(found)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        rows = [bag["histology"].rows(i) for i in range(len(bag))]
        kinds = [nearest_prototype(one, self.centres) for one in rows]
        means = [self._means(tokens, kind) for tokens, kind in zip(by_patient(self.patches, rows), kinds, strict=True)]
        tokens, some = torch.stack([mean for mean, _ in means]), torch.stack([has for _, has in means])
        attention = masked_softmax(self.score(tokens).transpose(1, 2), some[:, None])
        prediction = self.head(self.dense((attention @ tokens)[:, 0]))
        evidence = {"kinds": kinds, "kind_attention": attention[:, 0].detach()}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def _means(self, tokens: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the patches of each kind, and which kinds there are."""
        counts = torch.bincount(kind, minlength=self.config.n_prototypes)
        sums = tokens.new_zeros(self.config.n_prototypes, tokens.shape[1]).index_add(0, kind, tokens)
        return sums / counts.clamp(min=1)[:, None], counts > 0

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Which patches are of each kind, and how much the patch's kind counts."""
        kinds, attention = prediction.evidence["kinds"][patient], prediction.evidence["kind_attention"][patient]
        own = [
            PatchMap(f"kind {k}", f"1 where the patch is of kind {k}, else 0", (kinds == k).float(), family="kind")
            for k in range(len(attention))
        ]
        return (PatchMap("attention", "weight of the patch's kind in the patient, from 0 to 1", attention[kinds]), *own)

    def prototype_banks(self) -> Mapping[str, Float[Tensor, "prototypes d_patch"]]:
        """The centres of the kinds."""
        return {"histology": self.centres}

    def prototype_weights(self, prediction: Prediction, patient: int) -> Mapping[str, Float[Tensor, "tokens prototypes"]]:
        """1 for the kind that each patch is of."""
        return {"histology": one_hot(prediction.evidence["kinds"][patient], self.config.n_prototypes).float()}
