"""What holds of metrics for all patients."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prognos.metrics import METRICS, HeldOutFold, NoComparablePairs, concordance, kaplan_meier, logrank
from prognos.metrics.bootstrap import Resamples, draw_counts
from prognos.metrics.concordance import count_below

unhurried = settings(max_examples=60, deadline=None)


@st.composite
def survival_data(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risk, time and event of 2 to 40 patients, with many ties in time and risk."""
    n_patients = draw(st.integers(2, 40))
    lists = st.lists
    risk = draw(lists(st.integers(-20, 20), min_size=n_patients, max_size=n_patients))
    time = draw(lists(st.integers(0, 30), min_size=n_patients, max_size=n_patients))
    event = draw(lists(st.booleans(), min_size=n_patients, max_size=n_patients))
    return np.array(risk, dtype=float), np.array(time, dtype=float), np.array(event)


def by_pairs(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float | None:
    """Harrell's C as it is defined, one pair at a time."""
    concordant = comparable = 0.0
    for i in range(len(risk)):
        for j in range(len(risk)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                comparable += 1.0
                tied = abs(risk[i] - risk[j]) <= 1e-8
                concordant += 0.5 if tied else float(risk[i] > risk[j])
    return concordant / comparable if comparable else None


def value_or_none(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float | None:
    try:
        return concordance(risk, time, event)
    except NoComparablePairs:
        return None


@unhurried
@given(survival_data())
def test_concordance_is_its_definition_over_pairs(data):
    expected = by_pairs(*data)
    ours = value_or_none(*data)
    assert (ours is None) == (expected is None)
    assert ours == pytest.approx(expected, abs=1e-12) if expected is not None else True


@unhurried
@given(survival_data())
def test_the_concordance_of_minus_the_risk_is_one_less_concordance(data):
    risk, time, event = data
    ours = value_or_none(risk, time, event)
    assume(ours is not None)
    assert value_or_none(-risk, time, event) == pytest.approx(1.0 - ours, abs=1e-12)


@unhurried
@given(survival_data())
def test_a_rising_function_of_the_risk_does_not_change_concordance(data):
    risk, time, event = data
    assert value_or_none(np.exp(risk / 4.0) + 3.0, time, event) == value_or_none(risk, time, event)


@unhurried
@given(survival_data(), st.floats(0.01, 1000.0))
def test_the_unit_of_time_does_not_change_concordance(data, unit):
    risk, time, event = data
    assert value_or_none(risk, time * unit, event) == value_or_none(risk, time, event)


@unhurried
@given(survival_data(), st.randoms(use_true_random=False))
def test_the_order_of_patients_does_not_change_concordance(data, random):
    order = list(range(len(data[0])))
    random.shuffle(order)
    assert value_or_none(*(values[order] for values in data)) == value_or_none(*data)


@unhurried
@given(survival_data())
def test_a_constant_risk_has_a_concordance_of_one_half(data):
    risk, time, event = data
    ours = value_or_none(np.full(len(risk), 3.0), time, event)
    assert ours in (None, 0.5)


@unhurried
@given(st.data())
def test_counting_below_is_counting(data):
    n_places = data.draw(st.sampled_from([1, 2, 7, 8, 9, 63, 64, 65, 130]))
    rank = np.array(data.draw(st.permutations(range(n_places))))
    start = np.array(data.draw(st.lists(st.integers(0, n_places), min_size=3, max_size=3)))
    bound = np.array(data.draw(st.lists(st.integers(0, n_places), min_size=3, max_size=3)))
    expected = [int((rank[s:] < b).sum()) for s, b in zip(start, bound, strict=True)]
    assert count_below(rank, start, bound).tolist() == expected


@unhurried
@given(survival_data())
def test_a_survival_curve_falls_from_one_and_lies_in_its_interval(data):
    _, time, event = data
    curve = kaplan_meier(time, event)
    assert curve.survival[0] <= 1.0
    assert (np.diff(curve.survival) <= 0).all()
    assert ((curve.low <= curve.survival + 1e-12) & (curve.survival <= curve.high + 1e-12)).all()
    assert ((curve.low >= 0) & (curve.high <= 1)).all()
    assert curve.events.sum() + curve.censored.sum() == len(time)


@unhurried
@given(survival_data(), st.integers(0, 1000))
def test_names_of_groups_and_order_of_patients_do_not_change_the_log_rank_test(data, seed):
    _, time, event = data
    generator = np.random.default_rng(seed)
    group, order = generator.integers(0, 2, len(time)), generator.permutation(len(time))
    try:
        ours = logrank(time, event, group)
    except ValueError:
        assume(False)
    named = np.where(group == 1, "a", "b")[order]
    other = logrank(time[order], event[order], named)
    assert other.statistic == pytest.approx(ours.statistic, rel=1e-6, abs=1e-9)
    assert other.observed.sum() == pytest.approx(other.expected.sum())


def fold_of(n_patients: int, seed: int, months: bool) -> HeldOutFold:
    """A held-out fold with curves and subtypes, long enough followed for every metric."""
    generator = np.random.default_rng(seed)
    risk, train_risk = generator.normal(size=n_patients), generator.normal(size=4 * n_patients)
    time, train_time = generator.exponential(1500 * 2.0**-risk) + 1, generator.exponential(1500 * 2.0**-train_risk) + 1
    limit, train_limit = generator.exponential(6000, n_patients) + 1, generator.exponential(6000, 4 * n_patients) + 1
    columns = [np.minimum(time, limit), np.minimum(train_time, train_limit)]
    if months:
        columns, risk = [np.ceil(column / 90.0) * 90.0 for column in columns], np.round(risk, 1)
    horizons = np.array([100.0, 365.0, 700.0, 1095.0, 1500.0, 1825.0, 2500.0])
    survival = np.exp(-np.outer(2.0**risk, horizons / 1500.0))
    label = generator.integers(-1, 3, n_patients)
    probabilities = np.exp(generator.normal(size=(n_patients, 3)).round(1) + (label[:, None] == np.arange(3)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    subtypes = {"label": label, "probabilities": probabilities, "classes": ("a", "b", "c")}
    return HeldOutFold(risk, columns[0], time <= limit, columns[1], train_time <= train_limit, horizons, survival, **subtypes)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=8, deadline=None)
@given(st.integers(20, 60), st.integers(0, 100), st.booleans())
def test_the_bootstrap_is_a_loop_over_drawn_patients(name, n_patients, seed, months):
    fold = fold_of(n_patients, seed, months)
    counts = draw_counts(n_patients, 6, [seed, "fold"])
    metric = METRICS[name]
    try:
        value = metric.value(fold)
    except ValueError:
        assume(False)
    once = metric.replicates(Resamples(fold, np.ones((1, n_patients), dtype=int)))
    assert once[0] == pytest.approx(value, abs=1e-9)
    replicates = metric.replicates(Resamples(fold, counts))
    assert replicates.shape == (6,)
    if name.startswith("calibration"):
        return  # its groups are those of the whole fold: see the unit test
    for count, replicate in zip(counts, replicates, strict=True):
        drawn = np.repeat(np.arange(n_patients), count)
        of_patients = ("risk", "time", "event", "survival", "label", "probabilities")
        taken = replace(fold, **{of_patient: getattr(fold, of_patient)[drawn] for of_patient in of_patients})
        try:
            expected = metric.value(taken)
        except ValueError:
            expected = np.nan
        assert replicate == pytest.approx(expected, abs=1e-9, nan_ok=True)
