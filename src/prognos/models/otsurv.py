"""OTSurv: patches are transported to learnt prototypes, the surest ones first.

Q. Ren, Y. Wang, R. Fang, H. Ling, C. You, "OTSurv: a novel multiple instance learning framework for survival prediction with
heterogeneity-aware optimal transport", MICCAI 2025.

An entropic plan carries patch tokens to a few learnt prototypes. How much each prototype gets is free within a soft bound; a sink
takes the rest, so that only the mass rho of all patches is carried, the cheapest of it, and rho grows to 1 over training.
What arrives at a prototype is its token; one weight a prototype adds them up, and the risk is linear in the sum.

Symbols: X patch tokens, P prototypes; C = |x_i - p_k| / max, each vector less its own least entry; Q the plan of mass rho;
H = K Q^T X / rho.

Departures: the gradient of the plan is that of its fixed point, not of a thousand steps towards it; rho follows the printed ramp rho_0 +
(1 - rho_0) exp(-5 (1 - t / T)^2) over all steps of training (`ramp = "legacy"`: the published code's rho_0 + exp(-5 (1 - t / T)^2), at
most 1); H has the factor K, for without it each token has a sixteenth of a patch token's size and training hardly begins (`plan_scale =
"one"`, as published); the sum over prototypes has no bias, which no loss would see; Cox's loss, as published.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from prognos.models.contract import HeadConfig, Model, Needs, PatchMap, prototype_maps
from prognos.nn.alignment import curriculum_mass, transport
from prognos.nn.patches import PatchEncoder, by_patient
from prognos.nn.transport_unbalanced import relative_distance
from prognos.types import Bag, InputShape, Prediction, Progress


class OTSurvConfig(HeadConfig):
    """Hyperparameters of OTSurv."""

    d_model: int = Field(256, ge=1, description="width of a patch token and of a prototype")
    n_prototypes: int = Field(16, ge=1, description="K: prototypes")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout")
    epsilon: float = Field(0.1, gt=0, description="entropic regularisation of the plan")
    kl_weight: float = Field(1.0, gt=0, description="gamma: how firmly prototypes are held to equal shares")
    mass_base: float = Field(0.1, gt=0, le=1, description="rho_0: mass at the start of training")
    ramp: Literal["printed", "legacy"] = Field(
        "printed", description="how the mass grows; legacy as in the published code", json_schema_extra={"legacy": "legacy"}
    )
    plan_scale: Literal["prototypes", "one"] = Field(
        "prototypes", description="what the plan is multiplied by; one as in the published code", json_schema_extra={"legacy": "one"}
    )


class OTSurv(Model):
    """Patches -> transport plan -> tokens of prototypes -> risk.

    Evidence: `plan`, one (patches, prototypes) tensor a patient, the share of each patch that each prototype takes; `sink`, one (patches,)
    tensor a patient, the share that none takes; `converged` (batch,), whether the plan met its tolerance.
    """

    Config = OTSurvConfig
    config: OTSurvConfig
    needs = Needs(modalities=("histology",))

    def __init__(self, config: OTSurvConfig, shape: InputShape):
        super().__init__(config, shape)
        self.patches = PatchEncoder(shape.d_patch, config.d_model, activation=nn.ReLU(), dropout=config.dropout)
        self.prototypes = nn.Parameter(torch.randn(config.n_prototypes, config.d_model))
        self.combine = nn.Linear(config.n_prototypes, 1, bias=False)
        self.head = config.head(config.d_model)

    def mass(self, progress: Progress | None) -> float:
        """rho: the ramp in training, 1 outside."""
        share = 1.0 if progress is None else progress.step / (progress.epochs * progress.steps_per_epoch)
        if self.config.ramp == "legacy":
            return min(1.0, self.config.mass_base + math.exp(-5 * (1 - share) ** 2))
        return curriculum_mass(share, self.config.mass_base, 1.0)

    def forward(self, bag: Bag, progress: Progress | None = None) -> Prediction:
        """The risk from the patches alone."""
        config, mass = self.config, self.mass(progress)
        tokens = by_patient(self.patches, [bag["histology"].rows(i) for i in range(len(bag))])
        gain = [-relative_distance(rows, self.prototypes, power=1) for rows in tokens]
        shares = transport({"histology": gain}, mass, groups=[("histology",)], kl_weight=config.kl_weight, epsilon=config.epsilon)
        assert shares.rows is not None, "transport always gives a plan"
        assert shares.sink is not None, "and its sink"
        plan = shares.rows["histology"]
        factor = config.n_prototypes if config.plan_scale == "prototypes" else 1
        scale = [factor / (mass * max(1, len(rows))) for rows in tokens]
        carried = torch.stack([s * (q.T @ rows) for s, q, rows in zip(scale, plan, tokens, strict=True)])
        prediction = self.head(self.combine(carried.transpose(1, 2)).squeeze(2))
        evidence = {
            "plan": [q.detach() for q in plan],
            "sink": [rest.detach() for rest in shares.sink["histology"]],
            "converged": shares.converged,
        }
        return Prediction(prediction.risk, prediction.hazard_logits, evidence)

    def patch_maps(self, bag: Bag, prediction: Prediction, patient: int) -> tuple[PatchMap, ...]:
        """How much of each patch each prototype takes."""
        return prototype_maps(prediction.evidence["plan"][patient], "share of the patch that the prototype takes, from 0 to 1")

    def prototype_banks(self) -> Mapping[str, Float[Tensor, "prototypes d_model"]]:
        """The learnt prototypes."""
        return {"histology": self.prototypes.detach()}

    def prototype_weights(self, prediction: Prediction, patient: int) -> Mapping[str, Float[Tensor, "tokens prototypes"]]:
        """The share of each patch that each prototype takes."""
        return {"histology": prediction.evidence["plan"][patient]}
