import numpy as np
import pytest

from prognos.metrics import (
    HeldOutFold,
    NoComparablePairs,
    brier_score,
    calibration,
    cumulative_dynamic_auc,
    integrated_brier_score,
    kaplan_meier,
    scaled_brier,
)
from prognos.metrics.auc import mean_area
from prognos.metrics.bootstrap import Resamples, calibration_replicates

NO_CENSORING = (np.array([1.0, 2.0, 20.0]), np.array([True, True, True]))
TIME, EVENT = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, True, True])


def test_auc_by_hand():
    # at 2.5: events 1 and 2 against patients 3 and 4; risks 4, 1 against 2, 3: two of four pairs
    area, mean = cumulative_dynamic_auc(np.array([4.0, 1.0, 2.0, 3.0]), TIME, EVENT, *NO_CENSORING, np.array([1.5, 2.5]))
    assert area.tolist() == [1.0, 0.5]
    assert mean == pytest.approx((0.25 * 1.0 + 0.25 * 0.5) / 0.5)  # the curve falls by a quarter at each


def test_a_horizon_without_a_case_or_a_control_is_refused():
    for horizons in ([0.5, 1.5], [1.5, 4.0]):
        with pytest.raises(NoComparablePairs, match=r"at 1 of 2 horizons \((0.5|4)\)"):
            cumulative_dynamic_auc(TIME, TIME, EVENT, *NO_CENSORING, np.array(horizons))


def test_the_mean_auc_of_nobody_is_refused():
    with pytest.raises(NoComparablePairs, match=r"none of 4 patients has the event by 0\.9"):
        mean_area(np.array([np.nan, np.nan]), TIME, EVENT, np.array([0.5, 0.9]))
    with pytest.raises(NoComparablePairs, match="none of 4 patients is under observation after 4"):
        mean_area(np.array([1.0, np.nan]), TIME, EVENT, np.array([1.5, 4.0]))


@pytest.mark.parametrize("horizons", [[], [2.0, 1.0], [0.0, 1.0]])
def test_horizons_have_to_rise_from_above_zero(horizons):
    with pytest.raises(ValueError, match="horizons have to be positive and rising"):
        cumulative_dynamic_auc(TIME, TIME, EVENT, *NO_CENSORING, np.array(horizons))


def test_brier_score_by_hand_with_censoring():
    # training: one of two left is censored at 2, so G is 1/2 from there on
    train = (np.array([1.0, 2.0, 9.0]), np.array([True, False, True]))
    survival = np.array([[0.2], [0.7], [0.6]])
    time, event = np.array([1.0, 5.0, 2.0]), np.array([True, True, False])
    expected = (0.2**2 / 1.0 + (1 - 0.7) ** 2 / 0.5 + 0.0) / 3  # the third is censored before the horizon
    assert brier_score(survival, time, event, *train, np.array([3.0])) == pytest.approx([expected])


def test_the_integrated_score_is_the_mean_over_time_by_trapezoids():
    survival = np.tile([0.9, 0.6, 0.3], (4, 1))
    horizons = np.array([1.5, 2.5, 4.5])
    first, second, third = brier_score(survival, TIME, EVENT, *NO_CENSORING, horizons)
    expected = ((first + second) / 2 * 1.0 + (second + third) / 2 * 2.0) / 3.0
    assert integrated_brier_score(survival, TIME, EVENT, *NO_CENSORING, horizons) == pytest.approx(expected)


def test_the_training_kaplan_meier_curve_scores_zero_and_perfect_curves_one():
    horizons = np.array([1.5, 2.5, 3.5])
    train = (TIME, EVENT)
    null = np.tile(kaplan_meier(*train).at(horizons), (4, 1))
    perfect = (TIME[:, None] > horizons).astype(float)
    assert scaled_brier(null, TIME, EVENT, *train, horizons) == 0.0
    assert scaled_brier(perfect, TIME, EVENT, *train, horizons) == 1.0


