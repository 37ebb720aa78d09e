"""Folds: sites stay whole, events are balanced, and what cannot be is said."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from prognos.cohort.folds import FoldError, Folds, assign_folds, check_folds, folds_of, inner_split, make_folds
from prognos.cohort.subtype import Classes


def hospital(sizes: dict[str, int], events: dict[str, int]) -> tuple[list[str], list[str], np.ndarray]:
    """Patients of some sites, the first of each site with an event."""
    patients = [f"{site}-{number}" for site, size in sizes.items() for number in range(size)]
    sites = [site for site, size in sizes.items() for _ in range(size)]
    event = np.concatenate([np.arange(size) < events[site] for site, size in sizes.items()])
    return patients, sites, event


SIX = hospital(dict.fromkeys("abcdef", 10), dict.fromkeys("abcdef", 4))


def test_no_site_is_in_two_folds():
    patients, sites, _ = SIX
    folds = assign_folds(*SIX, n_folds=3)
    assert pd.Series(folds.fold.to_numpy()).groupby(np.array(sites)).nunique().eq(1).all()
    assert folds.site_preserving
    assert list(folds.fold.index) == patients


def test_equal_sites_give_equal_folds():
    folds = assign_folds(*SIX, n_folds=3)
    events = pd.Series(SIX[2]).groupby(folds.fold.to_numpy()).sum()
    assert events.tolist() == [8, 8, 8]  # six sites of four events in three folds
    assert folds.fold.value_counts().tolist() == [20, 20, 20]
    assert folds.note == "site-preserving: 6 sites, 8 to 8 events a fold"


def test_events_come_before_patients():
    sizes, events = {"a": 40, "b": 10, "c": 10, "d": 10}, {"a": 3, "b": 3, "c": 3, "d": 3}
    patients, sites, event = hospital(sizes, events)
    fold = assign_folds(patients, sites, event, n_folds=2).fold.to_numpy()
    assert sorted(np.bincount(fold, weights=event)) == [6, 6]  # two sites each, though 50 patients then stand against 20


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    first, again, other = (assign_folds(*SIX, n_folds=3, seed=seed).fold for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_huge_site_fills_a_fold_alone():
    patients, sites, event = hospital({"huge": 100, "b": 10, "c": 10, "d": 10}, {"huge": 50, "b": 2, "c": 2, "d": 2})
    folds = assign_folds(patients, sites, event, n_folds=3)
    events = sorted(np.bincount(folds.fold, weights=event))
    assert events == [2, 4, 50]  # six other events, two a site, in two folds
    assert folds.site_preserving


def test_fewer_sites_than_folds_are_balanced_by_patient_and_said():
    patients, sites, event = hospital({"a": 20, "b": 20}, {"a": 10, "b": 0})
    folds = assign_folds(patients, sites, event, n_folds=5)
    assert not folds.site_preserving
    assert folds.note == "not site-preserving: 2 sites for 5 folds; events balanced by patient"
    assert np.bincount(folds.fold, weights=event).tolist() == [2] * 5
    assert folds.fold.value_counts().tolist() == [8] * 5


def test_no_known_site_is_said():
    patients, sites, event = hospital({"": 20}, {"": 10})
    folds = assign_folds(patients, sites, event, n_folds=2)
    assert folds.note.startswith("not site-preserving: no site is known")


def test_events_of_one_site_cannot_fill_folds_of_whole_sites():
    patients, sites, event = hospital(dict.fromkeys("abc", 10), {"a": 6, "b": 0, "c": 0})
    folds = assign_folds(patients, sites, event, n_folds=3)
    assert not folds.site_preserving
    assert "every fold needs an event and two patients, and no placement of whole sites gives it" in folds.note
    assert np.bincount(folds.fold, weights=event).tolist() == [2, 2, 2]


def test_patients_of_unknown_site_are_placed_one_by_one():
    patients, sites, event = hospital({"a": 10, "b": 10, "c": 10, "": 10}, {"a": 6, "b": 2, "c": 2, "": 8})
    folds = assign_folds(patients, sites, event, n_folds=3)
    assert folds.fold[[name for name in patients if name.startswith("-")]].nunique() == 3
    assert sorted(np.bincount(folds.fold, weights=event)) == [6, 6, 6]  # 18 events: 6, 2 + 4, 2 + 4
    assert folds.note.endswith("10 patients of unknown site placed one by one")


@pytest.mark.parametrize(
    ("n_folds", "words"),
    [(1, "1 fold: cross-validation needs at least two"), (9, "60 patients with 24 events cannot fill 30 parts")],
)
def test_impossible_numbers_of_folds_are_refused(n_folds, words):
    with pytest.raises(FoldError, match=words):
        assign_folds(*SIX, n_folds=30 if n_folds == 9 else n_folds)


def test_a_patient_given_twice_is_named():
    with pytest.raises(FoldError, match=r"1 patients are named more than once \(p\)"):
        assign_folds(["p", "p", "q", "r"], ["a", "a", "b", "b"], np.ones(4, dtype=bool), n_folds=2)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(FoldError, match="2 patients, 1 sites and 2 events"):
        assign_folds(["p", "q"], ["a"], np.ones(2, dtype=bool), n_folds=2)


def test_inner_split_takes_whole_sites_and_a_fifth_of_the_events():
    _, sites, event = hospital(dict.fromkeys("abcdefghij", 8), dict.fromkeys("abcdefghij", 3))
    split = inner_split(sites, event, 0.2, seed=3)
    assert split.site_preserving
    assert event[split.validation].sum() == 6  # a fifth of 30
    assert not set(np.array(sites)[split.validation]) & set(np.array(sites)[~split.validation])


def test_inner_splits_differ_between_seeds():
    _, sites, event = hospital(dict.fromkeys("abcdefghij", 8), dict.fromkeys("abcdefghij", 3))
    picked = {tuple(np.flatnonzero(inner_split(sites, event, seed=seed).validation)) for seed in range(8)}
    assert len(picked) > 3


@pytest.mark.parametrize(
    ("sizes", "events", "words"),
    [
        ({"a": 40}, {"a": 10}, "1 site for two parts"),
        ({"": 40}, {"": 10}, "no site is known"),
        ({"a": 20, "b": 20}, {"a": 10, "b": 10}, "about 4 events, and no choice of whole sites gives it"),
    ],
)
def test_inner_split_falls_back_to_patients_and_says_why(sizes, events, words):
    _, sites, event = hospital(sizes, events)
    split = inner_split(sites, event)
    assert not split.site_preserving
    assert words in split.note
    assert event[split.validation].sum() == round(0.2 * event.sum())


def test_inner_split_of_nobody_is_refused():
    with pytest.raises(FoldError, match="an inner split of 1 of the patients leaves one part empty"):
        inner_split(SIX[1], SIX[2], 1.0)
    with pytest.raises(FoldError, match="4 patients with 1 events cannot fill 2 parts"):
        inner_split(["a", "b", "c", "d"], np.array([True, False, False, False]))


def test_a_patient_in_two_folds_is_named():
    fold = pd.Series([0, 1, 1], index=["p", "q", "p"])
    with pytest.raises(FoldError, match=r"1 patients are in more than one fold \(p\)"):
        check_folds(fold)


def test_a_patient_without_a_fold_is_named():
    fold = pd.Series([0, 1, None], index=["p", "q", "r"])
    with pytest.raises(FoldError, match=r"1 patients have no fold \(r\)"):
        check_folds(fold)


def test_a_single_fold_is_refused():
    with pytest.raises(FoldError, match="all 2 patients are in fold 0"):
        check_folds(pd.Series([0, 0], index=["p", "q"]))


def test_a_slide_in_both_parts_is_named():
    slides = pd.DataFrame({"slide_id": ["s", "t", "s"], "patient_id": ["p", "p", "q"]})
    with pytest.raises(FoldError, match=r"1 slides are in more than one fold \(s\)"):
        check_folds(pd.Series([0, 1], index=["p", "q"]), slides=slides)


def test_several_slides_of_one_patient_are_fine():
    slides = pd.DataFrame({"slide_id": ["s", "t"], "patient_id": ["p", "p"]})
    assert check_folds(pd.Series([0, 1, 0, 1], index=list("pqrs")), slides=slides) == ()


def test_a_site_in_two_folds_is_a_warning():
    fold = pd.Series([0, 0, 1, 1], index=list("pqrs"))
    site = pd.Series(["a", "b", "a", ""], index=list("pqrs"))
    assert check_folds(fold, site=site) == ("1 sites are in several folds (a): a model can gain from recognising the site.",)


def test_a_fold_without_an_event_or_with_one_patient_is_said():
    fold = pd.Series([0, 0, 1, 1, 2], index=list("pqrst"))
    event = pd.Series([True, False, False, False, True], index=list("pqrst"))
    assert check_folds(fold, event=event) == (
        "fold 1 has no event among 2 patients: it gives no concordance.",
        "fold 2 has one patient: no pair to compare; it gives no concordance.",
    )


def cohort(folds: pd.Series | None) -> SimpleNamespace:
    patients, sites, event = SIX
    time = np.arange(1.0, 61.0)
    slides = pd.DataFrame({"slide_id": [], "patient_id": []})
    return SimpleNamespace(
        patients=tuple(patients), sites=np.array(sites, dtype=object), event=event, time=time, slides=slides, folds=folds
    )


def test_a_cohort_keeps_the_folds_that_it_came_with():
    given = pd.Series(np.arange(60) % 3, index=list(SIX[0]))
    folds = folds_of(cohort(given))
    assert (folds.fold.to_numpy() == given.to_numpy()).all()
    assert folds.note == "folds as given; not site-preserving: 6 sites are in several"
    assert len(folds.warnings) == 1


def test_a_cohort_without_folds_gets_made_ones():
    made = folds_of(cohort(None), n_folds=3, seed=4)
    assert made.fold.equals(make_folds(cohort(None), 3, 4).fold)
    assert made.site_preserving


def test_train_and_test_of_a_fold_part_the_patients():
    folds = Folds(pd.Series([0, 1, 1], index=list("pqr")), True, "")
    assert folds.names == (0, 1)
    assert folds.test(1) == ("q", "r")
    assert folds.train(1) == ("p",)


# Classes


def counts(fold: pd.Series, classes: Classes) -> dict[str, list[int]]:
    """Patients of each class a fold, in order of number."""
    return {name: sorted(column) for name, column in classes.counted(fold.to_numpy()).to_dict("list").items()}


def test_without_classes_the_folds_are_those_of_events_and_patients():
    # what these folds were before there were classes
    assert [int(fold) for fold in assign_folds(*SIX, n_folds=3).fold[::10]] == [1, 1, 0, 2, 0, 2]
    patients, sites, event = hospital({"a": 20, "b": 20}, {"a": 10, "b": 0})
    by_patient = assign_folds(patients, sites, event, n_folds=5).fold
    assert "".join(map(str, by_patient)) == "2424001331104003221143410124243202433013"
    nobody_known = Classes(("a", "b"), np.full(40, -1))
    assert assign_folds(patients, sites, event, n_folds=5, classes=nobody_known).fold.equals(by_patient)
    of_sites = assign_folds(*SIX, n_folds=3).fold
    assert assign_folds(*SIX, n_folds=3, classes=Classes(("a",), np.full(60, -1))).fold.equals(of_sites)


def test_whole_sites_are_placed_so_that_classes_are_balanced():
    # sites a, b and c have class 0 and d, e and f class 1; events and patients are the same everywhere
    classes = Classes(("first", "second"), np.repeat([0, 1], 30))
    folds = assign_folds(*SIX, n_folds=3, classes=classes)
    assert counts(folds.fold, classes) == {"first": [10, 10, 10], "second": [10, 10, 10]}
    assert folds.site_preserving
    assert folds.note == "site-preserving: 6 sites, 8 to 8 events a fold; a fold tests 10 to 10 first, 10 to 10 second"
    assert folds.warnings == ()


def test_events_come_before_classes():
    # a and b with c or d: 5 events on both sides, but 30 and 10 of the class; a against all others: 20 and 20, but 4 and 6 events
    patients, sites, event = hospital({"a": 20, "b": 20, "c": 10, "d": 10}, {"a": 4, "b": 4, "c": 1, "d": 1})
    classes = Classes(("x",), np.where(np.array(sites) == "b", -1, 0))
    fold = assign_folds(patients, sites, event, n_folds=2, classes=classes).fold
    assert sorted(np.bincount(fold, weights=event)) == [5, 5]
    assert counts(fold, classes) == {"x": [10, 30]}


def test_classes_come_before_patients():
    # a + c against b + d: 60 patients on both sides, but all 40 of the class on one; a + d against b + c: 20 and 20
    patients, sites, event = hospital({"a": 20, "b": 30, "c": 40, "d": 30}, {"a": 6, "b": 6, "c": 2, "d": 2})
    of_class = [name in ("a-", "c-") and int(number) < 20 for name, number in ((patient[:2], patient[2:]) for patient in patients)]
    classes = Classes(("x",), np.where(of_class, 0, -1))
    fold = assign_folds(patients, sites, event, n_folds=2, classes=classes).fold
    assert sorted(np.bincount(fold, weights=event)) == [8, 8]
    assert counts(fold, classes) == {"x": [20, 20]}
    assert sorted(np.bincount(fold)) == [50, 70]


def test_folds_by_patient_balance_events_and_classes():
    patients, sites, event = hospital({"a": 23, "b": 20}, {"a": 11, "b": 5})
    classes = Classes(("x", "y", "z"), np.arange(43) * 7 % 4 - 1)
    folds = assign_folds(patients, sites, event, n_folds=5, classes=classes)
    assert not folds.site_preserving
    assert folds.note.startswith("not site-preserving: 2 sites for 5 folds; events and classes balanced by patient; a fold tests ")
    assert sorted(np.bincount(folds.fold, weights=event)) == [3, 3, 3, 3, 4]  # 16 events
    for numbers in counts(folds.fold, classes).values():
        assert max(numbers) - min(numbers) <= 1


def test_folds_by_patient_have_two_patients_whatever_the_classes():
    # every class has an event in another fold: without care, the class of the last patient would send it to a fold that is full
    event = np.array([True, True, True, False, False, False])
    classes = Classes(("x", "y", "z"), np.array([0, 1, 2, 0, 1, 2]))
    for seed in range(10):
        fold = assign_folds(list("pqrstu"), [""] * 6, event, 3, seed=seed, classes=classes).fold
        assert np.bincount(fold).tolist() == [2, 2, 2]


def test_a_class_with_fewer_patients_than_folds_is_warned_of():
    classes = Classes(("common", "rare"), np.where(np.arange(60) < 2, 1, 0))
    folds = assign_folds(*SIX, n_folds=3, classes=classes)
    (warning,) = folds.warnings
    assert warning.startswith("not every fold tests every class (rare is absent from folds ")


def with_classes(folds: pd.Series | None, classes: Classes) -> SimpleNamespace:
    return SimpleNamespace(**vars(cohort(folds)), subtype_classes=classes.names, subtype_index=classes.index)


def test_folds_of_a_cohort_balance_its_classes():
    classes = Classes(("first", "second"), np.repeat([0, 1], 30))
    made = make_folds(with_classes(None, classes), 3)
    assert counts(made.fold, classes) == {"first": [10, 10, 10], "second": [10, 10, 10]}


def test_given_folds_that_lack_a_class_are_kept_and_said():
    given = pd.Series(np.repeat([0, 1], 30), index=list(SIX[0]))
    folds = folds_of(with_classes(given, Classes(("first", "second"), np.repeat([0, 1], 30))))
    assert (folds.fold.to_numpy() == given.to_numpy()).all()
    assert folds.note == "folds as given; no site is in two of them; a fold tests 0 to 30 first, 0 to 30 second"
    assert folds.warnings == (
        "not every fold tests every class (first is absent from fold 1; second is absent from fold 0): "
        "metrics of the subtype cover the classes present.",
    )
