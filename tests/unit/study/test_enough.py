"""A training part with too little to learn from ends the study before it begins; a test part with too little does not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from prognos.config import make_recipe
from prognos.models.clinical import Clinical
from prognos.models.snn import SNN
from prognos.study.enough import check_training_parts
from prognos.study.plan import make_plan
from prognos.study.run import run_cohorts


def with_events(cohort, *numbers):
    """The small cohort with events of these patients only."""
    return replace(cohort, event=np.isin(np.arange(len(cohort.patients)), numbers))


def checked(cohort, models=("null",), folds=None, **study):
    recipe = make_recipe({"cohort": {"path": "/x/small"}, "study": {"models": list(models), **study}})
    folds = {"small": cohort.folds if folds is None else folds}
    plan = make_plan(recipe, {"small": cohort}, folds)
    check_training_parts(plan, {"small": cohort}, folds)


def test_enough_is_said_nothing_of(cohort):
    checked(cohort, ("null", "clinical", "snn", "abmil"))


def test_a_training_part_without_an_event_is_refused_with_cohort_fold_and_models(cohort):
    # patients of even number are in fold 0; events in fold 0 leave none to train on when it is tested
    said = (
        r"^small, fold 0: the other folds have 10 patients with 0 events to train null, clinical on: at least 2 patients and 1 event "
        r"are needed\. Use fewer folds \(study\.n_folds, or another splits\.csv\) or an endpoint with more events\. Nothing was trained\.$"
    )
    with pytest.raises(ValueError, match=said):
        checked(with_events(cohort, 0, 2, 4), ("null", "clinical"))


def test_a_training_part_of_one_patient_is_refused(cohort):
    folds = pd.Series([1] + [0] * 19, index=cohort.folds.index)
    with pytest.raises(ValueError, match="small, fold 0: the other folds have 1 patients with 1 events"):
        checked(with_events(cohort, 0, 1, 2), folds=folds)


def test_events_count_among_patients_that_have_what_the_model_reads(cohort):
    # p00 has no slide: with its event alone in fold 0, abmil has none left where fold 1 is tested; the null model has
    with pytest.raises(ValueError, match="small, fold 1: the other folds have 9 patients with 0 events to train abmil on"):
        checked(with_events(cohort, 0, 1, 3), ("null", "abmil"))


def test_inner_selection_needs_two_events(cohort):
    checked(with_events(cohort, 2, 3), ("snn",))
    with pytest.raises(ValueError, match="at least 4 patients and 2 events are needed by the selection inner"):
        checked(with_events(cohort, 2, 3), ("snn",), selection="inner")


def test_the_labels_of_a_canary_are_counted_too(cohort):
    # one event a fold; permuted, both may lie in one
    alone = with_events(cohort, 0, 1)
    checked(alone)
    with pytest.raises(ValueError, match="with 0 events to train null on"):
        checked(alone, canary=True, seeds=list(range(1, 9)))


def test_a_training_part_in_which_nobody_has_a_modality_is_not_applicable_and_no_error(cohort):
    folds = pd.Series([0] + [1] * 19, index=cohort.folds.index)  # fold 1 is trained for on p00 alone, who has no slide
    with pytest.raises(ValueError) as caught:
        checked(cohort, ("null", "abmil"), folds=folds)
    assert "abmil" not in str(caught.value)


def test_at_most_three_folds_are_told(build):
    cohort = build(n_patients=40)
    folds = pd.Series(np.arange(40) % 8, index=cohort.folds.index)
    nobody = with_events(cohort)
    with pytest.raises(ValueError, match=r"fold 0: .*; small, fold 1: .*; small, fold 2: .*; and 5 more: at least") as caught:
        checked(nobody, folds=folds)
    assert "fold 3" not in str(caught.value)


def test_a_study_with_too_little_to_train_on_trains_nothing_and_leaves_no_folder(cohort, stub_fit, tmp_path):
    recipe = make_recipe({"cohort": {"path": str(tmp_path / "small")}, "study": {"models": ["null"], "workers": 1}})
    with pytest.raises(ValueError, match="Nothing was trained"):
        run_cohorts(recipe, {"small": with_events(cohort, 0)}, tmp_path / "run", training=(stub_fit, stub_fit.load))
    assert stub_fit.calls == []
    assert not (tmp_path / "run").exists()


def test_a_test_part_without_an_event_is_a_warning_and_the_study_goes_on(cohort, stub_fit, tmp_path):
    folds = pd.Series([2, 2] + [number % 2 for number in range(18)], index=cohort.folds.index, name="fold")
    own = replace(with_events(cohort, *range(2, 20)), folds=folds)
    recipe = make_recipe({"cohort": {"path": str(tmp_path / "small")}, "study": {"models": ["null"], "workers": 1, "replicates": 0}})
    study = run_cohorts(recipe, {"small": own}, tmp_path / "run", training=(stub_fit, stub_fit.load))
    assert any("fold 2 has no event among 2 patients" in warning for warning in study.facts()["warnings"])


# Classes


@pytest.fixture
def learning(monkeypatch):
    """The SNN and the clinical model are taken to learn subtypes."""
    for model in (SNN, Clinical):
        monkeypatch.setattr(model, "needs", replace(model.needs, subtype=True))


def with_classes(cohort, **n_patients):
    """The cohort with so many patients of each class, one class after the other; the rest is unknown."""
    labels = [name for name, number in n_patients.items() for _ in range(number)]
    subtype = pd.Series([*labels, *[None] * (len(cohort.patients) - len(labels))], index=cohort.folds.index, dtype=object)
    return replace(cohort, subtype=subtype, subtype_classes=tuple(n_patients))


def test_a_class_with_too_few_training_patients_is_refused_for_models_that_learn_subtypes(build, learning):
    # patients of even number are in fold 0: of the last 19, ten are odd and train when fold 0 is tested, nine when fold 1 is
    cohort = with_classes(build(n_patients=50), large=31, small=19)
    said = (
        r"^small has too few training patients of the class 'small' for clinical \(9 in fold 1\): a model that learns subtypes needs "
        r"at least 10 of each class in every fold\. Merge it with another class, \[cohort\] merge = \{ NEW = \[\"small\", \"OTHER\"\] \}, "
        r"or leave it out of subtype_classes\. Nothing was trained\.$"
    )
    with pytest.raises(ValueError, match=said):
        checked(cohort, ("null", "clinical"))


def test_classes_of_ten_training_patients_are_enough(build, learning):
    checked(with_classes(build(n_patients=50), large=30, small=20), ("clinical",))


def test_small_classes_matter_only_to_models_that_learn_subtypes(build):
    checked(with_classes(build(n_patients=50), large=31, small=2), ("null", "clinical", "snn"))


def test_models_that_learn_subtypes_need_none_in_a_cohort_without(cohort, learning):
    checked(cohort, ("clinical", "snn"))


def test_patients_of_a_class_count_where_they_have_what_the_model_reads(build, learning):
    # p01, who has no omics, is one of the ten patients of the class that train when fold 0 is tested
    cohort = with_classes(build(n_patients=50), small=20, large=30)
    with pytest.raises(ValueError, match=r"class 'small' for snn \(9 in fold 0\)"):
        checked(cohort, ("clinical", "snn"))


def test_the_smallest_folds_of_a_class_come_first_and_at_most_three_classes_are_told(build, learning):
    cohort = with_classes(build(n_patients=40), a=9, b=8, c=7, d=6)
    folds = pd.Series([0] * 9 + [1] * 7 + [2] * 24, index=cohort.folds.index)
    with pytest.raises(ValueError) as caught:
        checked(cohort, ("clinical",), folds=folds)
    assert str(caught.value).startswith(
        "small has too few training patients of the class 'a' for clinical (0 in fold 0, 9 in fold 1, 9 in fold 2); "
        "small has too few training patients of the class 'b' for clinical (1 in fold 1, 7 in fold 2, 8 in fold 0); "
        "small has too few training patients of the class 'c' for clinical (0 in fold 2, 7 in fold 0, 7 in fold 1); and 1 more: "
    )


def test_the_classes_of_a_canary_are_counted_as_they_are(build, learning):
    checked(with_classes(build(n_patients=50), large=30, small=20), ("clinical",), canary=True, seeds=list(range(1, 9)))


def test_a_study_with_too_small_a_class_trains_nothing(build, learning, stub_fit, tmp_path):
    recipe = make_recipe({"cohort": {"path": str(tmp_path / "small")}, "study": {"models": ["clinical"], "workers": 1}})
    cohort = with_classes(build(n_patients=50), large=31, small=19)
    with pytest.raises(ValueError, match="Nothing was trained"):
        run_cohorts(recipe, {"small": cohort}, tmp_path / "run", training=(stub_fit, stub_fit.load))
    assert stub_fit.calls == []
    assert not (tmp_path / "run").exists()
