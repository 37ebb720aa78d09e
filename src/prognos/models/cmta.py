"""CMTA: each modality is also told in the words of the other, and both tellings shall agree.

F. Zhou, H. Chen, "Cross-modal translation and alignment for survival analysis", ICCV 2023.

A slide is encoded as in TransMIL, groups of genes by two attention layers with a class token. Patches then look at the groups and groups
at the patches; from what they find, a second encoder of each modality (its decoder) makes the same vector again. The mean of both vectors
stands for the modality, and their distance is a second loss, in which the first one is a constant.

Symbols: p, P' the slide's vector and tokens; g, G' those of genes; p^ = decoder_P(attention(P', G')), g^ = decoder_G(attention(G', P'));
loss + alpha (|p - p^| + |g - g^|).

Departures: seven tokens of genes have exact attention (the published code fills them up to 128 landmarks with zeros that take part;
`zeros_in_front` does that); a patient who lacks a modality has a zero vector for it, or what the stated policy fills in, and the other
modality's own vector alone; PyTorch's initial weights; Cox's loss by default.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import Beside, HeadConfig, Model, Needs, PatchMap
from prognos.models.gene_guided import group_maps, joining_layers
from prognos.nn.attention import masked_mean
from prognos.nn.multihead import MultiHeadAttention, with_class
from prognos.nn.nystrom import NystromLayer
from prognos.nn.patches import PatchEncoder, alike, by_patient, in_order, together
from prognos.nn.pathways import GroupEncoder
from prognos.nn.transmil import TransMILEncoder
from prognos.types import Bag, InputShape, Prediction, Progress, Survival


class CMTAConfig(HeadConfig):
    """Hyperparameters of CMTA."""

    d_model: int = Field(256, ge=8, description="width of a token")
    group_hidden: int = Field(1024, ge=1, description="width inside the networks of the groups of genes")
    heads: int = Field(
        8, ge=1, description="heads of the encoders; the attention between modalities has one", json_schema_extra={"share": "d_model"}
    )
    landmarks: int = Field(128, ge=1, description="landmarks of the encoders")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout of the first tokens")
    attention_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of what was attended")
    alignment: float = Field(1.0, ge=0, description="alpha: weight of the distance between the two vectors of a modality")
    zeros_in_front: bool = Field(
        False, description="zero tokens fill the landmarks up and take part, as in the published code", json_schema_extra={"legacy": True}
    )


class GeneTransformer(nn.Module):
    """Tokens of genes and a class token through two Nystrom layers and a norm.

    Args:
        d_model: width of a token.
        attention: heads, landmarks, dropout and zeros_in_front of `NystromLayer`.
    """

    def __init__(self, d_model: int, **attention: Any):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.layers = nn.Sequential(*(NystromLayer(d_model, **attention) for _ in range(2)), nn.LayerNorm(d_model))

    def forward(
        self, tokens: Float[Tensor, "batch groups d_model"]
    ) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, "batch groups d_model"]]:
        """The class token's vector, and the updated tokens."""
        updated = self.layers(with_class(self.class_token, tokens))
        return updated[:, 0], updated[:, 1:]


