"""MOTCat: a transport plan, not attention, says which patches belong to which group of genes.

Y. Xu, H. Chen, "Multimodal optimal transport-based co-attention transformer with global structure consistency for survival prediction",
ICCV 2023.

As MCAT, but for the co-attention: an unbalanced entropic plan matches all patches with all groups at once, so that groups compete for
patches and a patch that suits nobody is left out. In training, plans are found over random micro-batches of the patches.

Symbols: H patch tokens, G group tokens; cost C_ij = |h_i - g_j|^2 / max, each vector less its own least entry; P the plan; a group finds
(number of groups) P^T H.

Departures: what the groups find is averaged over micro-batches, as mini-batch transport is defined (the published code averages hazards,
which Cox's loss has not); prediction has one plan over all patches; entropy is taken against uniform marginals, so that the mass of a plan
does not depend on the number of patches; the plan is multiplied by the number of groups, for without it each group's token has a sixth
of a patch token's size (`plan_scale = "one"`, as published); MCAT's departures.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from prognos.models.gene_guided import GeneGuided, GeneGuidedConfig
from prognos.nn.transport_unbalanced import relative_distance, unbalanced_plan


class MOTCatConfig(GeneGuidedConfig):
    """Hyperparameters of MOTCat."""

    epsilon: float = Field(0.1, gt=0, description="entropic regularisation of the plan")
    kl_weight: float = Field(0.5, gt=0, le=10, description="tau: how firmly the plan's marginals are held")
    plan_scale: Literal["groups", "one"] = Field(
        "groups", description="what the plan is multiplied by; one as in the published code", json_schema_extra={"legacy": "one"}
    )
    micro_batch: int = Field(256, ge=1, description="patches of a plan in training; prediction has all in one")


class MOTCat(GeneGuided):
    """Patches and groups of genes -> transport plan -> two vectors -> risk. Evidence: as in `GeneGuided`; `attention` is the plan."""

    Config = MOTCatConfig
    config: MOTCatConfig

    def found(
        self, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]
    ) -> tuple[Float[Tensor, "batch groups d_model"], list[Float[Tensor, "groups _"]]]:
        """What the plans carry to each group."""
        plans = self._plans(groups, patches)
        return torch.stack([plan @ rows for plan, rows in zip(plans, patches, strict=True)]), plans

    @torch.no_grad()
    def _plans(self, groups: Float[Tensor, "batch groups d_model"], patches: list[Float[Tensor, "_ d_model"]]) -> list[Tensor]:
        """The plan of each patient, or the mean of those of its micro-batches, in its scale."""
        orders = [self._order(rows) for rows in patches]
        pieces = [order.tensor_split(self._n_pieces(len(order))) for order in orders]
        costs = [
            relative_distance(rows[piece], tokens, power=2)
            for rows, tokens, of_patient in zip(patches, groups, pieces, strict=True)
            for piece in of_patient
        ]
        padded = pad_sequence(costs, batch_first=True)
        mask = torch.arange(padded.shape[1], device=padded.device) < torch.tensor([[len(cost)] for cost in costs], device=padded.device)
        plans = unbalanced_plan(padded, kl_weight=self.config.kl_weight, epsilon=self.config.epsilon, mask=mask)
        plan_of_piece = (plan[real] for plan, real in zip(plans, mask, strict=True))
        means = [torch.cat([next(plan_of_piece) for _ in of_patient]) / len(of_patient) for of_patient in pieces]
        scale = groups.shape[1] if self.config.plan_scale == "groups" else 1
        return [scale * mean[order.argsort()].T for mean, order in zip(means, orders, strict=True)]

    def _order(self, rows: Float[Tensor, "patches d_model"]) -> Int[Tensor, " patches"]:
        """Of which neighbours make a micro-batch: random in training."""
        return torch.randperm(len(rows), device=rows.device) if self.training else torch.arange(len(rows), device=rows.device)

    def _n_pieces(self, n_patches: int) -> int:
        return max(1, -(-n_patches // self.config.micro_batch)) if self.training else 1
