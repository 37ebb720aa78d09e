"""POT agrees on the problems that it can express: Eq. 11, Eq. 28, and balanced transport with and without a sink."""

import math
import warnings

import numpy as np
import pytest
import torch

from prognos.nn.transport import curriculum_plan, soft_sink_plan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ot = pytest.importorskip("ot")

GAMMA = EPSILON = 0.1


def _cost(tokens=40, prototypes=5):
    return torch.rand(1, tokens, prototypes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def _with_sink(cost):
    return np.append(cost[0].numpy(), np.zeros((cost.shape[1], 1)), axis=1)


def _unbalanced(cost, target):
    source = np.full(len(cost), 1 / len(cost))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that reg_type entropy means a prior of ones
        return ot.unbalanced.sinkhorn_unbalanced(
            source, target, cost, EPSILON, (float("inf"), GAMMA), reg_type="entropy", numItermax=20_000, stopThr=1e-13
        )


def _balanced(cost, target):
    return ot.sinkhorn(np.full(len(cost), 1 / len(cost)), target, cost, EPSILON, numItermax=20_000, stopThr=1e-13)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9])
def test_a_soft_sink_is_unbalanced_transport_to_one_column_more(mass):
    cost = _cost() - 0.5  # so that the sink does not take everything
    plan = soft_sink_plan(cost, mass, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-11)
    theirs = _unbalanced(_with_sink(cost), np.append(np.full(5, mass / 5), 1 - mass))
    np.testing.assert_allclose(plan.plan[0].numpy(), theirs[:, :-1], atol=1e-10)
    np.testing.assert_allclose(plan.sink[0].numpy(), theirs[:, -1], atol=1e-10)


def test_without_a_sink_it_is_semi_relaxed_transport():
    cost = _cost()
    plan = curriculum_plan(cost, 1.0, kl_weight=GAMMA, epsilon=EPSILON, tolerance=1e-11)
    np.testing.assert_allclose(plan.plan[0].numpy(), _unbalanced(cost[0].numpy(), np.full(5, 0.2)), atol=1e-10)


def test_with_hard_marginals_and_no_sink_it_is_balanced_transport():
    cost = _cost()
    plan = curriculum_plan(cost, 1.0, kl_weight=math.inf, epsilon=EPSILON, tolerance=1e-11)
    np.testing.assert_allclose(plan.plan[0].numpy(), _balanced(cost[0].numpy(), np.full(5, 0.2)), atol=1e-10)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9])
def test_with_hard_marginals_the_hard_sink_is_a_column_of_balanced_transport(mass):
    cost = _cost()
    plan = curriculum_plan(cost, mass, kl_weight=math.inf, epsilon=EPSILON, tolerance=1e-11)
    theirs = _balanced(_with_sink(cost), np.append(np.full(5, mass / 5), 1 - mass))
    np.testing.assert_allclose(plan.plan[0].numpy(), theirs[:, :-1], atol=1e-9)
