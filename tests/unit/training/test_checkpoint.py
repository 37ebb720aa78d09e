"""A fit that was stopped goes on to the same bits; a checkpoint of anything else is not gone on from."""

import dataclasses
import json

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from tests.contract.tiny_cohort import state_hash, tiny_fit
from tests.contract.tiny_models import build

from prognos.training import FitOptions, checkpoint, loop
from prognos.training.checkpoint import CheckpointWarning, load_checkpoint, load_state

EVERY_EPOCH = {"epochs": 3, "checkpoint_seconds": 0.0}


class Stopped(Exception):
    """Somebody pulled the plug."""


def stop_at(epoch: int, stage: int = 1):
    """A watcher that raises when an epoch is done, the `stage`-th time that this epoch is done."""
    seen = []

    def progress(step):
        seen.append(step.epoch)
        if seen.count(epoch) == stage:
            raise Stopped

    return progress


@pytest.fixture
def epochs_run(monkeypatch):
    """Counts the epochs that are really trained."""
    counted = []
    original = loop._epoch

    def count(*arguments, **named):
        counted.append(named["epoch"])
        return original(*arguments, **named)

    monkeypatch.setattr(loop, "_epoch", count)
    return counted


def same(first, second):
    pd.testing.assert_frame_equal(first.log, second.log, check_exact=True)
    return state_hash(first) == state_hash(second)


@pytest.mark.parametrize("name", ["snn", "tta-paper"])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(train, name, tmp_path, epochs_run):
    whole = tiny_fit(train, name, training=EVERY_EPOCH)
    epochs_run.clear()
    with pytest.raises(Stopped):
        tiny_fit(train, name, training=EVERY_EPOCH, options=FitOptions(folder=tmp_path, progress=stop_at(2)))
    assert epochs_run == [0, 1]
    again = tiny_fit(train, name, training=EVERY_EPOCH, options=FitOptions(folder=tmp_path))
    assert epochs_run == [0, 1, 1, 2]  # the second epoch was not yet on the disk
    assert same(again, whole)


def test_a_fit_with_windows_and_validation_goes_on_to_the_same_bits(train, test, tmp_path):
    training = {**EVERY_EPOCH, "accumulate": 2, "batch_size": 4, "balance": "time"}
    whole = tiny_fit(train, "snn", training=training, options=FitOptions(validation=test))
    with pytest.raises(Stopped):
        tiny_fit(train, "snn", training=training, options=FitOptions(folder=tmp_path, validation=test, progress=stop_at(2)))
    assert same(tiny_fit(train, "snn", training=training, options=FitOptions(folder=tmp_path, validation=test)), whole)


@pytest.mark.parametrize("part", [1, 2], ids=["in the first part", "in the second part"])
def test_a_late_fusion_goes_on_in_the_part_where_it_was_stopped(train, tmp_path, part, epochs_run):
    from prognos.training import fit

    def fused(**options):
        recipe = {**EVERY_EPOCH, "batch_size": 8, "device": "cpu"}
        return fit(train, "late-fusion", training=recipe, options=FitOptions(folder=tmp_path / "stopped", **options))

    with pytest.raises(Stopped):
        fused(progress=stop_at(2, stage=part))
    before = len(epochs_run)
    again = fused()
    assert len(epochs_run) - before == {1: 2 + 3, 2: 0 + 2}[part]
    whole = fit(train, "late-fusion", training={**EVERY_EPOCH, "batch_size": 8, "device": "cpu"})
    assert same(again, whole)


def test_a_finished_fit_is_read_and_not_trained_again(train, tmp_path, epochs_run):
    first = tiny_fit(train, "snn", options=FitOptions(folder=tmp_path))
    epochs_run.clear()
    assert same(tiny_fit(train, "snn", options=FitOptions(folder=tmp_path)), first)
    assert epochs_run == []


def test_checkpoints_are_apart_by_the_seconds_asked_for_and_the_last_epoch_has_one(train, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda path, model, optimiser, log, fingerprint: saved.append(len(log)))
    tiny_fit(train, "snn", training={"epochs": 3, "checkpoint_seconds": 3600.0}, options=FitOptions(folder=tmp_path))
    assert saved == [3]
    tiny_fit(train, "snn", training={"epochs": 3, "checkpoint_seconds": 0.0}, options=FitOptions(folder=tmp_path))
    assert saved == [3, 1, 2, 3]


def other_event(train):
    event = train.event.copy()
    event[:2] = ~event[:2]
    return dataclasses.replace(train, event=event)


