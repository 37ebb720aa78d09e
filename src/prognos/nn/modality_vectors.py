"""One vector a patient for each modality: what models that fill in a missing modality work on."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.nn.attention import GatedAttention, pool_by_patient
from prognos.nn.patches import PatchEncoder
from prognos.nn.snn import self_normalising_layers
from prognos.types import Bag, InputShape, TrainingFold

VECTORS_OF = ("histology", "omics")
"""The modalities in the order of the axis `modalities`."""


@dataclass(frozen=True)
class ModalityVectors:
    """The modalities of some patients, each as one vector.

    Args:
        values: zeros for a modality that a patient lacks.
        present: which modalities a patient has.
        attention: of each patient, the weights of the patches in the vector of the histology; they sum to 1.
    """

    values: Float[Tensor, "batch modalities d_model"]
    present: Bool[Tensor, "batch modalities"]
    attention: list[Float[Tensor, " _"]]


class ModalityEncoders(nn.Module):
    """Patches by gated attention pooling (as ABMIL), genes by two self-normalising layers (as SNN).

    Args:
        shape: widths of patch features and of the flat omics vector.
        d_model: width of the vectors.
        d_attention: width of the attention gate.
        dropout: share of entries dropped in training.
    """

    def __init__(self, shape: InputShape, d_model: int, *, d_attention: int, dropout: float):
        super().__init__()
        self.patches = PatchEncoder(shape.d_patch, d_model, activation=nn.ReLU(), dropout=dropout)
        self.attention = GatedAttention(d_model, d_attention, dropout, bias=False)
        self.slides = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Dropout(dropout))
        self.genes = self_normalising_layers(shape.n_genes, d_model, 2, dropout)

    def forward(self, bag: Bag) -> ModalityVectors:
        """The vectors of the patients of a bag."""
        histology, omics = bag["histology"], bag["omics"]
        pooled, attention = pool_by_patient([histology.rows(i) for i in range(len(bag))], self.patches, self.attention)
        values = torch.stack([self.slides(torch.stack(pooled)), self.genes(omics.values[:, 0])], dim=1)
        present = torch.stack([histology.present, omics.present], dim=1)
        return ModalityVectors(values * present[:, :, None], present, attention)

    @torch.no_grad()
    def of_training_patients(self, train: TrainingFold) -> ModalityVectors:
        """The vectors of the training patients in their order, from all patches and without dropout."""
        training = self.training
        self.eval()
        found = [self(bag) for bag in train.bags()]
        self.train(training)
        attention = [weights for vectors in found for weights in vectors.attention]
        return ModalityVectors(torch.cat([v.values for v in found]), torch.cat([v.present for v in found]), attention)
