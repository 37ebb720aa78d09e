"""The training and the test part of a tiny simulated cohort."""

import pytest
from tests.contract.tiny_cohort import tiny_cohort, train_and_test

from prognos.cohort import Cohort


@pytest.fixture
def train() -> Cohort:
    return train_and_test(tiny_cohort())[0]


@pytest.fixture
def test() -> Cohort:
    return train_and_test(tiny_cohort())[1]
