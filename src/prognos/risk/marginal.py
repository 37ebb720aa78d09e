"""The survival of a whole training fold, the same for everyone: what a model must beat."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.types import Prediction, Survival


def kaplan_meier_steps(
    time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"]
) -> tuple[Float[Tensor, " times"], Float[Tensor, " times"]]:
    """Distinct event times and the Kaplan-Meier estimate just after each: prod_{s <= t} (1 - d_s / n_s)."""
    time = time.double()
    times, n_events = torch.unique(time[event], return_counts=True)
    at_risk = len(time) - torch.searchsorted(time.sort().values, times)
    return times, torch.cumprod(1 - n_events.double() / at_risk, dim=0)


class MarginalHead(nn.Module):
    """Risk 0 and the training fold's Kaplan-Meier curve for every patient."""

    shares_risk_set = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("curve_times", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("curve", torch.zeros(0, dtype=torch.float64))

    def forward(self, features: Float[Tensor, "batch d_in"]) -> Prediction:
        """The same risk for everyone."""
        return Prediction(torch.zeros(len(features), device=features.device))

    def loss(self, prediction: Prediction, survival: Survival, beside: tuple[Tensor, Survival] | None = None) -> Float[Tensor, ""]:
        """There is nothing to train."""
        return prediction.risk.sum() * 0.0

    def learn_marginal(self, survival: Survival) -> None:
        """Nothing."""

    def learn_baseline(self, risk: Float[Tensor, " batch"], survival: Survival) -> None:
        """The Kaplan-Meier curve of the training fold."""
        self.curve_times, self.curve = kaplan_meier_steps(survival.time, survival.event)

    def survival_curve(self, prediction: Prediction, times: Float[Tensor, " times"]) -> Float[Tensor, "batch times"]:
        """S(t) of the training fold, constant beyond its last event."""
        step = torch.searchsorted(self.curve_times, times.double(), right=True)
        curve = torch.cat([self.curve.new_ones(1), self.curve])[step]
        return curve[None, :].expand(len(prediction.risk), -1)
