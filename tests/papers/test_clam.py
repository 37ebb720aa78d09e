"""CLAM: attention, and classifiers of the most and least attended patches."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from prognos.types import Progress, Survival
from tests.papers.comparison_by_hand import linear, made, patients, softmax, weighted

PROGRESS = Progress(0, 1, 0, 1)


def survival(*events: bool) -> Survival:
    return Survival(torch.tensor([5.0, 25.0], dtype=torch.float64), torch.tensor(events))


def small(**settings):
    model = made("clam", d_attention=3, n_examples=2, n_bins=3, **settings)
    model.classes = torch.tensor([10.0, 20.0], dtype=torch.float64)
    return model


@torch.no_grad()
def test_patches_are_pooled_by_gated_attention():
    model, bag = small(), patients()
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        tokens = [linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].values[i, :n]]
        gated = [linear(model.score.content[0], t).tanh() * linear(model.score.gate[0], t).sigmoid() for t in tokens]
        weights = softmax([float(linear(model.score.score, g)[0]) for g in gated])
        assert prediction.evidence["attention"][i].tolist() == pytest.approx(weights, rel=1e-6)
        assert prediction.evidence["embedding"][i].tolist() == pytest.approx(weighted(weights, tokens).tolist(), rel=1e-6)


@torch.no_grad()
def test_the_classifier_of_the_time_bin_learns_the_most_attended_against_the_least():
    """Five patches give two examples a side, three give one; the patients are in bins 0 and 2."""
    model, bag = small(), patients()
    terms = model.losses(bag, survival(True, True), PROGRESS)
    attention, losses = model(bag).evidence["attention"], []
    for i, (n, own, b) in enumerate(((5, 0, 2), (3, 2, 1))):
        tokens = model.patches(bag["histology"].values[i, :n])
        order = sorted(range(n), key=lambda j: -float(attention[i][j]))
        logits = torch.stack([linear(model.classifiers, tokens[j])[2 * own : 2 * own + 2] for j in order[:b] + order[-b:]])
        losses.append(float(cross_entropy(logits, torch.tensor([1] * b + [0] * b))))
    assert float(terms["patches"]) == pytest.approx(0.3 * sum(losses) / 2, rel=1e-6)
    assert float(terms["survival"]) == pytest.approx(0.7 * float(model.head.loss(model(bag), survival(True, True))), rel=1e-6)


@torch.no_grad()
def test_the_censored_have_no_class_and_take_no_part():
    model, bag = small(), patients()
    one, both = model.losses(bag, survival(True, False), PROGRESS), model.losses(bag, survival(True, True), PROGRESS)
    assert 0 < float(one["patches"]) != float(both["patches"])
    assert float(model.losses(bag, survival(False, False), PROGRESS)["patches"]) == 0.0


def test_without_the_loss_of_patches_it_is_attention_pooling():
    model = small(patch_weight=0.0)
    assert set(model.losses(patients(), survival(True, True), PROGRESS)) == {"survival"}
    assert not hasattr(model, "classifiers")
