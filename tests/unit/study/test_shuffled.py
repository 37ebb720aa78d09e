"""Predictions from what another patient has."""

from types import SimpleNamespace

import numpy as np

from prognos.study.fold import predict_pattern
from prognos.tokens.missing import parse_pattern


def asked_of(cohort, text, seed=1):
    """The cohort that a fitted model is asked about, and what is said to be missing."""
    seen = SimpleNamespace(predict=lambda given, **how: SimpleNamespace(cohort=given, **how))
    return predict_pattern(seen, cohort, parse_pattern(text, ("histology", "omics")), seed, np.array([365.0]))


def test_a_shuffled_modality_is_that_of_another_patient_and_nothing_is_missing(cohort):
    asked = asked_of(cohort, "omics=shuffled")
    kind = cohort.omics_kinds[0]
    assert not asked.cohort.tables[kind].equals(cohort.tables[kind])
    assert asked.cohort.slides.equals(cohort.slides)
    assert asked.without == ()
    assert asked.absent == {}


def test_the_same_seed_shuffles_in_the_same_way(cohort):
    kind = cohort.omics_kinds[0]
    tables = [asked_of(cohort, "omics=shuffled", seed).cohort.tables[kind] for seed in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_one_modality_can_be_shuffled_while_another_is_missing(cohort):
    asked = asked_of(cohort, "omics=shuffled;histology")
    assert asked.without == ("histology",)
    kind = cohort.omics_kinds[0]
    assert not asked.cohort.tables[kind].equals(cohort.tables[kind])
