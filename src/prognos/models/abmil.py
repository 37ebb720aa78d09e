"""ABMIL: gated attention pooling over a patient's patches.

M. Ilse, J. Tomczak, M. Welling, "Attention-based deep multiple instance learning", ICML 2018; with the survival head of
the computational-pathology papers.

Symbols: h_i patch token; a_i = softmax_i of w^T (tanh(V h_i) * sigmoid(U h_i)); z = sum_i a_i h_i.

Departures: patients are pooled one by one, so no padded patch gets attention; Cox's loss by default.
"""

import torch
from pydantic import Field
from torch import nn

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap, attention_map
from prognos.nn.attention import GatedAttention, pool_by_patient
from prognos.nn.patches import PatchEncoder
from prognos.types import Bag, InputShape, Prediction, Progress


class ABMILConfig(HeadConfig):
    """Hyperparameters of ABMIL."""

    d_model: int = Field(256, ge=1, description="width of a patch token")
    d_attention: int = Field(256, ge=1, description="width of the attention gate")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")


class ABMIL(Model):
    """Patches -> attention -> risk. Evidence: `attention`, one (patches,) tensor a patient; `embedding` (batch, d_model)."""

    Config = ABMILConfig
    needs = Needs(modalities=("histology",))

    def __init__(self, config: ABMILConfig, shape: InputShape):
        super().__init__(config, shape)
        self.encoder = PatchEncoder(shape.d_patch, config.d_model, activation=nn.ReLU(), dropout=config.dropout)
        self.attention = GatedAttention(config.d_model, config.d_attention, config.dropout)
        self.pooled = nn.Sequential(nn.Linear(config.d_model, config.d_model), nn.ReLU(), nn.Dropout(config.dropout))
        self.head = config.head(config.d_model)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        rows = [bag["histology"].rows(i) for i in range(len(bag))]
        pooled, attention = pool_by_patient(rows, self.encoder, self.attention)
        embedding = self.pooled(torch.stack(pooled))
        prediction = self.head(embedding)
        evidence = {"attention": attention, "embedding": embedding.detach()}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The attention."""
        return (attention_map(prediction.evidence["attention"][patient]),)
