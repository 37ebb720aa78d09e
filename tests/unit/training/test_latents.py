"""Stages on latents: who is held out, where they end, what they leave alone, and that a killed one goes on to the same bits."""

import itertools
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest
import torch
from tests.contract.tiny_cohort import state_hash, tiny_cohort, tiny_fit, train_and_test
from tests.contract.tiny_models import small

from prognos.models import entry_of
from prognos.models.must import MUST
from prognos.tokens.inputs import Inputs, InputsConfig
from prognos.training import FitOptions, latents
from prognos.training.fold import Fold
from prognos.training.latents import parted, run_latent_stage
from prognos.training.loop import _step
from prognos.training.recipe import TrainingConfig
from prognos.types import OnLatents, Progress, Stage

RECIPE = TrainingConfig(device="cpu", warmup=0.0)


@cache
def fold_of_must():
    """The fold that a MUST learns from, and the shape of its inputs."""
    train = train_and_test(tiny_cohort())[0]
    kind = entry_of("must").load()
    inputs = Inputs.learn(train, kind.needs_of(kind.Config()), InputsConfig())
    return Fold(train, inputs.reader(train), torch.device("cpu"), 8), inputs.shape


def of_must(**settings):
    """A small MUST and the fold that it learns from."""
    kind, (fold, shape) = entry_of("must").load(), fold_of_must()
    torch.manual_seed(0)
    model = kind(kind.Config(**{**small("must"), **settings}), shape)
    model.learn(fold)
    return model, fold


def stage_of(model, epochs=4, rate=1e-2, **how):
    return Stage("generator-omics", epochs, rate, chosen=False, latents=OnLatents(**{"batch_size": 4, "steps": 2, "patience": None, **how}))


def run(model, fold, stage, *, checkpoint=None, recipe=RECIPE, seed=3):
    return run_latent_stage(model, fold, recipe, stage, seed=seed, checkpoint=checkpoint, fingerprint="this fit")


def states(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model, before):
    after = model.state_dict()
    return {name for name, value in after.items() if value.shape != before[name].shape or not torch.equal(value, before[name])}


# Who is held out


def test_the_share_that_is_held_out_is_never_trained_on_and_nobody_is_lost():
    rows = {"target": torch.arange(20.0)[:, None], "known": torch.arange(20)}
    split = parted(rows, OnLatents(4, 2, held_out=0.25, patience=3), seed=1, stage="s")
    trained, watched = split.trained["target"].flatten().tolist(), split.watched["target"].flatten().tolist()
    assert (len(trained), len(watched)) == (15, 5)
    assert sorted(trained + watched) == list(range(20))
    assert split.watched["known"].tolist() == watched


def test_who_is_held_out_depends_on_seed_and_stage():
    rows = {"target": torch.arange(40.0)[:, None]}
    how = OnLatents(4, 2, patience=3)
    watched = [
        parted(rows, how, seed=seed, stage=stage).watched["target"].tolist() for seed, stage in ((1, "a"), (1, "a"), (2, "a"), (1, "b"))
    ]
    assert watched[0] == watched[1]
    assert watched[2] != watched[0] != watched[3]


@pytest.mark.parametrize(("n", "patience"), [(20, None), (1, 3), (4, 3)])
def test_without_patience_or_with_too_few_nobody_is_held_out(n, patience):
    assert parted({"target": torch.zeros(n, 1)}, OnLatents(4, 2, patience=patience), seed=1, stage="s").watched is None


def test_held_out_patients_enter_no_step(monkeypatch):
    model, fold = of_must()
    stage = stage_of(model, epochs=3, patience=5, held_out=0.3)
    split = parted(dict(model.latents(fold, stage)), stage.latents, seed=3, stage=stage.name)
    seen = {True: [], False: []}
    original = type(model).latent_losses

    def losses(self, rows, progress):
        seen[self.training] += rows["target"].tolist()
        return original(self, rows, progress)

    monkeypatch.setattr(type(model), "latent_losses", losses)
    list(run(model, fold, stage))
    held_out = split.watched["target"].tolist()
    assert len(held_out) > 1
    assert not any(row in held_out for row in seen[True])
    assert all(row in held_out for row in seen[False])
    assert len(seen[True]) == 3 * 2 * 4


