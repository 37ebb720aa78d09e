"""MLP: two dense layers on the flat vector of genes, as the survival papers have it beside the self-normalising network.

The omics-only comparison model of G. Jaume et al., "Modeling dense multimodal interactions between biological pathways and histology
for survival prediction" (SurvPath), CVPR 2024.

Departures: Cox's loss by default, as all models of a study share one loss family.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import Beside, Model, ModelConfig, Needs
from prognos.risk import survival_head
from prognos.types import Bag, InputShape, Prediction, Progress, Survival


class MLPConfig(ModelConfig):
    """Hyperparameters of the MLP."""

    d_model: int = Field(256, ge=1, description="width of each layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout")
    survival: Literal["cox", "discrete"] = Field("cox", description="survival model of the head")
    n_bins: int = Field(4, ge=2, description="time bins of the discrete head")
    censored_weight: float = Field(1.0, ge=0, le=1, description="weight of the censored in the discrete likelihood")


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
        self.head = survival_head(config.survival, d, n_bins=config.n_bins, censored_weight=config.censored_weight)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the genes alone."""
        embedding = self.layers(bag["omics"].values[:, 0])
        prediction = self.head(embedding)
        return Prediction(prediction.risk, prediction.hazard_logits, {"embedding": embedding.detach()})

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss."""
        return {"survival": self.head.loss(self(bag, progress), survival, beside)}
