"""Eq. 56 and its two ways with ties, evaluated literally."""

import math

import pytest
import torch

from prognos.risk.cox import CoxHead, breslow_baseline, partial_likelihood_loss
from prognos.types import Prediction, Survival

TIME = torch.tensor([5.0, 3.0, 3.0, 8.0, 1.0, 3.0, 8.0], dtype=torch.float64)
EVENT = torch.tensor([True, True, True, False, True, False, True])
RISK = torch.tensor([0.3, -1.2, 0.8, 0.1, 2.0, -0.4, 0.5], dtype=torch.float64)


def test_eq_56_is_the_breslow_partial_likelihood_averaged_over_events():
    total = 0.0
    for i in range(7):
        if EVENT[i]:
            at_risk = sum(math.exp(RISK[j]) for j in range(7) if TIME[j] >= TIME[i])
            total += float(RISK[i]) - math.log(at_risk)
    assert float(partial_likelihood_loss(RISK, TIME, EVENT)) == pytest.approx(-total / 5, rel=1e-12)


def test_efron_takes_a_share_of_the_tied_events_out_of_the_risk_set():
    total = 0.0
    for t in sorted(set(TIME[EVENT].tolist())):
        tied = [i for i in range(7) if EVENT[i] and TIME[i] == t]
        at_risk = sum(math.exp(RISK[j]) for j in range(7) if TIME[j] >= t)
        of_tied = sum(math.exp(RISK[i]) for i in tied)
        for rank, i in enumerate(tied):
            total += float(RISK[i]) - math.log(at_risk - rank / len(tied) * of_tied)
    assert float(partial_likelihood_loss(RISK, TIME, EVENT, "efron")) == pytest.approx(-total / 5, rel=1e-12)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_the_gradient_is_that_of_finite_differences(ties):
    risk = RISK.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: partial_likelihood_loss(r, TIME, EVENT, ties), (risk,))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_adding_a_constant_changes_no_partial_likelihood(ties):
    moved = partial_likelihood_loss(RISK + 1000.0, TIME, EVENT, ties)
    assert float(moved) == pytest.approx(float(partial_likelihood_loss(RISK, TIME, EVENT, ties)), rel=1e-9)


def test_a_leading_risk_of_a_hundred_leaves_the_loss_finite():
    risk = torch.tensor([200.0, 0.0, -200.0], dtype=torch.float32)
    loss = partial_likelihood_loss(risk, torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, True, True]))
    assert float(loss) == pytest.approx((0 + 200 + 400) / 3)


def test_no_event_gives_a_loss_of_zero_with_a_gradient():
    risk = RISK.clone().requires_grad_()
    loss = partial_likelihood_loss(risk, TIME, torch.zeros(7, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(risk.grad, torch.zeros(7, dtype=torch.float64))


def test_breslow_baseline_sums_events_over_their_risk_sets():
    times, log_hazard = breslow_baseline(RISK, TIME, EVENT)
    assert times.tolist() == [1.0, 3.0, 5.0, 8.0]
    total = 0.0
    for k, t in enumerate(times.tolist()):
        n_events = sum(bool(EVENT[i]) and float(TIME[i]) == t for i in range(7))
        total += n_events / sum(math.exp(RISK[j]) for j in range(7) if TIME[j] >= t)
        assert math.exp(log_hazard[k]) == pytest.approx(total, rel=1e-12)


def test_the_cox_curve_is_exp_of_minus_baseline_times_exp_risk():
    head = CoxHead(3)
    head.learn_baseline(RISK, Survival(TIME, EVENT))
    curve = head.survival_curve(Prediction(torch.tensor([0.7])), torch.tensor([0.5, 3.0, 100.0]))
    _, log_hazard = breslow_baseline(RISK, TIME, EVENT)
    risk = float(torch.tensor(0.7))
    expected = [1.0, math.exp(-math.exp(log_hazard[1]) * math.exp(risk)), math.exp(-math.exp(log_hazard[-1]) * math.exp(risk))]
    assert curve[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_baseline_needs_an_event():
    with pytest.raises(ValueError, match="none of 7 patients had an event"):
        breslow_baseline(RISK, TIME, torch.zeros(7, dtype=torch.bool))


def test_a_curve_before_the_baseline_is_learnt_is_refused():
    with pytest.raises(RuntimeError, match="has not been learnt"):
        CoxHead(3).survival_curve(Prediction(torch.zeros(1)), torch.tensor([1.0]))


def test_a_window_of_batches_has_the_gradient_of_the_whole():
    """The sum over batches of gradients, the others' risks held constant, is the gradient of the joint loss."""
    head, risk = CoxHead(1), RISK.float()
    whole = risk.clone().requires_grad_()
    partial_likelihood_loss(whole, TIME.float(), EVENT).backward()
    survival = Survival(TIME.float(), EVENT)
    parts = [torch.arange(0, 3), torch.arange(3, 7)]
    for own, other in (parts, parts[::-1]):
        mine = risk[own].clone().requires_grad_()
        head.loss(Prediction(mine), survival[own], (risk[other], survival[other])).backward()
        assert torch.allclose(mine.grad, whole.grad[own], atol=1e-6)
