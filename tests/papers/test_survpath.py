"""SurvPath as printed: pathways look at everything, patches at pathways."""

import math

import pytest
import torch

from prognos.models import survpath as module
from tests.papers.comparison_by_hand import group_token, linear, made, patients, softmax, weighted


def by_hand(model, bag, i, n):
    """The means of pathways and patches of patient `i`, token by token."""
    patches = [linear(model.patches.linear, row) for row in bag["histology"].values[i, :n]]
    pathways = [group_token(model.pathways, c, bag["omics"].values[i, c]) for c in range(2)]
    of = [linear(model.query_key_value, token) for token in pathways + patches]
    query, key, value = ([t[part : part + 4] for t in of] for part in (0, 4, 8))
    rows, looked = [], []
    for j in range(len(of)):
        may = range(len(of)) if j < 2 else range(2)
        weights = softmax([float(query[j] @ key[k]) / math.sqrt(4) for k in may])
        looked.append(weights)
        rows.append(model.norm(model.network(weighted(weights, [value[k] for k in may]))))
    return sum(rows[:2]) / 2, sum(rows[2:]) / n, looked[:2]


@torch.no_grad()
def test_pathways_look_at_everything_and_patches_at_pathways():
    model, bag = made("survpath"), patients()
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        genes, slide, looked = by_hand(model, bag, i, n)
        expected = model.head(model.join(torch.cat([genes, slide])[None])).risk[0]
        assert float(prediction.risk[i]) == pytest.approx(float(expected), rel=1e-5)
        for c in range(2):
            assert prediction.evidence["attention"][i][c].tolist() == pytest.approx(looked[c], rel=1e-5)


def test_patches_in_pieces_give_the_same_risk_and_gradients(monkeypatch):
    model, bag, found = made("survpath"), patients(), []
    for piece in (8192, 2):
        monkeypatch.setattr(module, "CHUNK", piece)
        model.zero_grad()
        risk = model(bag).risk
        risk.sum().backward()
        found.append([risk.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("gone", ["histology", "omics"])
def test_the_mean_of_an_absent_modality_is_zero(gone):
    model, bag = made("survpath"), patients()
    seen = {}
    model.join.register_forward_pre_hook(lambda module, given: seen.update(means=given[0]))
    model(bag.without(gone))
    half = slice(0, 4) if gone == "omics" else slice(4, 8)
    assert not bool(seen["means"][:, half].any())
    other = slice(4, 8) if gone == "omics" else slice(0, 4)
    assert bool(seen["means"][:, other].any())


@torch.no_grad()
def test_attention_can_be_read_by_pathway_and_by_patch():
    model, bag = made("survpath"), patients()
    prediction = model(bag)
    (patch_map,) = model.patch_maps(bag, prediction, 0)
    pathways = model.pathway_attention(bag, prediction)
    assert patch_map.values.shape == (5,)
    assert float(patch_map.values.sum() + pathways[0].sum()) == pytest.approx(1.0)
