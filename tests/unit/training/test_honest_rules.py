"""The rules of honest evaluation, each with the tests that hold it."""

import re
from pathlib import Path

import pytest
from tests.contract.tiny_cohort import tiny_fit

from prognos.training import Fitted

ROOT = Path(__file__).resolve().parents[3]

RULES = {
    "what is learnt is learnt from the training fold": [
        "tests/contract/test_fit.py::test_no_other_patient_and_no_global_seed_can_influence_a_fit",
        "tests/unit/study/test_run.py::test_only_training_patients_go_into_fit",
        "tests/unit/training/test_recalibration.py::test_it_is_learnt_from_the_training_patients_alone",
    ],
    "bin edges travel with the model": [
        "tests/unit/training/test_honest_rules.py::test_bin_edges_travel_with_the_model",
        "tests/unit/risk/test_heads.py::test_a_time_at_a_cut_belongs_to_the_later_bin_and_times_beyond_the_last_cut_to_the_last",
        "tests/papers/test_discrete.py::test_equal_quantiles_are_merged_and_the_spare_bins_are_not_used",
    ],
    "the epoch is the last, or chosen inside the training part, or stamped": [
        "tests/unit/study/test_run.py::test_inner_selection_fits_for_the_epochs_that_an_inner_part_chose",
        "tests/unit/study/test_run.py::test_oracle_selection_is_stamped",
    ],
    "nobody is in two parts": [
        "tests/unit/training/test_fit.py::test_a_patient_who_is_trained_on_is_not_validated_on",
        "tests/unit/cohort/test_folds.py::test_a_slide_in_both_parts_is_named",
        "tests/unit/cohort/test_published_splits.py::test_a_validation_part_that_is_the_test_part_is_refused",
    ],
    "tables are joined by patient id": [
        "tests/contract/test_fit.py::test_patches_are_joined_to_patients_by_id_and_not_by_row",
        "tests/unit/cohort/test_read.py::test_a_cohort_is_joined_by_patient_id",
    ],
    "evaluation is deterministic": [
        "tests/contract/test_fit.py::test_the_order_of_patients_changes_nothing",
        "tests/unit/training/test_fit.py::test_evaluation_patches_are_drawn_by_the_seed_and_the_same_every_time",
    ],
    "padding and order do not matter": [
        "tests/contract/test_models.py::test_padding_does_not_change_the_risk",
        "tests/contract/test_models.py::test_the_order_of_patches_does_not_change_the_risk",
    ],
    "a higher risk is worse, events are bool": [
        "tests/contract/test_models.py::test_the_curve_falls_from_one_and_a_higher_risk_lies_below",
        "tests/unit/models/test_clinical.py::test_a_higher_hazard_is_a_higher_risk",
    ],
    "a Cox step has patients to compare and events": [
        "tests/unit/training/test_loop.py::test_every_step_has_its_events_however_it_is_cut_into_batches",
        "tests/unit/training/test_loop.py::test_a_window_of_batches_has_the_gradient_of_one_large_batch",
    ],
    "the last part of an epoch is trained on": ["tests/unit/training/test_loop.py::test_an_epoch_has_every_patient_once_the_last_ones_too"],
    "missing means missing": [
        "tests/unit/tokens/test_missing.py::test_a_named_modality_is_taken_from_everyone",
        "tests/contract/test_fit.py::test_any_missing_pattern_gives_finite_risks",
    ],
    "any device, and what is not a number is an error": [
        "tests/unit/training/test_honest_rules.py::test_no_model_names_a_device",
        "tests/unit/training/test_loop.py::test_a_loss_that_is_not_finite_names_the_patient_who_breaks_it",
        "tests/unit/training/test_fitted.py::test_a_risk_that_is_not_finite_is_an_error_that_names_the_patients",
    ],
    "one patient with one patch works": ["tests/contract/test_models.py::test_one_patient_with_one_patch_works"],
    "strata can be drawn alike": ["tests/unit/training/test_loop.py::test_balanced_sampling_draws_each_stratum_alike"],
}


def test_there_are_fourteen_rules():
    assert len(RULES) == 14


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_tests_that_are_there(rule):
    for place in RULES[rule]:
        path, _, name = place.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.M), place


def test_bin_edges_travel_with_the_model(train, test, tmp_path):
    fitted = tiny_fit(train, "snn", config={"survival": "discrete", "n_bins": 3})
    events = train.time[train.event & train.has("omics")]
    assert fitted.model.head.cuts.min() >= events.min()
    read = Fitted.load(fitted.save(tmp_path))
    assert read.model.head.cuts.tolist() == fitted.model.head.cuts.tolist()
    assert read.predict(test).survival.tobytes() == fitted.predict(test).survival.tobytes()


def test_no_model_names_a_device():
    places = [path for part in ("models", "nn", "risk") for path in (ROOT / "src" / "prognos" / part).glob("*.py")]
    named = [path.name for path in places if re.search(r"\bcuda\b|nan_to_num|nanmean", path.read_text())]
    assert named == []
