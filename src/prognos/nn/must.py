"""Blocks of MUST: one stream a modality, cross-attention pooled to a vector, the low-rank projector."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from prognos.nn.attention import masked_mean
from prognos.nn.multihead import ClassPool, MultiHeadAttention, with_class
from prognos.nn.nystrom import NystromLayer
from prognos.nn.patches import PatchEncoder, alike
from prognos.nn.pathways import GroupEncoder
from prognos.nn.transmil import TransMILEncoder
from prognos.types import Bag


class Encoded(NamedTuple):
    """One modality of a patient: g, u and the tokens that were updated on the way."""

    whole: Float[Tensor, "*batch d_model"]
    specific: Float[Tensor, "*batch d_model"]
    tokens: Float[Tensor, "*batch tokens d_model"]


class Components(NamedTuple):
    """What a batch of patients is taken apart into, by modality; rows of patients who lack it are 0.

    `present` says who has a modality; `whole` is g, `specific` u^; `read` is c^_{n<-m} by (n, m), for patients who have both.
    """

    present: dict[str, Bool[Tensor, " batch"]]
    whole: dict[str, Float[Tensor, "batch d_model"]]
    specific: dict[str, Float[Tensor, "batch d_model"]]
    read: dict[tuple[str, str], Float[Tensor, "batch d_model"]]

    @property
    def complete(self) -> Bool[Tensor, " batch"]:
        """True for patients who have every modality."""
        return torch.stack(list(self.present.values())).all(dim=0)

    def read_in(self, source: str) -> Float[Tensor, "batch d_model"]:
        """What the other modalities read in one, their mean: c^_{G<-P} for P where there are two."""
        return torch.stack([c for (_, m), c in self.read.items() if m == source]).mean(dim=0)

    def read_by(self, reader: str) -> Float[Tensor, "batch d_model"]:
        """What one modality reads in the others, their mean: c^_{P<-G} for P where there are two."""
        return torch.stack([c for (n, _), c in self.read.items() if n == reader]).mean(dim=0)

    def recovered(self, modality: str) -> Float[Tensor, "batch d_model"]:
        """c~ = g - u^ (Eq. 20), from one modality."""
        return self.whole[modality] - self.specific[modality]

    def recovered_mean(self) -> Float[Tensor, "batch d_model"]:
        """c~, the mean over the modalities that a patient has."""
        has = torch.stack(list(self.present.values()))[:, :, None]
        each = torch.stack([self.recovered(m) for m in self.present])
        return (each * has).sum(dim=0) / has.sum(dim=0).clamp(min=1)

    def evidence(self) -> dict[str, Any]:
        """What a prediction shows of them, without gradients; `recovered` is c~, a pair is named "n<-m"."""
        return {
            "present": self.present,
            "whole": {m: g.detach() for m, g in self.whole.items()},
            "specific": {m: u.detach() for m, u in self.specific.items()},
            "recovered": {m: self.recovered(m).detach() for m in self.whole},
            "read": {f"{n}<-{m}": c.detach() for (n, m), c in self.read.items()},
        }

    @classmethod
    def of_evidence(cls, evidence: Mapping[str, Any]) -> "Components":
        """The inverse of `evidence`."""
        read = {(n, m): evidence["read"][f"{n}<-{m}"] for n, m in permutations(evidence["whole"], 2)}
        return cls(evidence["present"], evidence["whole"], evidence["specific"], read)

    def cosines(self) -> dict[tuple[str, str], Float[Tensor, " batch"]]:
        """Of specific, of shared and of global vectors, and of each g with each u^ + c^ (Eq. 10); NaN for who lacks a modality."""
        whole = {f"global {m}": g for m, g in self.whole.items()}
        specific = {f"specific {m}": u for m, u in self.specific.items()}
        shared = {f"shared read in {m}": self.read_in(m) for m in self.whole}
        composed = {f"specific + shared {m}": self.specific[m] + self.read_in(m) for m in self.whole}
        pairs = [pair for of_kind in (specific, shared, whole) for pair in combinations(of_kind, 2)]
        vectors = whole | specific | shared | composed
        found = {pair: (vectors[pair[0]], vectors[pair[1]]) for pair in (*pairs, *product(whole, composed))}
        return {pair: torch.where(self.complete, cosine_similarity(*both, dim=-1), torch.nan) for pair, both in found.items()}

    def over_complete(self, values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The mean over complete patients; 0 without one."""
        return masked_mean(values, self.complete)


