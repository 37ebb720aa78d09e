"""What ShaSpec, SMIL and M3Care share: one vector a modality, from attention over patches and from genes."""

from pydantic import Field

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap, attention_map
from prognos.nn.modality_vectors import VECTORS_OF, ModalityEncoders
from prognos.types import Bag, InputShape, Prediction


class VectorConfig(HeadConfig):
    """Hyperparameters of the encoders."""

    d_model: int = Field(256, ge=1, description="width of every vector")
    d_attention: int = Field(256, ge=1, description="width of the attention gate over patches")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")


class VectorBased(Model):
    """A model of what `self.encoders` give. Evidence: `attention`, one (patches,) tensor a patient."""

    needs = Needs(modalities=VECTORS_OF)

    def __init__(self, config: VectorConfig, shape: InputShape):
        super().__init__(config, shape)
        self.encoders = ModalityEncoders(shape, config.d_model, d_attention=config.d_attention, dropout=config.dropout)

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The attention."""
        return (attention_map(prediction.evidence["attention"][patient]),)
