import numpy as np
import pytest

from prognos.metrics import METRICS, HeldOutFold
from prognos.metrics import bootstrap as resampling
from prognos.metrics.bootstrap import Resamples, draw_counts, interval, mean_over_folds


def fold_of(n_patients: int, seed: int = 0) -> HeldOutFold:
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n_patients)
    time, train_time = generator.exponential(1000 * 2.0**-risk), generator.exponential(1000, 400)
    return HeldOutFold(risk, time, generator.random(n_patients) < 0.6, train_time, generator.random(400) < 0.6)


def test_each_replicate_draws_as_many_patients_as_there_are():
    counts = draw_counts(30, 200, [1, "cohort"])
    assert counts.shape == (200, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.3)


def test_draws_depend_on_the_seed_and_the_name_only():
    assert (draw_counts(10, 5, [1, "a"]) == draw_counts(10, 5, [1, "a"])).all()
    assert (draw_counts(10, 5, [1, "a"]) != draw_counts(10, 5, [1, "b"])).any()
    assert (draw_counts(10, 5, [1, "a"]) != draw_counts(10, 5, [2, "a"])).any()


def test_the_interval_is_that_of_the_replicates_that_gave_a_number():
    values = np.concatenate([np.linspace(0, 1, 101), [np.nan] * 20])
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert (found.usable, found.replicates) == (101, 121)


def test_there_is_no_interval_when_most_replicates_gave_none():
    found = interval(np.array([0.5, np.nan, np.nan]))
    assert found.low is found.high is None
    assert found.usable == 1


def test_a_centred_interval_is_moved_onto_the_estimate_and_not_below_zero():
    found = interval(np.linspace(0.1, 0.3, 101), centre=0.05)
    assert found.low == 0.0
    assert found.high == pytest.approx(0.295 - (0.2 - 0.05))


def test_the_mean_over_folds_is_of_the_means_over_seeds():
    first, second = np.array([1.0, np.nan]), np.array([3.0, 2.0])
    assert mean_over_folds([[first, second], [second]])[0] == (2.0 + 3.0) / 2
    assert np.isnan(mean_over_folds([[first, second], [second]])[1])


@pytest.mark.parametrize("name", ["concordance", "concordance_ipcw", "auc"])
def test_blocks_of_pairs_give_the_same_replicates(name, monkeypatch):
    fold = fold_of(80)
    counts = draw_counts(80, 20, [0])
    whole = METRICS[name].replicates(Resamples(fold, counts))
    monkeypatch.setattr(resampling, "BLOCK_SIZE", 80 * 7)  # seven events at a time
    np.testing.assert_allclose(METRICS[name].replicates(Resamples(fold, counts)), whole, atol=1e-12)


def test_counts_of_other_patients_are_refused():
    with pytest.raises(ValueError, match="counts are for 9 patients but the fold has 10"):
        Resamples(fold_of(10), np.ones((2, 9), dtype=int))


def test_the_interval_of_noise_holds_one_half_about_as_often_as_it_says():
    holds = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        fold = HeldOutFold(generator.normal(size=150), generator.exponential(size=150), generator.random(150) < 0.5)
        found = interval(METRICS["concordance"].replicates(Resamples(fold, draw_counts(150, 300, [seed]))))
        holds += found.low <= 0.5 <= found.high
    assert holds >= 52  # 95% of 60 is 57; fewer than 52 has a probability below 1%


def test_every_metric_says_what_it_is_and_raises_without_what_it_needs():
    risk_only = HeldOutFold(np.array([1.0, 0.0]), np.array([1.0, 2.0]), np.array([True, False]))
    for name, metric in METRICS.items():
        assert metric.summary.endswith(".")
        if name == "concordance":
            assert metric.value(risk_only) == 1.0
        else:
            lacking = "no subtype probabilities" if metric.needs_subtypes else "no training part"
            with pytest.raises(ValueError, match="no survival curves" if metric.needs_curves else lacking):
                metric.value(risk_only)


def test_a_clinical_horizon_beyond_tau_is_refused():
    with pytest.raises(ValueError, match="365 days lie beyond tau = 40, the 80th percentile"):
        METRICS["auc_365d"].value(short_fold(None))


def test_curves_that_begin_beyond_tau_are_refused():
    with pytest.raises(ValueError, match="the first horizon, 45, lies beyond tau = 40"):
        METRICS["integrated_brier"].value(short_fold(np.array([45.0, 60.0])))


def test_survival_between_horizons_is_linear_and_not_known_outside():
    fold = short_fold(np.array([10.0, 20.0]))
    assert fold.survival_at(10.0).tolist() == [0.9, 0.9]
    assert fold.survival_at(17.5) == pytest.approx([0.9 - 0.75 * 0.4] * 2)
    with pytest.raises(ValueError, match="survival was predicted from 10 to 20 days, not at 365"):
        fold.survival_at(365.0)


def short_fold(horizons: np.ndarray | None) -> HeldOutFold:
    """Two patients and a training fold whose follow-up has its 80th percentile at 40 days."""
    survival = None if horizons is None else np.tile([0.9, 0.5], (2, 1))
    train_time = np.arange(51.0)
    return HeldOutFold(np.array([1.0, 0.0]), np.array([1.0, 2.0]), np.array([True, False]), train_time, train_time > 0, horizons, survival)
