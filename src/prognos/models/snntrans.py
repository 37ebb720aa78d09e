"""SNNTrans: one self-normalising network a pathway, then a transformer over the pathway tokens.

An omics-only row of TTA's tables without a description or code of its own; this is our reading of its name: the group networks of the
survival papers, a class token, two layers of self-attention, and the risk from the class token.

Departures: everything beyond the name is ours; Cox's loss by default.
"""

import torch
from pydantic import Field
from torch import nn

from prognos.models.contract import HeadConfig, Model, Needs
from prognos.nn.multihead import with_class
from prognos.nn.pathways import GroupEncoder
from prognos.nn.token_pool import TransformerLayer
from prognos.types import Bag, InputShape, Prediction, Progress


class SNNTransConfig(HeadConfig):
    """Hyperparameters of SNNTrans."""

    d_model: int = Field(256, ge=8, description="width of a token")
    heads: int = Field(8, ge=1, description="heads of the attention", json_schema_extra={"share": "d_model"})
    layers: int = Field(2, ge=1, description="transformer layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")


class SNNTrans(Model):
    """Pathways -> tokens that know of each other -> class token -> risk. Evidence: `embedding` (batch, d_model)."""

    Config = SNNTransConfig
    needs = Needs(modalities=("omics",), omics="pathways", gene_set="hallmark")

    def __init__(self, config: SNNTransConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        self.pathways = GroupEncoder(shape.pathway_features, d, dropout=config.dropout)
        self.class_token = nn.Parameter(torch.randn(d) * 0.02)
        self.mix = nn.Sequential(
            *(TransformerLayer(d, heads=config.heads, d_hidden=2 * d, dropout=config.dropout) for _ in range(config.layers)),
            nn.LayerNorm(d),
        )
        self.head = config.head(d)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the pathways alone."""
        embedding = self.mix(with_class(self.class_token, self.pathways(bag["omics"].values)))[:, 0]
        prediction = self.head(embedding)
        return Prediction(prediction.risk, prediction.hazard_logits, {"embedding": embedding.detach()})
