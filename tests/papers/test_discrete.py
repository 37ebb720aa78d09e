"""Eq. 55 with its indices put right, evaluated literally."""

import math

import pytest
import torch

from prognos.risk import DiscreteHead, survival_head
from prognos.risk.discrete import likelihood_loss, marginal_hazards, quantile_cuts
from prognos.types import Prediction, Survival

LOGITS = torch.tensor([[0.2, -1.0, 0.5, 0.0], [1.5, 0.3, -0.7, -2.0], [-0.4, 0.1, 0.9, 0.6]], dtype=torch.float64)
BIN = torch.tensor([0, 3, 2])
EVENT = torch.tensor([True, False, True])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_eq_55_costs_an_event_its_survival_before_and_its_hazard():
    total = 0.0
    for n in range(3):
        hazard = [sigmoid(x) for x in LOGITS[n].tolist()]
        y = int(BIN[n])
        before = math.prod(1 - h for h in hazard[:y])  # S_y, bins counted from 0
        total -= math.log(before) + math.log(hazard[y]) if EVENT[n] else math.log(before * (1 - hazard[y]))
    assert float(likelihood_loss(LOGITS, BIN, EVENT)) == pytest.approx(total / 3, rel=1e-12)


def test_eq_55_as_printed_is_not_the_likelihood():
    """Its S_{y} counts from 1 and its h_{y} from 0: for an event in the first bin it pays h of the bin before the first."""
    hazard = [sigmoid(x) for x in LOGITS[1].tolist()]
    y = 3
    printed = -(math.log(math.prod(1 - h for h in hazard[:y])) + math.log(hazard[y - 1]))
    right = float(likelihood_loss(LOGITS[1:2], BIN[1:2], torch.tensor([True])))
    assert abs(printed - right) > 0.1


def test_the_loss_stays_finite_for_extreme_logits():
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], dtype=torch.float32)
    assert bool(likelihood_loss(logits, torch.tensor([1, 0]), torch.tensor([True, False])).isfinite())


def test_cuts_share_the_observed_events_evenly():
    time = torch.arange(1.0, 9.0)
    event = torch.tensor([True] * 8)
    cuts = quantile_cuts(time, event, 4)
    assert [int((torch.searchsorted(cuts, time.double(), right=True) == k).sum()) for k in range(4)] == [2, 2, 2, 2]


def test_cuts_never_look_at_censored_times():
    time = torch.tensor([1.0, 2.0, 3.0, 4.0, 1e6])
    event = torch.tensor([True, True, True, True, False])
    assert torch.equal(quantile_cuts(time, event, 4), quantile_cuts(time[:4], event[:4], 4))


def test_marginal_hazards_count_events_among_those_who_reach_a_bin_with_half_an_event_more():
    bin, event = torch.tensor([0, 0, 0, 1, 1, 3]), torch.tensor([True, True, False, True, False, True])
    assert marginal_hazards(bin, event, 4).tolist() == pytest.approx([2.5 / 7, 1.5 / 4, 0.5 / 2, 1.5 / 2])


def test_a_head_starts_at_the_marginal_hazards_and_no_other_constant_is_much_better():
    torch.manual_seed(0)
    time = torch.rand(400) * 1000
    survival = Survival(time, torch.rand(400) < 0.3)
    head = DiscreteHead(2, n_bins=4)
    head.learn_marginal(survival)
    bin = torch.searchsorted(head.cuts, time.double(), right=True)
    logits = head(torch.zeros(400, 2)).hazard_logits
    assert logits[0].sigmoid().tolist() == pytest.approx(marginal_hazards(bin, survival.event, 4).tolist(), rel=1e-5)
    at_start = likelihood_loss(logits, bin, survival.event)
    best = torch.optim.LBFGS([free := torch.zeros(4, requires_grad=True)], max_iter=100)

    def cost():
        best.zero_grad()
        loss = likelihood_loss(free.expand(400, 4), bin, survival.event)
        loss.backward()
        return loss

    best.step(cost)
    assert 0 <= float((at_start - cost()).detach()) < 1e-3


def test_equal_quantiles_are_merged_and_the_spare_bins_are_not_used():
    time, event = torch.tensor([5.0, 5.0, 5.0, 5.0, 9.0]), torch.tensor([True] * 5)
    head = DiscreteHead(2, n_bins=4)
    head.learn_marginal(Survival(time, event))
    prediction = head(torch.zeros(3, 2))
    assert prediction.hazard_logits.shape == (3, len(head.cuts) + 1)
    assert len(head.cuts) < 3


def test_the_curve_is_linear_between_cuts_and_constant_beyond_the_last():
    head = DiscreteHead(2, n_bins=3)
    head.cuts = torch.tensor([100.0, 300.0], dtype=torch.float64)
    logits = torch.tensor([[0.0, 0.0, 0.0]])
    curve = head.survival_curve(Prediction(torch.zeros(1), logits), torch.tensor([0.0, 50.0, 100.0, 200.0, 300.0, 5000.0]))
    assert curve[0].tolist() == pytest.approx([1.0, 0.75, 0.5, 0.375, 0.25, 0.25])


def test_the_risk_is_minus_the_sum_of_survival():
    head = DiscreteHead(1, n_bins=2)
    with torch.no_grad():
        head.hazard.weight.zero_()
        head.hazard.bias.zero_()
    head.cuts = torch.tensor([10.0], dtype=torch.float64)
    assert head(torch.zeros(1, 1)).risk.tolist() == pytest.approx([-(0.5 + 0.25)])


def test_bins_need_events_and_at_least_two():
    with pytest.raises(ValueError, match="none of 2 patients had an event"):
        quantile_cuts(torch.tensor([1.0, 2.0]), torch.tensor([False, False]), 4)
    with pytest.raises(ValueError, match="n_bins is 1"):
        quantile_cuts(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), 1)


def test_an_unknown_survival_model_is_refused():
    with pytest.raises(ValueError, match="no survival model is called 'weibull'"):
        survival_head("weibull", 3)


def test_censored_patients_can_weigh_less_as_published_code_has_it():
    """(1 - alpha) (censored + event terms) + alpha (event terms), alpha = 0.5."""
    logits = torch.tensor([[0.3, -0.2], [0.1, 0.8], [-0.4, 0.5]], dtype=torch.float64)
    bin, event = torch.tensor([0, 1, 1]), torch.tensor([True, False, True])
    terms = [float(likelihood_loss(logits[i : i + 1], bin[i : i + 1], event[i : i + 1])) for i in range(3)]
    both, of_events = sum(terms), terms[0] + terms[2]
    expected = (0.5 * both + 0.5 * of_events) / 3
    assert float(likelihood_loss(logits, bin, event, censored_weight=0.5)) == pytest.approx(expected)
    head = DiscreteHead(4, 2, censored_weight=0.5)
    survival = Survival(torch.tensor([0.5, 3.0, 3.0], dtype=torch.float64), event)
    assert float(head.loss(Prediction(torch.zeros(3), logits), survival)) == pytest.approx(expected)
