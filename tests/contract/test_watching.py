"""Patients who are watched while a model is trained change nothing that it learns."""

import numpy as np
import pytest

from prognos.models import entry_of
from prognos.training import FitOptions
from tests.contract.tiny_cohort import fitted_on_train, state_hash, tiny_cohort, tiny_fit, train_and_test
from tests.contract.tiny_models import TRAINED

ONE_OF_EACH = tuple({entry_of(name).path: name for name in reversed(TRAINED)}.values())
"""The first preset of each class."""


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_model_that_was_watched_is_the_same_to_the_bit(name: str):
    train, test = train_and_test(tiny_cohort())
    watched = tiny_fit(train, name, options=FitOptions(validation=test))
    assert np.isfinite(watched.log.validation_concordance).any()
    assert state_hash(watched) == state_hash(fitted_on_train(name))
    assert watched.log.drop(columns="validation_concordance").equals(fitted_on_train(name).log)
