import numpy as np

from prognos.study.canary import permuted


def test_the_canary_moves_time_and_event_together_and_nothing_else(cohort):
    bird = permuted(cohort, seed=1)
    assert sorted(zip(bird.time, bird.event, strict=True)) == sorted(zip(cohort.time, cohort.event, strict=True))
    assert not np.array_equal(bird.time, cohort.time)
    assert bird.patients == cohort.patients
    assert bird.tables is cohort.tables
    assert bird.folds.equals(cohort.folds)


def test_the_canary_repeats_for_a_seed_and_changes_with_it(cohort):
    assert np.array_equal(permuted(cohort, 1).time, permuted(cohort, 1).time)
    assert not np.array_equal(permuted(cohort, 1).time, permuted(cohort, 2).time)
