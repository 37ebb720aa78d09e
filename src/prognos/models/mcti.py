"""MCTI: multimodal cross-task interaction; subtype and survival are learnt together.

S. Jiang, Z. Gan, L. Cai, Y. Wang, Y. Zhang, "Multimodal Cross-Task Interaction for Survival Analysis in Whole Slide Pathological Images".

A reconstruction. From the abstract: subtype classification finds the tumour's regions, genes are grouped adaptively, transport guides
an attention that lets the two tasks exchange. From the two public figures: one attention map a class whose top patches are kept;
patch and gene tokens in three copies with task tokens of their own; four blocks that take the task streams through the shared one and
four back, with skip connections on the shared stream; two heads, trained jointly. Everything else is our decision:

- Patches are chosen by the map of the predicted class, in training too (`training_map`): a label is never needed. The maps have a
  cross-entropy of their own; in a cohort without classes there is one map, trained by the survival loss of what it gathers.
- A gene has a share in each group, which begins with the genes that vary together over the training fold and is trained from there, and
  the groups attend to each other; `grouping = "fixed"` takes given gene sets.
- The plan is entropic and balanced, between standardised tokens, and carries no gradient; the published code solves an exact plan on
  detached tensors, and scales its guidance by 1 / n. Each update is a residual on the stream that is updated, followed by a small network.
- `orientation = "released"` swaps source and objective, `attention = "channel"` attends among channels, both as the published code does.
- The convolution over two streams has a kernel of one token: a linear layer.
- Two blocks each way, as the published code has.
- Subtype terms are means over patients with a label. Who lacks a modality has no tokens of it.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from prognos.models.contract import Beside, Model, ModelConfig, Needs, PatchMap
from prognos.nn.mcti import AdaptiveGroups, CategoryMaps, ExchangeBlock, Mapped, Streams, top_patches
from prognos.nn.patches import alike, in_order, spread_patches
from prognos.nn.pathways import GroupEncoder
from prognos.nn.token_pool import TokenMixer
from prognos.risk import survival_head
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold


class MCTIConfig(ModelConfig):
    """Hyperparameters of MCTI; the defaults are the recommended preset."""

    modalities: tuple[Literal["histology", "omics"], ...] = Field(("histology", "omics"), min_length=1, description="what is read")
    d_model: int = Field(256, ge=8, description="D")
    heads: int = Field(8, ge=1, description="heads of every attention", json_schema_extra={"share": "d_model"})
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")
    n_top: int = Field(256, ge=1, description="K: patches kept of a patient")
    patches: Literal["map", "spread"] = Field("map", description="which: by the map of the predicted class, or evenly spread")
    training_map: Literal["predicted", "label"] = Field("predicted", description="whose map chooses in training, where a label is known")
    grouping: Literal["adaptive", "fixed"] = Field("adaptive", description="groups of genes: learnt, or the given gene sets")
    n_groups: int = Field(8, ge=1, description="learnt groups")
    n_task_tokens: int = Field(8, ge=1, description="learnt tokens of each stream")
    blocks: int = Field(2, ge=1, description="blocks that encode, and as many that decode; the figure draws 4")
    epsilon: float = Field(0.1, gt=0, description="entropic regularisation of the guidance")
    guidance: Literal["transport", "none"] = Field("transport", description="what carries values to the other stream's tokens")
    orientation: Literal["figure", "released"] = Field("figure", description="which stream is source and which objective")
    attention: Literal["token", "channel"] = Field("token", description="what attends to what")
    survival: Literal["discrete", "cox"] = Field("discrete", description="survival model of the head")
    n_bins: int = Field(4, ge=2, description="time bins of the discrete head")
    survival_weight: float = Field(1.0, ge=0, description="weight of the survival loss; 0: subtypes alone, and risk 0 for everyone")
    subtype_weight: float = Field(1.0, ge=0, description="weight of the subtype's cross-entropy; 0: survival alone, as without classes")
    map_weight: float = Field(1.0, ge=0, description="weight of the maps' own loss")


class MCTI(Model):
    """Patches and genes -> three streams that exchange -> risk and subtype.

    Evidence, where patches are read: `attention`, one (patches, classes) tensor a patient; `chosen`, the places of its kept patches;
    `map_logits` (batch, classes).
    """

    Config = MCTIConfig
    config: MCTIConfig
    needs = Needs(modalities=("histology", "omics"), omics="genes", subtype=True)

    def __init__(self, config: MCTIConfig, shape: InputShape):
        super().__init__(config, shape)
        d, self.classes, self.n_classes = config.d_model, shape.subtypes, len(shape.subtypes)
        if "histology" in config.modalities:
            self.maps = CategoryMaps(shape.d_patch, d, max(1, self.n_classes), dropout=config.dropout)
        if "omics" in config.modalities:
            self.genes = self._genes(shape)
        self.task_tokens = nn.Parameter(torch.randn(len(Streams._fields), config.n_task_tokens, d) * 0.02)
        attention: dict[str, Any] = {"heads": config.heads, "dropout": config.dropout, "epsilon": config.epsilon}
        attention |= {"guidance": config.guidance, "attention": config.attention}
        released, n = config.orientation == "released", config.blocks
        self.encoder = nn.ModuleList(ExchangeBlock(d, from_shared=released, skip=False, gather=True, **attention) for _ in range(n))
        self.decoder = nn.ModuleList(ExchangeBlock(d, from_shared=not released, skip=True, gather=i + 1 < n, **attention) for i in range(n))
        self.norms = nn.ModuleDict({task: nn.LayerNorm(d) for task in ("subtype", "survival")})
        self.head = survival_head(config.survival, d, n_bins=config.n_bins)
        if self.n_classes:
            self.subtype_head = nn.Linear(d, self.n_classes)
        elif "histology" in config.modalities:
            self.map_head = survival_head(config.survival, d, n_bins=config.n_bins)

    @classmethod
    def needs_of(cls, config: MCTIConfig) -> Needs:
        """Genes as one vector or by given sets; subtypes unless their weight is 0."""
        fixed = config.grouping == "fixed"
        return Needs(
            modalities=config.modalities,
            omics="pathways" if fixed else "genes",
            gene_set="functional" if fixed else None,
            subtype=config.subtype_weight > 0,
        )

    def _genes(self, shape: InputShape) -> nn.Module:
        c = self.config
        if c.grouping == "adaptive":
            return AdaptiveGroups(shape.n_genes, c.n_groups, c.d_model, heads=c.heads, dropout=c.dropout)
        groups = GroupEncoder(shape.pathway_features, c.d_model, dropout=c.dropout)
        return nn.Sequential(groups, nn.LayerNorm(c.d_model), TokenMixer(c.d_model, heads=c.heads, dropout=c.dropout))

    def learn(self, train: TrainingFold) -> None:
        """Time bins, marginal hazards, and the groups of genes that training begins with."""
        super().learn(train)
        genes = getattr(self, "genes", None)
        if isinstance(genes, AdaptiveGroups):
            omics = train.tokens("omics")
            genes.learn(omics.values[omics.present].squeeze(1))
        if not self.n_classes and "histology" in self.config.modalities:
            self.map_head.learn_marginal(train.survival)

    def gene_groups(self) -> Float[Tensor, "genes groups"] | None:
        """Share of each gene in each learnt group; None with given gene sets."""
        genes = getattr(self, "genes", None)
        return genes.shares().detach() if isinstance(genes, AdaptiveGroups) else None

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The attention of each class, and the patches that were kept."""
        if "attention" not in prediction.evidence:
            return ()
        attention, kept = prediction.evidence["attention"][patient], prediction.evidence["chosen"][patient]
        meaning = "weight of the patch in the map{}; sums to 1 over the patient"
        names = [(f"attention {name}", meaning.format(f" of {name}")) for name in self.classes] or [("attention", meaning.format(""))]
        of_classes = [PatchMap(name, said, attention[:, i]) for i, (name, said) in enumerate(names)]
        was_kept = torch.zeros_like(attention[:, 0]).index_fill(0, kept, 1.0)
        return (*of_classes, PatchMap("kept", "1 for patches that the survival part reads, 0 for the others", was_kept))

    # Prediction

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """Risk and subtype; patches are chosen by the map of the predicted class."""
        return self._predict(bag, self._mapped(bag), None)

    def _predict(self, bag: Bag, mapped: list[Mapped], labels: Int[Tensor, " batch"] | None) -> Prediction:
        nothing = torch.zeros(0, dtype=torch.long, device=self.task_tokens.device)
        chosen = [self._chosen(one, None if labels is None else int(labels[i])) for i, one in enumerate(mapped)] or [nothing] * len(bag)
        groups, subtype_means, survival_means = [], [], []
        for places, streams in self._streams(bag, chosen):
            decoded = self._exchanged(streams)
            groups.append(places)
            subtype_means.append(decoded.subtype.mean(dim=1))
            survival_means.append(decoded.survival.mean(dim=1))
        features = self.norms["survival"](in_order(survival_means, groups))
        prediction = self.head(features if self.config.survival_weight > 0 else features * 0.0)
        evidence: dict[str, Any] = {}
        if mapped:
            evidence = {"attention": [one.attention for one in mapped], "chosen": chosen}
            evidence["map_logits"] = torch.stack([one.logits for one in mapped]).detach()
        subtype = self.subtype_head(self.norms["subtype"](in_order(subtype_means, groups))) if self.n_classes else None
        return Prediction(prediction.risk, prediction.hazard_logits, evidence, subtype)

    def _mapped(self, bag: Bag) -> list[Mapped]:
        """The maps of each patient; none where patches are not read."""
        return [self.maps(bag["histology"].rows(i)) for i in range(len(bag))] if "histology" in self.config.modalities else []

    def _chosen(self, mapped: Mapped, label: int | None) -> Int[Tensor, " top"]:
        """Places of the patches that are kept of one patient."""
        count = self.config.n_top
        if self.config.patches == "spread":
            return spread_patches(len(mapped.attention), count).to(mapped.attention.device)
        known = label is not None and label >= 0 and self.config.training_map == "label"
        return top_patches(mapped.attention[:, label if known else int(mapped.logits.argmax())], count)

    def _streams(self, bag: Bag, chosen: list[Int[Tensor, " _"]]) -> Iterator[tuple[list[int], Streams]]:
        """Patients with as many tokens together: their task tokens, kept patches and groups of genes, in three copies."""
        omics = bag["omics"].present.tolist() if "omics" in self.config.modalities else [False] * len(bag)
        for places in alike([(len(places), int(genes)) for places, genes in zip(chosen, omics, strict=True)]):
            parts = []
            if len(chosen[places[0]]):
                rows = torch.stack([bag["histology"].rows(i)[chosen[i]] for i in places])
                parts.append(self.maps.tokens(rows))
            if omics[places[0]]:
                values = bag["omics"].values[places]
                parts.append(self.genes(values.squeeze(1) if self.config.grouping == "adaptive" else values))
            own = self.task_tokens.unsqueeze(1).expand(-1, len(places), -1, -1)
            yield places, Streams(*(torch.cat([tokens, *parts], dim=1) for tokens in own))

    def _exchanged(self, streams: Streams) -> Streams:
        """Through the encoding blocks and back, the shared stream of each beside that of the block across."""
        across = []
        for block in self.encoder:
            streams = block(streams)
            across.append(streams.shared)
        for block in self.decoder:
            streams = block(streams, across.pop())
        return streams

    # Training

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Survival, subtype and what trains the maps."""
        config, mapped = self.config, self._mapped(bag)
        labels = survival.subtype if self.n_classes else None
        prediction = self._predict(bag, mapped, labels)
        terms = {"survival": config.survival_weight * self.head.loss(prediction, survival, beside)}
        if labels is not None and prediction.subtype_logits is not None:
            terms["subtype"] = config.subtype_weight * labelled_loss(prediction.subtype_logits, labels)
        if mapped:
            terms["map"] = config.map_weight * self._map_loss(mapped, bag["histology"].present, survival)
        return terms

    def _map_loss(self, mapped: list[Mapped], has: Bool[Tensor, " batch"], survival: Survival) -> Float[Tensor, ""]:
        """Cross-entropy of the maps' own logits; without classes, the survival loss of what the one map gathers."""
        if self.n_classes and survival.subtype is not None:
            return labelled_loss(torch.stack([one.logits for one in mapped]), survival.subtype.masked_fill(~has, -1))
        gathered = torch.stack([one.pooled[0] for one in mapped])[has]
        return self.map_head.loss(self.map_head(gathered), survival[has]) if len(gathered) else gathered.sum()


def labelled_loss(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over the patients with a label (not -1); 0 with a gradient of 0 where nobody has one."""
    known = labels >= 0
    if not bool(known.any()):
        return logits.sum() * 0.0
    return cross_entropy(logits[known].float(), labels[known])