# Where it ends


def scripted(monkeypatch, losses):
    """The held-out loss of each epoch is what the list says."""
    left = iter(losses)
    monkeypatch.setattr(latents, "_watched", lambda *_: next(left))


def test_the_stage_ends_after_its_patience_and_stands_at_the_best_epoch(monkeypatch):
    scripted(monkeypatch, [5.0, 3.0, 2.0, 4.0, 2.5, 9.0])
    model, fold = of_must()
    kept, log = [], []
    for row in run(model, fold, stage_of(model, epochs=6, patience=2)):
        log.append(row["held_out"])
        kept.append(states(model))
    assert log == [5.0, 3.0, 2.0, 4.0, 2.5]  # two epochs no better than the third
    assert not moved(model, kept[2])
    own = {name for name in moved(model, kept[4]) if name.startswith("generators.omics.")}
    assert {name for name in own if name.startswith("generators.omics.average.")}
    assert {name for name in own if name.startswith("generators.omics.network.")}


def test_the_last_epoch_is_the_end_where_patience_is_left_and_the_best_is_taken_there_too(monkeypatch):
    scripted(monkeypatch, [5.0, 1.0, 2.0])
    model, fold = of_must()
    kept = [states(model) for _ in run(model, fold, stage_of(model, epochs=3, patience=9))]
    assert len(kept) == 3
    assert not moved(model, kept[1])


def test_without_patience_the_stage_goes_to_its_end_and_stands_there():
    model, fold = of_must()
    rows, kept = [], []
    for row in run(model, fold, stage_of(model, epochs=3)):
        rows.append(row)
        kept.append(states(model))
    assert len(rows) == 3
    assert "held_out" not in rows[0]
    assert not moved(model, kept[2])


def test_a_row_has_steps_rate_terms_and_total():
    model, fold = of_must()
    rows = list(run(model, fold, stage_of(model, epochs=2, patience=5), recipe=RECIPE.model_copy(update={"schedule": "constant"})))
    assert [(row["stage"], row["epoch"], row["step"], row["learning_rate"]) for row in rows] == [
        ("generator-omics", 0, 2, 1e-2),
        ("generator-omics", 1, 4, 1e-2),
    ]
    assert all(row["total"] == row["generator"] for row in rows)


