"""MMP: sixteen kinds of tissue and fifty pathways look at each other.

A. H. Song, R. J. Chen, G. Jaume, A. J. Vaidya, A. S. Baras, F. Mahmood, "Multimodal prototyping for cancer survival prediction", ICML 2024.

A slide is PANTHER's mixture, one token [pi, mu, Sigma] a prototype, and omics are one token a pathway (a self-normalising network
each). So few tokens can all look at all: a learnt code says which prototype or pathway each one is, one attention head mixes them, each
has a network of its own, and the means of both modalities, side by side, give the risk by one linear layer.

With `fusion = "transport"` the modalities meet in a transport plan in place of attention: each token becomes the mean of the other
modality's tokens under the plan's row, and then looks at those of its own modality only.

Symbols: H prototype tokens, G pathway tokens; Q, K, V their projections to half the width.

Departures: prototypes and mixture as in `prognos.models.panther`; one softmax over all tokens (the published code takes a second one over
the rows of the prototypes, which makes them nearly uniform: `softmax = "twice"`); the plan has no gradient, its marginals are as many
tokens as there are, and its rows are scaled to sum to 1; an absent modality is not looked at and its mean is zero, and the other one then
keeps its tokens in place of a plan, unless the stated policy fills in what lacks.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import Needs
from prognos.models.mixture_based import MixtureBased, MixtureConfig
from prognos.nn.attention import SelfAttention
from prognos.nn.pathways import GroupEncoder, LinearEach
from prognos.nn.transport_unbalanced import relative_distance, unbalanced_plan
from prognos.types import Bag, InputShape, Prediction, Progress


class MMPConfig(MixtureConfig):
    """Hyperparameters of MMP."""

    d_model: int = Field(256, ge=2, description="width of a token, without its code")
    d_code: int = Field(32, ge=2, description="width of the code that says which prototype or pathway a token is")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout")
    fusion: Literal["attention", "transport"] = Field("attention", description="how the modalities meet")
    softmax: Literal["once", "twice"] = Field(
        "once",
        description="of attention; twice over the prototypes' rows as in the published code",
        json_schema_extra={"legacy": "twice"},
    )
    epsilon: float = Field(0.1, gt=0, description="entropic regularisation of the plan")
    kl_weight: float = Field(0.5, gt=0, description="how firmly the marginals of the plan are held")


class MMP(MixtureBased):
    """Mixture and pathways -> tokens -> they meet -> a mean each -> risk.

    Evidence: `responsibilities`, one (patches, prototypes) tensor a patient, rows sum to 1; `attention` (batch, prototypes + pathways,
    prototypes + pathways), rows sum to 1, or to 0 where a modality is absent; `plan` (batch, prototypes, pathways), None with attention.
    """

    Config = MMPConfig
    config: MMPConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="hallmark", complete=True)

    def __init__(self, config: MMPConfig, shape: InputShape):
        super().__init__(config, shape)
        width = config.d_model + config.d_code
        n_tokens = config.n_prototypes + len(shape.pathway_features)
        self.kinds = nn.Linear(self.mixture.d_token, config.d_model)
        self.pathways = GroupEncoder(shape.pathway_features, config.d_model, dropout=config.dropout)
        self.codes = nn.Parameter(torch.randn(n_tokens, config.d_code))
        self.attention = SelfAttention(width, width // 2)
        self.networks = nn.Sequential(
            nn.LayerNorm(width // 2, elementwise_affine=False),  # weights of its own would be taken up by the layers behind it
            LinearEach(n_tokens, width // 2, width // 2),
            nn.GELU(),
            nn.Dropout(config.dropout),
            LinearEach(n_tokens, width // 2, width // 2),
        )
        self.norm = nn.LayerNorm(width // 2)
        self.head = config.head(2 * (width // 2))

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and pathways."""
        histology, omics, k = bag["histology"], bag["omics"], self.config.n_prototypes
        mixture, responsibilities = self.mixture([histology.rows(i) for i in range(len(bag))])
        tokens = torch.cat([self.kinds(mixture), self.pathways(omics.values)], dim=1)
        tokens = torch.cat([tokens, self.codes.expand(len(bag), -1, -1)], dim=2)
        of_slide = torch.arange(tokens.shape[1], device=tokens.device) < k
        real = torch.where(of_slide, histology.present[:, None], omics.present[:, None])
        allowed, plan = real[:, :, None] & real[:, None], None
        if self.config.fusion == "transport":
            allowed = allowed & (of_slide[:, None] == of_slide)
            tokens, plan = self._exchanged(tokens[:, :k], tokens[:, k:], histology.present & omics.present)
        if self.config.softmax == "twice":
            attended, attention = self.attention.softmax_twice(tokens, of_slide, allowed)
        else:
            attended, attention = self.attention(tokens, allowed)
        mixed = self.norm(self.networks(attended)) * real[:, :, None]
        prediction = self.head(torch.cat([mixed[:, :k].mean(dim=1), mixed[:, k:].mean(dim=1)], dim=1))
        evidence = {"responsibilities": responsibilities, "attention": attention.detach(), "plan": plan}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def _exchanged(
        self, kinds: Float[Tensor, "batch prototypes width"], pathways: Float[Tensor, "batch pathways width"], both: Bool[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch prototypes pathways"]]:
        """What the plan brings each token from the other modality, and the plan, which has no gradient; who lacks one keeps the tokens."""
        cost = torch.stack([relative_distance(h, g, power=2) for h, g in zip(kinds.detach(), pathways.detach(), strict=True)])
        plan = unbalanced_plan(cost, kl_weight=self.config.kl_weight, epsilon=self.config.epsilon)
        to_kinds = plan / plan.sum(dim=2, keepdim=True)
        to_pathways = (plan / plan.sum(dim=1, keepdim=True)).transpose(1, 2)
        exchanged = torch.cat([to_kinds @ pathways, to_pathways @ kinds], dim=1)
        return torch.where(both[:, None, None], exchanged, torch.cat([kinds, pathways], dim=1)), plan * both[:, None, None]

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"]:
        """How much the tokens that a patient has look at each pathway, their mean."""
        looked = prediction.evidence["attention"][:, :, self.config.n_prototypes :]
        n_real = (prediction.evidence["attention"].sum(dim=2) > 0).sum(dim=1)
        return looked.sum(dim=1) / n_real.clamp(min=1)[:, None]
