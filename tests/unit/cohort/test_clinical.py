"""Clinical covariates become numbers by stated rules, scaled by the training fold alone."""

import json

import numpy as np
import pandas as pd
import pytest

from prognos.cohort.clinical import ClinicalEncoder, covariates, tumour_grade, tumour_stage, unread_labels


@pytest.mark.parametrize(
    ("label", "stage"),
    [
        ("Stage I", 1),
        ("Stage IB", 1),
        ("I/II NOS", 1),
        ("stage iib", 2),
        ("Stage IIIA1", 3),
        ("Stage IVC", 4),
        ("pT4a", 4),
        ("ypT2", 2),
        ("T1b", 1),
        ("3", 3),
        (2, 2),
        (2.0, 2),
        (" Stage II ", 2),
    ],
)
def test_a_stage_is_its_leading_numeral(label, stage):
    assert tumour_stage(label) == stage


@pytest.mark.parametrize("label", ["Tis", "pTis", "Stage 0", "T0", "pTX", "Stage X", "", None, np.nan, "unknown", "12", "2.5", "invasive"])
def test_a_stage_without_a_numeral_from_one_to_four_is_missing(label):
    assert np.isnan(tumour_stage(label))


@pytest.mark.parametrize(
    ("label", "grade"),
    [
        ("G1", 1),
        ("g2", 2),
        ("G3", 3),
        ("4", 4),
        (3.0, 3),
        ("Grade II", 2),
        ("Low Grade", 2),
        ("Intermediate", 3),
        ("High Grade", 4),
        ("high", 4),
    ],
)
def test_a_grade_is_its_numeral_or_the_registries_code_of_its_word(label, grade):
    assert tumour_grade(label) == grade


@pytest.mark.parametrize("label", ["GX", "GB", "G5", "", None, np.nan, "highly"])
def test_a_grade_that_is_neither_is_missing(label):
    assert np.isnan(tumour_grade(label))


def test_columns_that_are_not_there_are_missing_for_all():
    read = covariates(pd.DataFrame({"sex": ["male", "F"]}, index=["a", "b"]))
    assert read["sex"].tolist() == [1.0, 0.0]
    assert read[["age", "stage", "grade"]].isna().all().all()


def test_labels_that_count_as_missing_are_named():
    frame = pd.DataFrame({"stage": ["Stage X", "Stage X", "Stage I", None], "sex": ["male", "unknown", "", "f"]})
    assert unread_labels(frame) == {"stage": {"Stage X": 2}, "sex": {"unknown": 1}}


def training():
    return pd.DataFrame({"age": [40.0, 60.0, np.nan, 80.0], "sex": ["male"] * 4, "stage": ["Stage I", None, "Stage III", "Stage IV"]})


def test_missing_values_get_the_training_median_and_a_flag():
    encoder = ClinicalEncoder.learn(training())
    assert encoder.columns == ("age", "stage", "age missing", "stage missing")
    assert encoder.medians == {"age": 60.0, "sex": 1.0, "stage": 3.0, "grade": 0.0}
    encoded = encoder.encode(training())
    ages = np.array([40.0, 60.0, 60.0, 80.0])
    assert np.allclose(encoded[:, 0], (ages - 60.0) / ages.std())
    flags = np.array([0.0, 0.0, 1.0, 0.0])
    assert np.allclose(encoded[:, 2], (flags - 0.25) / flags.std())


def test_constant_columns_are_dropped_and_named():
    assert ClinicalEncoder.learn(training()).dropped == ("sex", "grade", "sex missing", "grade missing")


def test_training_columns_have_mean_zero_and_deviation_one():
    encoded = ClinicalEncoder.learn(training()).encode(training())
    assert np.allclose(encoded.mean(axis=0), 0.0)
    assert np.allclose(encoded.std(axis=0), 1.0)


def test_new_patients_change_nothing_that_was_learnt():
    encoder = ClinicalEncoder.learn(training())
    new = pd.DataFrame({"age": [1000.0], "stage": ["Stage II"]})
    before = encoder.state()
    assert encoder.encode(new)[0, 0] == pytest.approx((1000.0 - 60.0) / np.sqrt(200.0))
    assert encoder.state() == before


def test_a_patient_without_any_covariate_is_encoded():
    encoded = ClinicalEncoder.learn(training()).encode(pd.DataFrame(index=["new"]))
    assert encoded.shape == (1, 4)
    assert np.isfinite(encoded).all()


def test_a_cohort_without_covariates_has_no_column():
    encoder = ClinicalEncoder.learn(pd.DataFrame(index=["a", "b"]))
    assert encoder.columns == ()
    assert encoder.encode(pd.DataFrame(index=["a", "b", "c"])).shape == (3, 0)


def test_what_was_learnt_travels_as_json():
    encoder = ClinicalEncoder.learn(training())
    assert ClinicalEncoder.from_state(json.loads(json.dumps(encoder.state()))) == encoder


def test_nobody_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="no training patient: the clinical encoder needs at least one; look at the folds"):
        ClinicalEncoder.learn(training().iloc[:0])
