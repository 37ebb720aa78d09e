"""SNN: a self-normalising network on the flat vector of genes.

G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NeurIPS 2017; as the omics-only
comparison model of the survival papers: two layers of Linear, ELU, alpha dropout.

Departures: Cox's loss in place of the discrete likelihood by default (`survival = "discrete"` gives the other), so that
all models of a study share one loss family.
"""

from pydantic import Field

from prognos.models.contract import HeadConfig, Model, Needs
from prognos.nn.snn import self_normalising_layers
from prognos.types import Bag, InputShape, Prediction, Progress


class SNNConfig(HeadConfig):
    """Hyperparameters of the SNN."""

    d_model: int = Field(256, ge=1, description="width of each layer")
    n_layers: int = Field(2, ge=1, description="number of layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="alpha dropout")


class SNN(Model):
    """Genes -> layers -> risk. Evidence: `embedding` (batch, d_model)."""

    Config = SNNConfig
    needs = Needs(modalities=("omics",), omics="genes")

    def __init__(self, config: SNNConfig, shape: InputShape):
        super().__init__(config, shape)
        self.layers = self_normalising_layers(shape.n_genes, config.d_model, config.n_layers, config.dropout)
        self.head = config.head(config.d_model)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the genes alone."""
        embedding = self.layers(bag["omics"].values[:, 0])
        prediction = self.head(embedding)
        return Prediction(prediction.risk, prediction.hazard_logits, {"embedding": embedding.detach()})
