import numpy as np
import pytest

from prognos.metrics.occupancy import effective_number


def test_the_effective_number_is_one_when_one_takes_all_and_k_when_all_take_as_much():
    assert effective_number(np.array([1.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective_number(np.array([0.2] * 5)) == pytest.approx(5.0)
    assert effective_number(np.array([2.0, 2.0, 0.0])) == pytest.approx(2.0)  # shares need not sum to 1
