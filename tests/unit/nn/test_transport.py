"""Plans are exact in mass and rows whatever the costs, and what is not a problem is refused with a reason."""

import contextlib
import math

import numpy as np
import pytest
import torch
from jaxtyping import config

from prognos.nn import transport, transport_kernels, transport_problem
from prognos.nn.transport import curriculum_plan, differentiable_plan, log_domain_plan, soft_sink_plan
from prognos.nn.transport_kernels import ScaledKernel

SETTING = {"kl_weight": 0.1, "epsilon": 0.1}


def _cost(*shape, scale=1.0, seed=0, dtype=torch.float32):
    return scale * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _distance(plan, reference):
    """L1 distance of each patient's plans."""
    return (plan.plan.double() - reference.plan).abs().sum(dim=(1, 2))


@contextlib.contextmanager
def _untyped():
    """As a user calls it: without the shape checks of the test run."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("mass", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_plan_has_its_mass_and_every_row_is_complete(mass):
    plan = curriculum_plan(_cost(3, 40, 5, scale=4), mass, **SETTING)
    assert plan.converged.all()
    assert ((plan.plan.double().sum(dim=(1, 2)) - mass).abs() < 1e-5 * mass).all()
    assert torch.allclose(plan.plan.sum(dim=2) + plan.sink, torch.tensor(1 / 40), rtol=1e-5)
    assert (plan.plan >= 0).all()
    assert (plan.sink >= 0).all()


@pytest.mark.parametrize(("kl_weight", "epsilon"), [(0.1, 0.1), (1.0, 0.1), (0.1, 0.05), (math.inf, 0.1), (0.01, 1.0)])
@pytest.mark.parametrize("mass", [0.2, 0.9, 1])
def test_a_plan_is_that_of_the_plain_loop(mass, kl_weight, epsilon):
    cost = _cost(2, 30, 4, scale=2)
    plan = curriculum_plan(cost, mass, kl_weight=kl_weight, epsilon=epsilon)
    reference = log_domain_plan(cost, mass, kl_weight=kl_weight, epsilon=epsilon, tolerance=1e-9)
    assert plan.converged.all()
    assert reference.converged.all()
    assert (_distance(plan, reference) < 2e-4 * mass).all()
    assert torch.allclose(plan.sink.double(), reference.sink, atol=2e-6)


def test_padded_tokens_are_nobody():
    cost, mask = _cost(2, 12, 3), torch.ones(2, 12, dtype=torch.bool)
    mask[0, 7:] = False
    mask[1, [0, 5]] = False
    plan = curriculum_plan(cost, 0.4, mask=mask, **SETTING)
    assert (plan.plan[~mask] == 0).all()
    assert (plan.sink[~mask] == 0).all()
    assert torch.allclose((plan.plan.sum(dim=2) + plan.sink)[0, :7], torch.tensor(1 / 7))
    assert torch.allclose((plan.plan.sum(dim=2) + plan.sink)[1, mask[1]], torch.tensor(1 / 10))


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -1e30])
def test_what_stands_in_padded_tokens_does_not_matter(garbage):
    cost, mask = _cost(1, 9, 3), torch.arange(9)[None] < 6
    plan = curriculum_plan(cost, 0.4, mask=mask, **SETTING).plan
    cost[:, 6:] = garbage
    assert torch.equal(curriculum_plan(cost, 0.4, mask=mask, **SETTING).plan, plan)


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True, False], [True, False, False]])])
def test_no_mass_goes_nowhere_and_full_mass_leaves_no_sink(mask):
    real = torch.ones(2, 3, dtype=torch.bool) if mask is None else mask
    rows = real / real.sum(dim=1, keepdim=True)
    nothing = curriculum_plan(_cost(2, 3, 4), 0.0, mask=mask, **SETTING)
    assert (nothing.plan == 0).all()
    assert torch.equal(nothing.sink, rows)
    everything = curriculum_plan(_cost(2, 3, 4), 1.0, mask=mask, **SETTING)
    assert (everything.sink == 0).all()
    assert torch.allclose(everything.plan.sum(dim=2), rows)
    assert nothing.converged.all()
    assert everything.converged.all()


def test_each_patient_may_have_a_mass_of_its_own():
    cost, mass = _cost(5, 8, 3), torch.tensor([0.0, 1e-4, 0.3, 0.999999, 1.0])
    together = curriculum_plan(cost, mass, **SETTING)
    assert torch.allclose(together.plan.sum(dim=(1, 2)), mass, rtol=1e-5)
    for i in range(5):
        assert torch.allclose(together.plan[i], curriculum_plan(cost[i : i + 1], float(mass[i]), **SETTING).plan[0], atol=1e-7)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 10.0, 100.0, 1e4])
@pytest.mark.parametrize("mass", [1e-9, 0.1, 0.5, 1 - 1e-9, 1])
def test_no_cost_is_too_large_and_no_mass_too_small(scale, mass):
    cost = _cost(2, 50, 4, scale=scale)
    plan = curriculum_plan(cost, mass, **SETTING)
    assert plan.plan.isfinite().all()
    assert plan.sink.isfinite().all()
    assert plan.converged.all()
    assert torch.allclose(plan.plan.double().sum(dim=(1, 2)), torch.tensor(float(mass)).double(), rtol=1e-5)


@pytest.mark.parametrize("arithmetic", ["logarithms", "float64", "float32 by row", "float32"])
def test_every_arithmetic_finds_the_same_plan(monkeypatch, arithmetic):
    cost, mask = _cost(2, 30, 4, scale=3), torch.arange(30)[None] < torch.tensor([[30], [17]])
    expected = curriculum_plan(cost.double(), 0.3, mask=mask, tolerance=1e-10, **SETTING)
    monkeypatch.setattr(transport_problem, "arithmetic_of", lambda problem: [arithmetic] * 2)
    plan = curriculum_plan(cost, 0.3, mask=mask, **SETTING)
    assert plan.converged.all()
    assert (_distance(plan, expected) < 3e-5).all()
    assert torch.allclose(plan.sink.double(), expected.sink, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda cost: cost, "float32"),
        (lambda cost: cost + torch.arange(20)[None, :, None], "float32 by row"),
        (lambda cost: 20 * cost, "float64"),
        (lambda cost: 1e4 * cost, "logarithms"),
        (lambda cost: cost.double(), "float64"),
    ],
)
def test_extreme_costs_get_the_arithmetic_they_need(change, expected):
    cost = change(_cost(1, 20, 3))
    problem = transport_problem.checked_problem(cost, 0.5, 0.1, 0.1, None)
    assert transport_problem.arithmetic_of(problem) == [expected]
    plan = curriculum_plan(cost, 0.5, **SETTING)
    assert plan.converged.all()
    exact = curriculum_plan(cost.double(), 0.5, tolerance=1e-10, **SETTING)
    assert float(_distance(plan, exact)) < 1e-4


def test_batched_products_make_the_same_sweep(monkeypatch):
    cost, real = _cost(3, 8, 4), torch.arange(8)[None] < torch.tensor([[8], [5], [1]])
    column, level = np.linspace(-1, 1, 12).reshape(3, 4), np.array([0.0, -1.0, 1.0])
    sweeps = []
    for least in (0, 1000):
        monkeypatch.setattr(transport_kernels, "ONE_BY_ONE", least)
        kernel = ScaledKernel(cost, real, 0.1, np.zeros(3), torch.empty_like(cost))
        sweeps.append(kernel.sweep(column, level, [0, 1, 2]))
    assert torch.allclose(sweeps[0].share, sweeps[1].share)
    np.testing.assert_allclose(sweeps[0].log_columns, sweeps[1].log_columns, rtol=1e-5)


@pytest.mark.parametrize("mask", [None, torch.arange(2000)[None] < torch.tensor([[2000], [1300], [40], [1]])])
@pytest.mark.parametrize("mass", [0.1, 0.9, 1.0])
def test_many_tokens_have_the_plan_of_the_plain_loop(mass, mask):
    cost = _cost(4, 2000, 30, scale=4)  # the start is found from a sample, which holds next to no token of the last two
    plan = curriculum_plan(cost, mass, mask=mask, **SETTING)
    assert plan.converged.all()
    reference = log_domain_plan(cost, mass, mask=mask, tolerance=1e-7, **SETTING)
    assert (_distance(plan, reference) < 3e-5 * mass).all()


def test_a_start_from_a_sample_saves_sweeps_over_all_tokens(monkeypatch):
    cost = 4 * _cost(2, 2048, 12) ** torch.linspace(0.3, 3, 12)  # uneven prototypes: log v has far to go
    sampled = curriculum_plan(cost, 0.5, **SETTING)
    monkeypatch.setattr(transport, "SAMPLED_TOKENS", 2048)
    whole = curriculum_plan(cost, 0.5, **SETTING)
    assert (sampled.iterations < whole.iterations).all()
    assert (_distance(sampled, whole) < 1e-5).all()


def test_the_last_step_is_taken_and_not_only_looked_at():
    cost = _cost(2, 300, 8, scale=4)
    exact = curriculum_plan(cost.double(), 0.5, tolerance=1e-12, **SETTING)
    rough = curriculum_plan(cost, 0.5, tolerance=1e-2, **SETTING)
    assert rough.converged.all()
    assert ((rough.log_column - exact.log_column).abs() < 2e-3).all()


def test_a_token_far_dearer_than_the_others_goes_to_the_sink():
    cost = torch.zeros(1, 4, 2)
    cost[0, 3] = 1e4
    plan = curriculum_plan(cost, 0.75, **SETTING)
    assert torch.allclose(plan.sink, torch.tensor([[0.0, 0.0, 0.0, 0.25]]), atol=1e-6)


def test_a_patient_of_one_token_and_one_prototype():
    plan = curriculum_plan(torch.tensor([[[3.0]]]), 0.3, **SETTING)
    assert torch.allclose(plan.plan, torch.tensor([[[0.3]]]))
    assert torch.allclose(plan.sink, torch.tensor([[0.7]]))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_two_hundred_thousand_tokens(scale):
    plan = curriculum_plan(_cost(1, 200_000, 2, scale=scale), 0.3, **SETTING)
    assert plan.converged.all()
    assert plan.plan.double().sum() == pytest.approx(0.3, rel=1e-5)


def test_parts_that_are_solved_apart_are_solved_alike(monkeypatch):
    cost = _cost(5, 10, 3)
    together = curriculum_plan(cost, 0.3, **SETTING)
    monkeypatch.setitem(transport_problem.ENTRIES_AT_ONCE, "cpu", 60)
    apart = curriculum_plan(cost, 0.3, **SETTING)
    assert torch.allclose(together.plan, apart.plan, atol=1e-5)


def test_the_order_of_strides_is_kept_and_changes_nothing():
    cost = _cost(2, 10, 3)
    other = curriculum_plan(cost.transpose(1, 2).contiguous().transpose(1, 2), 0.3, **SETTING).plan
    assert other.transpose(1, 2).is_contiguous()
    plan = curriculum_plan(cost, 0.3, **SETTING).plan
    assert plan.is_contiguous()
    assert torch.allclose(plan, other, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "returned"), [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_a_plan_is_at_least_float32(given, returned):
    assert curriculum_plan(_cost(1, 4, 2).to(given), 0.5, **SETTING).plan.dtype == returned


def test_the_cost_is_left_as_it_was():
    cost = _cost(2, 6, 3)
    before = cost.clone()
    curriculum_plan(cost, 0.5, **SETTING)
    assert torch.equal(cost, before)


def test_a_warm_start_takes_fewer_sweeps():
    cost = _cost(3, 60, 6, scale=4)
    cold = curriculum_plan(cost, 0.4, **SETTING)
    warm = curriculum_plan(cost + 1e-3 * _cost(3, 60, 6, seed=1), 0.41, start=cold.log_column, **SETTING)
    assert (warm.iterations < cold.iterations).all()
    assert warm.converged.all()


def test_giving_up_early_is_said_and_rows_and_mass_are_still_exact():
    plan = curriculum_plan(_cost(2, 20, 5, scale=4), 0.4, max_iterations=1, **SETTING)
    assert not plan.converged.any()
    assert torch.allclose(plan.plan.sum(dim=(1, 2)), torch.tensor(0.4), rtol=1e-5)
    assert (plan.iterations == 1).all()


def test_a_plan_carries_no_gradient_unless_asked_for():
    cost = _cost(1, 5, 2).requires_grad_()
    assert not curriculum_plan(cost, 0.5, **SETTING).plan.requires_grad
    assert differentiable_plan(cost, 0.5, **SETTING).plan.requires_grad


@pytest.mark.parametrize("kl_weight", [0.1, 1.0, math.inf])
@pytest.mark.parametrize("mass", [0.3, 1.0])
def test_the_implicit_gradient_is_the_numerical_one(kl_weight, mass):
    cost = _cost(2, 5, 3, dtype=torch.float64).requires_grad_()
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])

    def plan_and_sink(values):
        plan = differentiable_plan(values, mass, kl_weight=kl_weight, epsilon=0.3, mask=mask, tolerance=1e-12)
        return plan.plan, plan.sink

    assert torch.autograd.gradcheck(plan_and_sink, cost, fast_mode=True)


def test_the_implicit_gradient_is_that_of_the_unrolled_loop():
    cost, weight = _cost(1, 12, 3, dtype=torch.float64).requires_grad_(), _cost(1, 12, 3, seed=1, dtype=torch.float64)
    (differentiable_plan(cost, 0.4, kl_weight=0.1, epsilon=0.1, tolerance=1e-12).plan * weight).sum().backward()
    leaf = cost.detach().clone().requires_grad_()
    kernel = torch.cat([-leaf / 0.1, torch.zeros(1, 12, 1, dtype=torch.float64)], dim=2)
    log_b = torch.tensor([0.4 / 3] * 3 + [0.6], dtype=torch.float64).log()
    factor = torch.tensor([0.5] * 3 + [1.0], dtype=torch.float64)
    log_v = torch.zeros(1, 4, dtype=torch.float64)
    for _ in range(400):
        log_u = -math.log(12) - torch.logsumexp(kernel + log_v[:, None], dim=2)
        log_v = factor * (log_b - torch.logsumexp(kernel + log_u[:, :, None], dim=1))
    log_u = -math.log(12) - torch.logsumexp(kernel + log_v[:, None], dim=2)
    ((kernel + log_u[:, :, None] + log_v[:, None]).exp()[:, :, :3] * weight).sum().backward()
    assert torch.allclose(cost.grad, leaf.grad, atol=1e-10)


def test_extremes_of_the_mass_have_a_gradient_too():
    cost = _cost(3, 6, 2, dtype=torch.float64).requires_grad_()
    plan = differentiable_plan(cost, torch.tensor([0.0, 0.5, 1.0]), tolerance=1e-10, **SETTING)
    (plan.plan.square().sum() + plan.sink.square().sum()).backward()
    assert cost.grad.isfinite().all()
    assert (cost.grad[0] == 0).all()
    assert (cost.grad[1:] != 0).any(dim=(1, 2)).all()


def test_a_soft_sink_is_complete_by_rows_and_hard_at_the_ends():
    cost, mass = _cost(3, 10, 4) + 1, torch.tensor([0.0, 0.5, 1.0])
    soft, hard = soft_sink_plan(cost, mass, **SETTING), curriculum_plan(cost, mass, **SETTING)
    assert torch.allclose(soft.plan.sum(dim=2) + soft.sink, torch.tensor(0.1))
    assert torch.equal(soft.plan[[0, 2]], hard.plan[[0, 2]])
    assert float(soft.plan[1].sum()) < 0.1 < 0.5
    assert soft.converged.all()
    assert soft.log_column.shape == (3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mass": 1.2}, r"2 of 2 patients of the batch \(at 0, 1\) have a mass outside 0..1 \(1.2, 1.2\)"),
        ({"mass": torch.tensor([0.5, math.nan])}, r"1 of 2 .*\(at 1\) have a mass outside 0..1 \(nan\)"),
        ({"mass": torch.ones(3)}, r"mass has the shape \(3,\) for 2 patients"),
        ({"epsilon": 0.0}, r"epsilon is 0.0; .* above 0"),
        ({"epsilon": math.inf}, r"epsilon is inf"),
        ({"kl_weight": -1.0}, r"kl_weight is -1.0; .* above 0"),
        ({"cost": torch.ones(2, 3)}, r"cost has the shape \(2, 3\); it needs three axes"),
        ({"cost": torch.ones(2, 0, 3)}, r"none of them empty"),
        ({"cost": torch.tensor([[[1.0]], [[math.nan]]])}, r"1 of 2 .*\(at 1\) have a cost that is not finite"),
        ({"cost": torch.tensor([[[math.inf]], [[1.0]]])}, r"1 of 2 .*\(at 0\) have a cost that is not finite"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, r"mask has the shape \(2, 4\) and cost \(2, 3, 4\)"),
        ({"mask": torch.tensor([[True] * 3, [False] * 3])}, r"1 of 2 .*\(at 1\) have no real token; leave them out"),
        ({"start": torch.zeros(2, 3)}, r"start has the shape \(2, 3\); .* \(2, 4\)"),
        ({"start": torch.full((2, 4), math.inf)}, r"2 of 2 .* have a start that is not finite"),
    ],
)
def test_what_is_no_problem_is_refused(changes, message):
    arguments = {"cost": torch.ones(2, 3, 4), "mass": 0.5, **SETTING, **changes}
    with _untyped(), pytest.raises(ValueError, match=message):
        curriculum_plan(**arguments)


def test_a_message_names_three_patients_and_counts_all():
    with pytest.raises(ValueError, match=r"5 of 5 patients of the batch \(at 0, 1, 2, ...\)"):
        curriculum_plan(torch.full((5, 1, 1), math.nan), 0.5, **SETTING)
