"""Steps, windows, schedules: the arithmetic of training, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from tests.contract.tiny_models import SURVIVAL, bag, build

from prognos.cohort import Cohort
from prognos.risk.cox import partial_likelihood_loss
from prognos.tokens.reader import Reader
from prognos.training.fold import Fold
from prognos.training.loop import _step, windows_of
from prognos.training.optimiser import learning_rate, make_optimiser
from prognos.training.recipe import TrainingConfig
from prognos.types import Bag, Prediction, Progress, Survival, Tokens

PROGRESS = Progress(0, 1, 0, 1)
UNCLIPPED = {"clip_norm": 1e9}


def some(whole: Bag, rows: list[int]) -> Bag:
    tokens = {m: Tokens(t.values[rows], t.mask[rows], None) for m, t in whole.modalities.items()}
    return Bag(tuple(whole.patients[row] for row in rows), tokens)


def window(whole: Bag, *batches: list[int]) -> list[tuple[Bag, Survival]]:
    return [(some(whole, rows), SURVIVAL[rows]) for rows in batches]


def gradients(model, batches, recipe: TrainingConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """What one step of the training loop has as gradient."""
    torch.manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    _step(model.train(), batches, PROGRESS, optimiser, recipe)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Learning rate


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    recipe = TrainingConfig(warmup=0.2)
    found = [learning_rate(recipe, 0.4, step, 10) for step in range(10)]
    expected = [0.2, 0.4] + [0.4 * 0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert found == pytest.approx(expected)
    assert found[2] == 0.4
    assert found[6] == pytest.approx(0.2)


def test_the_constant_schedule_stays_at_its_peak_after_the_warm_up():
    recipe = TrainingConfig(warmup=0.5, schedule="constant")
    assert [learning_rate(recipe, 1.0, step, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(TrainingConfig(warmup=0.0), 1.0, 0, 3) == 1.0


# Weight decay


def test_matrices_decay_and_biases_norms_and_vectors_do_not():
    model = build("tta")
    decaying, steady = make_optimiser(model.named_parameters(), 1e-3, 0.3).param_groups
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.3, 0.0)
    of = {id(p): name for name, p in model.named_parameters()}
    names = [{of[id(p)] for p in group["params"]} for group in (decaying, steady)]
    assert not any(name.endswith("bias") or "anchors" in name for name in names[0])
    assert {"patches.linear.weight", "pathways.weight", "prototypes"} <= names[0]
    assert {"pathways.bias", "anchors.histology", "refiner.omics.before.weight"} <= names[1]
    assert names[0] | names[1] == set(of.values())
    assert not names[0] & names[1]


def test_a_frozen_parameter_is_not_given_to_the_optimiser():
    model = build("snn")
    model.head.weight.weight.requires_grad_(False)
    assert all(
        p is not model.head.weight.weight
        for group in make_optimiser(model.named_parameters(), 1e-3, 0.1).param_groups
        for p in group["params"]
    )


@pytest.mark.parametrize(("kind", "step"), [("adamw", 0.1), ("adam", 0.1), ("sgd", 0.2)])
def test_the_first_step_of_each_optimiser_is_its_own(kind, step):
    """With a gradient of 2 and a rate of 0.1: Adam's first step is the rate; gradient descent's the rate times the gradient."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = make_optimiser([("weight", weight)], 0.1, 0.0, kind)
    weight.grad = torch.tensor([2.0])
    optimiser.step()
    assert float(weight.detach()) == pytest.approx(-step, rel=1e-6)


