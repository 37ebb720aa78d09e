"""HIPT: patches make regions, and regions the slide, each by a transformer.

R. J. Chen, C. Chen, Y. Li, T. Y. Chen, A. D. Trister, R. G. Krishnan, F. Mahmood, "Scaling vision transformers to gigapixel images via
hierarchical self-supervised learning", CVPR 2022; with its survival head.

A region is a square of 16 x 16 patches. A local transformer with a class token and learnt places reads the patches of each region, and
its class token stands for the region; a global one without places reads the regions, and gated attention pools them.

Departures: the local transformer is trained with the rest, on features of any encoder (the published one is pre-trained by
self-distillation on features of its own); regions are found from the coordinates, and places without a patch take no part, so that
background and patches that were not drawn leave holes; each slide of a patient has regions of its own; Cox's loss by default.
"""

from functools import partial

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from prognos.cohort.defects import naming
from prognos.models.contract import HeadConfig, Model, Needs, PatchMap
from prognos.nn.grid import square_regions
from prognos.nn.multihead import with_class
from prognos.nn.patches import CHUNK, PatchEncoder, alike, by_patient, in_order
from prognos.nn.token_pool import TokenPool, TransformerLayer
from prognos.types import Bag, InputShape, Prediction, Progress

ROUNDED = 16
"""Regions whose numbers of patches are equal when rounded up to a multiple of this are computed together."""


class HIPTConfig(HeadConfig):
    """Hyperparameters of HIPT."""

    d_model: int = Field(192, ge=6, description="width of a token")
    side: int = Field(16, ge=1, description="patches along a region's edge")
    local_layers: int = Field(6, ge=1, description="layers of the transformer over the patches of a region")
    local_heads: int = Field(6, ge=1, description="its heads", json_schema_extra={"share": "d_model"})
    local_hidden: int = Field(768, ge=1, description="width of its networks")
    global_layers: int = Field(2, ge=1, description="layers of the transformer over regions")
    global_heads: int = Field(3, ge=1, description="its heads", json_schema_extra={"share": "d_model"})
    global_hidden: int = Field(192, ge=1, description="width of its networks")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout over regions; the local transformer has none")


class RegionEncoder(nn.Module):
    """The patch tokens of a region -> its class token, by a transformer; of many regions at once.

    Args:
        d_model: width of a token.
        places: how many a region has.
        layers: of the transformer.
        heads: of its attention.
        d_hidden: width of its networks.
    """

    def __init__(self, d_model: int, *, places: int, layers: int, heads: int, d_hidden: int):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(d_model) * 0.02)
        self.position = nn.Parameter(torch.randn(places, d_model) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(d_model, heads=heads, d_hidden=d_hidden, dropout=0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self, tokens: Float[Tensor, "patches d_model"], places: Int[Tensor, " patches"], sizes: list[int]
    ) -> Float[Tensor, "regions d_model"]:
        """One vector a region; patches stand region by region, `sizes` says how many each has."""
        if not sizes:
            return tokens
        regions = (tokens + self.position[places]).split(sizes)
        groups = alike([(-(-size // ROUNDED) * ROUNDED,) for size in sizes])
        again = torch.is_grad_enabled() and len(tokens) > CHUNK
        read = partial(checkpoint, self._read, use_reentrant=False) if again else self._read
        return in_order([read([regions[r] for r in group]) for group in groups], groups)

    def _read(self, regions: list[Float[Tensor, "_ d_model"]]) -> Float[Tensor, "regions d_model"]:
        """The class tokens of a few regions; of a large batch, computed again in the backward pass."""
        tokens = with_class(self.class_token, pad_sequence(regions, batch_first=True))
        n_tokens = torch.tensor([[1 + len(region)] for region in regions], device=tokens.device)
        real = torch.arange(tokens.shape[1], device=tokens.device) < n_tokens
        allowed = real[:, None].expand(-1, tokens.shape[1], -1)
        for layer in self.layers:
            tokens = layer(tokens, allowed)
        return self.norm(tokens[:, 0])


class HIPT(Model):
    """Patches -> regions -> slide -> risk.

    Evidence: `regions`, one (patches,) tensor a patient, which of its regions each patch lies in; `region_weights`, one (regions,) tensor a
    patient, how much each region counts, their sum is 1.
    """

    Config = HIPTConfig
    config: HIPTConfig
    needs = Needs(modalities=("histology",))
    ordered = True

    def __init__(self, config: HIPTConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.GELU(), dropout=0.0)
        self.region = RegionEncoder(
            d, places=config.side**2, layers=config.local_layers, heads=config.local_heads, d_hidden=config.local_hidden
        )
        self.widen = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Dropout(config.dropout))
        self.slide = TokenPool(
            d, heads=config.global_heads, d_hidden=config.global_hidden, layers=config.global_layers, dropout=config.dropout
        )
        self.head = config.head(d)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        histology = bag["histology"]
        tokens = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])
        lying = [square_regions(coords, self.config.side, histology.slides(i)) for i, coords in enumerate(_coordinates(bag))]
        orders = [region.argsort(stable=True) for region, _ in lying]
        sizes = [region.bincount().tolist() for region, _ in lying]
        regions = self.region(
            torch.cat([rows[order] for rows, order in zip(tokens, orders, strict=True)]),
            torch.cat([place[order] for (_, place), order in zip(lying, orders, strict=True)]),
            [size for of_patient in sizes for size in of_patient],
        )
        pooled = [self.slide(self.widen(of_patient)[None]) for of_patient in regions.split([len(n) for n in sizes])]
        prediction = self.head(torch.cat([vector for vector, _ in pooled]))
        evidence = {"regions": [region for region, _ in lying], "region_weights": [weights[0].detach() for _, weights in pooled]}
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """How much the region of each patch counts."""
        regions, weights = (prediction.evidence[key][patient] for key in ("regions", "region_weights"))
        return (PatchMap("attention", "weight of the patch's region in the patient, from 0 to 1", weights[regions]),)


def _coordinates(bag: Bag) -> list[Float[Tensor, "_ 2"]]:
    """Where the patches of each patient lie.

    Raises:
        ValueError: some have no coordinates.
    """
    tokens = bag["histology"]
    coords = torch.full((*tokens.mask.shape, 2), torch.nan) if tokens.coords is None else tokens.coords
    found = [of_patient[real].float() for of_patient, real in zip(coords, tokens.mask, strict=True)]
    without = [patient for patient, places in zip(bag.patients, found, strict=True) if not bool(places.isfinite().all())]
    if without:
        raise ValueError(
            f"the patches of {len(without)} patients ({naming(without)}) have no coordinates, and hipt makes regions of them: "
            "extract features with coordinates, or choose another model."
        )
    return found