def test_nothing_can_be_compared_with_a_perfect_kaplan_meier_curve():
    survival = np.full((2, 2), 0.5)
    train = (np.array([9.0, 9.0]), np.array([True, True]))
    with pytest.raises(ValueError, match="the Kaplan-Meier curve of 2 training patients predicts these 2 patients without any error"):
        scaled_brier(survival, np.array([8.0, 9.0]), np.array([True, True]), *train, np.array([1.0, 2.0]))


def test_one_horizon_has_no_integral():
    with pytest.raises(ValueError, match="1 horizon gives no average over time"):
        integrated_brier_score(np.full((4, 1), 0.5), TIME, EVENT, *NO_CENSORING, np.array([2.0]))


@pytest.mark.parametrize(
    ("survival", "message"),
    [(np.full((3, 1), 0.5), "shape"), (np.full((4, 1), 1.5), "4 of 4 survival prob"), (np.full((4, 1), np.nan), "4 of 4 surv")],
)
def test_survival_that_is_no_probability_of_each_patient_is_refused(survival, message):
    with pytest.raises(ValueError, match=message):
        brier_score(survival, TIME, EVENT, *NO_CENSORING, np.array([2.0]))


def spread_patients(n_patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half of the patients die, at rates that their predicted probability tells."""
    generator = np.random.default_rng(0)
    probability = generator.uniform(0.05, 0.95, n_patients)
    died = generator.random(n_patients) < probability
    return probability, np.where(died, generator.uniform(1, 364, n_patients), 1000.0), died


def test_true_probabilities_are_calibrated_and_shifted_ones_are_not():
    probability, time, event = spread_patients(3000)
    assert calibration(1.0 - probability, time, event, 365.0).error < 0.03
    assert calibration(np.clip(1.0 - probability + 0.3, 0, 1), time, event, 365.0).error > 0.15


def test_calibration_shows_predicted_and_observed_with_interval_in_rising_groups():
    probability, time, event = spread_patients(300)
    shown = calibration(1.0 - probability, time, event, 365.0, n_groups=4)
    assert shown.patients.tolist() == [75, 75, 75, 75]
    assert (np.diff(shown.predicted) > 0).all()
    assert ((shown.low <= shown.observed) & (shown.observed <= shown.high)).all()
    assert shown.at_risk.sum() == (time >= 365).sum()


def test_one_prediction_for_everybody_is_one_group():
    _, time, event = spread_patients(100)
    assert calibration(np.full(100, 0.5), time, event, 365.0).patients.tolist() == [100]


def test_calibration_is_refused_where_few_are_at_risk():
    probability, time, event = spread_patients(100)
    with pytest.raises(ValueError, match="0 of 100 patients are under observation at 2000; calibration there needs 10"):
        calibration(1.0 - probability, time, event, 2000.0)


def test_calibration_is_refused_where_a_group_is_not_followed_so_long():
    time = np.concatenate([np.full(20, 100.0), np.full(40, 400.0)])  # those of the highest risk are all censored early
    survival = np.concatenate([np.full(20, 0.1), np.full(20, 0.5), np.full(20, 0.9)])
    with pytest.raises(ValueError, match="in risk group 3 of 3 the state at 365 is known of 0 of 20 patients and 0 are still under"):
        calibration(survival, time, np.zeros(60, dtype=bool), 365.0)


def test_calibration_replicates_are_a_loop_over_drawn_patients_in_the_groups_of_the_fold():
    probability, time, event = spread_patients(60)
    horizons = np.array([365.0, 400.0])
    fold = HeldOutFold(probability, time, event, None, None, horizons, np.stack([1 - probability] * 2, axis=1))
    group = np.searchsorted(np.quantile(probability, [1 / 3, 2 / 3]), probability)
    counts = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=5)
    for count, replicate in zip(counts, calibration_replicates(Resamples(fold, counts), 365.0), strict=True):
        drawn = np.repeat(np.arange(60), count)
        error = 0.0
        for label in range(3):
            inside = drawn[group[drawn] == label]
            observed = 1 - kaplan_meier(time[inside], event[inside]).at(np.array([365.0]))[0]
            error += len(inside) / 60 * abs(probability[inside].mean() - observed)
        assert replicate == pytest.approx(error, abs=1e-9)
