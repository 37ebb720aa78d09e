"""Heads: what they share, and where their curves begin and end."""

import pytest
import torch

from prognos.risk import CoxHead, DiscreteHead, MarginalHead, survival_head
from prognos.risk.cox import breslow_baseline
from prognos.risk.marginal import kaplan_meier_steps
from prognos.types import Prediction, Survival

SURVIVAL = Survival(torch.tensor([10.0, 30.0, 20.0, 40.0, 50.0]), torch.tensor([True, True, False, True, False]))
FEATURES = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.1], [0.0, 0.0], [1.0, 1.0]])


def learnt(head):
    torch.manual_seed(0)
    head.learn_marginal(SURVIVAL)
    prediction = head(FEATURES)
    head.learn_baseline(prediction.risk.detach(), SURVIVAL)
    return prediction


@pytest.mark.parametrize("head", [CoxHead(2), DiscreteHead(2, 3), MarginalHead()], ids=lambda head: type(head).__name__)
def test_every_curve_begins_at_one_falls_and_stays_at_its_last_value(head):
    prediction = learnt(head)
    curve = head.survival_curve(prediction, torch.tensor([0.0, 5.0, 15.0, 35.0, 60.0, 1e9])).detach()
    assert curve.shape == (5, 6)
    assert bool((curve[:, 0] == 1).all())
    assert bool((curve.diff(dim=1) <= 0).all())
    assert torch.equal(curve[:, 4], curve[:, 5])


@pytest.mark.parametrize("head", [CoxHead(2), DiscreteHead(2, 3)], ids=lambda head: type(head).__name__)
def test_a_loss_reaches_every_parameter(head):
    head.learn_marginal(SURVIVAL)
    head.loss(head(FEATURES), SURVIVAL).backward()
    assert all(bool(p.grad.any()) for p in head.parameters())


@pytest.mark.parametrize("head", [CoxHead(2), DiscreteHead(2, 3)], ids=lambda head: type(head).__name__)
def test_half_precision_features_have_a_loss_in_single_precision(head):
    head.learn_marginal(SURVIVAL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head.loss(head(FEATURES), SURVIVAL).dtype == torch.float32


def test_what_was_learnt_are_buffers_and_travels_with_the_weights():
    cox, discrete, marginal = CoxHead(2), DiscreteHead(2, 4), MarginalHead()
    for head in (cox, discrete, marginal):
        learnt(head)
    assert {"baseline_times", "log_baseline_hazard"} <= cox.state_dict().keys()
    assert discrete.state_dict()["cuts"].tolist() == pytest.approx([20.0, 30.0, 35.0])  # quartiles of 10, 30, 40
    assert marginal.state_dict()["curve_times"].tolist() == [10.0, 30.0, 40.0]


def test_a_cox_head_has_no_bias_unless_asked():
    assert CoxHead(2).weight.bias is None
    assert CoxHead(2, bias=True).weight.bias is not None


def test_only_cox_compares_patients():
    assert (CoxHead(2).shares_risk_set, DiscreteHead(2).shares_risk_set, MarginalHead().shares_risk_set) == (True, False, False)


def test_a_discrete_loss_does_not_look_beside():
    head = DiscreteHead(2, 3)
    head.learn_marginal(SURVIVAL)
    prediction = head(FEATURES)
    assert torch.equal(head.loss(prediction, SURVIVAL), head.loss(prediction, SURVIVAL, (torch.ones(5), SURVIVAL)))


def test_a_time_at_a_cut_belongs_to_the_later_bin_and_times_beyond_the_last_cut_to_the_last():
    """Rule 2: cuts 10 and 30 make the bins [0, 10), [10, 30), [30, infinity)."""
    head = DiscreteHead(1, 3)
    head.cuts = torch.tensor([10.0, 30.0], dtype=torch.float64)
    logits = torch.tensor([[0.3, -0.2, 0.9]])
    event = torch.tensor([True])

    def loss(time):
        return float(head.loss(Prediction(torch.zeros(1), logits), Survival(torch.tensor([time]), event)))

    assert loss(10.0) == loss(29.9) != loss(9.9)
    assert loss(30.0) == loss(1e9) != loss(29.9)


def test_a_single_event_gives_one_cut_and_two_bins():
    head = DiscreteHead(2, 4)
    head.learn_marginal(Survival(torch.tensor([5.0, 7.0, 9.0]), torch.tensor([False, True, False])))
    assert head.cuts.tolist() == [7.0]
    assert head(FEATURES).hazard_logits.shape == (5, 2)
    curve = head.survival_curve(head(FEATURES), torch.tensor([0.0, 3.5, 7.0, 100.0])).detach()
    assert bool(((curve[:, 0] + curve[:, 2]) / 2 - curve[:, 1]).abs().max() < 1e-12)


def test_risks_of_any_size_have_a_finite_baseline_and_curve():
    head = CoxHead(2)
    risk = torch.tensor([400.0, -400.0, 0.0, 800.0, -800.0])
    head.learn_baseline(risk, SURVIVAL)
    curve = head.survival_curve(Prediction(risk), torch.tensor([0.0, 20.0, 60.0]))
    assert bool(breslow_baseline(risk, SURVIVAL.time, SURVIVAL.event)[1].isfinite().all())
    assert bool(curve.isfinite().all())


def test_the_kaplan_meier_curve_by_hand():
    """Five at risk at day 10, three at day 30, two at day 40: 4/5, 4/5 x 2/3, 4/5 x 2/3 x 1/2."""
    times, curve = kaplan_meier_steps(SURVIVAL.time, SURVIVAL.event)
    assert times.tolist() == [10.0, 30.0, 40.0]
    assert curve.tolist() == pytest.approx([4 / 5, 8 / 15, 4 / 15])


def test_without_an_event_the_kaplan_meier_curve_stays_at_one():
    head = MarginalHead()
    head.learn_baseline(torch.zeros(2), Survival(torch.tensor([1.0, 2.0]), torch.tensor([False, False])))
    assert head.survival_curve(Prediction(torch.zeros(2)), torch.tensor([5.0])).tolist() == [[1.0], [1.0]]


def test_a_head_is_called_by_its_name():
    assert isinstance(survival_head("cox", 3), CoxHead)
    assert survival_head("discrete", 3, n_bins=6).n_bins == 6
