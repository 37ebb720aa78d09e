"""Survival in discrete time: hazards of a few bins, their likelihood, risk and curve.

With hazards h_k = P(T in bin k | T >= bin k), S_k = prod_{j <= k} (1 - h_j) and S_0 = 1 (bins counted from 1).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from prognos.types import Prediction, Survival


def quantile_cuts(time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], n_bins: int) -> Float[Tensor, " cuts"]:
    """Inner boundaries that share the *observed* events evenly over the bins; equal quantiles are merged, so there can be fewer.

    Raises:
        ValueError: nobody had an event, or fewer than two bins are asked for.
    """
    if n_bins < 2:
        raise ValueError(f"n_bins is {n_bins}; a discrete survival model needs at least 2.")
    if not event.any():
        raise ValueError(f"none of {len(time)} patients had an event: time bins cannot be learnt; train on patients with events.")
    shares = torch.arange(1, n_bins, dtype=torch.float64, device=time.device) / n_bins
    return torch.unique(torch.quantile(time[event].double(), shares))


def likelihood_loss(
    hazard_logits: Float[Tensor, "batch bins"], bin: Int[Tensor, " batch"], event: Bool[Tensor, " batch"], *, censored_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Negative log-likelihood of discrete survival, averaged over patients.

    Eq. 55 with its indices put right: for a patient of bin y (from 0), an event costs -[log S_y + log h_{y+1}] and a
    censored patient -log S_{y+1}, hazards and S counted from 1.

    Args:
        hazard_logits: logit of h.
        bin: y = searchsorted(cuts, time, side="right"), from 0.
        event: True when observed.
        censored_weight: of the term of a censored patient. Published code writes it 1 - alpha; below 1 this is no likelihood any more.
    """
    log_hazard, log_survived = logsigmoid(hazard_logits), logsigmoid(-hazard_logits)
    log_survival = torch.cumsum(log_survived, dim=1)
    at_end = log_survival.gather(1, bin[:, None]).squeeze(1)  # log S_{y+1}
    before = at_end - log_survived.gather(1, bin[:, None]).squeeze(1)  # log S_y
    of_event = before + log_hazard.gather(1, bin[:, None]).squeeze(1)
    return -torch.where(event, of_event, censored_weight * at_end).mean()


def marginal_hazards(bin: Int[Tensor, " batch"], event: Bool[Tensor, " batch"], n_bins: int) -> Float[Tensor, " bins"]:
    """h_k of a whole fold, (events in bin k + 1/2) / (patients who reach bin k + 1): between 0 and 1 in an empty bin as well.

    Args:
        bin: of each patient's time, from 0.
        event: True when observed.
        n_bins: bins in use.
    """
    ends = torch.bincount(bin, minlength=n_bins)
    reached = ends.flip(0).cumsum(0).flip(0)
    return (torch.bincount(bin[event], minlength=n_bins) + 0.5) / (reached + 1)


class DiscreteHead(nn.Module):
    """Features -> hazard logits of time bins; risk = -sum_k S_k.

    Args:
        d_in: width of the features.
        n_bins: bins asked for; where training quantiles coincide fewer are used.
        censored_weight: see `likelihood_loss`.
    """

    shares_risk_set = False

    def __init__(self, d_in: int, n_bins: int = 4, *, censored_weight: float = 1.0):
        super().__init__()
        self.censored_weight = censored_weight
        self.hazard = nn.Linear(d_in, n_bins)
        self.n_bins = n_bins
        self.register_buffer("cuts", torch.arange(1, n_bins, dtype=torch.float64))

    def forward(self, features: Float[Tensor, "batch d_in"]) -> Prediction:
        """Hazard logits of the bins in use, and the risk."""
        logits = self.hazard(features)[:, : len(self.cuts) + 1]
        survival = torch.exp(torch.cumsum(logsigmoid(-logits.float()), dim=1))
        return Prediction(-survival.sum(dim=1), hazard_logits=logits)

    def loss(self, prediction: Prediction, survival: Survival, beside: tuple[Tensor, Survival] | None = None) -> Float[Tensor, ""]:
        """Eq. 55 over this batch; patients of other batches do not matter to it."""
        assert prediction.hazard_logits is not None
        bin = torch.searchsorted(self.cuts, survival.time.double(), right=True)
        return likelihood_loss(prediction.hazard_logits.float(), bin, survival.event, censored_weight=self.censored_weight)

    def learn_marginal(self, survival: Survival) -> None:
        """Cuts at quantiles of the training fold's event times, which are never learnt again; biases start at its marginal hazards.

        From hazards of one half, a short training would spend its steps on how many patients die, and not on who.
        """
        self.cuts = quantile_cuts(survival.time, survival.event, self.n_bins)
        bin = torch.searchsorted(self.cuts, survival.time.double(), right=True)
        hazards = marginal_hazards(bin, survival.event, len(self.cuts) + 1)
        with torch.no_grad():
            self.hazard.bias[: len(hazards)] = torch.logit(hazards)

    def learn_baseline(self, risk: Float[Tensor, " batch"], survival: Survival) -> None:
        """Nothing: the hazards are the curve."""

    def survival_curve(self, prediction: Prediction, times: Float[Tensor, " times"]) -> Float[Tensor, "batch times"]:
        """S(t), linear between cuts from S(0) = 1, constant beyond the last cut."""
        assert prediction.hazard_logits is not None
        at_cuts = torch.exp(torch.cumsum(logsigmoid(-prediction.hazard_logits.double()), dim=1))[:, :-1]
        knots = torch.cat([self.cuts.new_zeros(1), self.cuts])
        values = torch.cat([at_cuts.new_ones(len(at_cuts), 1), at_cuts], dim=1)
        times = times.double().clamp(min=0, max=float(knots[-1]))
        right = torch.searchsorted(knots, times).clamp(min=1, max=len(knots) - 1)
        share = (times - knots[right - 1]) / (knots[right] - knots[right - 1])
        return values[:, right - 1] * (1 - share) + values[:, right] * share
