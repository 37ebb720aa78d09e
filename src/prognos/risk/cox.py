"""Cox's proportional hazards: partial likelihood, Breslow's baseline hazard, and the head that carries both.

S(t | x) = exp(-H0(t) exp(r(x))), where r is the log-risk and H0 the cumulative baseline hazard of the training fold.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prognos.types import Prediction, Survival

Ties = Literal["breslow", "efron"]


def partial_likelihood_loss(
    log_risk: Float[Tensor, " batch"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], ties: Ties = "breslow"
) -> Float[Tensor, ""]:
    """Negative partial log-likelihood, averaged over events; 0 with a gradient of 0 when nobody had an event.

    Eq. 56: -(1 / number of events) sum over events i of [ r_i - log sum_{j: t_j >= t_i} exp(r_j) ], which at tied times
    is Breslow's form. Efron's form takes the l-th of d tied events out of the risk set by the share l / d.

    Args:
        log_risk: r, on any scale: adding a constant changes nothing.
        time: days.
        event: True when observed.
        ties: how events at equal times share their risk set.
    """
    if not event.any():
        return log_risk.sum() * 0.0
    order = torch.argsort(time, descending=True, stable=True)
    log_risk, time, event = log_risk[order], time[order], event[order]
    last_at_time = torch.searchsorted(-time, -time, right=True) - 1  # everyone with t_j >= t_i stands up to here
    log_at_risk = torch.logcumsumexp(log_risk, dim=0)[last_at_time]
    if ties == "efron":
        log_at_risk = log_at_risk + _log_efron_share(log_risk, time, event, log_at_risk)
    return (log_at_risk - log_risk)[event].mean()


def _log_efron_share(
    log_risk: Float[Tensor, " batch"],
    time: Float[Tensor, " batch"],
    event: Bool[Tensor, " batch"],
    log_at_risk: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """log(1 - (l / d) sum_{tied events} e^r / sum_{at risk} e^r) for the l-th of d tied events; 0 for the censored."""
    _, group = torch.unique_consecutive(time, return_inverse=True)
    n_groups = int(group[-1]) + 1
    n_tied = torch.zeros(n_groups, dtype=log_risk.dtype, device=log_risk.device).index_add(0, group, event.to(log_risk.dtype))[group]
    events_before = torch.cumsum(event.long(), 0) - event.long()
    first_of_group = torch.searchsorted(group, group)
    rank = (events_before - events_before[first_of_group]).to(log_risk.dtype)  # l = 0 .. d - 1
    share = torch.exp(torch.where(event, log_risk - log_at_risk, -torch.inf))
    tied_share = torch.zeros(n_groups, dtype=log_risk.dtype, device=log_risk.device).index_add(0, group, share)[group]
    removed = torch.where(event, rank / n_tied.clamp(min=1), torch.zeros_like(rank)) * tied_share
    return torch.log1p(-removed)


def breslow_baseline(
    log_risk: Float[Tensor, " batch"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"]
) -> tuple[Float[Tensor, " times"], Float[Tensor, " times"]]:
    """Distinct event times and log H0 just after each: H0(t) = sum_{event times s <= t} d_s / sum_{j: t_j >= s} exp(r_j).

    The logarithm keeps risks of any size finite.

    Raises:
        ValueError: nobody had an event.
    """
    if not event.any():
        raise ValueError(f"none of {len(time)} patients had an event: a baseline hazard cannot be learnt; train on patients with events.")
    log_risk, time = log_risk.double(), time.double()
    times, n_events = torch.unique(time[event], return_counts=True)
    ascending = torch.argsort(time)
    log_from_here = torch.flip(torch.logcumsumexp(torch.flip(log_risk[ascending], [0]), 0), [0])
    log_at_risk = log_from_here[torch.searchsorted(time[ascending], times)]
    return times, torch.logcumsumexp(torch.log(n_events.double()) - log_at_risk, dim=0)


class CoxHead(nn.Module):
    """Features -> log-risk r = <w, f>, with its partial likelihood and, once learnt, its baseline hazard.

    Args:
        d_in: width of the features f.
        bias: a bias changes no partial likelihood; it is off.
        ties: how the loss treats tied event times.
    """

    shares_risk_set = True  # the loss of one patient depends on the others: see `training` for windows of batches

    def __init__(self, d_in: int, *, bias: bool = False, ties: Ties = "breslow"):
        super().__init__()
        self.weight = nn.Linear(d_in, 1, bias=bias)
        self.ties: Ties = ties
        self.register_buffer("baseline_times", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("log_baseline_hazard", torch.zeros(0, dtype=torch.float64))

    def forward(self, features: Float[Tensor, "batch d_in"]) -> Prediction:
        """The log-risk of each patient."""
        return Prediction(self.weight(features).squeeze(-1))

    def loss(self, prediction: Prediction, survival: Survival, beside: tuple[Tensor, Survival] | None = None) -> Float[Tensor, ""]:
        """Eq. 56 over this batch and, where given, over the (constant) risks of patients of other batches."""
        risk, time, event = prediction.risk, survival.time, survival.event
        if beside is not None:
            others, theirs = beside
            risk, time, event = torch.cat([risk, others]), torch.cat([time, theirs.time]), torch.cat([event, theirs.event])
        return partial_likelihood_loss(risk.float(), time, event, self.ties)

    def learn_marginal(self, survival: Survival) -> None:
        """Nothing: the partial likelihood knows neither time bins nor a level."""

    def learn_baseline(self, risk: Float[Tensor, " batch"], survival: Survival) -> None:
        """Breslow's baseline hazard of the training fold at its predicted risks."""
        self.baseline_times, self.log_baseline_hazard = breslow_baseline(risk, survival.time, survival.event)

    def survival_curve(self, prediction: Prediction, times: Float[Tensor, " times"]) -> Float[Tensor, "batch times"]:
        """S(t) = exp(-H0(t) exp(r)); 1 before the first training event, constant beyond the last."""
        if not len(self.baseline_times):
            raise RuntimeError("the baseline hazard has not been learnt yet: call learn_baseline on the training fold first.")
        step = torch.searchsorted(self.baseline_times, times.double(), right=True)
        log_hazard = torch.cat([self.log_baseline_hazard.new_full((1,), -torch.inf), self.log_baseline_hazard])[step]
        return torch.exp(-torch.exp(log_hazard[None, :] + prediction.risk.double()[:, None]))
