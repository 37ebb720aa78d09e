"""Subtypes through fit, save, load and predict."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from tests.contract.tiny_cohort import tiny_fit, train_and_test

from prognos.cohort import Cohort
from prognos.cohort.simulate import Truth, simulate
from prognos.training import Fitted
from prognos.training.fold import survival_of


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    """Thirty patients of two classes; the first three have no label."""
    truth = Truth(shared=1.0, censoring=0.4, missing={"histology": 0.2, "omics": 0.2})
    folder = simulate(tmp_path_factory.mktemp("classes") / "tiny", truth, n_patients=30, n_sites=4, d_patch=10, patches=(5, 8), n_classes=2)
    table = pd.read_csv(folder / "clinical.csv", dtype=str)
    table.loc[:2, "subtype"] = None
    table.to_csv(folder / "clinical.csv", index=False)
    return Cohort.read(folder)


@cache
def fitted_on(cohort: Cohort, name: str) -> Fitted:
    return tiny_fit(train_and_test(cohort)[0], name)


def test_labels_travel_beside_the_survival(cohort):
    survival = survival_of(cohort)
    assert survival.subtype.tolist() == cohort.subtype_index.tolist()
    assert survival.subtype[:3].tolist() == [-1, -1, -1]
    part = survival[torch.tensor([5, 0])].to("cpu")
    assert part.subtype.tolist() == [int(cohort.subtype_index[5]), -1]
    assert survival_of(dataclasses.replace(cohort, subtype=None, subtype_classes=())).subtype is None


def test_probabilities_come_with_the_prediction_and_travel_with_the_fitted_model(cohort, tmp_path):
    fitted, test = fitted_on(cohort, "mcti"), train_and_test(cohort)[1]
    found = fitted.predict(test)
    assert found.subtypes == cohort.subtype_classes == ("type-1", "type-2")
    assert found.subtype_probabilities.sum(axis=1) == pytest.approx(np.ones(len(test)))
    again = Fitted.load(fitted.save(tmp_path / "fitted")).predict(test)
    assert again.subtypes == found.subtypes
    assert np.array_equal(again.subtype_probabilities, found.subtype_probabilities)
    assert np.array_equal(again.risk, found.risk)


def test_patients_without_input_get_the_shares_of_the_training_patients_with_a_label(cohort):
    fitted, (train, test) = fitted_on(cohort, "mcti"), train_and_test(cohort)
    found = fitted.predict(test, without=("histology", "omics"))
    labels = train.subtype_index[train.subtype_index >= 0]
    assert bool(found.without_input.all())
    assert found.subtype_probabilities[0].tolist() == pytest.approx([np.mean(labels == 0), np.mean(labels == 1)])


def test_models_that_learn_no_subtypes_say_nothing_of_them(cohort):
    test = train_and_test(cohort)[1]
    for fitted in (fitted_on(cohort, "snn"), tiny_fit(train_and_test(cohort)[0], "mcti", config={"subtype_weight": 0.0})):
        found = fitted.predict(test)
        assert (found.subtypes, found.subtype_probabilities) == ((), None)


def test_a_cohort_without_classes_is_learnt_for_survival_alone(cohort):
    train, test = train_and_test(dataclasses.replace(cohort, subtype=None, subtype_classes=()))
    found = tiny_fit(train, "mcti").predict(test)
    assert found.subtype_probabilities is None
    assert bool(np.isfinite(found.risk).all())


def test_classes_can_be_drawn_alike(cohort):
    train = train_and_test(cohort)[0]
    assert np.isfinite(tiny_fit(train, "mcti", training={"balance": "subtype"}).log["total"]).all()
    with pytest.raises(ValueError, match=r"training\.balance is 'subtype' but the cohort has no classes: name the column under"):
        tiny_fit(dataclasses.replace(train, subtype=None, subtype_classes=()), "snn", training={"balance": "subtype"})
