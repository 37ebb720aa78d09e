"""Blocks of MCTI: attention maps by class, learnt groups of genes, attention that transport guides, streams that exchange."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm, normalize

from prognos.nn.attention import FeedForward, GatedAttention, attention_pool
from prognos.nn.multihead import fused_attention, head_width
from prognos.nn.patches import PatchEncoder
from prognos.nn.prototypes import k_means
from prognos.nn.token_pool import TokenMixer
from prognos.nn.transport import curriculum_plan

SHARPNESS = 20.0
"""How much a gene's share follows its affinity: a tenth more affinity is seven times the share."""


class Mapped(NamedTuple):
    """What the maps of one patient say: z of each class, its logit, and the attention of each patch."""

    pooled: Float[Tensor, "classes d_model"]
    logits: Float[Tensor, " classes"]
    attention: Float[Tensor, "patches classes"]


class CategoryMaps(nn.Module):
    """One attention map a class over a patient's patches; the class's logit is linear in what its map gathers.

    Args:
        d_patch: width of the patch features.
        d_model: D.
        classes: how many maps.
        dropout: share of token entries, and of entries of the gate, dropped in training.
    """

    def __init__(self, d_patch: int, d_model: int, classes: int, *, dropout: float):
        super().__init__()
        self.encode = PatchEncoder(d_patch, d_model, activation=nn.ReLU(), dropout=dropout)
        self.score = GatedAttention(d_model, d_model, dropout, maps=classes)
        self.weight = nn.Parameter(torch.randn(classes, d_model) / math.sqrt(d_model))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, rows: Float[Tensor, "patches d_patch"]) -> Mapped:
        """The maps of one patient; memory does not grow with the number of patches."""
        pooled, attention = attention_pool(rows, self.encode, self.score)
        return Mapped(pooled, (pooled * self.weight).sum(dim=-1) + self.bias, attention.detach())

    def tokens(self, rows: Float[Tensor, "*batch patches d_patch"]) -> Float[Tensor, "*batch patches d_model"]:
        """Tokens of some patches."""
        return self.encode(rows)


def top_patches(attention: Float[Tensor, " patches"], count: int) -> Int[Tensor, " top"]:
    """Places of the `count` patches with the most attention, in the order of the slide; all of fewer."""
    return attention.topk(min(count, len(attention))).indices.sort().values


