"""TransMIL: self-attention over all patches of a patient through landmarks, with positions from convolutions.

Z. Shao, H. Bian, Y. Chen, Y. Wang, J. Zhang, X. Ji, Y. Zhang, "TransMIL: Transformer based correlated multiple instance learning for
whole slide image classification", NeurIPS 2021; with a survival head.

Patch tokens and a class token go through a Nystrom attention layer, the sum of three depthwise convolutions over the tokens laid out as
a square (PPEG), and a second Nystrom layer; the risk is read from the class token.

Departures: patches stand in the order in which they are given, by rows of the slide (`order = "raster"` sorts them by their coordinates);
positions and attention of a patient do not depend on padding, which nothing sees (see `prognos.nn.nystrom` for what is computed and
what is the same in another order); Cox's loss by default.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import HeadConfig, Model, Needs
from prognos.nn.grid import raster_order
from prognos.nn.patches import PatchEncoder, by_size
from prognos.nn.transmil import TransMILEncoder
from prognos.types import Bag, InputShape, Prediction, Progress


class TransMILConfig(HeadConfig):
    """Hyperparameters of TransMIL."""

    d_model: int = Field(256, ge=8, description="width of a token")
    heads: int = Field(8, ge=1, description="heads of the attention", json_schema_extra={"share": "d_model"})
    landmarks: int = Field(128, ge=1, description="landmarks of the attention")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of what was attended")
    order: Literal["given", "raster"] = Field("given", description="patches as given, or sorted by row and column of the slide")
    zeros_in_front: bool = Field(
        False, description="zero tokens fill the landmarks up and take part, as in the published code", json_schema_extra={"legacy": True}
    )


class TransMIL(Model):
    """Patches -> tokens that know of each other -> class token -> risk. Evidence: `embedding` (batch, d_model)."""

    Config = TransMILConfig
    config: TransMILConfig
    needs = Needs(modalities=("histology",))
    ordered = True

    def __init__(self, config: TransMILConfig, shape: InputShape):
        super().__init__(config, shape)
        self.patches = PatchEncoder(shape.d_patch, config.d_model, activation=nn.ReLU(), dropout=0.0)
        self.encoder = TransMILEncoder(
            config.d_model,
            heads=config.heads,
            landmarks=config.landmarks,
            dropout=config.dropout,
            zeros_in_front=config.zeros_in_front,
        )
        self.head = config.head(config.d_model)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        ordered = [self._ordered(bag, i) for i in range(len(bag))]
        embedding = by_size(lambda rows: self.encoder.first(self.patches(rows)), ordered)
        prediction = self.head(embedding)
        return Prediction(prediction.risk, prediction.hazard_logits, {"embedding": embedding.detach()})

    def _ordered(self, bag: Bag, patient: int) -> Float[Tensor, "patches d_patch"]:
        """The patches of a patient in the order in which positions are given to them."""
        tokens = bag["histology"]
        rows = tokens.rows(patient)
        if self.config.order == "given" or tokens.coords is None:
            return rows
        return rows[raster_order(tokens.coords[patient][tokens.mask[patient]], tokens.slides(patient))]
