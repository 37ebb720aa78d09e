"""What holds for every transport plan, whatever the costs."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prognos.nn.transport import curriculum_plan


@st.composite
def problems(draw):
    """Costs, a mass and a setting; from the harmless to the extreme."""
    batch, tokens, prototypes = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 2.0, 8.0, 50.0, 1e4]))
    cost = scale * torch.rand(batch, tokens, prototypes, generator=generator)
    mass = draw(st.one_of(st.floats(1e-4, 1.0), st.sampled_from([0.0, 1.0])))
    setting = {"kl_weight": draw(st.sampled_from([0.1, 1.0])), "epsilon": draw(st.sampled_from([0.05, 0.1, 1.0]))}
    return cost, mass, {**setting, "max_iterations": 50}  # some of the extreme ones do not converge; all keep rows and mass


def _same(one, other, cost, setting):
    """Equal up to what the tolerance leaves."""
    return torch.allclose(one, other, atol=2e-3 / cost.shape[1] * (1 + setting["kl_weight"] / setting["epsilon"]))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_rows_and_mass_are_exact_and_nothing_is_negative(problem):
    cost, mass, setting = problem
    plan = curriculum_plan(cost, mass, **setting)
    assert ((plan.plan.double().sum(dim=(1, 2)) - mass).abs() <= 1e-5 * mass).all()
    assert torch.allclose(plan.plan.sum(dim=2) + plan.sink, torch.tensor(1 / cost.shape[1]), rtol=1e-4)
    assert (plan.plan >= 0).all()
    assert (plan.sink >= 0).all()
    assert plan.log_column.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(0, 2**31))
def test_the_order_of_tokens_and_prototypes_does_not_matter(problem, seed):
    cost, mass, setting = problem
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(n, generator=generator) for n in cost.shape[1:])
    plan = curriculum_plan(cost, mass, **setting)
    other = curriculum_plan(cost[:, rows][:, :, columns], mass, **setting)
    if bool((plan.converged & other.converged).all()):
        assert _same(plan.plan[:, rows][:, :, columns], other.plan, cost, setting)


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(1, 6))
def test_padding_does_not_change_the_plan(problem, n_padded):
    cost, mass, setting = problem
    padded = torch.cat([cost, torch.full((len(cost), n_padded, cost.shape[2]), 7.0)], dim=1)
    mask = torch.arange(padded.shape[1])[None].expand(len(cost), -1) < cost.shape[1]
    plan, other = curriculum_plan(cost, mass, **setting), curriculum_plan(padded, mass, mask=mask, **setting)
    assert (other.plan[~mask] == 0).all()
    if bool((plan.converged & other.converged).all()):
        assert _same(plan.plan, other.plan[:, : cost.shape[1]], cost, setting)


@settings(max_examples=30, deadline=None)
@given(problems())
def test_a_batch_is_its_patients_one_by_one(problem):
    cost, mass, setting = problem
    plan = curriculum_plan(cost, mass, **setting)
    alone = [curriculum_plan(cost[i : i + 1], mass, **setting) for i in range(len(cost))]
    if bool(plan.converged.all()) and all(bool(one.converged) for one in alone):
        assert _same(plan.plan, torch.cat([one.plan for one in alone]), cost, setting)


@settings(max_examples=30, deadline=None)
@given(problems(), st.floats(-3, 3))
def test_a_constant_added_to_all_costs_changes_nothing(problem, constant):
    cost, mass, setting = problem
    plan, other = curriculum_plan(cost, mass, **setting), curriculum_plan(cost + constant, mass, **setting)
    if bool((plan.converged & other.converged).all()) and float(cost.max()) < 100:
        assert _same(plan.plan, other.plan, cost, setting)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 15), st.integers(0, 2**31), st.floats(0.01, 0.5), st.floats(0.51, 0.99))
def test_with_one_prototype_more_mass_takes_more_of_every_token_and_cheap_ones_first(tokens, seed, less, more):
    cost = 2 * torch.rand(1, tokens, 1, generator=torch.Generator().manual_seed(seed))
    small, large = (curriculum_plan(cost, mass, kl_weight=0.1, epsilon=0.1).plan[0, :, 0] for mass in (less, more))
    assert (large >= small - 1e-7).all()
    order = cost[0, :, 0].argsort()
    assert (small[order].diff() <= 1e-7).all()


@settings(max_examples=30, deadline=None)
@given(problems())
def test_a_larger_kl_weight_brings_the_prototypes_nearer_to_equal(problem):
    cost, mass, setting = problem
    if mass == 0 or float(cost.max()) > 10:
        return
    spreads = []
    for kl_weight in (0.05, 0.5, math.inf):
        plan = curriculum_plan(cost, mass, kl_weight=kl_weight, epsilon=setting["epsilon"])
        if not bool(plan.converged.all()):
            return
        sums = plan.plan.double().sum(dim=1) / mass * cost.shape[2]
        spreads.append((sums * sums.clamp(min=1e-30).log()).sum(dim=1))
    assert (spreads[0] >= spreads[1] - 2e-3 * cost.shape[2]).all()
    assert (spreads[1] >= spreads[2] - 2e-3 * cost.shape[2]).all()