class AdaptiveGroups(nn.Module):
    """Genes -> one token a group, where each gene's shares in the groups are learnt.

    A_{ng} = softmax over g of 20 times the affinity of gene n to group g; token_g = LayerNorm(GELU(sum_n A_{ng} x_n W_n + b_g)), and the
    groups' tokens attend to each other. The affinities begin as cosines of each gene with what the groups of genes that vary together
    over the training patients have in common (`learn`), and are trained with everything else.

    Args:
        n_genes: features of the flat omics vector.
        n_groups: G.
        d_model: D.
        heads: of the attention.
        dropout: share of entries dropped in training.
    """

    def __init__(self, n_genes: int, n_groups: int, d_model: int, *, heads: int, dropout: float):
        super().__init__()
        self.affinity = nn.Parameter(torch.randn(n_genes, n_groups) / math.sqrt(n_genes))
        self.weight = nn.Parameter(torch.randn(n_genes, d_model) * math.sqrt(n_groups / n_genes))
        self.bias = nn.Parameter(torch.zeros(n_groups, d_model))
        self.close = nn.Sequential(nn.GELU(), nn.LayerNorm(d_model), nn.Dropout(dropout))
        self.mix = TokenMixer(d_model, heads=heads, dropout=dropout)

    @torch.no_grad()
    def learn(self, genes: Float[Tensor, "patients genes"]) -> None:
        """Affinities from the training patients: the cosine of each gene's values over patients with each group's centre.

        Groups are found by k-means over the genes' standardised values. A gene that is the same in everyone begins with even shares.
        With fewer different genes than groups, the groups left over have no gene of their own.
        """
        self.affinity.copy_(affinities(genes.double().cpu(), self.affinity.shape[1]))

    def shares(self) -> Float[Tensor, "genes groups"]:
        """A; rows sum to 1."""
        return (SHARPNESS * self.affinity).softmax(dim=1)

    def forward(self, genes: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch groups d_model"]:
        """The tokens of the groups."""
        weighted = genes[:, None, :] * self.shares().T
        return self.mix(self.close(weighted @ self.weight + self.bias))


def affinities(genes: Float[Tensor, "patients genes"], n_groups: int) -> Float[Tensor, "genes groups"]:
    """Cosine of each gene, standardised over patients, with the centre of each group of genes that vary together; 0 where it has none."""
    centred = genes - genes.mean(dim=0)
    length = centred.norm(dim=0)
    varying = length > 1e-8 * math.sqrt(len(genes))
    profiles = (centred[:, varying] / length[varying]).T
    found = torch.zeros(genes.shape[1], n_groups, dtype=genes.dtype)
    if bool(varying.any()):
        centres = normalize(k_means(profiles, n_groups), dim=1).to(genes.dtype)
        found[varying, : len(centres)] = profiles @ centres.T
        found[varying, len(centres) :] = -1.0
    return found


class TransportGuidedAttention(nn.Module):
    """What a source has for the tokens of an objective: attention(Q, K) (T V).

    Q, K and V are projections of the source; T carries V onto the objective's tokens: n times the entropic plan between them, whose
    rows and columns sum to 1 (no gradient passes it). The cost is the squared distance of standardised tokens over its largest.

    Args:
        d_model: D.
        heads: of the attention.
        dropout: share of attended entries dropped in training.
        epsilon: entropic regularisation.
        guidance: `transport`, or `none` for T = 1.
        attention: among `token`s, or among the `channel`s of a head (normalised over tokens, with a learnt scale).
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: int,
        dropout: float,
        epsilon: float = 0.1,
        guidance: Literal["transport", "none"] = "transport",
        attention: Literal["token", "channel"] = "token",
    ):
        super().__init__()
        self.width = head_width(d_model, heads)
        self.epsilon = epsilon
        self.guidance = guidance
        self.kind = attention
        self.norm = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        if attention == "channel":
            self.scale = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(
        self, source: Float[Tensor, "batch tokens d_model"], objective: Float[Tensor, "batch tokens d_model"]
    ) -> Float[Tensor, "batch tokens d_model"]:
        """What is added to the stream that is updated."""
        return together([self], [source], [objective])[0]

    def projected(self, source: Float[Tensor, "batch tokens d_model"]) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V."""
        query, key, value = self.query_key_value(self.norm(source)).chunk(3, dim=-1)
        return query, key, value

    def attended(self, query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "batch tokens d_model"]:
        """attention(Q, K) of values that were carried over already."""
        heads = [part.unflatten(-1, (-1, self.width)).transpose(-3, -2) for part in (query, key, value)]
        found = fused_attention(*heads) if self.kind == "token" else self._over_channels(*heads)
        return self.dropout(self.output(found.transpose(-3, -2).flatten(-2)))

    def _over_channels(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """softmax(scale K^T Q) of each head, on the channels of V."""
        query, key = normalize(query, dim=-2), normalize(key, dim=-2)
        return value @ (self.scale * (key.transpose(-1, -2) @ query)).softmax(dim=-2)


def together(
    attentions: Sequence[TransportGuidedAttention], sources: Sequence[Tensor], objectives: Sequence[Tensor]
) -> list[Float[Tensor, "batch tokens d_model"]]:
    """What several attentions of one kind give, each from its source for its objective; their plans are found in one call."""
    projected = [attention.projected(source) for attention, source in zip(attentions, sources, strict=True)]
    values = [value for _, _, value in projected]
    if attentions[0].guidance == "transport":
        plans = guidance(torch.cat(list(objectives)), torch.cat(values), attentions[0].epsilon).chunk(len(values))
        values = [plan.to(value.dtype) @ value for plan, value in zip(plans, values, strict=True)]
    return [attention.attended(query, key, value) for attention, (query, key, _), value in zip(attentions, projected, values, strict=True)]


@torch.no_grad()
def guidance(
    objective: Float[Tensor, "batch tokens d_model"], value: Float[Tensor, "batch sources d_model"], epsilon: float
) -> Float[Tensor, "batch tokens sources"]:
    """T: the balanced entropic plan between the objective's tokens and the values, its rows scaled to sum to 1."""
    with torch.autocast(value.device.type, enabled=False):
        left, right = (layer_norm(part.float(), part.shape[-1:]) for part in (objective, value))
        cost = (left.square().sum(-1)[:, :, None] + right.square().sum(-1)[:, None] - 2 * left @ right.transpose(1, 2)).clamp(min=0)
        largest = cost.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)
        plan = curriculum_plan(cost / largest, 1.0, kl_weight=math.inf, epsilon=epsilon).plan
        return plan * plan.shape[1]


class Streams(NamedTuple):
    """Tokens of the three streams: subtype, shared, survival."""

    subtype: Float[Tensor, "batch tokens d_model"]
    shared: Float[Tensor, "batch tokens d_model"]
    survival: Float[Tensor, "batch tokens d_model"]


class ExchangeBlock(nn.Module):
    """Both task streams are updated by transport-guided attention with the shared stream, which then gathers both.

    Args:
        d_model: D.
        from_shared: True where the shared stream is the source and a task stream the objective; the other way round otherwise.
        skip: whether the shared stream of an encoder block comes in too.
        gather: whether anybody reads the shared stream afterwards; it stays as it was otherwise.
        heads, dropout, epsilon, guidance, attention: see `TransportGuidedAttention`.
    """

    def __init__(self, d_model: int, *, from_shared: bool, skip: bool, gather: bool, dropout: float, **attention: Any):
        super().__init__()
        self.from_shared = from_shared
        self.skip = nn.Linear(2 * d_model, d_model) if skip else None
        self.tasks = nn.ModuleList(TransportGuidedAttention(d_model, dropout=dropout, **attention) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))
        self.forwards = nn.ModuleList(FeedForward(d_model, 2 * d_model, dropout) for _ in range(2))
        self.gather = nn.Linear(2 * d_model, d_model) if gather else None

    def forward(self, streams: Streams, beside: Float[Tensor, "batch tokens d_model"] | None = None) -> Streams:
        """The three streams, updated; `beside` is the shared stream of the encoder block across."""
        shared = streams.shared
        if self.skip is not None:
            assert beside is not None, "a block with a skip connection has a block across"
            shared = self.skip(torch.cat([shared, beside], dim=-1))
        tasks, both = [streams.subtype, streams.survival], [shared, shared]
        attentions = [cast(TransportGuidedAttention, task) for task in self.tasks]
        added = together(attentions, both, tasks) if self.from_shared else together(attentions, tasks, both)
        updated = []
        for stream, more, norm, forward in zip(tasks, added, self.norms, self.forwards, strict=True):
            stream = stream + more
            updated.append(stream + forward(norm(stream)))
        gathered = streams.shared if self.gather is None else self.gather(torch.cat(updated, dim=-1))
        return Streams(updated[0], gathered, updated[1])
