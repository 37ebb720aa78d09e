"""Censoring, Kaplan-Meier, log-rank."""

import math

import numpy as np
import pytest

from prognos.metrics import Censoring, horizon_grid, kaplan_meier, logrank, reverse_kaplan_meier_median, tau_rule
from prognos.metrics.logrank import chi_square_tail


def test_kaplan_meier_by_hand():
    curve = kaplan_meier(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False, True]))
    assert curve.time.tolist() == [0, 1, 2, 3, 4]
    assert curve.survival == pytest.approx([1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4, 0])
    assert curve.at_risk.tolist() == [5, 5, 4, 2, 1]
    assert curve.events.tolist() == [0, 1, 1, 0, 1]
    assert curve.censored.tolist() == [0, 0, 1, 1, 0]
    assert curve.median == 4.0


def test_the_interval_is_greenwoods_on_the_log_minus_log_scale():
    curve = kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False]))
    greenwood = 1 / (4 * 3) + 1 / (3 * 2)
    error = math.sqrt(greenwood) / abs(math.log(0.5))
    assert curve.low[2] == pytest.approx(0.5 ** math.exp(1.959964 * error), abs=1e-6)
    assert curve.high[2] == pytest.approx(0.5 ** math.exp(-1.959964 * error), abs=1e-6)


def test_a_curve_without_events_is_one_and_has_no_median():
    curve = kaplan_meier(np.array([1.0, 2.0]), np.array([False, False]))
    assert curve.survival.tolist() == curve.low.tolist() == curve.high.tolist() == [1, 1, 1]
    assert curve.median is None


def test_a_curve_that_falls_to_zero_keeps_an_upper_end():
    curve = kaplan_meier(np.array([1.0, 2.0, 3.0]), np.array([True, True, True]))
    assert curve.survival[-1] == 0
    assert curve.low[-1] == 0
    assert curve.high[-1] == curve.high[-2] > 0
    assert kaplan_meier(np.array([0.0]), np.array([True])).high.tolist() == [1.0]


def test_a_curve_is_constant_between_times_and_counts_those_still_under_observation():
    curve = kaplan_meier(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    assert curve.at(np.array([0.0, 0.9, 1.0, 2.5, 99.0])) == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])
    assert curve.at_risk_at(np.array([0.0, 1.0, 1.5, 3.0, 3.5])).tolist() == [3, 3, 2, 1, 0]


def test_an_event_is_no_longer_at_risk_of_being_censored_at_its_time():
    # at 2: one event and one censored of three left; the event is gone first, so G falls by 1/2
    censoring = Censoring.learn(np.array([1.0, 2.0, 2.0, 5.0]), np.array([True, True, False, True]))
    assert censoring.at(np.array([0.5, 1.0, 2.0, 5.0])).tolist() == [1.0, 1.0, 0.5, 0.5]


def test_median_follow_up_is_the_median_of_the_censoring():
    assert reverse_kaplan_meier_median(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, False, False])) == 2.0


def test_median_follow_up_that_is_not_reached_is_said():
    with pytest.raises(ValueError, match=r"median follow-up is not reached: 1 of 3 .* ends at 0\.67; report the longest follow-up, 3"):
        reverse_kaplan_meier_median(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]))


def test_tau_is_the_80th_percentile_of_training_follow_up():
    assert tau_rule(np.arange(101.0), np.zeros(101, dtype=bool)) == 80.0


def test_horizons_span_training_event_times_and_hold_one_three_and_five_years():
    time = np.arange(1.0, 2002.0)
    grid = horizon_grid(time, np.ones(2001, dtype=bool))
    assert len(grid) == 53
    assert {365.0, 1095.0, 1825.0} <= set(grid)
    assert grid[0] == pytest.approx(101.0)
    assert grid[-1] == pytest.approx(1901.0)


def test_horizons_need_a_training_event():
    with pytest.raises(ValueError, match="none of 2 training patients has an event"):
        horizon_grid(np.array([1.0, 2.0]), np.array([False, False]))


def test_log_rank_by_hand():
    # at 1: d=1, n=4, half of them in a; at 2: d=1, n=3, one in a; at 3: d=1, n=2, one in a
    test = logrank(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, True, False]), np.array(["a", "b", "a", "b"]))
    expected, variance = 2 / 4 + 1 / 3 + 1 / 2, 1 / 4 + 2 / 9 + 1 / 4
    assert test.groups == ("a", "b")
    assert test.observed.tolist() == [2, 1]
    assert test.expected == pytest.approx([expected, 3 - expected])
    assert test.statistic == pytest.approx((2 - expected) ** 2 / variance)
    assert test.p_value == pytest.approx(math.erfc(math.sqrt(test.statistic / 2)))


def test_strata_are_compared_within_and_summed():
    generator = np.random.default_rng(0)
    time, event, group = generator.exponential(size=60), generator.random(60) < 0.7, np.arange(60) % 2
    strata = np.repeat([0, 1], 30)
    parts = [logrank(time[strata == s], event[strata == s], group[strata == s]) for s in (0, 1)]
    variances = [(p.observed[0] - p.expected[0]) ** 2 / p.statistic for p in parts]
    difference = sum(p.observed[0] - p.expected[0] for p in parts)
    assert logrank(time, event, group, strata).statistic == pytest.approx(difference**2 / sum(variances))


def test_levels_that_differ_between_strata_do_not_make_groups_differ():
    # fold 1 lives ten times as long and holds more of group b: pooled the groups differ, within folds they do not
    generator = np.random.default_rng(1)
    fold = np.repeat([0, 1], 200)
    group = (generator.random(400) < np.where(fold == 1, 0.8, 0.2)).astype(int)
    time = generator.exponential(np.where(fold == 1, 10.0, 1.0))
    event = np.ones(400, dtype=bool)
    assert logrank(time, event, group).p_value < 1e-6
    assert logrank(time, event, group, fold).p_value > 0.05


@pytest.mark.parametrize(
    ("event", "group", "strata", "message"),
    [
        ([True, True], ["a", "a"], None, "all 2 patients are in one group, 'a'"),
        ([False, False], ["a", "b"], None, "0 events of 2 patients do not tell the 2 groups apart"),
        ([True, True], ["a", "b"], ["x", "y"], "2 events of 2 patients do not tell the 2 groups apart"),
        ([True, True], ["a"], None, "1 labels in group but 2 patients"),
        ([True, True], ["a", "b"], ["x"], "1 labels in strata but 2 patients"),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(event, group, strata, message):
    with pytest.raises(ValueError, match=message):
        logrank(np.array([1.0, 2.0]), np.array(event), np.array(group), None if strata is None else np.array(strata))


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("statistic", [0.0, 0.3, 4.2, 60.0])
def test_the_chi_square_tail_is_scipys(statistic, degrees_of_freedom):
    from scipy.special import chdtrc

    assert chi_square_tail(statistic, degrees_of_freedom) == pytest.approx(float(chdtrc(degrees_of_freedom, statistic)), rel=1e-12)
