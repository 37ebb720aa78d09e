"""PANTHER as printed: one step of maximum a posteriori EM from k-means prototypes, and a linear head."""

import pytest
import torch

from prognos.models import entry_of
from prognos.nn import gaussians
from prognos.nn.gaussians import posterior_mixture, prior_mixture
from prognos.nn.patches import spread_patches
from tests.contract.tiny_models import Fold
from tests.papers.comparison_by_hand import linear, made, mixture_by_hand, patients

CENTRES = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def with_centres(**settings):
    """The model on three prototypes."""
    model = made("panther", n_prototypes=3, **settings)
    model.mixture.prototypes.copy_(CENTRES)
    return model


@torch.no_grad()
def test_a_step_from_the_prior_gives_weight_mean_and_variance_and_the_risk_is_linear_in_them():
    model, bag = with_centres(strength=2.0, prior_variance=0.5), patients()
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        weight, mean, variance, made_by = mixture_by_hand(bag["histology"].values[i, :n], CENTRES, 2.0, 0.5)
        expected = torch.cat([weight[:, None], mean, variance], dim=1)
        assert torch.allclose(prediction.evidence["tokens"][i], expected)
        assert torch.allclose(prediction.evidence["responsibilities"][i].double(), made_by, atol=1e-6)
        risk = linear(model.head.weight, expected.flatten())[0]
        assert float(prediction.risk[i]) == pytest.approx(float(risk), rel=1e-6)


@torch.no_grad()
def test_without_patches_the_mixture_is_its_prior():
    tokens = with_centres()(patients().without("histology")).evidence["tokens"][0]
    assert tokens[:, 0].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(tokens[:, 1:5], CENTRES)
    assert tokens[:, 5:].flatten().tolist() == pytest.approx([1.0] * 12)


def test_the_variance_stays_positive_where_single_precision_loses_it():
    rows = torch.full((2000, 4), 3e3)
    prior = prior_mixture(torch.full((1, 4), 3e3), 1.0)
    lost = (rows.square().sum(dim=0) + 1 + 9e6) / 2001 - ((rows.sum(dim=0) + 3e3) / 2001).square()
    assert bool((lost <= 0).any())  # the published way, in single precision
    found, _ = posterior_mixture(rows, prior, strength=1.0)
    assert found.variance.flatten().tolist() == pytest.approx([1 / 2001] * 4, rel=1e-3)


def test_a_patient_in_pieces_has_the_same_mixture(monkeypatch):
    rows, found = torch.randn(9, 4, generator=torch.Generator().manual_seed(5)), []
    for piece in (8192, 2):
        monkeypatch.setattr(gaussians, "CHUNK", piece)
        of, made_by = posterior_mixture(rows, prior_mixture(CENTRES, 1.0), strength=1.0, steps=2)
        found.append([*of, made_by])
    assert all(torch.allclose(whole, parts, atol=1e-6) for whole, parts in zip(*found, strict=True))


def test_prototypes_come_from_the_training_patients_and_more_than_there_are_patches_repeat_one():
    kind = entry_of("panther").load()
    fold = Fold(kind.needs)
    patches = torch.cat([bag["histology"].rows(0) for bag in fold.bags()])
    model = made("panther", n_prototypes=len(patches) + 2).float()
    model.mixture = type(model.mixture)(8, len(patches) + 2)
    model.learn(fold)
    distance = torch.cdist(model.mixture.prototypes, patches).amin(dim=1)
    assert float(distance.max()) < 1e-5  # each is a patch of the fold, none the memory that nothing was written to
    assert "mixture.prototypes" in model.state_dict()


def test_prototypes_are_found_on_patches_from_the_whole_slide():
    assert spread_patches(100, 4).tolist() == [0, 33, 66, 99]


def test_nothing_but_the_head_is_trained():
    assert [name for name, _ in with_centres().named_parameters()] == ["head.weight.weight"]


def test_how_much_of_each_kind_there_is_can_be_read_by_patch():
    model, bag = with_centres(), patients()
    prediction = model(bag)
    weights = model.prototype_weights(prediction, 0)["histology"]
    maps = model.patch_maps(bag, prediction, 0)
    assert [one.values.tolist() for one in maps] == weights.T.tolist()
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert torch.equal(model.prototype_banks()["histology"], CENTRES)
