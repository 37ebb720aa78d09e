"""ShaSpec: shared and specific vectors, fused; the shared one stands in for what is missing."""

import math

import pytest
import torch

from prognos.models import entry_of
from prognos.types import Progress, Survival
from tests.papers.comparison_by_hand import linear, made, patients

LATE, EARLY = Progress(9, 1, 9, 10), Progress(0, 1, 0, 10)
SURVIVAL = Survival(torch.tensor([5.0, 9.0]), torch.tensor([True, True]))


def network(block, x):
    """Linear, GELU, linear."""
    hidden = linear(block.layers[0], x)
    return linear(block.layers[3], torch.tensor([h * 0.5 * (1 + math.erf(h / math.sqrt(2))) for h in hidden.tolist()]))


def fused(model, x):
    """By hand: r, s and f of each modality of one patient."""
    shared = [network(model.shared, one) for one in x]
    specific = [network(model.specific[m], one) for m, one in enumerate(x)]
    return shared, specific, [r + linear(model.compose, torch.cat([r, s])) for r, s in zip(shared, specific, strict=True)]


def risk(model, both):
    return float(model.head(linear(model.join[0], torch.cat(both)).clamp(min=0)[None]).risk[0])


@torch.no_grad()
def test_one_encoder_for_all_and_one_each_are_fused_with_a_residual():
    model, bag = made("shaspec", d_attention=3), patients("genes")
    prediction, vectors = model(bag), model.encoders(bag).values
    for i in range(2):
        shared, specific, both = fused(model, vectors[i])
        assert prediction.evidence["shared"][i].flatten().tolist() == pytest.approx(torch.cat(shared).tolist(), rel=1e-6)
        assert prediction.evidence["specific"][i].flatten().tolist() == pytest.approx(torch.cat(specific).tolist(), rel=1e-6)
        assert float(prediction.risk[i]) == pytest.approx(risk(model, both), rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("gone", "place"), [("histology", 0), ("omics", 1)])
def test_a_missing_modality_is_the_shared_vector_of_the_other(gone, place):
    model, bag = made("shaspec", d_attention=3), patients("genes")
    shared, _, both = fused(model, model.encoders(bag).values[0])
    both[place] = shared[1 - place]
    assert float(model(bag.without(gone)).risk[0]) == pytest.approx(risk(model, both), rel=1e-6)


@torch.no_grad()
def test_shared_vectors_of_complete_patients_are_drawn_together_and_specific_ones_tell_their_modality():
    model = made("shaspec", d_attention=3)
    bag = patients("genes").without("omics", patients=torch.tensor([False, True]))
    terms, vectors = model.losses(bag, SURVIVAL, EARLY), model.encoders(bag).values
    shared, specific, _ = fused(model, vectors[0])
    assert float(terms["shared"]) == pytest.approx(0.1 * sum(abs(float(a - b)) for a, b in zip(*shared, strict=True)) / 8, rel=1e-6)
    told = [(specific[0], 0), (specific[1], 1), (fused(model, vectors[1])[1][0], 0)]  # the second patient has no omics
    losses = [-math.log(float(linear(model.domain, s).softmax(dim=0)[m])) for s, m in told]
    assert float(terms["domain"]) == pytest.approx(0.02 * sum(losses) / 3, rel=1e-6)


@torch.no_grad()
def test_patients_keep_everything_at_first_and_later_some_who_are_complete_lose_one_modality():
    model = made("shaspec", d_attention=3, lost=1.0, whole_epochs=0.5)
    bag = patients("genes").without("omics", patients=torch.tensor([False, True]))
    assert model(bag, EARLY).evidence["present"].tolist() == [[True, True], [True, False]]
    torch.manual_seed(1)
    left = torch.stack([model(bag, LATE).evidence["present"] for _ in range(20)])
    assert left[:, 0].sum(dim=1).tolist() == [1] * 20  # one of two is lost
    assert 2 < int(left[:, 0, 0].sum()) < 18  # now this, now that
    assert left[:, 1].tolist() == [[True, False]] * 20
    assert model(bag).evidence["present"].tolist() == [[True, True], [True, False]]


@torch.no_grad()
def test_similarities_are_of_what_is_shared_and_of_what_is_specific():
    model = made("shaspec", d_attention=3)
    bag = patients("genes").without("omics", patients=torch.tensor([False, True]))
    found = model.similarities(model(bag))
    shared, specific, _ = fused(model, model.encoders(bag).values[0])
    for (left, right), kind in (
        (("shared read in histology", "shared read in omics"), shared),
        (("specific histology", "specific omics"), specific),
    ):
        cosine = float(kind[0] @ kind[1] / (kind[0].norm() * kind[1].norm()))
        assert float(found[left, right][0]) == pytest.approx(cosine, rel=1e-6)
        assert bool(found[left, right][1].isnan())


def test_the_adapted_recipe_is_that_of_musts_authors():
    entry = entry_of("shaspec-paper")
    assert entry.config["survival"] == "discrete"
    assert [entry.training[key] for key in ("optimiser", "learning_rate", "epochs", "batch_size")] == ["adam", 1e-3, 30, 1]
