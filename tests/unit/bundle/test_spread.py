import numpy as np

from prognos.bundle.spread import RANK, Spread

N_PATIENTS, N_COLUMNS = 200, 30


def patients(n=N_PATIENTS, seed=0):
    """Columns that move together along two directions, with a little of their own."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(7).normal(size=(2, N_COLUMNS))
    return generator.normal(size=(n, 2)) @ directions + 0.3 * generator.normal(size=(n, N_COLUMNS))


def test_typical_patients_lie_about_one_away():
    distances = Spread.learn(patients()).distances(patients(seed=1))
    np.testing.assert_allclose(np.median(distances, axis=0), [1.0, 1.0], atol=0.15)


def test_a_shift_beside_the_directions_is_seen_off_them():
    spread = Spread.learn(patients())
    shifted = patients(seed=1)
    shifted[:, ::2] += 3.0
    shifted[:, 1::2] -= 3.0
    usual, far = spread.distances(patients(seed=1)), spread.distances(shifted)
    assert (far[:, 1] > 3 * usual[:, 1]).mean() > 0.9


def test_a_shift_along_the_directions_is_seen_along_them():
    spread = Spread.learn(patients())
    typical = patients(seed=1)
    first = 8.0 * np.sqrt(spread.variances[-1]) * spread.directions[-1] * spread.deviation
    moved = spread.distances(np.clip(typical + first, -50, 50))
    usual = spread.distances(typical)
    assert np.median(moved[:, 0]) > 1.5 * np.median(usual[:, 0])
    assert np.median(moved[:, 1]) < 1.5 * np.median(usual[:, 1])


def test_what_was_not_measured_is_not_looked_at():
    spread, typical = Spread.learn(patients()), patients(seed=1)
    broken = typical.copy()
    broken[:, 0] += 1000.0
    unmeasured = typical.copy()
    unmeasured[:, 0] = np.nan
    assert (spread.distances(broken)[:, 1] > spread.distances(typical)[:, 1]).all()
    assert (spread.distances(unmeasured)[:, 1] < spread.distances(broken)[:, 1]).all()


def test_a_patient_without_any_value_has_no_distance():
    values = patients(3)
    values[1] = np.nan
    assert np.isnan(Spread.learn(patients()).distances(values)).all(axis=1).tolist() == [False, True, False]


def test_a_constant_column_says_nothing():
    values = patients()
    constant = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    moved = np.concatenate([values, np.full((len(values), 1), 9.0)], axis=1)
    np.testing.assert_allclose(Spread.learn(constant).distances(moved), Spread.learn(values).distances(values))


def test_the_rank_is_at_most_a_fourth_of_the_patients():
    assert len(Spread.learn(patients(12)).variances) == 3
    assert len(Spread.learn(patients()).variances) == RANK


def test_directions_are_orthonormal_and_variances_those_of_the_patients():
    values = patients()
    spread = Spread.learn(values)
    np.testing.assert_allclose(spread.directions @ spread.directions.T, np.eye(RANK), atol=1e-10)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose((z @ spread.directions.T).var(axis=0), spread.variances, rtol=1e-8)
