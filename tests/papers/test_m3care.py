"""M3Care: similar training patients, what is gathered from them, and the faults of the released code that are absent."""

import math

import pytest
import torch

from prognos.models import entry_of
from prognos.nn.modality_vectors import ModalityVectors
from prognos.types import Progress
from tests.contract.tiny_models import Fold, build
from tests.papers.comparison_by_hand import linear, made, patients

KNOWN = torch.tensor([[True, True], [True, False], [True, True], [False, True]])
"""Who of the training patients "a", "x", "y", "z" has what."""


def small(**settings):
    """The model with four training patients, of whom "a" is asked about too."""
    model = made("m3care", d_attention=3, layers=1, threshold=0.3, **settings)
    generator = torch.Generator().manual_seed(5)
    model.vectors = torch.randn(4, 2, 8, dtype=torch.float64, generator=generator) * KNOWN[:, :, None]
    model.present, model.keys = KNOWN, model._keys(("a", "x", "y", "z"))
    with torch.no_grad():
        model.similarity.share.copy_(torch.tensor([0.4, -0.3]))
    return model


def kernel(x, y, rows):
    """The mean of three Gaussians whose middle width is the mean squared distance of all pairs."""
    width = sum(float((p - q).square().sum()) for p in rows for q in rows) / len(rows) ** 2
    return sum(math.exp(-float((x - y).square().sum()) / (factor * width)) for factor in (0.5, 1, 2)) / 3


def projected(model, m, x):
    return linear(model.similarity.project[m][2], linear(model.similarity.project[m][0], x).clamp(min=0))


def alike(model, patient, has, j, product=False):
    """By hand: how alike a patient is to the j-th training patient; 0 below the threshold."""
    found = []
    for m in range(2):
        if has[m] and KNOWN[j, m]:
            rows = [model.vectors[i, m] for i in range(4) if KNOWN[i, m]]
            q = kernel(patient[m], model.vectors[j, m], rows)
            k = kernel(projected(model, m, patient[m]), projected(model, m, model.vectors[j, m]), [projected(model, m, r) for r in rows])
            e = 1 / (1 + math.exp(-float(model.similarity.share[m].detach())))
            found.append(((1 - e) * k + e) * q if product else (1 - e) * k + e * q)
    mean = sum(found) / len(found) if found else 0.0
    return mean if mean > 0.3 else 0.0


def mean_of(rows, weights):
    """The weighted mean; zeros where all weights are 0."""
    return sum(w * row for w, row in zip(weights, rows, strict=True)) / (sum(weights) or 1)


@torch.no_grad()
@pytest.mark.parametrize("mix", ["mean", "product"])
def test_patients_are_alike_where_kernels_say_so_in_what_both_have(mix):
    model = small(mix=mix)
    bag = patients("genes").without("histology", patients=torch.tensor([False, True]))
    vectors, found = model.encoders(bag).values, model(bag).evidence["similarity"]
    for i, has in enumerate(([True, True], [False, True])):
        expected = [0.0 if (i, j) == (0, 0) else alike(model, vectors[i], has, j, mix == "product") for j in range(4)]
        assert found[i].tolist() == pytest.approx(expected, rel=1e-5)
    assert float(found[1, 1]) == 0  # the second patient has omics only, "x" has histology only
    assert bool((found > 0).any())


