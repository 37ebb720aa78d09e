"""OTSurv: a plan of growing mass to learnt prototypes."""

import math

import pytest
import torch

from prognos.nn.transport import curriculum_plan
from prognos.types import Progress
from tests.papers.comparison_by_hand import linear, made, patients

START, MIDDLE = (Progress(step=step, steps_per_epoch=4, epoch=step // 4, epochs=10) for step in (0, 20))


def cost_by_hand(patches, prototypes):
    """|x_i - p_k| over the largest, of vectors less their own least entry."""
    lifted = [[[x - min(vector) for x in vector] for vector in vectors] for vectors in (patches, prototypes)]
    cost = [[math.dist(one, other) for other in lifted[1]] for one in lifted[0]]
    largest = max(map(max, cost))
    return torch.tensor([[[c / largest for c in row] for row in cost]], dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("progress", [None, START, MIDDLE], ids=["predicting", "start", "middle"])
def test_the_risk_is_linear_in_what_the_plan_carries_to_the_prototypes(progress):
    model, bag = made("otsurv", n_prototypes=3), patients()
    prediction, rho = model(bag, progress), model.mass(progress)
    for i, n in enumerate((5, 3)):
        tokens = [linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        cost = cost_by_hand([t.tolist() for t in tokens], model.prototypes.tolist())
        plan = curriculum_plan(cost, rho, kl_weight=1.0, epsilon=0.1, tolerance=1e-10).plan[0]
        assert float(plan.sum()) == pytest.approx(rho)
        assert (prediction.evidence["plan"][i] / n).flatten().tolist() == pytest.approx(plan.flatten().tolist(), rel=1e-3, abs=1e-6)
        carried = [3 * sum(float(plan[j, k]) * tokens[j] for j in range(n)) / rho for k in range(3)]
        expected = model.head(sum(float(model.combine.weight[0, k]) * carried[k] for k in range(3))[None]).risk[0]
        assert float(prediction.risk[i]) == pytest.approx(float(expected), rel=1e-3)
        assert prediction.evidence["sink"][i].tolist() == pytest.approx((1 - n * plan.sum(dim=1)).tolist(), abs=1e-3)
    assert bool(prediction.evidence["converged"].all())


def test_the_mass_follows_the_printed_ramp_and_the_published_codes_on_request():
    printed, legacy = made("otsurv"), made("otsurv", ramp="legacy")
    assert printed.mass(MIDDLE) == pytest.approx(0.1 + 0.9 * math.exp(-5 / 4))  # step 20 of 40: half of the ramp is done
    assert legacy.mass(MIDDLE) == pytest.approx(0.1 + math.exp(-5 / 4))
    late = Progress(step=36, steps_per_epoch=4, epoch=9, epochs=10)
    assert legacy.mass(late) == 1 > printed.mass(late) == pytest.approx(0.1 + 0.9 * math.exp(-5 / 100))
    assert printed.mass(None) == legacy.mass(None) == 1


@torch.no_grad()
def test_the_published_scale_of_the_plan_is_an_option():
    ours, theirs, bag = made("otsurv", n_prototypes=3), made("otsurv", n_prototypes=3, plan_scale="one"), patients()
    theirs.combine.weight *= 3
    assert torch.allclose(ours(bag).risk, theirs(bag).risk)
    assert theirs.config.as_released == ("plan_scale = one",)


def test_the_gradient_passes_the_plan_to_the_prototypes():
    model, bag = made("otsurv", n_prototypes=3, dropout=0.0), patients()
    model(bag, MIDDLE).risk[0].backward()
    slope = float(model.prototypes.grad[1, 2])
    risks = []
    with torch.no_grad():
        for move in (1e-3, -2e-3):
            model.prototypes[1, 2] += move
            risks.append(float(model(bag, MIDDLE).risk[0]))
    assert slope == pytest.approx((risks[0] - risks[1]) / 2e-3, rel=0.02, abs=1e-5)
    assert slope != 0


@torch.no_grad()
def test_the_weights_of_prototypes_are_the_plan_and_divide_a_patch_that_is_carried():
    model, bag = made("otsurv", n_prototypes=3), patients()
    weights = model.prototype_weights(model(bag), 0)["histology"]
    assert weights.shape == (5, 3)
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert torch.equal(model.prototype_banks()["histology"], model.prototypes)
