"""Patients who are watched while a model is trained change nothing that it learns."""

import numpy as np
import pytest

from prognos.training import FitOptions
from tests.contract.tiny_cohort import fitted_on_train, state_hash, tiny_cohort, tiny_fit, train_and_test
from tests.contract.tiny_models import TRAINED


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_that_was_watched_is_the_same_to_the_bit(name: str):
    train, test = train_and_test(tiny_cohort())
    watched = tiny_fit(train, name, options=FitOptions(validation=test))
    assert np.isfinite(watched.log.validation_concordance).any()
    assert state_hash(watched) == state_hash(fitted_on_train(name))
    assert watched.log.drop(columns="validation_concordance").equals(fitted_on_train(name).log)
