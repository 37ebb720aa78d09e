"""The calibration index and the Cox regression that it reads the observed probability from."""

import numpy as np
import pytest

from prognos.metrics import calibration_index, ici_interval, kaplan_meier
from prognos.metrics.bootstrap import draw_counts
from prognos.metrics.calibration_index import _spline
from prognos.metrics.cox_regression import cox_regression


def patients(n=2000, seed=1):
    """Log hazards, and censored times of a baseline hazard of 1 in 1000 days."""
    generator = np.random.default_rng(seed)
    log_hazard = 0.8 * generator.normal(size=n)
    event_time = 1000 * generator.exponential(size=n) / np.exp(log_hazard)
    censoring = generator.exponential(2000, size=n)
    return log_hazard, np.minimum(event_time, censoring), event_time <= censoring


def test_true_probabilities_have_an_index_near_zero():
    log_hazard, time, event = patients()
    found = calibration_index(np.exp(-0.365 * np.exp(log_hazard)), time, event, 365.0)
    assert found.ici < 0.015  # the standard error of a probability of 0.3 from 2,000 patients is 0.010


def test_the_index_is_the_mean_distance_of_planted_errors():
    log_hazard, time, event = patients(n=4000)
    right = 1 - np.exp(-0.365 * np.exp(log_hazard))
    wrong = 1 - np.exp(-0.365 * np.exp(2.5 * log_hazard))
    found = calibration_index(1 - wrong, time, event, 365.0)
    assert found.ici == pytest.approx(np.abs(wrong - right).mean(), abs=0.015)
    assert found.quantile(0.9) == pytest.approx(np.quantile(np.abs(wrong - right), 0.9), abs=0.03)
    assert found.quantile(0.5) < found.quantile(0.9)


def test_one_prediction_for_everybody_is_held_against_kaplan_meier():
    _, time, event = patients(n=200)
    found = calibration_index(np.full(200, 0.6), time, event, 365.0)
    assert found.ici == pytest.approx(abs(0.4 - (1 - kaplan_meier(time, event).at(np.array([365.0]))[0])))


def test_certain_predictions_have_an_index_too():
    log_hazard, time, event = patients(n=300)
    found = calibration_index((log_hazard < 0).astype(float), time, event, 365.0)
    late, early = (event[log_hazard < 0].mean(), event[log_hazard >= 0].mean())
    assert late < early
    assert 0.3 < found.ici < 0.6


def test_the_interval_of_the_index_is_that_of_resampled_patients_moved_back_by_their_excess():
    log_hazard, time, event = patients(n=150)
    survival = np.exp(-0.365 * np.exp(log_hazard))
    counts = draw_counts(150, 9, [1])
    whole = calibration_index(survival, time, event, 365.0).ici
    each = []
    for count in counts:
        drawn = np.repeat(np.arange(150), count)
        each.append(calibration_index(survival[drawn], time[drawn], event[drawn], 365.0).ici)
    low, high = np.quantile(each, (0.025, 0.975)) - (np.mean(each) - whole)
    found = ici_interval(survival, time, event, 365.0, counts)
    assert (found.low, found.high) == pytest.approx((max(0.0, low), high))
    assert found.usable == 9


def test_a_replicate_that_cannot_be_judged_is_left_out():
    log_hazard, time, event = patients(n=150)
    nobody = np.zeros((2, 150), dtype=int)
    nobody[:, 0] = 150  # one patient, drawn 150 times
    counts = np.concatenate([draw_counts(150, 3, [1]), nobody])
    assert ici_interval(np.exp(-0.365 * np.exp(log_hazard)), time, event, 365.0, counts).usable == 3


def test_too_few_patients_or_events_are_not_judged():
    time, event = np.full(40, 500.0), np.arange(40) < 9
    time[event] = 100.0
    with pytest.raises(ValueError, match=r"31 of 40 patients are under observation at 365 and 9 had the event by then; .* needs 10 and 10"):
        calibration_index(np.linspace(0.1, 0.9, 40), time, event, 365.0)


def test_the_curve_bends_only_with_events_enough_behind_each_coefficient():
    values = np.linspace(-2, 2, 100)
    assert [_spline(values, n_events).shape[1] for n_events in (14, 29, 30, 44, 45, 500)] == [1, 1, 2, 2, 3, 3]
    assert _spline(np.repeat(np.arange(-2.0, 3.0), 20), 500).shape[1] == 1  # five predictions, one a fold


def test_the_spline_is_straight_beyond_its_outer_knots():
    values = np.linspace(-2, 2, 401)
    bend = _spline(values, 30)[:, 1]
    assert np.diff(bend[values > 1.7], 2) == pytest.approx(0.0, abs=1e-10)  # the outer knots are the 10th and the 90th percentile
    assert np.ptp(bend[values < -1.7]) == 0.0


def test_the_coefficients_are_where_the_partial_likelihood_is_flat():
    log_hazard, time, event = patients(n=60)
    found = cox_regression(log_hazard[:, None], time, event)

    def likelihood(beta):
        risk = np.exp(beta * log_hazard)
        return sum(np.log(risk[i] / risk[time >= time[i]].sum()) for i in np.flatnonzero(event))

    beta = found.coefficients[0]
    assert likelihood(beta) > max(likelihood(beta - 1e-3), likelihood(beta + 1e-3))


def test_the_baseline_is_breslows_by_hand():
    found = cox_regression(np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, True, False]))
    w = np.exp(found.coefficients[0])
    assert found.time.tolist() == [1.0, 2.0]
    assert found.hazard.tolist() == pytest.approx([1 / (2 * w + 2 / w), 1 / (2 * w + 2 / w) + 2 / (w + 2 / w)])
    assert found.probability(np.array([[0.0]]), 0.5).tolist() == [0.0]


def test_a_column_that_orders_all_events_has_no_maximum():
    time = np.arange(1.0, 21.0)
    with pytest.raises(ValueError, match=r"Cox's likelihood of 20 patients with 20 events has no maximum: the columns put them in order"):
        cox_regression(-(time[:, None] - 10.5) / time.std(), time, np.ones(20, dtype=bool))


def test_columns_that_are_nearly_one_are_as_good_as_their_directions():
    generator = np.random.default_rng(3)
    first, second = generator.standard_normal((2, 200))
    time = generator.exponential(np.exp(-first - second)) + 1e-3
    event = generator.random(200) < 0.7
    apart, alike = np.column_stack([first, second]), np.column_stack([first, first + 0.01 * second])
    one, other = cox_regression(apart, time, event), cox_regression(alike, time, event)
    assert np.abs(other.coefficients).min() > 50  # a step of one against the other
    assert other.probability(alike, 1.0) == pytest.approx(one.probability(apart, 1.0), abs=1e-6)
    twice = cox_regression(np.column_stack([first, first]), time, event)
    half = cox_regression(first[:, None], time, event).coefficients[0] / 2
    assert twice.coefficients == pytest.approx([half, half])
