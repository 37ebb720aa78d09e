"""TTA's equations, evaluated with loops in float64, against the model's code."""

import math

import pytest
import torch
from torch.nn.functional import log_softmax

from prognos.models import MODELS
from prognos.models.tta import TTA, TTAConfig
from prognos.nn.alignment import Assignment, aggregate, bag_agreement, curriculum_mass, nearest, token_agreement, transport, two_views
from prognos.nn.pathways import PathwayEncoder
from prognos.nn.transport import log_domain_plan
from prognos.types import InputShape, Progress
from tests.papers.tta_by_hand import N_PATCHES, PROGRESS, SHAPE, SURVIVAL, NoFold, bag, dot, leaky, times, tiny, unit


def test_eq_1_and_2_map_each_pathway_by_its_own_layer():
    torch.manual_seed(0)
    encoder = PathwayEncoder((2, 3), 4, dropout=0.0).double()
    z = [[0.5, -1.0], [2.0, 0.1, -0.3]]
    padded = torch.tensor([[z[0] + [0.0], z[1]]], dtype=torch.float64)
    out = encoder(padded)
    for c, size in enumerate((2, 3)):
        for d in range(4):
            linear = sum(z[c][s] * float(encoder.weight[c, s, d].detach()) for s in range(size)) + float(encoder.bias[c, d].detach())
            assert float(out[0, c, d].detach()) == pytest.approx(leaky(linear), rel=1e-12)


def test_the_padding_of_a_pathway_is_never_learnt():
    encoder = PathwayEncoder((2, 3), 4)
    encoder(torch.randn(5, 2, 3) * torch.tensor([[1, 1, 0], [1, 1, 1]])).sum().backward()
    assert torch.equal(encoder.weight[0, 2], torch.zeros(4))
    assert torch.equal(encoder.weight.grad[0, 2], torch.zeros(4))


@torch.no_grad()
def test_eq_3_is_the_cosine_similarity_to_prototypes_over_the_temperature():
    model, x = tiny(), [0.3, -1.0, 0.2, 0.9, -0.4, 0.1]
    logits = model._logits(torch.tensor([x], dtype=torch.float64), "histology")
    projected = unit(times(model.project["histology"].weight.tolist(), x))
    for k in range(3):
        expected = dot(projected, unit(model.prototypes[0, k].tolist())) / 0.5
        assert float(logits[0, k]) == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_eq_4_and_5_make_one_joint_cost_and_the_plan_is_that_of_the_reference_solver():
    model = tiny()
    together = model._together(bag(), PROGRESS)
    rho = model.mass(PROGRESS)
    for i, n in enumerate(N_PATCHES):
        cost = torch.cat([-together.log_p["histology"][i], -together.log_p["omics"][i]])[None]
        assert cost.shape == (1, n + 2, 3)
        reference = log_domain_plan(cost, rho, kl_weight=model.config.kl_weight, epsilon=0.1)
        expected = reference.plan[0] * (n + 2)
        found = torch.cat([together.assignment.rows["histology"][i], together.assignment.rows["omics"][i]])
        assert torch.allclose(found, expected, atol=2e-4)
        assert float(found.sum() / (n + 2)) == pytest.approx(rho, rel=1e-5)
    assert together.evidence()["converged"].all()


@torch.no_grad()
def test_respective_plans_give_each_modality_the_whole_mass():
    model = tiny(joint_plan=False)
    together = model._together(bag(), PROGRESS)
    for m, counts in (("histology", N_PATCHES), ("omics", (2, 2, 2))):
        for i, n in enumerate(counts):
            assert float(together.assignment.rows[m][i].sum() / n) == pytest.approx(model.mass(PROGRESS), rel=1e-5)


@pytest.mark.parametrize(("t", "horizon"), [(0, 20), (7, 20), (20, 20), (90, 20)])
def test_eq_9_ramps_the_mass_up_and_holds_it(t, horizon):
    expected = 0.1 + (1.0 - 0.1) * math.exp(-5 * (1 - min(t, horizon) / horizon) ** 2)
    assert curriculum_mass(t / horizon, 0.1, 1.0) == pytest.approx(expected, rel=1e-12)
    model = tiny(mass_epochs=10)
    assert model.mass(Progress(step=t, steps_per_epoch=2, epoch=0, epochs=9)) == pytest.approx(expected, rel=1e-12)


