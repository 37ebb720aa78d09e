"""Net benefit by hand, without and with censored patients."""

import numpy as np
import pytest

from prognos.metrics import kaplan_meier, net_benefit


def test_without_censoring_it_is_true_less_weighted_false_positives():
    predicted = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2] * 4)
    time = np.array([100.0, 500.0, 100.0, 500.0, 100.0, 500.0] * 4)
    found = net_benefit(1 - predicted, time, np.ones(24, dtype=bool), 365.0, np.array([0.25, 0.7, 0.95]))
    expected = [12 / 24 - 8 / 24 * (0.25 / 0.75), 8 / 24 - 4 / 24 * (0.7 / 0.3), 0.0]
    assert found.model.tolist() == pytest.approx(expected)
    assert found.treat_all.tolist() == pytest.approx([0.5 - 0.5 * q / (1 - q) for q in (0.25, 0.7, 0.95)])


def test_with_censoring_the_treated_are_counted_by_their_own_kaplan_meier_curve():
    generator = np.random.default_rng(5)
    predicted = generator.uniform(size=120)
    event_time, censoring = generator.exponential(500, size=120), generator.exponential(900, size=120)
    time, event = np.ceil(np.minimum(event_time, censoring) / 40) * 40, event_time <= censoring  # with ties
    for threshold in (0.1, 0.5, 0.8):
        who = predicted >= threshold
        survival = kaplan_meier(time[who], event[who]).at(np.array([365.0]))[0]
        expected = who.mean() * (1 - survival - survival * threshold / (1 - threshold))
        found = net_benefit(1 - predicted, time, event, 365.0, np.array([threshold]))
        assert found.model[0] == pytest.approx(expected)


def test_treating_everybody_by_the_model_is_treating_everybody():
    time, event = np.linspace(10, 1000, 50), np.arange(50) % 2 == 0
    found = net_benefit(np.full(50, 0.2), time, event, 365.0, np.array([0.3, 0.8]))
    assert found.model.tolist() == pytest.approx(found.treat_all.tolist())


def test_it_is_unknown_where_the_follow_up_of_the_treated_ends_early():
    time = np.concatenate([np.full(5, 200.0), np.full(20, 800.0)])
    survival = np.concatenate([np.full(5, 0.1), np.full(20, 0.6)])
    found = net_benefit(survival, time, np.zeros(25, dtype=bool), 365.0, np.array([0.3, 0.7, 0.95]))
    assert np.isnan(found.model).tolist() == [False, True, False]
    assert found.model[2] == 0.0  # nobody is treated


def test_a_threshold_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="2 of 3 thresholds do not lie between 0 and 1"):
        net_benefit(np.full(20, 0.5), np.full(20, 900.0), np.ones(20, dtype=bool), 365.0, np.array([0.0, 0.5, 1.0]))


def test_too_few_under_observation_are_not_judged():
    with pytest.raises(ValueError, match="9 of 20 patients are under observation at 365; a decision curve needs 10"):
        net_benefit(np.full(20, 0.5), np.where(np.arange(20) < 9, 900.0, 100.0), np.ones(20, dtype=bool), 365.0, np.array([0.5]))
