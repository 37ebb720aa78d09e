"""MCAT: groups of genes look at the patches, and both sides are pooled and joined.

R. J. Chen, M. Y. Lu, W.-H. Weng, T. Y. Chen, D. F. K. Williamson, T. Manz, M. Shady, F. Mahmood, "Multimodal co-attention transformer
for survival prediction in gigapixel whole slide images", ICCV 2021.

Each of six functional groups of genes is one token (a self-normalising network a group). The tokens are queries of one attention head
over all patches, so that a slide of any size becomes six tokens; each side then has transformer layers, gated attention pooling and a
dense layer, and two dense layers join them.

Symbols: G group tokens, H patch tokens; co-attention softmax(G W_q (H W_k)^T / sqrt(d)) H W_v.

Departures: norms stand before attention and network, with one behind the layers; a patient who lacks a modality has a zero vector for
it, or what the stated policy fills in; Cox's loss by default.
"""

from functools import partial

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap
from prognos.nn.multihead import MultiHeadAttention
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.nn.pathways import GroupEncoder
from prognos.nn.token_pool import TokenPool
from prognos.types import Bag, InputShape, Prediction, Progress


class MCATConfig(HeadConfig):
    """Hyperparameters of MCAT."""

    d_model: int = Field(256, ge=8, description="width of a token")
    heads: int = Field(8, ge=1, description="heads of the attention among group tokens; the co-attention has one")
    layers: int = Field(2, ge=1, description="transformer layers on each side")
    d_hidden: int = Field(512, ge=1, description="width of the networks inside the layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")


class MCAT(Model):
    """Patches and groups of genes -> co-attention -> two vectors -> risk.

    Evidence: `attention`, one (groups, patches) tensor a patient, rows sum to 1; `group_weights` (batch, groups), how much each group
    counts in the pooled omics.
    """

    Config = MCATConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="functional", complete=True)

    def __init__(self, config: MCATConfig, shape: InputShape):
        super().__init__(config, shape)
        d, drop = config.d_model, config.dropout
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.ReLU(), dropout=drop)
        self.groups = GroupEncoder(shape.pathway_features, d, dropout=drop)
        self.co_attention = MultiHeadAttention(d, heads=1)
        pool = partial(TokenPool, d, heads=config.heads, d_hidden=config.d_hidden, layers=config.layers, dropout=drop)
        self.histology = pool()
        self.omics = pool()
        self.join = nn.Sequential(nn.Linear(2 * d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU())
        self.head = config.head(d)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and groups of genes."""
        histology, omics = bag["histology"], bag["omics"]
        groups = self.groups(omics.values)
        patches = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        seen = torch.stack([self.co_attention(tokens, rows) for tokens, rows in zip(groups, patches, strict=True)])
        both = histology.present & omics.present  # without queries there is nothing to ask, without patches nobody to answer
        from_patches, _ = self.histology(seen)
        from_genes, weights = self.omics(groups)
        joined = self.join(torch.cat([from_patches * both[:, None], from_genes * omics.present[:, None]], dim=1))
        prediction = self.head(joined)
        attention = [self.co_attention.attention(tokens, rows) for tokens, rows in zip(groups, patches, strict=True)]
        return Prediction(prediction.risk, prediction.hazard_logits, {"attention": attention, "group_weights": weights.detach()})

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Where each group of genes looks."""
        rows = prediction.evidence["attention"][patient]
        meaning = "weight of the patch in what group {} of genes sees; sums to 1 over the patient"
        return tuple(PatchMap(f"group {g}", meaning.format(g), row) for g, row in enumerate(rows, start=1))

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """How much each group of genes counts in the pooled omics."""
        return prediction.evidence["group_weights"]
