"""What holds for folds of any cohort."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prognos.cohort.folds import FoldError, assign_folds, check_folds, inner_split
from prognos.cohort.subtype import Classes


@st.composite
def cohorts(draw):
    """Patients of up to eight sites, some unknown, with at least as many events as folds."""
    n_folds = draw(st.integers(2, 4))
    sites = draw(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=4 * n_folds, max_size=60))
    event = draw(st.lists(st.booleans(), min_size=len(sites), max_size=len(sites)))
    event[:n_folds] = [True] * n_folds
    return [f"p{number}" for number in range(len(sites))], sites, np.array(event), n_folds


@settings(max_examples=15, deadline=None)
@given(cohorts(), st.integers(0, 3))
def test_every_fold_has_an_event_and_two_patients_and_no_site_is_split_in_silence(cohort, seed):
    patients, sites, event, n_folds = cohort
    folds = assign_folds(patients, sites, event, n_folds, seed=seed)
    fold = folds.fold.to_numpy()
    assert list(folds.fold.index) == patients
    assert (np.bincount(fold, minlength=n_folds) >= 2).all()
    assert (np.bincount(fold, weights=event, minlength=n_folds) >= 1).all()
    index = folds.fold.index
    warnings = check_folds(folds.fold, site=pd.Series(sites, index=index), event=pd.Series(event, index=index))
    assert not (folds.site_preserving and warnings)
    assert folds.site_preserving or folds.note.startswith("not site-preserving: ")


@settings(max_examples=15, deadline=None)
@given(cohorts(), st.integers(0, 3))
def test_an_inner_split_leaves_both_parts_with_events(cohort, seed):
    _, sites, event, _ = cohort
    split = inner_split(sites, event, 0.25, seed)
    for part in (split.validation, ~split.validation):
        assert part.sum() >= 2
        assert event[part].any()
    if split.site_preserving:
        known = np.array(sites) != ""
        assert not set(np.array(sites)[split.validation & known]) & set(np.array(sites)[~split.validation & known])


@settings(max_examples=8, deadline=None)
@given(cohorts())
def test_folds_depend_on_the_seed_only(cohort):
    patients, sites, event, n_folds = cohort
    assert assign_folds(patients, sites, event, n_folds).fold.equals(assign_folds(patients, sites, event, n_folds).fold)


@given(st.integers(2, 6))
def test_fewer_events_than_folds_are_refused(n_folds):
    event = np.arange(4 * n_folds) < n_folds - 1
    with pytest.raises(FoldError, match="cannot fill"):
        assign_folds([f"p{number}" for number in range(len(event))], ["a"] * len(event), event, n_folds)


@settings(max_examples=15, deadline=None)
@given(cohorts(), st.data())
def test_folds_with_classes_keep_their_promises(cohort, data):
    """By patient, events and classes differ by one at most; of whole sites, every promise without classes holds."""
    patients, sites, event, n_folds = cohort
    index = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(sites), max_size=len(sites))))
    classes = Classes(("x", "y", "z"), index)
    folds = assign_folds(patients, sites, event, n_folds, classes=classes)
    fold = folds.fold.to_numpy()
    events = np.bincount(fold, weights=event, minlength=n_folds)
    assert (np.bincount(fold, minlength=n_folds) >= 2).all()
    assert (events >= 1).all()
    if not folds.site_preserving:
        assert np.ptp(events) <= 1
        assert (np.ptp(classes.counted(fold).to_numpy(), axis=0) <= 1).all()
    assert bool(folds.warnings) == bool((classes.counted(fold) == 0).any(axis=None))
