"""SMIL: mixes of centres, a step on patients without a modality, and gradients through that step."""

import copy
import math

import pytest
import torch
from torch.nn.functional import softplus

from prognos.models import entry_of
from prognos.nn.smil import Noise
from prognos.types import Progress, Stage, Survival
from tests.contract.tiny_models import Fold, build, one
from tests.papers.comparison_by_hand import linear, made, patients, softmax, weighted

MAIN = Progress(0, 1, 0, 2)
SURVIVAL = Survival(torch.tensor([5.0, 9.0], dtype=torch.float64), torch.tensor([True, True]))


def small(**settings):
    """The model with three centres of each modality."""
    model = made("smil", d_attention=3, n_centres=3, **settings)
    model.centres.copy_(torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    return model


def rebuilt(model, x):
    """By hand: x^ of both modalities of one patient."""
    return [weighted(softmax(linear(model.mix[m], x[1 - m]).tolist()), list(model.centres[m])) for m in range(2)]


def risk(model, vectors):
    return float(model.head(linear(model.fusion[0], torch.cat(list(vectors))).clamp(min=0)[None]).risk[0])


@torch.no_grad()
@pytest.mark.parametrize(("gone", "place"), [(None, None), ("histology", 0), ("omics", 1)])
def test_a_missing_modality_is_a_mix_of_centres_weighed_by_the_other(gone, place):
    model, bag = small(), patients("genes")
    vectors = list(model.encoders(bag).values[0])
    if gone is not None:
        vectors[place] = rebuilt(model, vectors)[place]
    prediction = model(bag.without(gone) if gone else bag)
    assert float(prediction.risk[0]) == pytest.approx(risk(model, vectors), rel=1e-6)


def cox(first, second):
    """Cox's loss of two patients who both have the event, the first one earlier."""
    return (math.log(math.exp(first) + math.exp(second)) - first) / 2


def test_the_loss_of_a_patient_is_taken_after_a_step_on_the_other_without_a_modality():
    """With two patients each is a half of the batch; the step knows the outcome of the other one only."""
    model, bag = small(inner_rate=0.3, survival="discrete", n_bins=2), patients("genes")
    model.head.learn_marginal(SURVIVAL)
    with torch.no_grad():
        vectors = model.encoders(bag).values
        mixes = [rebuilt(model, x) for x in vectors]
    expected, without_step = [], []
    for own, other in ((0, 1), (1, 0)):
        stepped = copy.deepcopy(model)
        losses = []
        for gone in range(2):
            lacking = [mixes[other][m] if m == gone else vectors[other][m] for m in range(2)]
            losses.append(stepped.head.loss(stepped.head(stepped.fusion(torch.cat(lacking)[None])), SURVIVAL[[other]]))
        torch.stack(losses).mean().backward()
        with torch.no_grad():
            before = stepped.head(stepped.fusion(vectors[own].flatten()[None]))
            without_step.append(float(stepped.head.loss(before, SURVIVAL[[own]])))
            for parameter in (*stepped.fusion.parameters(), *stepped.head.parameters()):
                parameter -= 0.3 * parameter.grad
            after = stepped.head(stepped.fusion(vectors[own].flatten()[None]))
            expected.append(float(stepped.head.loss(after, SURVIVAL[[own]])))
    found = model.losses(bag, SURVIVAL, MAIN)["survival"].detach()
    assert float(found) == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert sum(expected) != pytest.approx(sum(without_step), rel=1e-3)


@torch.no_grad()
def test_a_patient_alone_is_learnt_from_without_a_step():
    model, bag = small(inner_rate=0.3, survival="discrete", n_bins=2), one(patients("genes"), 0)
    model.head.learn_marginal(SURVIVAL)
    expected = model.head.loss(model(bag), SURVIVAL[:1])
    assert float(model.losses(bag, SURVIVAL[:1], MAIN)["survival"]) == pytest.approx(float(expected), rel=1e-6)


def test_weights_of_centres_learn_from_complete_patients_through_the_step_only():
    model, bag = small(inner_rate=3.0, survival="discrete", n_bins=2), patients("genes")
    model.head.learn_marginal(SURVIVAL)

    def loss(model):
        return model.losses(bag, SURVIVAL, MAIN)["survival"]

    loss(model).backward()
    weight, step = model.mix[0].weight, 1e-2
    place = divmod(int(weight.grad.abs().argmax()), 8)
    ends = []
    for sign in (1, -1):
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.mix[0].weight[place] += sign * step
        ends.append(float(loss(other).detach()))
    assert float(weight.grad[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02)  # the loss is in single precision
    without = small(inner_rate=0.0, survival="discrete", n_bins=2)
    without.head.learn_marginal(SURVIVAL)
    loss(without).backward()
    assert not without.mix[0].weight.grad.any()


def test_noise_starts_without_a_shift_and_a_prediction_takes_none():
    torch.manual_seed(0)
    noise, x = Noise(4), torch.randn(3, 4)
    assert torch.allclose(softplus(noise.mean(x)), torch.ones(3, 4))
    assert not torch.allclose(noise(x), noise(x))
    torch.nn.init.constant_(noise.spread.bias, -100.0)
    torch.nn.init.zeros_(noise.spread.weight)
    assert torch.allclose(noise(x), x, atol=1e-6)
    model, bag = small(), patients("genes")
    assert torch.equal(model(bag, MAIN).risk, model(bag, MAIN).risk)
    first, second = (model.losses(bag, SURVIVAL, MAIN) for _ in range(2))
    assert not torch.equal(first["noise"], second["noise"])
    assert torch.equal(first["survival"], second["survival"])


@torch.no_grad()
def test_in_the_warm_up_each_modality_predicts_alone_for_those_who_have_it():
    model = small()
    bag = patients("genes").without("omics", patients=torch.tensor([False, True]))
    terms = model.losses(bag, SURVIVAL, Progress(0, 1, 0, 2, "warm-up"))
    slides = [float(model.alone[0](x[None]).risk[0]) for x in model.encoders(bag).values[:, 0]]
    assert float(terms["warm_up"]) == pytest.approx(cox(*slides), rel=1e-5)  # one patient alone with omics teaches nothing
    assert [(stage.name, stage.epochs) for stage in model.stages(10, 1e-3)] == [("warm-up", 5), ("main", 10)]


def test_centres_are_of_the_training_patients_and_learnt_anew_once_after_the_warm_up():
    model = build("smil")
    fold, before = Fold(model.needs), model.centres.clone()
    with torch.no_grad():
        model.encoders.slides[0].bias += 1.0
    for progress in (Progress(0, 1, 0, 2, "warm-up"), Progress(1, 1, 1, 2)):
        model.begin_epoch(fold, progress)
        assert torch.equal(model.centres, before)
    model.begin_epoch(fold, MAIN)
    assert not torch.equal(model.centres, before)
    vectors = model.encoders.of_training_patients(fold).values
    assert bool((model.centres[0] >= vectors[:, 0].amin(dim=0) - 1e-6).all())
    assert bool((model.centres[0] <= vectors[:, 0].amax(dim=0) + 1e-6).all())
    assert "centres" in model.state_dict()


def test_fewer_patients_than_centres_repeat_the_last_one():
    model = build("smil", n_centres=8)
    assert torch.equal(model.centres[:, 6], model.centres[:, 5])
    assert not torch.equal(model.centres[0, 5], model.centres[0, 4])


def test_the_warm_up_trains_encoders_and_their_own_heads_and_the_main_stage_all_else():
    model = small()
    warm = {name.split(".")[0] for name, _ in model.trained_in(Stage("warm-up", 1, 1e-3))}
    main = {name.split(".")[0] for name, _ in model.trained_in(Stage("main", 1, 1e-3))}
    assert warm == {"encoders", "alone"}
    assert main == {name.split(".")[0] for name, _ in model.named_parameters()} - {"alone"}


def test_the_adapted_recipe_is_that_of_musts_authors():
    assert entry_of("smil-paper").training["epochs"] == 50
    assert entry_of("smil-paper").selection is None  # the published code takes the best epoch on the test patients