def test_the_mass_outside_training_is_rho_upper_or_that_of_step_zero():
    assert tiny().mass(None) == pytest.approx(1.0)
    assert tiny(mass_evaluation="base").mass(None) == pytest.approx(0.1 + 0.9 * math.exp(-5))
    assert tiny(assignment="unbalanced").mass(PROGRESS) == 1.0


def _made_up() -> tuple[dict, dict, Assignment]:
    generator = torch.Generator().manual_seed(3)
    tokens = {"histology": [torch.randn(4, 6, generator=generator, dtype=torch.float64)]}
    log_p = {"histology": [log_softmax(torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=-1)]}
    rows = {"histology": [torch.rand(4, 3, generator=generator, dtype=torch.float64)]}
    return tokens, log_p, Assignment(rows, {"histology": [torch.zeros(4)]}, None)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_eq_12_and_13_mix_similarity_and_plan_and_sum_tokens(beta):
    tokens, log_p, assignment = _made_up()
    out = aggregate(tokens, log_p, assignment, mixing=beta, renormalise=False)
    x, p, q = (a["histology"][0].tolist() for a in (tokens, log_p, assignment.rows))
    for k in range(3):
        for d in range(6):
            expected = sum(((1 - beta) * math.exp(p[i][k]) + beta * q[i][k]) * x[i][d] for i in range(4))
            assert float(out.prototype_tokens["histology"][0, k, d]) == pytest.approx(expected, rel=1e-10)


def test_eq_14_is_the_mean_cross_entropy_towards_the_plan():
    tokens, log_p, assignment = _made_up()
    out = aggregate(tokens, log_p, assignment, mixing=0.5, renormalise=False)
    p, q = log_p["histology"][0].tolist(), assignment.rows["histology"][0].tolist()
    expected = -sum(q[i][k] * p[i][k] for i in range(4) for k in range(3)) / 4
    assert float(out.cross_entropy["histology"]) == pytest.approx(expected, rel=1e-12)


def test_renormalised_weights_sum_to_one_over_prototypes():
    tokens, log_p, assignment = _made_up()
    tokens = {"histology": [torch.ones(4, 6, dtype=torch.float64)]}
    out = aggregate(tokens, log_p, assignment, mixing=0.5, renormalise=True)
    assert float(out.prototype_tokens["histology"][0, :, 0].sum()) == pytest.approx(4.0)


@torch.no_grad()
def test_the_instance_loss_starts_near_rho_times_log_k():
    """With logits near 0 the cross-entropy of mass-weighted rows is rho ln K."""
    model = tiny(temperature=1e3, n_prototypes=8)
    together = model._together(bag(), PROGRESS)
    expected = model.mass(PROGRESS) * math.log(8)
    joint = sum(float(together.cross_entropy[m]) for m in ("histology", "omics")) / 2
    assert joint == pytest.approx(expected, rel=0.02)


@torch.no_grad()
def test_raw_plan_rows_are_the_scaled_ones_divided_by_the_number_of_tokens():
    scaled, printed = tiny()._together(bag(), PROGRESS), tiny(plan_scale="printed")._together(bag(), PROGRESS)
    for i, n in enumerate(N_PATCHES):
        assert torch.allclose(scaled.assignment.rows["histology"][i], printed.assignment.rows["histology"][i] * (n + 2))


