"""PIBD: tokens that are like a class of patients go on; what both modalities have in common is told from what each has alone.

Y. Zhang, Y. Xu, J. Chen, F. Xie, H. Chen, "Prototypical information bottlenecking and disentangling for multimodal cancer survival
prediction", ICLR 2024.

A class is a time bin, with the event observed or not. Each modality has one Gaussian proxy a class. A patient's tokens vote for a proxy,
and those nearest to it go on. The product of the two chosen proxies is the common token. A transformer layer mixes histology, pathways
and common token; the means of the three give the risk, and what the first two share with the common one is pressed down.

Symbols: z tokens, P_k proxies; s_ik = cos(z_i, P_k), S_k its mean over the most similar tokens; class y.

Loss: the survival loss; -log softmax(S / T)_y; KL(P_k || N(0, I)); the squared cosine of different proxies; the mutual information of each
modality's mean and the common one, with the likelihood of its estimator.

Departures: the vote chooses the proxy in training as in prediction (the published code takes the one of the patient's own label in
training: `proxy_by = "label"`); proxies multiply by their variances (not by their standard deviations), with N(0, I) among them; all
patches vote and the nearest half of them, at most as many as half of a published sub-bag, go on, so that a bag may have any size and no
part of it is drawn; the estimator of mutual information learns from detached vectors and bounds them with detached weights (published
code lets both lower one loss, by which the estimator makes itself useless); proxies are compared by one draw in training, by their means
in prediction; Cox's loss by default.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from prognos.models.contract import Beside, HeadConfig, Model, Needs, PatchMap
from prognos.nn.gaussians import product_of_experts
from prognos.nn.patches import PatchEncoder, alike, by_patient, in_order
from prognos.nn.pathways import GroupEncoder
from prognos.nn.pibd import Chosen, MutualInformation, Proxies
from prognos.nn.token_pool import TransformerLayer
from prognos.risk.discrete import quantile_cuts
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold

MODALITIES = ("histology", "omics")


class PIBDConfig(HeadConfig):
    """Hyperparameters of PIBD."""

    d_model: int = Field(256, ge=4, description="width of a token")
    d_hidden: int = Field(512, ge=1, description="width of the hidden layers of the encoders")
    heads: int = Field(4, ge=1, description="heads of the transformer layer", json_schema_extra={"share": "d_model"})
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")
    n_bins: int = Field(4, ge=2, description="time bins: of the discrete head, and of the classes, which are twice as many")
    proxy_by: Literal["vote", "label"] = Field(
        "vote",
        description="what chooses a training patient's proxy; the label as in the published code",
        json_schema_extra={"legacy": "label"},
    )
    share_patches: float = Field(0.5, gt=0, le=1, description="share of the patches that go on")
    most_patches: int = Field(256, ge=1, description="patches that go on at most")
    share_pathways: float = Field(0.8, gt=0, le=1, description="share of the pathways that go on")
    temperature: float = Field(0.1, gt=0, description="T: what similarities are divided by")
    class_weight: float = Field(0.1, ge=0, description="weight of -log softmax(S / T)_y")
    compression_weight: float = Field(0.01, ge=0, description="weight of KL(P_k || N(0, I))")
    contrast_weight: float = Field(1.0, ge=0, description="weight of the squared cosine of different proxies")
    information_weight: float = Field(0.1, ge=0, description="weight of the mutual information")


class PIBD(Model):
    """Patches and pathways -> those that go on, and a common token -> three means -> risk.

    Evidence, by modality: `similarity`, one (tokens, proxies) tensor a patient; `kept`, one (tokens,) tensor a patient, True for those that
    go on; `proxy` (batch,), the chosen ones, -1 for an absent modality.
    """

    Config = PIBDConfig
    config: PIBDConfig
    needs = Needs(modalities=MODALITIES, omics="pathways", gene_set="hallmark", complete=True)
    cuts: Tensor

    def __init__(self, config: PIBDConfig, shape: InputShape):
        super().__init__(config, shape)
        d, h = config.d_model, config.d_hidden
        self.patches = nn.Sequential(PatchEncoder(shape.d_patch, h, activation=nn.ReLU(), dropout=config.dropout), *_to_tokens(h, d))
        self.pathways = nn.Sequential(GroupEncoder(shape.pathway_features, h, dropout=config.dropout), *_to_tokens(h, d))
        shares = {"histology": (config.share_patches, config.most_patches), "omics": (config.share_pathways, len(shape.pathway_features))}
        self.proxies = nn.ModuleDict({m: Proxies(2 * config.n_bins, d, share=share, most=most) for m, (share, most) in shares.items()})
        self.mix = nn.Sequential(TransformerLayer(d, heads=config.heads, d_hidden=h, dropout=config.dropout), nn.LayerNorm(d))
        self.information = nn.ModuleDict({m: MutualInformation(d) for m in MODALITIES})
        self.join = nn.Sequential(nn.Linear(3 * d, d), nn.ReLU(), nn.Dropout(config.dropout))
        self.head = config.head(d)
        self.register_buffer("cuts", torch.arange(1, config.n_bins, dtype=torch.float64))

    def learn(self, train: TrainingFold) -> None:
        """Time bins, of the head and of the classes."""
        super().learn(train)
        self.cuts = quantile_cuts(train.survival.time, train.survival.event, self.config.n_bins)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from patches and pathways."""
        return self._predict(bag)[0]

    def _predict(self, bag: Bag, classes: Int[Tensor, " batch"] | None = None) -> tuple[Prediction, dict[str, Chosen], dict[str, Tensor]]:
        """The prediction, what tokens or else these classes chose, and the means of histology, omics and common token."""
        patches = by_patient(self.patches, [bag["histology"].rows(i) for i in range(len(bag))])
        pathways = self.pathways(bag["omics"].values)
        tokens = {"histology": patches, "omics": [x[mask] for x, mask in zip(pathways, bag["omics"].mask, strict=True)]}
        chosen = {m: self._proxies_of(m)(tokens[m], classes) for m in MODALITIES}
        common = product_of_experts([chosen[m].gaussian for m in MODALITIES], [bag[m].present for m in MODALITIES])
        token = common.drawn(torch.randn_like(common.mean) if self.training else None)
        kept = {m: [x[here] for x, here in zip(tokens[m], chosen[m].kept, strict=True)] for m in MODALITIES}
        means = self._means(kept["histology"], kept["omics"], token)
        prediction = self.head(self.join(torch.cat(list(means.values()), dim=1)))
        evidence = {
            "similarity": {m: [of.detach() for of in chosen[m].similarity] for m in MODALITIES},
            "kept": {m: chosen[m].kept for m in MODALITIES},
            "proxy": {m: chosen[m].proxy.masked_fill(~bag[m].present, -1) for m in MODALITIES},
        }
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), chosen, means

    def _means(self, patches: list[Tensor], pathways: list[Tensor], common: Float[Tensor, "batch d_model"]) -> dict[str, Tensor]:
        """The mean of each modality's mixed tokens, 0 without one, and the mixed common token."""
        groups = alike([(len(h), len(g)) for h, g in zip(patches, pathways, strict=True)])
        found: dict[str, list[Tensor]] = {"histology": [], "omics": [], "common": []}
        for places in groups:
            parts = [torch.stack([rows[i] for i in places]) for rows in (patches, pathways)]
            mixed = self.mix(torch.cat([*parts, common[places, None]], dim=1))
            sizes = [part.shape[1] for part in parts]
            for name, part in zip(found, mixed.split([*sizes, 1], dim=1), strict=True):
                found[name].append(part.sum(dim=1) / max(1, part.shape[1]))
        return {name: in_order(parts, groups) for name, parts in found.items()}

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """The survival loss, and what teaches proxies, common token and estimator."""
        config = self.config
        bins = torch.searchsorted(self.cuts, survival.time.double(), right=True)
        classes = 2 * bins + survival.event.long()
        prediction, chosen, means = self._predict(bag, classes if config.proxy_by == "label" else None)
        terms = {"survival": self.head.loss(prediction, survival, beside)}
        for m in MODALITIES:
            has, proxies, information = bag[m].present, self._proxies_of(m), cast(MutualInformation, self.information[m])
            terms[f"compression {m}"] = config.compression_weight * proxies.compression()
            terms[f"contrast {m}"] = config.contrast_weight * proxies.closeness()
            if bool(has.any()):
                terms[f"class {m}"] = config.class_weight * cross_entropy(chosen[m].votes[has] / config.temperature, classes[has])
                own, common = means[m][has], means["common"][has]
                terms[f"information {m}"] = config.information_weight * information.bound(own, common)
                terms[f"estimator {m}"] = information.negative_log_likelihood(own, common) / config.d_model
        return terms

    def _proxies_of(self, modality: str) -> Proxies:
        return cast(Proxies, self.proxies[modality])

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """How like each patch is to the chosen proxy, and which patches go on."""
        similarity, kept, proxy = (prediction.evidence[key]["histology"][patient] for key in ("similarity", "kept", "proxy"))
        return (
            PatchMap(
                "similarity", "cosine of the patch and the proxy that the patient's patches chose, from -1 to 1", similarity[:, proxy]
            ),
            PatchMap("kept", "1 where the patch goes on to the risk, else 0", kept.float()),
        )


def _to_tokens(d_hidden: int, d_model: int) -> list[nn.Module]:
    """The second and third layer of an encoder."""
    return [nn.Linear(d_hidden, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_model)]
