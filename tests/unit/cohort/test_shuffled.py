"""Modalities that patients have of each other."""

import numpy as np
import pytest

from prognos.cohort import Cohort


@pytest.fixture
def cohort(cohort_folder):
    return Cohort.read(cohort_folder, endpoint="os")


def test_each_patient_who_has_the_tables_gets_those_of_one_of_them(cohort):
    other = cohort.shuffled("omics", np.random.default_rng(1))
    before, after = cohort.tables["rna"], other.tables["rna"]
    assert sorted(after["MYC"]) == sorted(before["MYC"])  # MYC is a number of its own in each patient
    assert (after["MYC"] != before["MYC"]).any()
    assert list(after.index) == list(before.index)
    assert other.has("omics").tolist() == cohort.has("omics").tolist()
    assert other.time.tolist() == cohort.time.tolist()


def test_slides_of_a_patient_stay_together(cohort):
    other = cohort.shuffled("histology", np.random.default_rng(1))
    of_first = other.slides.patient_id[other.slides.slide_id.str.startswith("001-")].unique()
    assert len(of_first) == 1
    assert sorted(other.slides.patient_id.unique()) == sorted(cohort.slides.patient_id.unique())
    assert (other.slides.patient_id.to_numpy() != cohort.slides.patient_id.to_numpy()).any()
    assert other.tables["rna"].equals(cohort.tables["rna"])


def test_who_lacks_the_modality_still_lacks_it(cohort):
    assert not cohort.has("histology").all()
    other = cohort.shuffled("histology", np.random.default_rng(2))
    assert other.has("histology").tolist() == cohort.has("histology").tolist()


def test_the_clinical_modality_cannot_be_shuffled(cohort):
    with pytest.raises(ValueError, match="the clinical modality cannot be shuffled: it stands in one table with the outcome"):
        cohort.shuffled("clinical", np.random.default_rng(1))


def test_an_unknown_modality_is_named(cohort):
    with pytest.raises(ValueError, match="has no modality 'blood'"):
        cohort.shuffled("blood", np.random.default_rng(1))