class Telling(NamedTuple):
    """One modality of a batch: its own vector, the one made of what it found in the other, and who has it."""

    own: Float[Tensor, "batch d_model"]
    translated: Float[Tensor, "batch d_model"]
    present: Bool[Tensor, " batch"]

    def fused(self, both: Bool[Tensor, " batch"]) -> Float[Tensor, "batch d_model"]:
        """The mean of the two; the own vector where there is nothing to find, 0 where there is no own one."""
        return torch.where(both[:, None], (self.own + self.translated) / 2, self.own * self.present[:, None])

    def distance(self, both: Bool[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Mean absolute difference over patients with both modalities, a gradient for the translated vector alone; 0 without any."""
        gaps = (self.own.detach() - self.translated).abs().mean(dim=1)
        return masked_mean(gaps, both)


class Met(NamedTuple):
    """Some patients' slides after both modalities have looked at each other.

    `own` is the slide's vector and `again` the one made of what patches found in the groups; `found` is what groups found in the patches;
    `seen` how much patches look at each group, their mean, 0 without a patch; `looks` how much groups look at each patch.
    """

    own: Float[Tensor, "batch d_model"]
    again: Float[Tensor, "batch d_model"]
    found: Float[Tensor, "batch groups d_model"]
    seen: Float[Tensor, "batch groups"]
    looks: Float[Tensor, "batch groups patches"]


class CMTA(Model):
    """Patches and groups of genes -> vectors of their own, and of what each finds in the other -> risk.

    Evidence: `attention`, one (groups, patches) tensor a patient, how much each group looks at each patch, rows sum to 1; `group_attention`
    (batch, groups), how much the patches look at each group, their mean.
    """

    Config = CMTAConfig
    config: CMTAConfig
    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="functional", complete=True)
    ordered = True

    def __init__(self, config: CMTAConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        attention: dict[str, Any] = {"heads": config.heads, "landmarks": config.landmarks, "dropout": config.attention_dropout}
        slide_encoder = partial(TransMILEncoder, d, **attention, zeros_in_front=config.zeros_in_front)
        gene_encoder = partial(GeneTransformer, d, **attention, zeros_in_front=config.zeros_in_front)
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.ReLU(), dropout=config.dropout)
        self.groups = GroupEncoder(shape.pathway_features, d, d_hidden=config.group_hidden, dropout=config.dropout)
        self.slide_encoder, self.slide_decoder = slide_encoder(), slide_encoder()
        self.gene_encoder, self.gene_decoder = gene_encoder(), gene_encoder()
        self.patches_look = MultiHeadAttention(d, heads=1)
        self.groups_look = MultiHeadAttention(d, heads=1)
        self.join = joining_layers(d)
        self.head = config.head(d)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and groups of genes."""
        return self._predict(bag)[0]

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, and the distance between the two vectors of each modality."""
        prediction, slide, genes, both = self._predict(bag)
        distance = slide.distance(both) + genes.distance(both)
        return {"survival": self.head.loss(prediction, survival, beside), "alignment": self.config.alignment * distance}

    def _predict(self, bag: Bag) -> tuple[Prediction, Telling, Telling, Bool[Tensor, " batch"]]:
        """The prediction, both modalities, and who has both."""
        histology, omics = bag["histology"], bag["omics"]
        both = histology.present & omics.present
        g, groups = self.gene_encoder(self.groups(omics.values))
        embedded = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        same_size = alike([(len(rows),) for rows in embedded])
        met = [self._meet(together([embedded[i] for i in places]), groups[places]) for places in same_size]
        own, slide_again, found, seen = (in_order([some[k] for some in met], same_size) for k in range(4))
        slide = Telling(own, slide_again, histology.present)
        genes = Telling(g, self.gene_decoder(found)[0], omics.present)
        prediction = self.head(self.join(torch.cat([slide.fused(both), genes.fused(both)], dim=1)))
        looks = {i: rows for some, places in zip(met, same_size, strict=True) for i, rows in zip(places, some.looks, strict=True)}
        evidence = {"attention": [looks[i] for i in range(len(bag))], "group_attention": seen}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), slide, genes, both

    def _meet(self, patches: Float[Tensor, "batch patches d_model"], groups: Float[Tensor, "batch groups d_model"]) -> Met:
        """Slides of some patients of one size, and what they and the groups find in each other."""
        own, tokens = self.slide_encoder(patches)
        again = self.slide_decoder.first(self.patches_look(tokens, groups))
        return Met(
            own,
            again,
            found=self.groups_look(groups, tokens),
            seen=self.patches_look.attention(tokens, groups).sum(dim=1) / max(1, tokens.shape[1]),
            looks=self.groups_look.attention(groups, tokens),
        )

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Where each group of genes looks."""
        return group_maps(prediction.evidence["attention"][patient])

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """How much the patches look at each group."""
        return prediction.evidence["group_attention"]