@torch.no_grad()
def test_eq_16_and_17_refine_beside_the_anchor_and_take_it_off():
    model = tiny(refiner_residual=False)
    refiner, anchor = model.refiner["omics"], model.anchors["omics"]
    tokens = torch.randn(1, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    rows = [norm(r) for r in [*tokens[0].tolist(), anchor.tolist()]]
    weight = refiner.attention.query_key_value.weight.tolist()
    query, key, value = ([times(weight[s : s + 6], r) for r in rows] for s in (0, 6, 12))
    out = refiner(tokens, anchor)
    assert out.shape == (1, 3, 6)
    for i in range(3):
        scores = [math.exp(dot(query[i], key[j]) / math.sqrt(6)) for j in range(4)]
        mixed = [sum(scores[j] / sum(scores) * value[j][d] for j in range(4)) for d in range(6)]
        expected = norm(feed_forward(refiner.feed_forward, norm(mixed)))
        assert out[0, i].tolist() == pytest.approx(expected, rel=1e-9)


def norm(row: list[float]) -> list[float]:
    """Layer norm at its initial weights."""
    mean = sum(row) / len(row)
    variance = sum((v - mean) ** 2 for v in row) / len(row)
    return [(v - mean) / math.sqrt(variance + 1e-5) for v in row]


def feed_forward(block, row: list[float]) -> list[float]:
    """Linear, GELU, linear."""
    first, second = block.layers[0], block.layers[3]
    hidden = [h + b for h, b in zip(times(first.weight.tolist(), row), first.bias.tolist(), strict=True)]
    hidden = [0.5 * h * (1 + math.erf(h / math.sqrt(2))) for h in hidden]
    return [h + b for h, b in zip(times(second.weight.tolist(), hidden), second.bias.tolist(), strict=True)]


@torch.no_grad()
def test_prototype_tokens_have_unit_length_before_the_refiner():
    before = tiny()(bag()).evidence["tokens_before"]
    assert torch.allclose(before["histology"].norm(dim=-1), torch.ones(3, 3, dtype=torch.float64))


@torch.no_grad()
def test_eq_18_and_19_pull_to_the_own_anchor_and_away_from_the_other():
    model, generator = tiny(), torch.Generator().manual_seed(7)
    refined = {m: torch.randn(2, 3, 6, dtype=torch.float64, generator=generator) for m in ("histology", "omics")}
    present = {m: torch.ones(2, dtype=torch.bool) for m in refined}
    first, second = model.contrast_head[0], model.contrast_head[2]

    def phi(v: list[float]) -> list[float]:
        hidden = [leaky(h + b) for h, b in zip(times(first.weight.tolist(), v), first.bias.tolist(), strict=True)]
        return unit([h + b for h, b in zip(times(second.weight.tolist(), hidden), second.bias.tolist(), strict=True)])

    total = 0.0
    for own, other in (("histology", "omics"), ("omics", "histology")):
        for n in range(2):
            mean = phi([sum(refined[own][n, k, d].item() for k in range(3)) / 3 for d in range(6)])
            plus, minus = (dot(mean, phi(model.anchors[m].tolist())) / 0.1 for m in (own, other))
            total += -math.log(math.exp(plus) / (math.exp(plus) + math.exp(minus))) / 2
    assert float(model._contrast(refined, present)) == pytest.approx(total, rel=1e-9)


@torch.no_grad()
def test_sec_3_4_pools_each_group_and_takes_the_inner_product_with_w():
    model = tiny()
    prediction = model(bag())
    together = model._together(bag(), None)
    refined = {m: model._refine(model._to_shared(h, m), m) for m, h in together.prototype_tokens.items()}
    group = torch.cat([refined["omics"], refined["histology"]], dim=1)
    attended, _ = model.co_attention(group, 3, torch.ones(3, 6, dtype=torch.bool))
    weight = model.head.weight.weight[0].tolist()
    for n in range(3):
        h_g = [sum(attended[n, k, d].item() for k in range(3)) / 3 for d in range(6)]
        h_p = [sum(attended[n, k, d].item() for k in range(3, 6)) / 3 for d in range(6)]
        assert float(prediction.risk[n]) == pytest.approx(dot(weight, h_p + h_g), rel=1e-9)


def test_eq_20_is_the_weighted_sum_of_the_three_losses():
    model = tiny()
    terms = model.losses(bag(), SURVIVAL, PROGRESS)
    assert set(terms) == {"survival", "contrast", "instance"}
    together = model._together(bag(), PROGRESS)
    prediction, refined, present = model._predict(bag(), together)
    assert torch.allclose(terms["survival"], model.head.loss(prediction, SURVIVAL))
    assert torch.allclose(terms["contrast"], 0.5 * model._contrast(refined, present))
    assert torch.allclose(terms["instance"], 0.5 * (together.cross_entropy["histology"] + together.cross_entropy["omics"]))


@torch.no_grad()
def test_cross_attention_asks_the_other_modality_alone():
    for kind, own_part in (("full", True), ("cross", False)):
        attention = tiny(co_attention=kind)(bag()).evidence["attention"]
        assert torch.allclose(attention.sum(dim=-1), torch.ones(3, 6, dtype=torch.float64))
        assert bool((attention[:, :3, :3] > 0).any()) == own_part
        assert bool((attention[:, 3:, 3:] > 0).any()) == own_part


@torch.no_grad()
def test_legacy_attention_takes_the_softmax_of_the_histology_rows_twice():
    model = tiny(co_attention="legacy")
    tokens = torch.randn(1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    block = model.co_attention
    _, attention = block(tokens, 3, torch.ones(1, 6, dtype=torch.bool))
    query, key, _ = block.attention.query_key_value(block.before(tokens)).chunk(3, dim=-1)
    scores = query[0] @ key[0].T / math.sqrt(6)
    row = torch.cat([torch.softmax(scores[4, :3], dim=0), scores[4, 3:]])
    assert torch.allclose(attention[0, 4], torch.softmax(row, dim=0))
    assert torch.allclose(attention[0, 1], torch.softmax(scores[1], dim=0))


@torch.no_grad()
def test_kmeans_gives_each_token_wholly_to_its_nearest_centroid():
    points = {"omics": [torch.tensor([[0.0, 1.0], [0.9, 0.1]])]}
    rows = nearest(points, {"omics": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}).rows
    assert rows["omics"][0].tolist() == [[0.0, 1.0], [1.0, 0.0]]


@torch.no_grad()
def test_the_balanced_assignment_fills_every_prototype_alike():
    together = tiny(assignment="balanced")._together(bag(), PROGRESS)
    for i, n in enumerate(N_PATCHES):
        rows = torch.cat([together.assignment.rows["histology"][i], together.assignment.rows["omics"][i]]) / (n + 2)
        assert torch.allclose(rows.sum(dim=0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=1e-4)


def test_without_together_there_is_no_plan_and_each_modality_has_its_own_prototypes():
    model = tiny(together=False)
    assert model.prototypes.shape[0] == 2
    assert model(bag()).evidence["plan"] is None
    assert "instance" not in model.losses(bag(), SURVIVAL, PROGRESS)


def test_without_apart_there_is_no_anchor_and_no_contrast():
    model = tiny(apart=False)
    assert not hasattr(model, "anchors")
    assert set(model.losses(bag(), SURVIVAL, PROGRESS)) == {"survival", "instance"}


@torch.no_grad()
def test_the_semantic_term_lowers_the_cost_by_the_similarity_of_tokens():
    """cost - weight (S + S^T) Q, repeated until the plan stands still; S is never built."""
    generator = torch.Generator().manual_seed(4)
    log_p = {"omics": [log_softmax(torch.randn(5, 3, generator=generator, dtype=torch.float64), dim=-1)]}
    points = torch.nn.functional.normalize(torch.randn(5, 2, generator=generator, dtype=torch.float64), dim=-1)
    settings = {"kl_weight": 1.0, "epsilon": 0.1}
    found = transport(log_p, 0.6, groups=(("omics",),), similar=(0.1, {"omics": [points]}), **settings).rows["omics"][0]
    similarity, cost = points @ points.T, -log_p["omics"][0][None]
    plan = log_domain_plan(cost, 0.6, **settings).plan
    for _ in range(50):
        plan = log_domain_plan(cost - 0.1 * (similarity + similarity.T) @ plan, 0.6, **settings).plan
    assert torch.allclose(found / 5, plan[0], atol=1e-4)


def test_two_views_exchange_a_fifth_of_four_fifths():
    first, second = two_views(100, torch.device("cpu"))
    assert len(first) == len(second) == 80
    assert len(set(first.tolist()) & set(second.tolist())) == 64
    assert [len(v) for v in two_views(1, torch.device("cpu"))] == [1, 1]


def test_views_of_bags_that_agree_cost_less_than_views_that_do_not():
    sharp = 8 * torch.eye(4, dtype=torch.float64)
    same = [sharp[i].expand(1, 10, 4).clone() for i in range(4)]
    views = [(torch.arange(0, 8), torch.arange(2, 10))] * 4
    other = [x.clone() for x in same]
    for x in other:
        x[:, 8:] = 0.0
        x[:, :2] = x[:, :2].roll(1, dims=-1)
    settings = {"kl_weight": 0.1, "epsilon": 0.1}
    assert float(bag_agreement(same, views, 1.0, **settings)[0]) < float(bag_agreement(other, views, 1.0, **settings)[0])


def test_agreement_of_tokens_asks_each_view_for_the_other_views_plan():
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([2, 3, 4, 5])
    found = token_agreement([logits], [(first, second)], 0.7, kl_weight=0.1, epsilon=0.1)
    for head in range(2):
        log_p, total = log_softmax(logits[head], dim=-1), 0.0
        for view in (first, second):
            plan = log_domain_plan(-log_p[view][None], 0.7, kl_weight=0.1, epsilon=0.1).plan[0] * 4
            total -= sum(float((plan[view.tolist().index(t)] * log_p[t]).sum()) for t in (2, 3)) / 2 / 2
        assert float(found[head]) == pytest.approx(total, rel=1e-3)


def test_the_head_whose_views_agree_best_becomes_primary_from_the_next_epoch():
    model = tiny(heads=3)
    model.head_loss.copy_(torch.tensor([0.9, 0.2, 0.5]))
    model.begin_epoch(NoFold(), Progress(0, 2, 0, 5))
    assert int(model.primary_head) == 0
    model.begin_epoch(NoFold(), Progress(2, 2, 1, 5))
    assert int(model.primary_head) == 1


def test_the_agreement_of_views_is_asked_for_at_every_third_step():
    model = tiny(heads=3)
    with_term = ["consistency" in model.losses(bag(), SURVIVAL, Progress(step, 2, 0, 5)) for step in range(6)]
    assert with_term == [True, False, False, True, False, False]


def test_the_presets_set_what_the_table_of_presets_says():
    paper = TTAConfig(**MODELS["tta-paper"].config)
    released = TTAConfig(**MODELS["tta-released"].config)
    assert (paper.heads, paper.plan_scale, paper.co_attention, paper.refiner_residual) == (5, "printed", "cross", False)
    assert (paper.kl_weight, TTAConfig().kl_weight) == (0.1, 1.0)
    assert (released.kl_weight, released.semantic_weight, released.renormalise, released.co_attention) == (1.0, 0.1, True, "legacy")
    assert (released.project_prototypes, released.project_anchors, released.mass_evaluation) == (False, False, "base")
    assert MODELS["tta-released"].selection == "oracle"
    assert (MODELS["tta-paper"].training["warmup"], MODELS["tta-released"].training["warmup"]) == (0.0, 0.5)


def test_the_number_of_parameters_follows_from_the_formula():
    d_in, d, k, sizes = 1024, 256, 32, (40, 199)
    model = TTA(TTAConfig(), InputShape(d_patch=d_in, pathway_features=sizes))
    encoders = d_in * d + d + len(sizes) * (max(sizes) + 1) * d
    together = 2 * d * d + k * d + 2 * d * d  # W_m, prototypes, U_m
    block = 3 * d * d + 2 * (d * d + d)  # attention, feed-forward
    apart = 2 * (d + block + 3 * 2 * d) + 2 * (d * d + d)  # anchors, refiners with three norms, phi
    fusion = block + 2 * 2 * d + 2 * d  # co-attention with two norms, w
    assert sum(p.numel() for p in model.parameters()) == encoders + together + apart + fusion
    assert SHAPE.d_patch == 4
