"""ShaSpec: what modalities share and what is specific of each, fused; a shared vector stands in for a missing modality.

H. Wang, Y. Chen, C. Ma, J. Avery, L. Hull, G. Carneiro, "Multi-modal learning with missing modality via shared-specific feature
modelling", CVPR 2023.

One encoder with the same weights for all modalities gives what they share, and one encoder each what is specific. Both are fused with a
residual connection; a modality that a patient lacks is the shared vector of one that the patient has. Shared vectors of a patient are drawn
together, and specific ones must tell their modality.

Symbols: x_m vector of modality m; r_m = E(x_m) shared, s_m = E_m(x_m) specific; f_m = r_m + W [r_m; s_m] fused.

Departures: the publication segments images, whose modalities have one form; here both encoders read one vector a modality, from attention
pooling and from a self-normalising network, and dense layers take the decoder's place. Cox's loss by default.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from prognos.models.contract import Beside
from prognos.models.vector_based import VectorBased, VectorConfig
from prognos.nn.attention import FeedForward, masked_mean
from prognos.nn.modality_vectors import VECTORS_OF, ModalityVectors
from prognos.types import Bag, InputShape, Prediction, Progress, Survival


class ShaSpecConfig(VectorConfig):
    """Hyperparameters of ShaSpec."""

    shared_weight: float = Field(0.1, ge=0, description="weight of the distance of shared vectors")
    domain_weight: float = Field(0.02, ge=0, description="weight of telling the modality of specific vectors")
    whole_epochs: float = Field(0.2, ge=0, le=1, description="share of the epochs in which patients keep all that they have")
    lost: float = Field(0.5, ge=0, le=1, description="chance, in a later step, that a complete patient lacks one modality")


@dataclass(frozen=True)
class Parts:
    """What patients are taken apart into; vectors of absent modalities mean nothing but in `fused`."""

    vectors: ModalityVectors
    shared: Float[Tensor, "batch modalities d_model"]
    specific: Float[Tensor, "batch modalities d_model"]
    fused: Float[Tensor, "batch modalities d_model"]


class ShaSpec(VectorBased):
    """Patches and genes -> shared and specific vectors -> fused -> risk.

    Evidence: `attention`, one (patches,) tensor a patient; `shared` and `specific` (batch, modalities, d_model) and `present`
    (batch, modalities), histology first.
    """

    Config = ShaSpecConfig
    config: ShaSpecConfig

    def __init__(self, config: ShaSpecConfig, shape: InputShape):
        super().__init__(config, shape)
        d, drop = config.d_model, config.dropout
        self.shared = FeedForward(d, d, drop)
        self.specific = nn.ModuleList(FeedForward(d, d, drop) for _ in VECTORS_OF)
        self.compose = nn.Linear(2 * d, d)
        self.domain = nn.Linear(d, len(VECTORS_OF))
        self.join = nn.Sequential(nn.Linear(len(VECTORS_OF) * d, d), nn.ReLU(), nn.Dropout(drop))
        self.head = config.head(d)

    @property
    def filled_by(self) -> str:
        """The shared vector."""
        return "what it shares with the modality that is there"

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from what each patient has; in training, from what is left of it."""
        return self._predict(self._parts(bag, progress))

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, the distance of shared vectors, and the cross-entropy of the modality of specific ones."""
        parts = self._parts(bag, progress)
        present = parts.vectors.present
        distance = (parts.shared[:, 0] - parts.shared[:, 1]).abs().mean(dim=1)
        complete = present.all(dim=1)
        modality = torch.arange(len(VECTORS_OF), device=present.device).expand_as(present)
        return {
            "survival": self.head.loss(self._predict(parts), survival, beside),
            "shared": self.config.shared_weight * masked_mean(distance, complete),
            "domain": self.config.domain_weight * cross_entropy(self.domain(parts.specific[present]), modality[present]),
        }

    def _parts(self, bag: Bag, progress: Progress | None) -> Parts:
        """r, s and f of each modality."""
        vectors = self.encoders(bag)
        if progress is not None and progress.epoch >= self.config.whole_epochs * progress.epochs:
            vectors = replace(vectors, present=self._left(vectors.present))
        shared = self.shared(vectors.values)
        specific = torch.stack([encoder(vectors.values[:, m]) for m, encoder in enumerate(self.specific)], dim=1)
        composed = shared + self.compose(torch.cat([shared, specific], dim=2))
        return Parts(vectors, shared, specific, torch.where(vectors.present[:, :, None], composed, self._lent(shared, vectors.present)))

    def _left(self, present: Bool[Tensor, "batch modalities"]) -> Bool[Tensor, "batch modalities"]:
        """What is left to each patient: some of those who have all modalities lose one of them."""
        loses = (torch.rand(len(present), device=present.device) < self.config.lost) & present.all(dim=1)
        which = torch.randint(present.shape[1], (len(present), 1), device=present.device)
        lost = torch.zeros_like(present).scatter(1, which, loses[:, None])
        return present & ~lost

    def _lent(
        self, shared: Float[Tensor, "batch modalities d_model"], present: Bool[Tensor, "batch modalities"]
    ) -> Float[Tensor, "batch 1 d_model"]:
        """The mean of the shared vectors that a patient has: the one where there are two modalities, zero for who has none."""
        total = (shared * present[:, :, None]).sum(dim=1, keepdim=True)
        return total / present.sum(dim=1).clamp(min=1)[:, None, None]

    def _predict(self, parts: Parts) -> Prediction:
        prediction = self.head(self.join(parts.fused.flatten(1)))
        evidence = {
            "attention": parts.vectors.attention,
            "shared": parts.shared.detach(),
            "specific": parts.specific.detach(),
            "present": parts.vectors.present,
        }
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def similarities(self, prediction: Prediction) -> dict[tuple[str, str], Float[Tensor, " batch"]]:
        """Of the shared and of the specific vectors of the two modalities."""
        complete = prediction.evidence["present"].all(dim=1)
        found = {}
        for kind, name in (("shared", "shared read in"), ("specific", "specific")):
            left, right = prediction.evidence[kind].unbind(dim=1)
            cosine = cosine_similarity(left, right, dim=1)
            found[f"{name} {VECTORS_OF[0]}", f"{name} {VECTORS_OF[1]}"] = torch.where(complete, cosine, torch.nan)
        return found
