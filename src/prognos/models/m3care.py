"""M3Care: what a patient lacks is taken from similar patients.

C. Zhang, X. Chu, L. Ma, Y. Zhu, Y. Wang, J. Wang, J. Zhao, "M3Care: Learning with missing modalities in multimodal healthcare data",
KDD 2022.

Patients are similar where learnt kernels say so in the modalities that both have. Two graph convolutions gather a modality from those who
are more similar than a learnt threshold; a patient who has the modality weighs what was gathered against the own vector, one who lacks it
takes what was gathered. A transformer over the modalities and a dense layer give the risk.

Symbols: h_m vector of modality m; q and k Gaussian kernels on h_m and on its projection; (1 - e_m) k + e_m q their mix; A similarities.

Departures:

- Similar patients are looked for among the training patients, whose vectors are kept and computed anew after each epoch; the published
  code looks among the patients of the batch, so that a prediction depends on who else is predicted and one patient alone has nobody.
  A training patient is not its own neighbour.
- In the published adjacency the rows of patients who lack a modality are zero, so that nothing is filled in for them; here only those
  who have the modality are gathered from, and everyone gathers. Rows sum to 1.
- The kernels' mix is a mean (`mix`); the published code multiplies by q. Bandwidths come from the training patients, in place of
  a batch norm and bandwidths of the batch.
- Cox's loss by default.

A fitted model holds a vector of each training patient and a hash of each id: `prognos bundle` refuses it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import Beside
from prognos.models.vector_based import VectorBased, VectorConfig
from prognos.nn.m3care import Gathering, PatientSimilarity
from prognos.nn.modality_vectors import VECTORS_OF, ModalityVectors
from prognos.nn.token_pool import TransformerLayer
from prognos.runtime import derive_seed
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold


class M3CareConfig(VectorConfig):
    """Hyperparameters of M3Care."""

    heads: int = Field(4, ge=1, description="heads of the attention among modalities", json_schema_extra={"share": "d_model"})
    layers: int = Field(2, ge=1, description="transformer layers over the modalities")
    mix: Literal["mean", "product"] = Field(
        "mean", description="of the kernels: (1 - e) k + e q, or ((1 - e) k + e) q as released", json_schema_extra={"legacy": "product"}
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="similarity from which patients are neighbours, before training")
    stabiliser_weight: float = Field(1e-7, ge=0, description="weight of what projections do to norms")


class M3Care(VectorBased):
    """Patches and genes -> a vector each -> similar training patients -> transformer -> risk.

    Evidence: `attention`, one (patches,) tensor a patient; `similarity` (batch, training patients), 0 below the threshold; `gathered`
    (batch, modalities), the share of what came from others, 1 where the patient lacks the modality; histology first.
    """

    Config = M3CareConfig
    config: M3CareConfig
    keeps_patients = True
    vectors: Tensor
    present: Tensor
    keys: Tensor

    def __init__(self, config: M3CareConfig, shape: InputShape):
        super().__init__(config, shape)
        d, n, drop = config.d_model, len(VECTORS_OF), config.dropout
        self.similarity = PatientSimilarity(n, d, threshold=config.threshold, product=config.mix == "product")
        self.gather = nn.ModuleList(Gathering(d) for _ in VECTORS_OF)
        self.kinds = nn.Parameter(torch.randn(n, d) * 0.02)
        self.mix = nn.Sequential(*(TransformerLayer(d, heads=config.heads, d_hidden=4 * d, dropout=drop) for _ in range(config.layers)))
        self.join = nn.Sequential(nn.Linear(n * d, d), nn.ReLU(), nn.Dropout(drop))
        self.head = config.head(d)
        self.register_buffer("vectors", torch.zeros(0, n, d))
        self.register_buffer("present", torch.zeros(0, n, dtype=torch.bool))
        self.register_buffer("keys", torch.zeros(0, dtype=torch.int64))

    @property
    def filled_by(self) -> str:
        """The neighbours."""
        return "what similar training patients have"

    def learn(self, train: TrainingFold) -> None:
        """Time bins, and the vectors of the training patients."""
        super().learn(train)
        self._remember(train)

    def end_epoch(self, train: TrainingFold, progress: Progress) -> None:
        """The vectors of the training patients, anew."""
        self._remember(train)

    def _remember(self, train: TrainingFold) -> None:
        found = self.encoders.of_training_patients(train)
        self.vectors, self.present, self.keys = found.values, found.present, self._keys(train.patients)

    def _keys(self, patients: Sequence[str]) -> Int[Tensor, " batch"]:
        return torch.tensor([derive_seed("patient", patient) for patient in patients], device=self.keys.device)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from what each patient has and from the training patients who are like it."""
        return self._predict(bag)[0]

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, and what keeps the projections from stretching."""
        prediction, own = self._predict(bag)
        stretching = self.config.stabiliser_weight * self.similarity.stretching(own)
        return {"survival": self.head.loss(prediction, survival, beside), "stabiliser": stretching}

    def _predict(self, bag: Bag) -> tuple[Prediction, ModalityVectors]:
        """The prediction, and the patients' own vectors."""
        own, training = self.encoders(bag), ModalityVectors(self.vectors, self.present, [])
        alike = self.similarity(own, training, self._keys(bag.patients)[:, None] != self.keys)
        among = self.similarity(training, training)
        tokens, shares = [], []
        for m, gather in enumerate(self.gather):
            joined, share = gather((own.values[:, m], own.present[:, m]), (training.values[:, m], training.present[:, m]), alike, among)
            tokens.append(joined)
            shares.append(share.detach())
        mixed = self.mix(torch.stack(tokens, dim=1) + self.kinds)
        prediction = self.head(self.join(mixed.flatten(1)))
        evidence = {"attention": own.attention, "similarity": alike.detach(), "gathered": torch.stack(shares, dim=1)}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), own
