"""MLP: two dense layers on the flat vector of genes, as the survival papers have it beside the self-normalising network.

The omics-only comparison model of G. Jaume et al., "Modeling dense multimodal interactions between biological pathways and histology
for survival prediction" (SurvPath), CVPR 2024.

Departures: Cox's loss by default, as all models of a study share one loss family.
"""

from pydantic import Field
from torch import nn

from prognos.models.contract import HeadConfig, Model, Needs
from prognos.types import Bag, InputShape, Prediction, Progress


class MLPConfig(HeadConfig):
    """Hyperparameters of the MLP."""

    d_model: int = Field(256, ge=1, description="width of each layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout")


class MLP(Model):
    """Genes -> two layers -> risk. Evidence: `embedding` (batch, d_model)."""

    Config = MLPConfig
    needs = Needs(modalities=("omics",), omics="genes")

    def __init__(self, config: MLPConfig, shape: InputShape):
        super().__init__(config, shape)
        d, drop = config.d_model, config.dropout
        self.layers = nn.Sequential(
            *(nn.Linear(shape.n_genes, d), nn.ReLU(), nn.Dropout(drop)), *(nn.Linear(d, d), nn.ReLU(), nn.Dropout(drop))
        )
        self.head = config.head(d)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the genes alone."""
        embedding = self.layers(bag["omics"].values[:, 0])
        prediction = self.head(embedding)
        return Prediction(prediction.risk, prediction.hazard_logits, {"embedding": embedding.detach()})
