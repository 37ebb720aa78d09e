"""What folds can show."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from prognos.cohort.folds import FoldError
from prognos.cohort.split_card import concordance_error, detectable_difference, median_follow_up, split_card


def concordance(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Harrell's C over all pairs, without ties."""
    comparable = event[:, None] & (time[:, None] < time[None, :])
    return float((comparable & (risk[:, None] > risk[None, :])).sum() / comparable.sum())


def test_the_card_counts_patients_events_and_sites_of_each_fold():
    cohort = SimpleNamespace(
        patients=tuple("pqrst"),
        sites=np.array(["a", "b", "a", "c", ""], dtype=object),
        time=np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        event=np.array([True, False, True, False, False]),
        slides=pd.DataFrame(),
        folds=None,
    )
    card = split_card(cohort, pd.Series([0, 0, 1, 1, 1], index=list("pqrst")))
    assert card.index.tolist() == [0, 1]
    assert card["patients"].tolist() == [2, 3]
    assert card["events"].tolist() == [1, 1]
    assert card["sites"].tolist() == [2, 2]  # the empty site is not a site
    assert card["shared_sites"].tolist() == [1, 1]
    assert card["median_follow_up"].tolist() == [2.0, 4.0]
    assert "classes" not in card


def test_the_card_says_how_many_of_each_class_a_fold_tests():
    cohort = SimpleNamespace(
        patients=tuple("pqrst"),
        sites=np.full(5, "", dtype=object),
        time=np.arange(1.0, 6.0),
        event=np.array([True, False, True, False, False]),
        slides=pd.DataFrame(),
        folds=None,
        subtype_classes=("IDC", "ILC"),
        subtype_index=np.array([0, 0, 1, -1, -1]),
    )
    card = split_card(cohort, pd.Series([0, 0, 1, 1, 1], index=list("pqrst")))
    assert card["classes"].tolist() == ["2 IDC, 0 ILC", "0 IDC, 1 ILC, 2 unknown"]


def test_median_follow_up_takes_censoring_as_the_event():
    time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, False])
    assert median_follow_up(time, event) == 3.0  # 3/4 after day 1, 3/4 x 1/2 = 3/8 after day 3


def test_median_follow_up_is_unknown_when_the_last_patients_died():
    assert np.isnan(median_follow_up(np.array([1.0, 2.0, 3.0]), np.array([False, True, True])))


def test_error_without_censoring_is_that_of_kendalls_tau():
    n = 50
    error, pairs = concordance_error(np.arange(1.0, n + 1), np.ones(n, dtype=bool))
    assert pairs == n * (n - 1) // 2
    # C = (tau + 1) / 2 and Var tau = 2 (2 n + 5) / (9 n (n - 1)) when nothing is associated
    assert error == pytest.approx(np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) / 2)


def test_error_is_the_spread_of_an_uninformative_risk():
    generator = np.random.default_rng(0)
    n = 60
    time, event = generator.exponential(size=n), generator.random(n) < 0.4
    drawn = [concordance(generator.random(n), time, event) for _ in range(2000)]
    error, _ = concordance_error(time, event)
    assert error == pytest.approx(np.std(drawn), rel=0.06)  # the sd of 2,000 draws is known to 1 / sqrt(4,000) = 1.6%


def test_ties_of_an_event_and_a_censored_patient_are_comparable():
    assert concordance_error(np.array([1.0, 1.0]), np.array([True, False]))[1] == 1
    assert concordance_error(np.array([1.0, 1.0]), np.array([True, True]))[1] == 0


def test_the_detectable_difference_is_found_with_the_power_asked_for():
    generator = np.random.default_rng(1)
    n, n_cohorts, noise = 200, 400, 1.0
    differences, results = [], []
    for _ in range(n_cohorts):
        log_risk = generator.normal(size=n)
        time, censored = generator.exponential(size=n) * np.exp(-log_risk * 0.5), generator.exponential(size=n) * 1.5
        event, observed = time < censored, np.minimum(time, censored)
        shared = generator.normal(size=n)  # what both models mistake for risk
        # two models of equal worth; the first is shifted below by the difference to be found
        risks = [log_risk * 0.2 + shared + noise * generator.normal(size=n) for _ in range(2)]
        results.append([concordance(risk, observed, event) for risk in risks])
        differences.append(concordance_error(observed, event)[0])
    correlation = float(np.corrcoef(np.array(results).T)[0, 1])
    assert 0.3 < correlation < 0.8
    to_find = detectable_difference(observed, event, correlation=correlation)
    error = np.sqrt(2 * (1 - correlation)) * np.mean(differences)
    found = np.abs(np.array(results) @ [1, -1] + to_find) > 1.96 * error
    assert 0.73 < found.mean() < 0.87  # 0.8 within three standard errors of 400 draws, 0.06


def test_folds_cost_resolution_since_pairs_across_them_do_not_count():
    generator = np.random.default_rng(2)
    time, event = generator.exponential(size=300), generator.random(300) < 0.3
    whole = detectable_difference(time, event)
    in_folds = detectable_difference(time, event, np.arange(300) % 5)
    assert whole < in_folds < 1.5 * whole


def test_more_alike_models_are_told_apart_more_easily():
    time, event = np.arange(1.0, 101.0), np.arange(100) % 3 == 0
    close, apart = (detectable_difference(time, event, correlation=correlation) for correlation in (0.9, 0.0))
    assert close == pytest.approx(apart * np.sqrt(0.1))


def test_no_comparable_pair_is_refused():
    with pytest.raises(FoldError, match="0 events among 3 patients give no comparable pair"):
        detectable_difference(np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=bool))


def test_a_correlation_of_one_is_refused():
    with pytest.raises(FoldError, match="a correlation of 1 between two models"):
        detectable_difference(np.array([1.0, 2.0]), np.array([True, True]), correlation=1.0)