def test_watching_draws_nothing_from_the_generator_of_training():
    """The same steps with and without patients to watch, where nobody but them is left out."""
    model, fold = of_must()
    rows = model.latents(fold, stage_of(model))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = latents._watched(model, rows, Progress(0, 1, 0, 1, "generator-omics"), 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert latents._watched(model, rows, Progress(0, 1, 0, 1, "generator-omics"), 3) == first


def test_a_loss_that_is_not_finite_names_the_stage_and_its_rate(monkeypatch):
    model, fold = of_must()
    nan = lambda self, rows, progress: {"generator": torch.tensor(float("nan"), requires_grad=True)}  # noqa: E731
    monkeypatch.setattr(type(model), "latent_losses", nan)
    with pytest.raises(
        FloatingPointError, match=r"the loss of the stage generator-omics is not finite at step 0; lower its learning rate \(0\.01\)"
    ):
        list(run(model, fold, stage_of(model)))


# What is left alone


@pytest.mark.parametrize("kind", ["diffusion", "regressor", "mean", "zero", "nearest"])
def test_a_generator_is_trained_on_frozen_components(kind):
    """Not a bit of anything moves but of the generator of the stage."""
    model, fold = of_must(generator=kind)
    for stage in model.stages(2, 1e-3)[2:]:
        before = states(model)
        log = list(run(model, fold, stage))
        own = f"generators.{stage.name.removeprefix('generator-')}."
        changed = moved(model, before)
        assert {name for name in changed if not name.startswith(own)} <= {"generators_learnt"}
        assert bool(log) == (kind in ("diffusion", "regressor"))
        assert f"{own}target_mean" in changed
    assert bool(model.generators_learnt)


def test_a_gradient_left_over_from_another_stage_does_not_enter_the_norm():
    """After the warm-up its head still has one; where the warm-up was read from a checkpoint it has none."""
    model, fold = of_must()
    left = model.warm_head.hazard.weight
    left.grad = torch.full_like(left, 1e6)
    optimiser = torch.optim.SGD([p for _, p in model.trained_in(Stage("main", 1, 1e-3))], lr=0.0)
    bag = next(fold.bags(4))
    _step(model.train(), [(bag, fold.survival[:4])], Progress(0, 1, 0, 1, "main"), optimiser, RECIPE)
    assert left.grad is None
    assert float(model.fusion[0].weight.grad.norm()) > 1e-3


# Kill and go on


@pytest.mark.parametrize("kind", ["diffusion", "regressor"])
def test_a_stage_that_was_killed_goes_on_to_the_same_bits(tmp_path, kind):
    recipe, ends = RECIPE.model_copy(update={"checkpoint_seconds": 0.0}), []
    for killed in (False, True):
        model, fold = of_must(generator=kind)
        stage = stage_of(model, epochs=4, patience=2, held_out=0.2)
        torch.manual_seed(7)
        path = tmp_path / f"{killed}.safetensors"
        if killed:
            list(itertools.islice(run(model, fold, stage, checkpoint=path, recipe=recipe), 3))
            model, fold = of_must(generator=kind)
            torch.manual_seed(99)
        log = list(run(model, fold, stage, checkpoint=path, recipe=recipe))
        ends.append((states(model), log, torch.get_rng_state(), path.read_bytes()))
    (whole, log, random, file), (again, log_again, random_again, file_again) = ends
    assert log_again == log
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert torch.equal(random, random_again)
    assert file_again == file


def test_a_finished_stage_is_read_and_not_trained_again(tmp_path, monkeypatch):
    model, fold = of_must()
    stage = stage_of(model, epochs=3, patience=1, held_out=0.2)
    log = list(run(model, fold, stage, checkpoint=tmp_path / "c.safetensors"))
    again, _ = of_must()
    monkeypatch.setattr(latents, "_epoch", None)
    assert list(run(again, fold, stage, checkpoint=tmp_path / "c.safetensors")) == log
    assert not moved(again, states(model))


class Killed(Exception):
    """Somebody pulled the plug."""


def kill_in(stage: str, epoch: int):
    def progress(step):
        if (step.stage, step.epoch) == (stage, epoch):
            raise Killed

    return progress


@pytest.fixture
def short_stages(monkeypatch):
    """Two epochs of three steps for each generator."""
    original = MUST.stages

    def stages(self, epochs, learning_rate):
        short = OnLatents(4, 3, held_out=0.2, patience=5)
        return tuple(s if s.latents is None else replace(s, epochs=2, latents=short) for s in original(self, epochs, learning_rate))

    monkeypatch.setattr(MUST, "stages", stages)


def must_fit(train, folder, progress=None):
    recipe = {"epochs": 2, "checkpoint_seconds": 0.0, "missing": "omics=0.2"}
    return tiny_fit(train, "must", training=recipe, options=FitOptions(folder=folder, progress=progress))


def test_a_fit_that_was_killed_in_every_stage_goes_on_to_the_same_bits(train, tmp_path, short_stages):
    whole = must_fit(train, None)
    stages = ["warm-up", "main", "generator-histology", "generator-omics"]
    assert list(dict.fromkeys(whole.log["stage"])) == stages
    for stage in stages:
        with pytest.raises(Killed):
            must_fit(train, tmp_path, kill_in(stage, 2))  # the first epoch is on the disk, the second is not
    again = must_fit(train, tmp_path)
    pd.testing.assert_frame_equal(again.log, whole.log, check_exact=True)
    assert state_hash(again) == state_hash(whole)
