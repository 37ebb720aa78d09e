"""MUST's stages: their names, lengths and rates, what each trains, and that generators never touch the rest of the model."""

import pytest
import torch

from prognos.models import MODELS
from prognos.models.must import MUST, MUSTConfig
from prognos.training.latents import parted
from prognos.types import OnLatents, Progress
from tests.papers.must_by_hand import SHAPE, SURVIVAL, THREE, TWO, Fold, bag, tiny


def test_the_stages_are_warm_up_main_and_one_for_each_generator():
    stages = tiny(warm_up_rate=5).stages(30, 2e-4)
    assert [(s.name, s.epochs, s.learning_rate, s.chosen) for s in stages[:2]] == [
        ("warm-up", 30, pytest.approx(1e-3), False),
        ("main", 30, 2e-4, True),
    ]
    assert [s.name for s in stages[2:]] == ["generator-histology", "generator-omics"]
    assert all(s.learning_rate == 1e-4 and not s.chosen and s.latents is not None for s in stages[2:])
    default = MUST(MUSTConfig(d_model=8, rank=3), SHAPE).stages(1, 1e-4)[-1]
    assert default.epochs * default.latents.steps == MUSTConfig().generator_steps
    assert [s.name for s in tiny(warm_up=False).stages(30, 2e-4)][:1] == ["main"]
    assert tiny(warm_up_epochs=4).stages(30, 2e-4)[0].epochs == 4
    assert [s.name for s in tiny(modalities=THREE).stages(1, 1e-4)][2:] == [f"generator-{m}" for m in THREE]
    assert [s.epochs for s in tiny(generator="mean").stages(30, 2e-4)][2:] == [0, 0]


def test_the_warm_up_trains_encoders_up_to_g_and_the_main_stage_all_but_the_head_of_the_warm_up():
    model = tiny()
    trained = {s.name: {name for name, _ in model.trained_in(s)} for s in model.stages(3, 1e-3)}
    everything = {name for name, _ in model.named_parameters()}
    streams = {name for name in everything if name.startswith("streams.")}
    specific = {name for name in streams if ".specific." in name}
    of_warm_up = {name for name in everything if name.startswith(("warm_fusion.", "warm_head."))}
    generators = {name for name in everything if name.startswith("generators.")}
    assert trained["warm-up"] == (streams - specific) | of_warm_up
    assert trained["main"] == everything - of_warm_up - generators
    for m in TWO:
        assert trained[f"generator-{m}"] == {name for name in generators if name.startswith(f"generators.{m}.")}
    assert specific
    assert trained["generator-omics"]


def test_the_paper_preset_follows_the_print():
    entry = MODELS["must-paper"]
    config = MUSTConfig(**entry.config)
    assert (config.d_model, config.rank, config.n_bins, config.noise) == (256, 64, 4, 0.1)
    assert (config.generator, config.denoiser_layers, config.sampling_steps, config.draws) == ("diffusion", 4, 50, 5)
    assert (config.generator_steps, config.generator_batch, config.generator_rate) == (1_000_000, 32, 1e-4)
    assert (config.specific, config.condition, config.class_condition, config.warm_up) == ("nystrom", "cross", True, True)
    assert entry.training["batch_size"] * entry.training["accumulate"] == 32
    assert (entry.training["learning_rate"], config.warm_up_rate, config.decomposed) == (2e-4, 5.0, "free")
    assert (entry.training["epochs"], entry.training["weight_decay"], entry.training["schedule"]) == (30, 1e-5, "constant")
    assert config.generator_patience is None


def test_latents_are_the_same_in_training_and_evaluation_mode_and_the_mode_stays():
    model = tiny(dropout=0.5)
    stage = model.stages(1, 1e-3)[-1]
    once = model.eval().latents(Fold(), stage)
    again = model.train().latents(Fold(), stage)
    assert model.training
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_generator_whose_modality_no_training_patient_has_is_refused():
    model = tiny()
    with pytest.raises(
        ValueError, match=r"no training patient has omics: its generator cannot be learnt; leave it out of model\.must\.modalit"
    ):
        model.latents(Fold(lacking={"omics": "abcd"}), model.stages(1, 1e-3)[-1])


def test_the_moving_average_follows_each_step_of_its_own_stage_only():
    model = tiny()
    model.after_step(Progress(0, 1, 0, 1, "main"))
    model.after_step(Progress(0, 1, 0, 1, "generator-omics"))
    assert [int(model.generators[m].average.updates) for m in TWO] == [0, 1]


def test_nobody_is_held_out_where_no_patience_asks_for_it():
    rows = parted({"target": torch.arange(10.0)[:, None]}, OnLatents(4, 2, patience=None), seed=1, stage="generator-omics")
    assert rows.watched is None
    assert sorted(rows.trained["target"].flatten().tolist()) == list(range(10))


def test_in_the_warm_up_cox_compares_the_patients_of_a_batch_alone():
    """The risks that are known of other batches are of another head."""
    model = tiny(survival="cox", noise=0.0)
    progress = Progress(0, 1, 0, 1, "warm-up")
    beside = (torch.zeros(2, dtype=torch.float64), SURVIVAL[torch.arange(2)])
    alone, among = (model.losses(bag(), SURVIVAL, progress, other)["warm_up"] for other in (None, beside))
    assert torch.equal(alone, among)
    main = Progress(0, 1, 0, 1, "main")
    alone, among = (model.losses(bag(), SURVIVAL, main, other)["survival"] for other in (None, beside))
    assert not torch.equal(alone, among)