def test_rectified_adam_begins_without_the_second_moment():
    """Its first steps are those of momentum: the rate times the gradient, as the variance is not known yet."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = make_optimiser([("weight", weight)], 0.1, 0.0, "radam")
    weight.grad = torch.tensor([2.0])
    optimiser.step()
    assert float(weight.detach()) == pytest.approx(-0.2, rel=1e-6)


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="no optimiser is called 'lion'; choose adamw, adam, radam or sgd"):
        make_optimiser([("weight", torch.nn.Parameter(torch.zeros(1)))], 0.1, 0.0, "lion")


# Windows


def fold_of(n_patients: int, n_events: int) -> Fold:
    """So many patients, the first of whom have events, at days 1, 2, 3 ...; nothing was measured of them."""
    index = pd.Index([f"p{i:03d}" for i in range(n_patients)], name="patient_id")
    cohort = Cohort(
        name="bare",
        endpoint="os",
        clinical=pd.DataFrame(index=index),
        time=np.arange(1.0, n_patients + 1),
        event=np.arange(n_patients) < n_events,
        slides=pd.DataFrame(columns=["slide_id", "patient_id", "path"]),
        tables={},
        omics_kinds=(),
        gene_sets={},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=0,
        subtype=None,
    )
    return Fold(cohort, Reader(cohort.patients, (), {}, None, 0, ()), torch.device("cpu"), 1)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(32, 1), (4, 1), (2, 1), (4, 3), (1, 8), (1, 32), (3, 2)])
@pytest.mark.parametrize("n_patients", [5, 33, 64])
def test_an_epoch_has_every_patient_once_the_last_ones_too(batch_size, accumulate, n_patients):
    recipe = TrainingConfig(batch_size=batch_size, accumulate=accumulate)
    windows = windows_of(fold_of(n_patients, n_patients // 3), recipe, seed=1, epoch=0)
    assert sorted(int(p) for w in windows for batch in w for p in batch) == list(range(n_patients))
    sizes = [sum(map(len, w)) for w in windows]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch_size * accumulate, 3)
    assert max(len(batch) for w in windows for batch in w) <= (batch_size if accumulate > 1 and batch_size > 1 else max(batch_size, 3))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 1), (2, 4), (1, 8)])
def test_every_step_has_its_events_however_it_is_cut_into_batches(batch_size, accumulate):
    """Rule 9: forty patients in five steps of eight, with ten events: two in each."""
    recipe = TrainingConfig(batch_size=batch_size, accumulate=accumulate, min_events=2)
    for epoch in range(5):
        windows = windows_of(fold_of(40, 10), recipe, seed=3, epoch=epoch)
        assert [sum(int(p) < 10 for batch in w for p in batch) for w in windows] == [2] * 5


def test_more_events_than_a_step_has_patients_are_not_asked_for():
    windows = windows_of(fold_of(6, 6), TrainingConfig(batch_size=2, min_events=9), seed=1, epoch=0)
    assert [len(w[0]) for w in windows] == [2, 2, 2]


@pytest.mark.parametrize(("balance", "share_of_events"), [("none", 0.1), ("event", 0.5), ("time", None)])
def test_balanced_sampling_draws_each_stratum_alike(balance, share_of_events):
    """Rule 14. By time: 4 quarters of event times among events, and the censored, all beyond the last event, one stratum."""
    share_of_events = 0.8 if share_of_events is None else share_of_events
    recipe = TrainingConfig(batch_size=32, balance=balance, min_events=0)
    drawn = [int(p) for epoch in range(5) for w in windows_of(fold_of(400, 40), recipe, seed=1, epoch=epoch) for batch in w for p in batch]
    assert np.mean([p < 40 for p in drawn]) == pytest.approx(share_of_events, abs=0.05)


# A step


@pytest.mark.parametrize("survival", ["cox", "discrete"])
@pytest.mark.parametrize("name", ["snn", "abmil"])
def test_a_window_of_batches_has_the_gradient_of_one_large_batch(name, survival):
    whole = bag(build(name).needs)
    recipe = TrainingConfig(**UNCLIPPED)
    large = gradients(build(name, survival=survival, dropout=0.0), window(whole, [0, 1, 2, 3, 4, 5]), recipe)
    pieces = gradients(build(name, survival=survival, dropout=0.0), window(whole, [0, 1], [2], [3, 4, 5]), recipe)
    assert large.keys() == pieces.keys()
    assert all(torch.allclose(large[key], pieces[key], atol=1e-6) for key in large)
    assert any(bool(value.any()) for value in large.values())


def test_a_window_with_dropout_has_the_gradient_of_the_joint_loss_under_the_same_draws():
    model = build("snn", dropout=0.5).train()
    batches = window(bag(model.needs), [0, 1, 2], [3, 4, 5])
    torch.manual_seed(7)
    risk = torch.cat([model(patients, PROGRESS).risk for patients, _ in batches])
    partial_likelihood_loss(risk, SURVIVAL.time, SURVIVAL.event).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    found = gradients(build("snn", dropout=0.5), batches, TrainingConfig(**UNCLIPPED), seed=7)
    assert all(torch.allclose(found[key], expected[key], atol=1e-6) for key in expected)
    other = gradients(build("snn", dropout=0.5), batches, TrainingConfig(**UNCLIPPED), seed=8)
    assert not all(torch.allclose(other[key], expected[key], atol=1e-6) for key in expected)


@pytest.mark.parametrize("survival", ["cox", "discrete"])
def test_the_logged_loss_of_a_window_is_that_of_one_large_batch(survival):
    values = []
    for batches in ([[0, 1, 2, 3, 4, 5]], [[0, 1], [2], [3, 4, 5]]):
        model = build("snn", survival=survival, dropout=0.0)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
        values.append(_step(model, window(bag(model.needs), *batches), PROGRESS, optimiser, TrainingConfig())["survival"])
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_a_loss_without_an_event_moves_nothing():
    model = build("snn", dropout=0.0)
    nobody = Survival(SURVIVAL.time, torch.zeros(6, dtype=torch.bool))
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    terms = _step(model, [(bag(model.needs), nobody)], PROGRESS, optimiser, TrainingConfig())
    assert terms == {"survival": 0.0}
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_gradient_is_clipped_to_its_largest_norm():
    model = build("snn", dropout=0.0)
    found = gradients(model, window(bag(model.needs), [0, 1, 2, 3, 4, 5]), TrainingConfig(clip_norm=1e-3))
    assert math.sqrt(sum(float((g**2).sum()) for g in found.values())) == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_not_finite_names_the_patient_who_breaks_it():
    model = build("snn", dropout=0.0)
    whole = bag(model.needs)
    values = whole["omics"].values.clone()
    values[2] = math.nan
    broken = Bag(whole.patients, {"omics": Tokens(values, whole["omics"].mask)})
    with pytest.raises(
        FloatingPointError,
        match=r"the loss \(survival\) is not finite at epoch 0, step 0: it fails for 1 of the 6 patients of the batch \(c\); look at",
    ):
        _step(model, [(broken, SURVIVAL)], PROGRESS, torch.optim.SGD(model.parameters(), lr=0.0), TrainingConfig())


def test_a_loss_that_breaks_on_finite_risks_names_the_batch():
    model = build("snn", dropout=0.0)
    model.losses = lambda patients, survival, progress, beside=None: {"survival": torch.tensor(math.inf)}
    with pytest.raises(FloatingPointError, match=r"fails for 6 of the 6 patients of the batch \(a, b, c and 3 more\)"):
        _step(model, [(bag(model.needs), SURVIVAL)], PROGRESS, torch.optim.SGD(model.parameters(), lr=0.0), TrainingConfig())


def test_a_cox_loss_of_patients_beside_is_that_of_all_together():
    head = build("snn").head
    risk = torch.tensor([0.1, -0.4, 0.9, 0.3, -1.0, 0.2])
    beside = (risk[3:], SURVIVAL[torch.arange(3, 6)])
    found = head.loss(Prediction(risk[:3]), SURVIVAL[torch.arange(0, 3)], beside)
    assert float(found) == pytest.approx(float(partial_likelihood_loss(risk, SURVIVAL.time, SURVIVAL.event)))