def other_omics(train):
    return dataclasses.replace(train, tables={kind: table * 1.5 for kind, table in train.tables.items()})


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"config": {"dropout": 0.1}},
        {"training": {**EVERY_EPOCH, "learning_rate": 2e-3}},
        {"inputs": {"omics_kinds": ("rna",)}},
        {"cohort": lambda train: train.subset(train.patients[1:])},
        {"cohort": other_event},
        {"cohort": other_omics},
        {"validation": True},
    ],
    ids=["seed", "config", "recipe", "inputs", "patients", "events", "measurements", "validation"],
)
def test_a_checkpoint_of_another_fit_is_not_gone_on_from(train, test, tmp_path, epochs_run, other):
    with pytest.raises(Stopped):
        tiny_fit(train, "snn", training=EVERY_EPOCH, options=FitOptions(folder=tmp_path, progress=stop_at(2)))
    epochs_run.clear()
    cohort = other.get("cohort", lambda train: train)(train)
    settings = {"training": EVERY_EPOCH} | {key: value for key, value in other.items() if key not in ("cohort", "validation")}
    tiny_fit(cohort, "snn", options=FitOptions(folder=tmp_path, validation=test if "validation" in other else None), **settings)
    assert epochs_run == [0, 1, 2]


@pytest.mark.parametrize("keep", [0, 4, 100, -20], ids=["empty", "four bytes", "within the header", "within the tensors"])
def test_a_damaged_checkpoint_is_ignored_with_a_warning_and_the_result_is_the_same(train, tmp_path, keep):
    whole = tiny_fit(train, "snn", options=FitOptions(folder=tmp_path))
    path = tmp_path / "checkpoint-0.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(CheckpointWarning, match=r"checkpoint-0\.safetensors is damaged .* begins anew; nothing needs to be done"):
        again = tiny_fit(train, "snn", options=FitOptions(folder=tmp_path))
    assert same(again, whole)


def test_a_file_of_tensors_that_is_no_checkpoint_is_ignored_with_a_warning(tmp_path):
    from prognos import files

    path = files.write_tensors(tmp_path / "checkpoint-0.safetensors", {"a": torch.zeros(2)})
    with pytest.warns(CheckpointWarning, match="is damaged"):
        assert load_checkpoint(path, "any") is None


def test_there_is_no_checkpoint_where_there_is_no_file(tmp_path):
    assert load_checkpoint(tmp_path / "absent.safetensors", "any") is None


def test_a_checkpoint_is_tensors_and_one_json_text(train, tmp_path):
    tiny_fit(train, "snn", options=FitOptions(folder=tmp_path))
    with safe_open(tmp_path / "checkpoint-0.safetensors", framework="pt") as opened:
        header = json.loads(opened.metadata()["position"])
        names = set(opened.keys())
    assert [row["epoch"] for row in header["log"]] == [0, 1]
    assert {name.split(".")[0] for name in names} == {"model", "optimiser", "random"}
    assert "random.cpu" in names


def test_the_random_state_comes_back(train):
    torch.manual_seed(3)
    state = checkpoint.random_state()
    drawn = torch.rand(3)
    checkpoint.set_random_state(state)
    assert torch.equal(torch.rand(3), drawn)


# Weights


def test_buffers_of_a_learnt_length_take_the_length_they_have_on_disk():
    model, state = build("snn"), build("snn").state_dict()
    state["head.baseline_times"] = torch.arange(3, dtype=torch.float64)
    load_state(model, state)
    assert model.head.baseline_times.tolist() == [0.0, 1.0, 2.0]


def test_the_weights_of_another_model_are_refused_by_their_names():
    message = r"these weights are of another model: \d+ tensors are missing and \d+ unknown \(.*\); load them with the model and config"
    with pytest.raises(ValueError, match=message):
        load_state(build("snn"), build("abmil").state_dict())


def test_the_weights_of_another_size_are_refused_by_their_shapes():
    with pytest.raises(ValueError, match=r"layers\.\S+ has shape \(8, 5\), the model's is \(4, 5\); load them with the config"):
        load_state(build("snn", d_model=4), build("snn").state_dict())


def test_loading_weights_keeps_the_parameters_that_an_optimiser_holds():
    model = build("snn")
    before = [id(p) for p in model.parameters()]
    load_state(model, {key: value + 1 for key, value in model.state_dict().items()})
    assert [id(p) for p in model.parameters()] == before
    assert torch.equal(model.head.weight.weight, build("snn").head.weight.weight + 1)
