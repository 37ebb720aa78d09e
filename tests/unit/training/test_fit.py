"""What `fit` asks for, refuses, logs and leaves alone."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.contract.tiny_cohort import fitted_on_train, small, state_hash, tiny_fit

from prognos.metrics import concordance
from prognos.models.snn import SNN
from prognos.tokens.inputs import MissingModality
from prognos.training import FitOptions, fit
from prognos.training.fit import _check_parts


def with_outcome(cohort, **outcome):
    return dataclasses.replace(cohort, **outcome)


# Refusals


def test_training_patients_without_an_event_are_refused(train):
    censored = with_outcome(train, event=np.zeros(20, dtype=bool))
    with pytest.raises(ValueError, match="null cannot be fitted: 20 training patients with 0 events; at least 2 patients and 1 event"):
        fit(censored, "null")


def test_one_training_patient_is_refused(train):
    patient = train.patients[int(np.argmax(train.event))]
    with pytest.raises(ValueError, match=r"clinical cannot be fitted: 1 training patients with 1 events; .*: use fewer folds or another"):
        fit(train.subset([patient]), "clinical")


def test_a_single_patient_with_the_modality_is_one_too_few(train):
    lacking = dataclasses.replace(train, tables={kind: table.iloc[:1] for kind, table in train.tables.items()})
    with pytest.raises(ValueError, match="snn cannot be fitted: 1 training patients"):
        fit(lacking, "snn")


def test_a_modality_that_nobody_has_makes_a_model_not_applicable(train):
    lacking = dataclasses.replace(train, tables={}, omics_kinds=())
    with pytest.raises(MissingModality, match="snn cannot be fitted: none of the 20 patients of tiny has omics; choose another model"):
        fit(lacking, "snn")


def test_gene_sets_that_were_not_given_are_asked_for(train):
    with pytest.raises(ValueError, match="tiny has no gene sets called 'hallmark': give them with --gene-sets") as caught:
        fit(dataclasses.replace(train, gene_sets={}), "tta")
    assert not isinstance(caught.value, MissingModality)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"config": {"d_modell": 3}},
            r"model\.snn: there is no key 'd_modell'; did you mean 'd_model'\? Known: survival, n_bins, censored_weight, d_model",
        ),
        ({"training": {"epoch": 3}}, r"training: there is no key 'epoch'; did you mean 'epochs'\?"),
        ({"inputs": {"n_patch": 3}}, r"inputs: there is no key 'n_patch'; did you mean 'n_patches'\?"),
        ({"config": {"survival": "coxx"}}, r"model\.snn: survival: there is no choice 'coxx'; did you mean 'cox'\?"),
        ({"training": {"epochs": -1}}, r"training: epochs = -1: input should be greater than or equal to 0"),
        ({"training": {"learning_rate": 0.0}}, r"training: learning_rate = 0\.0: input should be greater than 0"),
        ({"training": {"learning_rate": float("inf")}}, r"training: learning_rate = inf: input should be a finite number"),
        ({"training": {"device": "gpu"}}, r"there is no device 'gpu'; use auto, cpu, cuda"),
        (
            {"training": {"batch_size": 1}},
            r"snn cannot be fitted with batch_size = 1 and accumulate = 1: Cox's loss compares",
        ),
        ({"seed": -1}, r"the seed is -1; choose a whole number from 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_with_the_nearest_that_can(train, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(train, "snn", **settings)


def test_an_unknown_model_is_refused_with_the_nearest(train):
    with pytest.raises(ValueError, match="no model is called 'ttaa'; did you mean 'tta'"):
        fit(train, "ttaa")


@pytest.mark.parametrize("penalties", [(), (0.0,), (-1.0, 0.1)])
def test_penalties_are_positive_and_there_is_one(train, penalties):
    with pytest.raises(ValueError, match=r"model\.clinical: penalties"):
        fit(train, "clinical", config={"penalties": penalties})


def test_batches_of_one_are_fine_where_a_loss_compares_nobody(train):
    assert len(tiny_fit(train, "snn", config={"survival": "discrete"}, training={"batch_size": 1, "epochs": 1}).log) == 1


def test_a_patient_who_is_trained_on_is_not_validated_on(train, test):
    """Rule 4: what would have caught a validation file that is the test file."""
    with pytest.raises(ValueError, match=r"20 patients are in the training and the validation part \(SIM-0001, .* and 17 more\)"):
        tiny_fit(train, "snn", options=FitOptions(validation=train))


def test_a_part_that_is_another_model_is_refused(train):
    with pytest.raises(ValueError, match=r"the part 'snn' that was given is a fitted 'abmil' of 0 omics features and patches of width 10"):
        fit(train, "late-fusion", options=FitOptions(parts={"snn": fitted_on_train("abmil"), "abmil": fitted_on_train("abmil")}))


def test_a_part_that_reads_other_genes_is_refused(train):
    part = tiny_fit(train, "snn", inputs={"omics_kinds": ("rna",)})
    with pytest.raises(ValueError, match=r"the part 'snn' .* of \d+ omics features .*: give one that was fitted on this fold"):
        _check_parts({"snn": part}, fitted_on_train("late-fusion").inputs)


def test_a_loss_that_explodes_is_an_error_that_names_patients(train):
    with pytest.raises(FloatingPointError, match=r"the loss \(survival\) is not finite at epoch \d, .*SIM-\d+.*lower the learning rate"):
        tiny_fit(train, "snn", training={"learning_rate": 1e30, "warmup": 0.0, "clip_norm": 1e30, "epochs": 4})


def test_a_risk_that_is_not_finite_at_the_end_is_an_error_that_names_patients(train, monkeypatch):
    monkeypatch.setattr(SNN, "losses", lambda self, bag, survival, progress, beside=None: {"survival": torch.zeros((), requires_grad=True)})
    monkeypatch.setattr(SNN, "begin_epoch", lambda self, train, progress: self.head.weight.weight.data.fill_(float("nan")))
    with pytest.raises(FloatingPointError, match=r"the risks of 16 of 16 patients are not finite \(SIM-0001, .* and 13 more\); look at"):
        tiny_fit(train, "snn")


# What is learnt, logged and left alone


def test_the_global_generators_are_untouched(train):
    np.random.seed(1)
    torch.manual_seed(1)
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    tiny_fit(train, "tta")
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_patients_without_the_data_types_that_are_read_are_left_out(train):
    lacking = dataclasses.replace(train, tables={**train.tables, "rna": train.tables["rna"].iloc[:12]})
    fitted = tiny_fit(lacking, "snn", inputs={"omics_kinds": ("rna",)})
    assert fitted.provenance["patients"] == 12
    assert tiny_fit(train, "snn").provenance["patients"] == train.has("omics").sum()


def test_patients_without_any_covariate_are_left_out_of_the_clinical_model_and_not_of_the_null(train):
    clinical = train.clinical.copy()
    clinical.loc[clinical.index[:3], ["age", "sex", "stage", "grade"]] = None
    lacking = dataclasses.replace(train, clinical=clinical)
    assert tiny_fit(lacking, "clinical").provenance["patients"] == 17
    assert tiny_fit(lacking, "null").provenance["patients"] == 20
    assert tiny_fit(dataclasses.replace(train, clinical=clinical[["site"]]), "null").provenance["patients"] == 20


def test_the_log_has_a_row_an_epoch_with_steps_rate_and_terms(train):
    log = tiny_fit(train, "tta", training={"epochs": 3, "warmup": 0.0}).log
    assert log["epoch"].tolist() == [0, 1, 2]
    assert log["step"].tolist() == [3, 6, 9]  # twenty patients, eight a batch
    assert log["learning_rate"].is_monotonic_decreasing
    terms = ["survival", "contrast", "instance"]
    assert log["total"].tolist() == pytest.approx(log[terms].sum(axis=1).tolist())
    assert set(log["stage"]) == {"main"}


def test_no_epoch_leaves_a_model_of_random_weights_and_an_empty_log(train):
    fitted = tiny_fit(train, "snn", training={"epochs": 0})
    assert len(fitted.log) == 0
    assert np.isfinite(fitted.predict(train).risk).all()


def test_validation_is_logged_after_each_epoch_and_teaches_nothing(train, test):
    seen = []
    options = FitOptions(validation=test, progress=lambda step: seen.append((step.stage, step.epoch, step.epochs)))
    watched = tiny_fit(train, "snn", options=options)
    assert state_hash(watched) == state_hash(fitted_on_train("snn"))
    assert seen == [("main", 1, 2), ("main", 2, 2)]
    has = test.has("omics")
    final = watched.predict(test).risk[has]
    assert watched.log["validation_concordance"].iloc[-1] == pytest.approx(concordance(final, test.time[has], test.event[has]))


def test_a_validation_part_without_a_comparable_pair_is_not_a_number(train, test):
    censored = with_outcome(test, event=np.zeros(10, dtype=bool))
    assert tiny_fit(train, "snn", options=FitOptions(validation=censored)).log["validation_concordance"].isna().all()


def test_a_validation_part_without_any_input_is_not_logged(train, test):
    without = test.subset([patient for patient, has in zip(test.patients, test.has("omics"), strict=True) if not has])
    assert "validation_concordance" not in tiny_fit(train, "snn", options=FitOptions(validation=without)).log


def test_the_threshold_is_the_median_training_risk(train):
    fitted = fitted_on_train("abmil")
    risk = fitted.predict(train).risk[train.has("histology")]
    assert fitted.threshold == pytest.approx(float(np.median(risk)), abs=1e-6)


@pytest.mark.parametrize("name", ["snn", "abmil", "tta"])
def test_half_precision_stays_near_single_precision(train, name):
    losses = {}
    for precision in ("float32", "bfloat16"):
        recipe = {"precision": precision, "epochs": 1, "learning_rate": 1e-5}
        losses[precision] = tiny_fit(train, name, config={"dropout": 0.0}, training=recipe).log["survival"].iloc[0]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"] != losses["float32"]


def test_training_reads_so_many_patches_and_prediction_every_one(train, monkeypatch):
    from prognos.tokens.reader import Reader

    asked = []
    original = Reader.bag

    def bag(self, patients, *, n_patches=None, generator=None):
        made = original(self, patients, n_patches=n_patches, generator=generator)
        asked.append((n_patches, int(made["histology"].mask.sum(dim=1).max())))
        return made

    monkeypatch.setattr(Reader, "bag", bag)
    fitted = tiny_fit(train, "abmil", inputs={"n_patches": 3})
    assert {n for n_patches, n in asked if n_patches == 3} == {3}
    asked.clear()
    fitted.predict(train)
    assert {n_patches for n_patches, _ in asked} == {None}


def test_evaluation_patches_are_drawn_by_the_seed_and_the_same_every_time(train, test):
    fitted = tiny_fit(train, "abmil", training={"evaluation_patches": 2})
    first = fitted.predict(test).risk
    assert fitted.predict(test).risk.tobytes() == first.tobytes()
    other = dataclasses.replace(fitted, seed=9).predict(test).risk
    has = test.has("histology")
    assert (other[has] != first[has]).any()


def test_the_small_settings_are_settings_of_the_models():
    assert small("snn") == {"d_model": 8}
    assert set(small("clinical")) == {"penalties", "inner_folds"}


# Stopping early


def test_a_fit_that_stops_after_some_epochs_is_the_whole_fit_up_to_there(train):
    """The schedules stay those of the whole, so that a chosen epoch is the epoch that was looked at."""
    settings = {"config": small("snn"), "seed": 3}
    whole = fit(train, "snn", training={"epochs": 4, "device": "cpu"}, **settings)
    part = fit(train, "snn", training={"epochs": 4, "stop_after": 2, "device": "cpu"}, **settings)
    assert len(part.log) == 2
    assert part.log.equals(whole.log.iloc[:2])
