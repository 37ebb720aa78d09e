"""MCAT as printed: six tokens of genes ask the patches."""

import math

import pytest
import torch

from prognos.types import Bag
from tests.papers.comparison_by_hand import group_token, linear, made, patients, softmax, weighted


@torch.no_grad()
def test_groups_of_genes_look_at_the_patches_by_one_head():
    model, bag = made("mcat"), patients()
    evidence = model(bag).evidence
    seen = {}
    model.histology.register_forward_pre_hook(lambda module, given: seen.update(tokens=given[0]))
    model(bag)
    attend = model.co_attention
    for i, n in enumerate((5, 3)):
        patches = [linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        groups = [group_token(model.groups, g, bag["omics"].values[i, g]) for g in range(2)]
        for g, token in enumerate(groups):
            query = linear(attend.query, token)
            weights = softmax([float(query @ linear(attend.key, patch)) / math.sqrt(8) for patch in patches])
            assert evidence["attention"][i][g].tolist() == pytest.approx(weights, rel=1e-5)
            expected = linear(attend.output, weighted(weights, [linear(attend.value, patch) for patch in patches]))
            assert seen["tokens"][i, g].tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-8)


@torch.no_grad()
def test_each_side_is_pooled_by_gated_attention():
    model = made("mcat")
    tokens = torch.randn(1, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pooled, weights = model.omics(tokens)
    mixed, score = model.omics.mix(tokens)[0], model.omics.score
    scores = []
    for token in mixed:
        content, gate = linear(score.content[0], token).tanh(), linear(score.gate[0], token).sigmoid()
        scores.append(float(linear(score.score, content * gate)[0]))
    assert weights[0].tolist() == pytest.approx(softmax(scores), rel=1e-6)
    expected = linear(model.omics.dense[0], weighted(softmax(scores), list(mixed))).clamp(min=0)
    assert pooled[0].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


@torch.no_grad()
def test_the_risk_reads_both_sides_and_a_side_that_is_absent_is_zero():
    model, bag = made("mcat"), patients()
    gone = bag.without("histology")
    other = Bag(gone.patients, {**gone.modalities, "histology": patients()["histology"].absent()})
    assert torch.allclose(model(gone).risk, model(other).risk)
    groups = torch.stack([group_token(model.groups, g, bag["omics"].values[0, g]) for g in range(2)])[None]
    genes = model.omics(groups)[0]
    joined = model.join(torch.cat([torch.zeros_like(genes), genes], dim=1))
    assert float(model(gone).risk[0]) == pytest.approx(float(model.head(joined).risk[0]), rel=1e-5)


def test_the_published_recipe_has_the_discrete_likelihood_and_steps_of_32_patients():
    from prognos.models import entry_of

    entry = entry_of("mcat-paper")
    assert entry.config["survival"] == "discrete"
    assert entry.training["batch_size"] * entry.training["accumulate"] == 32
    assert (entry.training["optimiser"], entry.training["learning_rate"], entry.training["epochs"]) == ("adam", 2e-4, 20)
