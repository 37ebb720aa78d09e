"""TTA: Together, Then Apart.

W. Liu, Q. Ren, W. Zhang, Y. Lin, C. You, "Together, Then Apart: Revisiting Multimodal Survival Analysis via a Min-Max
Perspective".

TOGETHER assigns the patches and pathways of a patient to one bank of prototypes, by similarity and by a transport plan
that may leave unclear tokens in a sink. APART refines each modality's prototype tokens beside an anchor of its own and
pulls them towards it and away from the other's. Co-attention fuses both into a risk.

Symbols: X^m tokens of modality m (p histology, g omics); L^m logits (Eq. 3); C cost (Eq. 4-5); Q plan, rho its mass
(Eq. 8-11); W mixed weights (Eq. 12); H^m prototype tokens (Eq. 13); a^m anchors; U_m and R refiner (Eq. 16-17);
phi contrast head (Eq. 18); r log-risk (Sec. 3.4).

Departures (each is an option; `tta-paper` follows the print, `tta-released` the logged run of the authors):

- The transported mass is exact (hard sink, App. A): with Eq. 11's soft sink nearly all mass goes to the sink (`sink`).
- The plan is multiplied by the number of tokens in Eq. 12 and 14; its raw rows are at most 1/N, which would make both
  void (`plan_scale`).
- gamma of Eq. 8 is 1, as in the authors' logged run: with the printed 0.1 one prototype takes every patch (`kl_weight`).
- Eq. 1's "removes zeros" is selection by gene-set membership: mutation tables are mostly true zeros.
- One head instead of five (`heads`), full co-attention instead of cross (`co_attention`), a residual refiner
  (`refiner_residual`), a tenth of the steps as warm-up of the learning rate.
- A modality that a patient lacks has no token: it takes no part in plan, co-attention, pooling or losses.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, softplus

from prognos.models.contract import Beside, Model, ModelConfig, Needs, PatchMap, prototype_maps
from prognos.nn.alignment import (
    Alignment,
    Assignment,
    Rows,
    aggregate,
    bag_agreement,
    curriculum_mass,
    mixed_weights,
    nearest,
    token_agreement,
    transport,
    two_views,
)
from prognos.nn.attention import masked_mean
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.nn.pathways import PathwayEncoder
from prognos.nn.prototypes import k_means
from prognos.nn.tta import CoAttention, Refiner
from prognos.risk import survival_head
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, TrainingFold

MODALITIES = ("histology", "omics")
NORM_FLOOR = 1e-6


class TTAConfig(ModelConfig):
    """Hyperparameters of TTA; the defaults are the recommended preset."""

    d_model: int = Field(256, ge=1, description="D = D', width of tokens and of the shared space")
    dropout: float = Field(0.3, ge=0, lt=1, description="Table 5: dropout")
    together: bool = Field(True, description="Table 2: off = respective prototypes and no plan")
    apart: bool = Field(True, description="Table 2: off = no refiner and no contrast")
    n_prototypes: int = Field(32, ge=1, description="K, Table 5 and Table 6")
    shared_prototypes: bool = Field(True, description="Table 3: one bank for both modalities, or one each")
    joint_plan: bool = Field(True, description="Table 3: one plan over both modalities, or one each")
    assignment: Literal["curriculum", "unbalanced", "balanced", "kmeans"] = Field(
        "curriculum", description="Table 6: how tokens are assigned"
    )
    temperature: float = Field(0.5, gt=0, description="tau of Eq. 3")
    kl_weight: float = Field(1.0, gt=0, description="gamma of Eq. 8; 0.1 in print, where one prototype takes every patch")
    epsilon: float = Field(0.1, gt=0, description="entropic weight of Eq. 46")
    sink: Literal["hard", "soft"] = Field("hard", description="sink of App. A, or of Eq. 11 as printed")
    semantic_weight: float = Field(0.0, ge=0, description="weight of the cosine similarity of tokens in the cost (released code)")
    plan_scale: Literal["tokens", "printed"] = Field("tokens", description="Q times the number of tokens in Eq. 12 and 14, or Q")
    renormalise: bool = Field(False, description="whether the rows of W are scaled to sum to 1 (released code)")
    mixing: float = Field(0.5, ge=0, le=1, description="beta of Eq. 12")
    mass_base: float = Field(0.1, ge=0, le=1, description="rho_base of Eq. 9")
    mass_upper: float = Field(1.0, ge=0, le=1, description="rho_upper of Eq. 9")
    mass_epochs: float = Field(10, gt=0, description="T of Eq. 9, in epochs")
    mass_evaluation: Literal["upper", "base"] = Field("upper", description="rho outside training: rho_upper, or rho(0)")
    heads: int = Field(1, ge=0, description="H of App. B; 0 or 1 = no agreement of views")
    consistency_weight: float = Field(0.01, ge=0, description="weight of the agreement of views, a modality")
    consistency_level: Literal["bag", "token"] = Field("bag", description="what two views agree on: mean logits, or each common token")
    instance_weight: float = Field(0.5, ge=0, description="lambda_inst of Eq. 20")
    histology_weight: float = Field(1.0, ge=0, description="lambda_wsi of Eq. 15")
    omics_weight: float = Field(1.0, ge=0, description="lambda_gen of Eq. 15")
    project_prototypes: bool = Field(True, description="U_m and unit norm before the refiner (Sec. 3.3)")
    refine: bool = Field(True, description="Table 4: the refiner")
    refiner_residual: bool = Field(True, description="residual connections in the refiner")
    contrast: bool = Field(True, description="Table 4: the contrastive loss")
    project_anchors: bool = Field(True, description="phi on anchors too (Eq. 18)")
    contrast_weight: float = Field(0.5, ge=0, description="lambda_contrast of Eq. 20")
    contrast_temperature: float = Field(0.1, gt=0, description="tau_r of Eq. 18")
    co_attention: Literal["full", "cross", "legacy"] = Field(
        "full", description="which tokens a prototype token looks at", json_schema_extra={"legacy": "legacy"}
    )
    fusion: Literal["concat", "mlp"] = Field("concat", description="F of Sec. 3.4")
    survival: Literal["cox", "discrete"] = Field("cox", description="Table 9: survival loss")
    n_bins: int = Field(4, ge=2, description="time bins of the discrete head")


class TTA(Model):
    """Patches and pathways -> prototypes -> anchors -> co-attention -> risk.

    Evidence: by modality, one tensor a patient: `log_probability` (tokens, prototypes), log softmax of Eq. 3; `plan`
    (tokens, prototypes) in the scale of Eq. 12; `sink` (tokens,), the share that no prototype takes. `converged` (batch,):
    whether the patient's plans met their tolerance. By modality: `tokens_before` and `tokens_after` APART (batch, prototypes,
    d_model). `attention` (batch, 2 prototypes, 2 prototypes), omics first.
    """

    Config = TTAConfig
    config: TTAConfig
    needs = Needs(modalities=MODALITIES, omics="pathways", gene_set="hallmark")
    primary_head: Tensor
    head_loss: Tensor
    centroids: Tensor

    def __init__(self, config: TTAConfig, shape: InputShape):
        super().__init__(config, shape)
        d = config.d_model
        self.patches = PatchEncoder(shape.d_patch, d, activation=nn.LeakyReLU(0.1), dropout=config.dropout)
        self.pathways = PathwayEncoder(shape.pathway_features, d, dropout=config.dropout)
        self.n_heads = max(1, config.heads)
        self.n_banks = 1 if config.shared_prototypes and config.together else 2
        self.project = nn.ModuleDict({m: nn.Linear(d, self.n_heads * d, bias=False) for m in MODALITIES})  # W_m of each head
        self.prototypes = nn.Parameter(torch.randn(self.n_banks, config.n_prototypes, d))
        self.register_buffer("primary_head", torch.tensor(0))
        self.register_buffer("head_loss", torch.zeros(self.n_heads))
        self.register_buffer("centroids", torch.zeros(self.n_banks, config.n_prototypes, d))
        if config.project_prototypes:
            self.to_shared = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in MODALITIES})  # U_m
        if config.apart:
            self.anchors = nn.ParameterDict({m: torch.randn(d) for m in MODALITIES})
        if config.apart and config.refine:
            self.refiner = nn.ModuleDict({m: Refiner(d, dropout=config.dropout, residual=config.refiner_residual) for m in MODALITIES})
        if config.apart and config.contrast:
            self.contrast_head = nn.Sequential(nn.Linear(d, d), nn.LeakyReLU(0.1), nn.Linear(d, d))  # phi
        self.co_attention = CoAttention(d, dropout=config.dropout, kind=config.co_attention)
        self.fusion = nn.Sequential(nn.Linear(2 * d, d), nn.LeakyReLU(0.1)) if config.fusion == "mlp" else nn.Identity()
        self.head = survival_head(config.survival, d if config.fusion == "mlp" else 2 * d, n_bins=config.n_bins)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk, from whichever of the two modalities each patient has."""
        return self._predict(bag, self._together(bag, progress))[0]

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """The transported mass, the confidence of Eq. 3, and the weights W of Eq. 12, one map a prototype."""
        sink = prediction.evidence["sink"]
        found = []
        if sink is not None:
            mass = 1 - sink["histology"][patient]
            found.append(PatchMap("mass", "share of the patch that any prototype takes by transport, from 0 to 1", mass))
        confidence = prediction.evidence["log_probability"]["histology"][patient].exp().amax(dim=1)
        found.append(PatchMap("confidence", "probability of the patch's nearest prototype, from 0 to 1", confidence))
        weights = self.prototype_weights(prediction, patient)["histology"]
        meaning = "weight of the patch in the prototype's token, from 0 to 1"
        return (*found, *prototype_maps(weights, meaning))

    def prototype_banks(self) -> Mapping[str, Float[Tensor, "prototypes d_model"]]:
        """The banks in the shared space, of unit length: one, or one a modality."""
        banks = self.centroids if self.config.assignment == "kmeans" and self.config.together else self.prototypes
        names = ("shared",) if self.n_banks == 1 else MODALITIES
        return {name: normalize(bank.detach(), dim=-1, eps=NORM_FLOOR) for name, bank in zip(names, banks, strict=True)}

    def prototype_weights(self, prediction: Prediction, patient: int) -> Mapping[str, Float[Tensor, "tokens prototypes"]]:
        """W of Eq. 12."""
        evidence, mixing = prediction.evidence, partial(mixed_weights, mixing=self.config.mixing, renormalise=self.config.renormalise)
        plans = {m: None if evidence["plan"] is None else evidence["plan"][m][patient] for m in MODALITIES}
        return {m: mixing(evidence["log_probability"][m][patient].exp(), plans[m]) for m in MODALITIES}

    def steps_of_tokens(self, prediction: Prediction) -> Mapping[tuple[str, str], Float[Tensor, "batch tokens d_model"]]:
        """The prototype tokens before and after APART."""
        return {(step, m): prediction.evidence[f"tokens_{step}"][m] for step in ("before", "after") for m in MODALITIES}

    def pathway_attention(self, bag: Bag, prediction: Prediction) -> Float[Tensor, "batch pathways"]:
        """The co-attention that omics prototypes get, mean over all tokens that look, handed on to pathways by their shares of W."""
        k = self.config.n_prototypes
        real = torch.stack([bag["omics"].present, bag["histology"].present], dim=1).repeat_interleave(k, dim=1).float()
        looked = torch.einsum("bq,bqk->bk", real, prediction.evidence["attention"][:, :, :k]) / real.sum(dim=1, keepdim=True)
        found = looked.new_zeros(len(bag), bag["omics"].mask.shape[1])
        for i in torch.nonzero(bag["omics"].present).flatten().tolist():
            weights = self.prototype_weights(prediction, i)["omics"]
            shares = weights / weights.sum(dim=0).clamp(min=NORM_FLOOR)
            found[i, bag["omics"].mask[i]] = shares @ looked[i]
        return found

    def losses(self, bag: Bag, survival: Survival, progress: Progress, beside: Beside = None) -> dict[str, Tensor]:
        """Eq. 20: L_surv + lambda_contrast L_contrast + lambda_inst L_instance [+ agreement of views]."""
        config = self.config
        together = self._together(bag, progress)
        prediction, refined, present = self._predict(bag, together)
        terms = {"survival": self.head.loss(prediction, survival, beside)}
        if config.apart and config.contrast:
            terms["contrast"] = config.contrast_weight * self._contrast(refined, present)
        if config.together and config.assignment != "kmeans":
            entropy = together.cross_entropy
            instance = config.histology_weight * entropy["histology"] + config.omics_weight * entropy["omics"]  # Eq. 15
            terms["instance"] = config.instance_weight * instance
            if self.n_heads > 1 and progress.step % 3 == 0:
                terms["consistency"] = config.consistency_weight * self._consistency(together, progress)
        return terms

    def begin_epoch(self, train: TrainingFold, progress: Progress) -> None:
        """The head whose views agreed best becomes primary; the k-means ablation learns its centroids anew."""
        if self.n_heads > 1 and progress.epoch:
            self.primary_head.copy_(self.head_loss.argmin())
        if self.config.assignment == "kmeans" and self.config.together:
            self._learn_centroids(train)

    # TOGETHER

    def mass(self, progress: Progress | None) -> float:
        """rho: Eq. 9 in training, at its final value outside."""
        config = self.config
        if config.assignment != "curriculum":
            return 1.0
        if progress is None:
            share = 1.0 if config.mass_evaluation == "upper" else 0.0
        else:
            share = progress.step / (config.mass_epochs * progress.steps_per_epoch)
        return curriculum_mass(share, config.mass_base, config.mass_upper)

    def _logits(
        self, tokens: Float[Tensor, "*batch tokens d_model"], modality: str, head: int | None = None
    ) -> Float[Tensor, "*batch tokens prototypes"]:
        """Eq. 3: cosine similarity of the projected tokens to the prototypes, divided by tau."""
        weight = self._projection(modality, head)
        prototypes = normalize(self.prototypes[self._bank(modality)], dim=-1, eps=NORM_FLOOR)
        projected = tokens @ weight.T
        length = projected.norm(dim=-1, keepdim=True).clamp(min=NORM_FLOOR)
        return projected @ prototypes.T / (length * self.config.temperature)

    def _log_probability(self, tokens: Float[Tensor, "tokens d_model"], modality: str) -> Float[Tensor, "tokens prototypes"]:
        """-C of Eq. 4."""
        return log_softmax(self._logits(tokens, modality), dim=-1)

    def _projection(self, modality: str, head: int | None = None) -> Float[Tensor, "d_model d_model"]:
        """W_m of a head, the primary one when none is named."""
        head, d = int(self.primary_head) if head is None else head, self.config.d_model
        weight = self.project[modality].get_parameter("weight")
        return weight[head * d : (head + 1) * d]

    def _bank(self, modality: str) -> int:
        return 0 if self.n_banks == 1 else MODALITIES.index(modality)

    def _together(self, bag: Bag, progress: Progress | None) -> Alignment:
        """Tokens, their logits, the plan, and the prototype tokens H^m of Eq. 13 with the cross-entropies of Eq. 14."""
        histology, omics = bag["histology"], bag["omics"]
        patches = by_patient(self.patches, [histology.rows(i) for i in range(len(bag))])  # X^p: never padded
        pathways = self.pathways(omics.values)  # X^g
        tokens = {"histology": patches, "omics": [x[m] for x, m in zip(pathways, omics.mask, strict=True)]}
        log_p = {m: by_patient(partial(self._log_probability, modality=m), tokens[m]) for m in MODALITIES}
        mass = self.mass(progress)
        attributing = torch.is_grad_enabled() and (histology.values.requires_grad or omics.values.requires_grad)
        with torch.set_grad_enabled(attributing):  # Eq. 4-11 are constant in training; whoever attributes to inputs sees through them
            assignment = self._assign(tokens, log_p, mass)
        return aggregate(tokens, log_p, assignment, mixing=self.config.mixing, renormalise=self.config.renormalise)

    def _assign(self, tokens: Rows, log_p: Rows, mass: float) -> Assignment:
        """Eq. 4-11: the plan for the costs C = -log softmax(L), rows in the scale that Eq. 12 and 14 use."""
        config = self.config
        if not config.together:
            return Assignment(None, None, None)
        if config.assignment == "kmeans":
            return nearest(self._projected(tokens), {m: self.centroids[self._bank(m)] for m in MODALITIES})
        return transport(
            log_p,
            mass,
            groups=(MODALITIES,) if config.joint_plan else (("histology",), ("omics",)),
            kl_weight=math.inf if config.assignment == "balanced" else config.kl_weight,
            epsilon=config.epsilon,
            soft_sink=config.sink == "soft",
            scaled=config.plan_scale == "tokens",
            similar=(config.semantic_weight, self._projected(tokens)) if config.semantic_weight else None,
        )

    def _projected(self, tokens: Rows) -> Rows:
        """Tokens in the shared space, of unit length."""
        return {m: [normalize(x @ self._projection(m).T, dim=-1, eps=NORM_FLOOR) for x in tokens[m]] for m in MODALITIES}

    @torch.no_grad()
    def _learn_centroids(self, train: TrainingFold) -> None:
        """k-means on up to 200 tokens of each training patient and modality, in the shared space."""
        training = self.training
        rows: Rows = {m: [] for m in MODALITIES}
        self.eval()
        for bag in train.bags():
            pathways = self.pathways(bag["omics"].values)[0][bag["omics"].mask[0]]
            spread = torch.linspace(0, 1, 200)
            patches = self.patches(bag["histology"].rows(0))
            patches = patches[torch.unique((spread * (len(patches) - 1)).long())] if len(patches) else patches
            for m, x in self._projected({"histology": [patches], "omics": [pathways]}).items():
                rows[m].append(x[0])
        banks = [torch.cat(rows["histology"] + rows["omics"])] if self.n_banks == 1 else [torch.cat(rows[m]) for m in MODALITIES]
        for bank, points in enumerate(banks):
            found = k_means(points, self.config.n_prototypes, starts=1)
            self.centroids[bank, : len(found)] = found.to(self.centroids)
        self.train(training)

    def _consistency(self, together: Alignment, progress: Progress) -> Float[Tensor, ""]:
        """App. B: agreement of two views of up to four patients, averaged over heads, summed over modalities."""
        config, mass, total = self.config, self.mass(progress), self.prototypes.new_zeros(self.n_heads)
        for m in MODALITIES:
            some = [x for x in together.tokens[m] if len(x) > 1][:4]
            if not some:
                continue
            logits = [torch.stack([self._logits(x, m, head) for head in range(self.n_heads)]) for x in some]  # heads, tokens, prototypes
            views = [two_views(len(x), x.device) for x in some]
            agreement = bag_agreement if config.consistency_level == "bag" else token_agreement
            total = total + agreement(logits, views, mass, kl_weight=config.kl_weight, epsilon=config.epsilon)
        with torch.no_grad():
            seen = total.detach()
            self.head_loss.copy_(torch.where(self.head_loss == 0, seen, 0.9 * self.head_loss + 0.1 * seen))
        return total.mean()

    # APART and fusion

    def _predict(self, bag: Bag, together: Alignment) -> tuple[Prediction, dict[str, Tensor], dict[str, Bool[Tensor, " batch"]]]:
        """Refiner, co-attention, pooling and head on the prototype tokens."""
        k = self.config.n_prototypes
        present = {m: bag[m].present for m in MODALITIES}
        before = {m: self._to_shared(h, m) for m, h in together.prototype_tokens.items()}
        refined = {m: self._refine(h, m) for m, h in before.items()}
        group = torch.cat([refined["omics"], refined["histology"]], dim=1)
        real = torch.stack([present["omics"], present["histology"]], dim=1).repeat_interleave(k, dim=1)
        attended, attention = self.co_attention(group, k, real)
        attended = attended * real[:, :, None]
        pooled = torch.cat([attended[:, k:].mean(dim=1), attended[:, :k].mean(dim=1)], dim=-1)  # [h^p, h^g]
        prediction = self.head(self.fusion(pooled))
        evidence = together.evidence() | {
            "tokens_before": {m: h.detach() for m, h in before.items()},
            "tokens_after": {m: h.detach() for m, h in refined.items()},
            "attention": attention.detach(),
        }
        return Prediction(prediction.risk, prediction.hazard_logits, evidence), refined, present

    def _to_shared(self, tokens: Float[Tensor, "batch prototypes d_model"], modality: str) -> Float[Tensor, "batch prototypes d_model"]:
        """U_m H^m of unit length: this takes the number of tokens out of Eq. 13's sum."""
        if not self.config.project_prototypes:
            return tokens
        return normalize(self.to_shared[modality](tokens), dim=-1, eps=NORM_FLOOR)

    def _refine(self, tokens: Float[Tensor, "batch prototypes d_model"], modality: str) -> Float[Tensor, "batch prototypes d_model"]:
        """Eq. 16-17."""
        if not (self.config.apart and self.config.refine):
            return tokens
        return self.refiner[modality](tokens, self.anchors[modality])

    def _contrast(self, refined: dict[str, Tensor], present: dict[str, Bool[Tensor, " batch"]]) -> Float[Tensor, ""]:
        """Eq. 18-19: -log softmax of the score to the own anchor against the other's, = softplus(s_- - s_+)."""
        total = self.prototypes.new_zeros(())
        anchors = {m: self._phi(a) if self.config.project_anchors else normalize(a, dim=-1) for m, a in self.anchors.items()}
        for own, other in (MODALITIES, MODALITIES[::-1]):
            mean = self._phi(refined[own].mean(dim=1))
            difference = mean @ (anchors[other] - anchors[own]) / self.config.contrast_temperature
            total = total + masked_mean(softplus(difference), present[own])
        return total

    def _phi(self, vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return normalize(self.contrast_head(vectors), dim=-1, eps=NORM_FLOOR)