@torch.no_grad()
def test_two_convolutions_gather_from_those_who_have_the_modality_and_the_own_vector_is_weighed_against_it():
    model = small()
    bag = patients("genes").without("omics", patients=torch.tensor([True, False]))
    own, seen = model.encoders(bag), {}
    model.mix.register_forward_pre_hook(lambda module, given: seen.update(tokens=given[0] - model.kinds))
    evidence = model(bag).evidence
    among = [[alike(model, model.vectors[i], KNOWN[i], j) for j in range(4)] for i in range(4)]
    for i in range(2):
        for m, gather in enumerate(model.gather):
            theirs = list(model.vectors[:, m])
            around = [mean_of(theirs, [w * bool(KNOWN[j, m]) for j, w in enumerate(among[p])]) for p in range(4)]
            around = [linear(gather.inner, rows).clamp(min=0) for rows in around]
            gathered = linear(gather.outer, mean_of(around, evidence["similarity"][i].tolist())).clamp(min=0)
            a, b = linear(gather.of_gathered, gathered).sigmoid(), linear(gather.of_own, own.values[i, m]).sigmoid()
            share = float(a / (a + b)) if own.present[i, m] else 1.0
            expected = share * gathered + (1 - share) * own.values[i, m]
            assert float(evidence["gathered"][i, m]) == pytest.approx(share, rel=1e-6)
            assert seen["tokens"][i, m].tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-9)


@torch.no_grad()
def test_a_patient_who_lacks_a_modality_gets_that_of_similar_patients():
    """In the released code the rows of such patients are zero: what the others have changes nothing."""
    model, bag = small(), patients("genes").without("omics")
    before = model(bag).risk
    model.vectors[2, 1] += 1.0  # the omics of "y"
    assert not torch.allclose(model(bag).risk, before)


@torch.no_grad()
def test_a_training_patient_is_not_its_own_neighbour_and_its_neighbours_are_the_same_alone():
    model, bag = small(), patients("genes")
    together = model(bag)
    assert float(together.evidence["similarity"][0, 0]) == 0
    model.keys = model._keys(("w", "x", "y", "z"))
    model.vectors[0] = model.encoders(bag).values[0]
    assert float(model(bag).evidence["similarity"][0, 0]) == pytest.approx(1.0)  # another patient with the same vectors is one


@torch.no_grad()
def test_without_anyone_who_is_alike_only_a_bias_is_gathered():
    model, bag = small(), patients("genes").without("omics")
    model.similarity.threshold.fill_(100.0)
    gathered = linear(model.gather[1].outer, torch.zeros(8, dtype=torch.float64)).clamp(min=0)
    seen = {}
    model.mix.register_forward_pre_hook(lambda module, given: seen.update(tokens=given[0] - model.kinds))
    assert not model(bag).evidence["similarity"].any()
    assert seen["tokens"][0, 1].tolist() == pytest.approx(gathered.tolist(), rel=1e-6, abs=1e-9)


def test_the_threshold_learns_from_the_similarities_that_are_kept():
    model, bag = small(), patients("genes")
    own, training = model.encoders(bag), ModalityVectors(model.vectors, model.present, [])
    found = model.similarity(own, training)
    found.sum().backward()
    threshold = float(model.similarity.threshold.detach().sigmoid())
    slope = threshold * (1 - threshold)
    assert float(model.similarity.threshold.grad) == pytest.approx(-slope * int((found > 0).sum()), rel=1e-6)


@torch.no_grad()
def test_projections_are_kept_from_stretching():
    model, bag = small(), patients("genes").without("omics", patients=torch.tensor([False, True]))
    own = model.encoders(bag)
    expected = 0.0
    for m in range(2):
        rows = [own.values[i, m] for i in range(2) if own.present[i, m]]
        norm = math.sqrt(sum(float(row.square().sum()) for row in rows))
        expected += abs(math.sqrt(sum(float(projected(model, m, row).square().sum()) for row in rows)) - norm)
    assert float(model.similarity.stretching(own)) == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_the_vectors_are_computed_anew_after_each_epoch():
    model = build("m3care")
    fold, before = Fold(model.needs), model.vectors.clone()
    model.encoders.slides[0].bias += 1.0
    model.end_epoch(fold, Progress(1, 1, 0, 2))
    assert not torch.equal(model.vectors, before)
    assert torch.equal(model.vectors, model.encoders.of_training_patients(fold).values)
    assert model.keys.tolist() == model._keys(fold.patients).tolist()


def test_the_adapted_recipe_is_that_of_musts_authors():
    assert entry_of("m3care-paper").training["epochs"] == 30
