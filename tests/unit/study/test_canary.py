import dataclasses

import numpy as np
import pandas as pd

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


def test_the_canary_moves_the_subtype_with_the_outcome(cohort):
    patients = list(cohort.patients)
    labelled = dataclasses.replace(cohort, subtype=pd.Series([f"of {time}" for time in cohort.time], index=patients))
    bird = permuted(labelled, seed=1)
    assert bird.subtype.tolist() == [f"of {time}" for time in bird.time]
    assert bird.subtype.index.tolist() == patients
