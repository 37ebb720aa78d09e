"""MOTCat: groups of genes and patches matched by unbalanced transport."""

import math

import pytest
import torch

from prognos.nn.transport_unbalanced import relative_distance, unbalanced_plan
from tests.papers.comparison_by_hand import group_token, linear, made, patients


def cost_by_hand(patches, groups):
    """|h_i - g_j|^2 over the largest, of vectors less their own least entry."""
    lifted = [[x - min(vector) for x in vector] for vector in [*patches, *groups]]
    h, g = lifted[: len(patches)], lifted[len(patches) :]
    squares = [[sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) for other in g] for one in h]
    largest = max(map(max, squares))
    return [[square / largest for square in row] for row in squares]


def plan_by_hand(cost, kl_weight, epsilon):
    """Matrix scaling with soft marginals, entry by entry, until nothing moves."""
    n, k, f = len(cost), len(cost[0]), kl_weight / (kl_weight + epsilon)
    kernel = [[math.exp(-c / epsilon) / (n * k) for c in row] for row in cost]
    u, v = [1.0] * n, [1.0] * k
    for _ in range(200):
        u = [(1 / n / sum(kernel[i][j] * v[j] for j in range(k))) ** f for i in range(n)]
        v = [(1 / k / sum(kernel[i][j] * u[i] for i in range(n))) ** f for j in range(k)]
    return [[u[i] * kernel[i][j] * v[j] for j in range(k)] for i in range(n)]


@torch.no_grad()
def test_a_group_finds_what_the_plan_carries_to_it():
    model, bag = made("motcat"), patients()
    seen = {}
    model.histology.register_forward_pre_hook(lambda module, given: seen.update(tokens=given[0]))
    evidence = model(bag).evidence
    for i, n in enumerate((5, 3)):
        patches = [linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        groups = [group_token(model.groups, g, bag["omics"].values[i, g]) for g in range(2)]
        plan = plan_by_hand(cost_by_hand([p.tolist() for p in patches], [g.tolist() for g in groups]), 0.5, 0.1)
        for g in range(2):
            weights = [2 * row[g] for row in plan]
            assert evidence["attention"][i][g].tolist() == pytest.approx(weights, rel=1e-4)
            expected = sum(w * patch for w, patch in zip(weights, patches, strict=True))
            assert seen["tokens"][i, g].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@torch.no_grad()
def test_the_published_scale_of_the_plan_is_an_option():
    ours, theirs, bag = made("motcat"), made("motcat", plan_scale="one"), patients()
    pairs = zip(ours(bag).evidence["attention"], theirs(bag).evidence["attention"], strict=True)
    assert all(torch.allclose(one, 2 * other) for one, other in pairs)  # two groups
    assert (ours.config.as_released, theirs.config.as_released) == ((), ("plan_scale = one",))


def test_neither_marginal_is_met_where_the_cost_speaks_against_it():
    cost = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    plan = unbalanced_plan(cost, kl_weight=0.5, epsilon=0.1)[0]
    assert float(plan[2].sum()) < float(plan[0].sum()) < 0.4  # the third patch suits nobody
    assert float(plan[:, 1].sum()) < 0.5 < float(plan[:, 0].sum())
    firm = unbalanced_plan(cost, kl_weight=10.0, epsilon=0.1)[0]
    assert firm.sum(dim=1).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert firm.sum(dim=0).tolist() == pytest.approx([1 / 2] * 2, abs=0.04)


def test_the_mass_of_a_plan_does_not_depend_on_the_number_of_patches_and_padding_has_none():
    cost = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    once, mask = unbalanced_plan(cost, kl_weight=0.5, epsilon=0.1), torch.arange(8) < 4
    twice = unbalanced_plan(cost.repeat(1, 2, 1), kl_weight=0.5, epsilon=0.1)
    padded = unbalanced_plan(torch.cat([cost, torch.zeros_like(cost)], dim=1), kl_weight=0.5, epsilon=0.1, mask=mask[None])
    assert torch.allclose(twice[:, :4] + twice[:, 4:], once, rtol=1e-4)
    assert torch.allclose(padded[:, :4], once)
    assert not bool(padded[:, 4:].any())


def test_training_averages_micro_batches_and_prediction_has_one_plan():
    model, bag = made("motcat", micro_batch=2, dropout=0.0), patients()
    drawn = [model.train()(bag).evidence["attention"][0] for _ in range(2)]
    assert not torch.equal(*drawn)  # which patches are together is drawn anew
    whole = model.eval()(bag).evidence["attention"][0]
    assert not torch.allclose(drawn[0], whole)
    one = made("motcat", micro_batch=5, dropout=0.0)
    assert torch.allclose(one.train()(bag).evidence["attention"][0], whole)


def test_the_plan_is_a_constant_for_the_gradient():
    model = made("motcat")
    groups, patches = model.groups(patients()["omics"].values), [torch.rand(4, 8, dtype=torch.float64)] * 2
    assert groups.requires_grad
    assert not any(plan.requires_grad for plan in model.found(groups, patches)[1])


def test_a_patient_whose_tokens_are_all_alike_has_a_cost_of_zero():
    assert relative_distance(torch.ones(3, 4), torch.ones(2, 4), power=2).tolist() == [[0.0, 0.0]] * 3