def total(terms: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The sum of some terms of a loss."""
    return torch.stack(list(terms)).sum()


def encoded_alike(bag: Bag, modalities: Sequence[str]) -> list[list[int]]:
    """Places of patients who can be encoded together: they have the same of these modalities, as many patches, and few of them."""
    sizes = torch.stack([bag[m].mask.sum(dim=1) if m == "histology" else bag[m].present.long() for m in modalities], dim=1)
    return alike([tuple(size) for size in sizes.tolist()])


class PatchStream(nn.Module):
    """Patches of a patient -> g_P by a TransMIL encoder, u_P by one more layer over [CLS_u; P'].

    Args:
        d_patch: width of the patch features.
        d_model: D.
        heads: heads of every attention.
        landmarks: landmarks of the Nystrom approximation.
        dropout: share of token entries dropped in training.
        specific: u_P from the exact attention of the class token, or from the Nystrom layer that approximates it.
    """

    def __init__(
        self, d_patch: int, d_model: int, *, heads: int, landmarks: int, dropout: float, specific: Literal["exact", "nystrom"] = "exact"
    ):
        super().__init__()
        self.embed = PatchEncoder(d_patch, d_model, activation=nn.ReLU(), dropout=dropout)
        self.encoder = TransMILEncoder(d_model, heads=heads, landmarks=landmarks, dropout=dropout)
        self.specific = ClassPool(d_model, heads) if specific == "exact" else NystromPool(d_model, heads, landmarks, dropout)

    @property
    def class_token(self) -> Float[Tensor, " d_model"]:
        """[CLS_uP]."""
        return self.specific.class_token

    def whole(self, rows: Float[Tensor, "*batch patches d_patch"]) -> Float[Tensor, "*batch d_model"]:
        """g_P alone."""
        return self.encoder.first(self.embed(rows))

    def forward(self, rows: Float[Tensor, "*batch patches d_patch"]) -> Encoded:
        """g_P, u_P and P'."""
        whole, tokens = self.encoder(self.embed(rows))
        return Encoded(whole, self.specific(tokens), tokens)

    @torch.no_grad()
    def attention(self, rows: Float[Tensor, "patches d_patch"]) -> Float[Tensor, " patches"] | None:
        """How much [CLS_uP] looks at each patch, mean of the heads; None where it looks through landmarks only."""
        return self.specific.attention(self.encoder(self.embed(rows))[1]) if isinstance(self.specific, ClassPool) else None


class NystromPool(nn.Module):
    """The class token's output of one Nystrom layer over [CLS; tokens]."""

    def __init__(self, d_model: int, heads: int, landmarks: int, dropout: float):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.layer = NystromLayer(d_model, heads=heads, landmarks=landmarks, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, tokens: Float[Tensor, "*batch tokens d_model"]) -> Float[Tensor, "*batch d_model"]:
        """One vector."""
        return self.norm(self.layer.first(with_class(self.class_token, tokens)))


class GroupStream(nn.Module):
    """Groups of measurements -> one token each; g by self-attention with a class token, u by another class token.

    A further table is one group.

    Args:
        sizes: measurements in each group.
        d_model: D.
        heads: heads of every attention.
        dropout: share of token entries dropped in training.
    """

    def __init__(self, sizes: tuple[int, ...], d_model: int, *, heads: int, dropout: float):
        super().__init__()
        self.embed = GroupEncoder(sizes, d_model, dropout=dropout)
        self.global_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.norm = nn.LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, heads, dropout=dropout)
        self.last = nn.LayerNorm(d_model)
        self.specific = ClassPool(d_model, heads)

    @property
    def class_token(self) -> Float[Tensor, " d_model"]:
        """[CLS_uG]."""
        return self.specific.class_token

    def whole(self, groups: Float[Tensor, "*batch groups widest"]) -> Float[Tensor, "*batch d_model"]:
        """g_G alone."""
        return self._attended(groups)[..., 0, :]

    def forward(self, groups: Float[Tensor, "*batch groups widest"]) -> Encoded:
        """g_G, u_G and G'."""
        attended = self._attended(groups)
        tokens = attended[..., 1:, :]
        return Encoded(attended[..., 0, :], self.specific(tokens), tokens)

    @torch.no_grad()
    def looked_at(self, groups: Float[Tensor, "*batch groups widest"]) -> Float[Tensor, "*batch groups"]:
        """How much [CLS_uG] looks at each group, mean of the heads; sums to at most 1."""
        return self.specific.attention(self._attended(groups)[..., 1:, :])

    def _attended(self, groups: Float[Tensor, "*batch groups widest"]) -> Float[Tensor, "*batch tokens d_model"]:
        tokens = with_class(self.global_token, self.embed(groups))
        normed = self.norm(tokens)
        return self.last(tokens + self.attention(normed, normed))


class CrossPool(nn.Module):
    """c_{n<-m}: tokens of n attend to those of m (Eq. 7), and a class token attends to what they found.

    Args:
        d_model: D.
        heads: heads of both attentions.
    """

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.queries = nn.LayerNorm(d_model)
        self.sources = nn.LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, heads)
        self.pool = ClassPool(d_model, heads)

    def forward(
        self, reader: Float[Tensor, "*batch tokens d_model"], source: Float[Tensor, "*batch sources d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """What `reader` finds in `source`, as one vector."""
        return self.pool(self.attention(self.queries(reader), self.sources(source)))


class LowRankProjector(nn.Module):
    """P = B B^T (Eq. 8), onto the subspace that the modalities share.

    Args:
        d_model: D.
        rank: r.
        kind: orthogonal: B's columns are made orthonormal by a QR decomposition, so that P P = P; free: B as it is; soft: B as it is,
            with `penalty` to be added to the loss.
    """

    def __init__(self, d_model: int, rank: int, kind: Literal["orthogonal", "free", "soft"] = "orthogonal"):
        super().__init__()
        # contiguous, which Q is not: a checkpoint keeps no strides, and a fused optimiser needs those of its state to be the weight's
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(d_model, rank)).Q.contiguous())
        self.kind = kind

    def _basis(self) -> Float[Tensor, "d_model rank"]:
        return torch.linalg.qr(self.basis).Q if self.kind == "orthogonal" else self.basis

    def forward(self, vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """P v."""
        with torch.autocast(vectors.device.type, enabled=False):  # in half precision P P would no longer be P
            basis = self._basis().to(vectors.dtype)
            return (vectors @ basis) @ basis.T

    def penalty(self) -> Float[Tensor, ""]:
        """||B^T B - I||^2, summed over entries; 0 for an orthogonal B."""
        basis = self._basis()
        return (basis.T @ basis - torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)).square().sum()
