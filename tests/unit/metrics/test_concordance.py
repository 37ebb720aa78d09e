import numpy as np
import pytest

from prognos.metrics import NoComparablePairs, concordance, concordance_ipcw


def test_concordance_by_hand():
    # pairs with the earlier event first: (1, 2) concordant, (1, 3) concordant, (2, 3) not
    assert concordance(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.array([True, True, False])) == 2 / 3


def test_tied_risks_count_one_half():
    assert concordance(np.array([1.0, 1.0 + 5e-9, 0.0]), np.array([1.0, 2.0, 3.0]), np.array([True, True, True])) == 2.5 / 3


def test_an_event_precedes_a_censoring_at_the_same_time():
    assert concordance(np.array([2.0, 1.0]), np.array([5.0, 5.0]), np.array([True, False])) == 1.0


def test_two_events_at_the_same_time_are_not_comparable():
    with pytest.raises(NoComparablePairs, match="no pair of 2 patients is comparable: 2 have the event"):
        concordance(np.array([2.0, 1.0]), np.array([5.0, 5.0]), np.array([True, True]))


def test_no_event_is_no_concordance():
    with pytest.raises(NoComparablePairs, match="0 have the event"):
        concordance(np.array([2.0, 1.0]), np.array([5.0, 6.0]), np.array([False, False]))


def test_events_may_be_coded_zero_and_one():
    time, risk = np.array([1.0, 2.0]), np.array([2.0, 1.0])
    assert concordance(risk, time, np.array([1, 0])) == concordance(risk, time, np.array([True, False]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"time": np.array([1.0, np.nan])}, "1 of 2 times of the patients are negative or not finite"),
        ({"time": np.array([1.0, -2.0])}, r"negative or not finite \(-2\)"),
        ({"event": np.array([1, 2])}, r"1 of 2 events of the patients are neither 0 nor 1 \(2\)"),
        ({"event": np.array([1])}, "2 times but 1 events of the patients"),
        ({"risk": np.array([1.0])}, "1 risks but 2 patients"),
        ({"risk": np.array([1.0, np.inf])}, "1 of 2 risks are not finite"),
        ({"risk": np.array([]), "time": np.array([]), "event": np.array([])}, "there are no patients"),
    ],
)
def test_unusable_input_is_refused_with_counts(changed, message):
    given = {"risk": np.array([2.0, 1.0]), "time": np.array([1.0, 2.0]), "event": np.array([True, False])} | changed
    with pytest.raises(ValueError, match=message):
        concordance(given["risk"], given["time"], given["event"])


def test_unos_concordance_by_hand():
    # Training: censored at 2 with three at risk (the event at 1 is gone), so G is 1 before 2 and 2/3 from 2 on.
    train_time, train_event = np.array([1.0, 2.0, 5.0, 9.0]), np.array([True, False, True, True])
    risk, time, event = np.array([1.0, 3.0, 2.0, 0.0]), np.array([1.0, 3.0, 4.0, 6.0]), np.array([True, True, True, False])
    # event at 1, weight 1: concordant with one of 3; at 3, weight (3/2)^2: with 2 of 2; at 4, same weight: with 1 of 1
    expected = (1 * 1 + 2.25 * 2 + 2.25 * 1) / (1 * 3 + 2.25 * 2 + 2.25 * 1)
    assert concordance_ipcw(risk, time, event, train_time, train_event, tau=8.0) == pytest.approx(expected)


def test_events_from_tau_on_do_not_count_but_their_patients_stay_as_later_ones():
    train_time, train_event = np.array([1.0, 2.0, 9.0]), np.array([True, True, True])
    risk, time, event = np.array([1.0, 3.0]), np.array([1.0, 3.0]), np.array([True, True])
    assert concordance_ipcw(risk, time, event, train_time, train_event, tau=2.0) == 0.0  # one pair, discordant
    with pytest.raises(NoComparablePairs, match="none of 2 events lies before tau = 1 and before another patient"):
        concordance_ipcw(risk, time, event, train_time, train_event, tau=1.0)


def test_a_tau_beyond_the_training_follow_up_is_refused():
    risk, time, event = np.array([1.0, 0.0]), np.array([3.0, 4.0]), np.array([True, False])
    with pytest.raises(ValueError, match="1 of 1 times lie beyond the training fold's follow-up of 2"):
        concordance_ipcw(risk, time, event, np.array([1.0, 2.0]), np.array([True, True]), tau=9.0)


def test_an_event_where_nobody_in_training_is_uncensored_is_refused():
    train_time, train_event = np.array([1.0, 2.0]), np.array([True, False])
    with pytest.raises(ValueError, match="at 1 of 1 times nobody in the training fold is uncensored"):
        concordance_ipcw(np.array([1.0, 0.0]), np.array([2.0, 3.0]), np.array([True, False]), train_time, train_event, tau=9.0)


def test_thousands_of_patients_need_no_matrix_of_pairs():
    generator = np.random.default_rng(0)
    risk = generator.permutation(50_000).astype(float)
    assert concordance(risk, 50_000 - risk, np.ones(50_000, dtype=bool)) == 1.0
