"""What MCAT and its descendants share: groups of genes ask the patches, both sides are pooled, and two dense layers join them."""

from functools import partial

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap
from prognos.nn.multihead import MultiHeadAttention
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.nn.pathways import GroupEncoder
from prognos.nn.token_pool import TokenPool
from prognos.types import Bag, InputShape, Prediction, Progress


class GeneGuidedConfig(HeadConfig):
    """Hyperparameters of both sides."""

    d_model: int = Field(256, ge=8, description="width of a token")
    heads: int = Field(8, ge=1, description="heads of the attention among the tokens of a side", json_schema_extra={"share": "d_model"})
    layers: int = Field(2, ge=1, description="transformer layers on each side")
    d_hidden: int = Field(512, ge=1, description="width of the networks inside the layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")


class GeneGuided(Model):
    """Patches and groups of genes -> what each group found in the slide -> two vectors -> risk.

    A model says in `found` how the groups look at the patches.

    Evidence: `attention`, one (groups, patches) tensor a patient, what each group looked at; `group_weights` (batch, groups), how much each
    group counts in the pooled omics.
    """

    needs = Needs(modalities=("histology", "omics"), omics="pathways", gene_set="functional", complete=True)

    def __init__(self, config: GeneGuidedConfig, shape: InputShape):
        super().__init__(config, shape)
        d, drop = config.d_model, config.dropout
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.ReLU(), dropout=drop)
        self.groups = GroupEncoder(shape.pathway_features, d, dropout=drop)
        pool = partial(TokenPool, d, heads=config.heads, d_hidden=config.d_hidden, layers=config.layers, dropout=drop)
        self.histology = pool()
        self.omics = pool()
        self.join = joining_layers(d)
        self.head = config.head(d)

    def found(
        self, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]
    ) -> tuple[Float[Tensor, "batch groups d_model"], list[Float[Tensor, "groups _"]]]:
        """One token a group of what it found among each patient's patches, and how much it looked at each of them."""
        raise NotImplementedError

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and groups of genes."""
        histology, omics = bag["histology"], bag["omics"]
        patches = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        return self.predicted(self.groups(omics.values), patches, omics.present, histology.present)

    def predicted(
        self,
        groups: Float[Tensor, "batch groups d_model"],
        patches: list[Float[Tensor, "_ d_model"]],
        has_groups: Bool[Tensor, " batch"],
        has_patches: Bool[Tensor, " batch"],
    ) -> Prediction:
        """The prediction from the tokens of both modalities; a side that is absent is zero."""
        found, attention = self.found(groups, patches)
        both = has_groups & has_patches  # without queries there is nothing to ask, without patches nobody to answer
        from_patches, _ = self.histology(found)
        from_genes, weights = self.omics(groups)
        joined = self.join(torch.cat([from_patches * both[:, None], from_genes * has_groups[:, None]], dim=1))
        prediction = self.head(joined)
        return Prediction(prediction.risk, prediction.hazard_logits, {"attention": attention, "group_weights": weights.detach()})

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """Where each group of genes looks."""
        return group_maps(prediction.evidence["attention"][patient])

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"] | None:
        """How much each group of genes counts in the pooled omics."""
        return prediction.evidence["group_weights"]


def asked(
    attention: MultiHeadAttention, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]
) -> tuple[Float[Tensor, "batch groups d_model"], list[Float[Tensor, "groups _"]]]:
    """What each group sees among each patient's patches by attention, and how much it looks at each of them."""
    seen = torch.stack([attention(tokens, rows) for tokens, rows in zip(groups, patches, strict=True)])
    return seen, [attention.attention(tokens, rows) for tokens, rows in zip(groups, patches, strict=True)]


def joining_layers(d_model: int) -> nn.Sequential:
    """Two dense layers on the vectors of both modalities side by side."""
    return nn.Sequential(nn.Linear(2 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model), nn.ReLU())


def group_maps(attention: Float[Tensor, "groups patches"]) -> tuple[PatchMap, ...]:
    """Where each group of genes looks."""
    meaning = "weight of the patch in what group {} of genes finds; the patient's add up to about 1"
    return tuple(PatchMap(f"group {g}", meaning.format(g), row) for g, row in enumerate(attention, start=1))
