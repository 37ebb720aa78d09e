"""D-calibration by hand and on curves that are known to be right or wrong."""

import numpy as np
import pytest
from scipy.stats import chi2

from prognos.metrics import distribution_calibration, survival_reached


def test_events_count_in_their_bin_and_censored_patients_are_spread_below():
    reached = np.concatenate([np.full(20, 0.05), np.full(20, 0.95), np.full(20, 0.25)])
    event = np.arange(60) < 40
    found = distribution_calibration(reached, event)
    counts = np.zeros(10)
    counts[0], counts[9] = 20, 20
    counts[0] += 20 * 0.1 / 0.25
    counts[1] += 20 * 0.1 / 0.25
    counts[2] += 20 * 0.05 / 0.25
    assert found.shares.tolist() == pytest.approx((counts / 60).tolist())
    statistic = sum((count - 6.0) ** 2 / 6.0 for count in counts)
    assert found.chi_square == pytest.approx(statistic)
    assert found.p == pytest.approx(chi2.sf(statistic, 9))


def test_ends_of_the_scale_have_a_bin_and_everybody_counts_once():
    found = distribution_calibration(np.tile([0.0, 1.0], 40), np.repeat([True, False], 40))
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.shares[0] == pytest.approx((20 + 20 + 2) / 80)  # events at 0, censored at 0, a tenth of those censored at 1
    assert found.shares[9] == pytest.approx((20 + 2) / 80)


def test_right_curves_pass_and_curves_that_fall_too_slowly_do_not():
    generator = np.random.default_rng(3)
    event_time, censoring = generator.exponential(size=800), generator.exponential(2.0, size=800)
    time, event = np.minimum(event_time, censoring), event_time <= censoring
    assert distribution_calibration(np.exp(-time), event).p > 0.05
    assert distribution_calibration(np.exp(-0.5 * time), event).p < 1e-6


def test_survival_is_linear_from_one_and_who_outlives_the_curve_is_censored_at_its_end():
    survival = np.array([[0.8, 0.4], [0.8, 0.4], [0.6, 0.2], [0.6, 0.2]])
    reached, event = survival_reached(survival, np.array([50.0, 150.0, 200.0, 900.0]), np.ones(4, dtype=bool), np.array([100.0, 200.0]))
    assert reached.tolist() == pytest.approx([0.9, 0.6, 0.2, 0.2])
    assert event.tolist() == [True, True, True, False]


def test_few_patients_or_events_are_not_judged():
    with pytest.raises(ValueError, match=r"49 patients with 30 events .* 10 bins needs 50 patients and 20 events"):
        distribution_calibration(np.linspace(0, 1, 49), np.arange(49) < 30)
    with pytest.raises(ValueError, match=r"60 patients with 19 events"):
        distribution_calibration(np.linspace(0, 1, 60), np.arange(60) < 19)
