"""Folds that split no site, checked, with a card that says what they can and cannot show.

Made folds keep each site whole and balance events and, where the cohort has a tumour subtype, its classes (`fold_programme`). Read
folds are taken as they are: a patient or a slide in two folds is an error, a site in two folds is a warning on the card, and so is a
class that a fold does not test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from prognos.cohort.defects import naming
from prognos.cohort.fold_programme import LEAST_PATIENTS, Placement, pick_groups, place_groups
from prognos.cohort.subtype import Classes

Column = Sequence | np.ndarray | pd.Series | pd.Index


class FoldError(ValueError):
    """Folds that cannot be made or used."""


@runtime_checkable
class Patients(Protocol):
    """What folds need of a cohort; `Cohort` has it. Its `subtype_classes` and `subtype_index` count where it has them."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Ids."""

    @property
    def sites(self) -> np.ndarray:
        """Site of each patient, empty text where unknown."""

    @property
    def time(self) -> np.ndarray:
        """Days."""

    @property
    def event(self) -> np.ndarray:
        """True when the event was observed."""

    @property
    def slides(self) -> pd.DataFrame:
        """Table with `slide_id` and `patient_id`."""

    @property
    def folds(self) -> pd.Series | None:
        """The fold that each patient came with."""


@dataclass(frozen=True, eq=False)
class Folds:
    """In which fold each patient is tested.

    Args:
        fold: patient id -> index of the fold, from 0.
        site_preserving: True when no known site is in two folds.
        note: how they came about, and what they do not keep.
        warnings: what the reader of any result on these folds has to know.
    """

    fold: pd.Series
    site_preserving: bool
    note: str
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[int, ...]:
        """The folds in order."""
        return tuple(sorted(int(fold) for fold in self.fold.unique()))

    def test(self, fold: int) -> tuple[str, ...]:
        """Patients who are tested in this fold."""
        return tuple(self.fold.index[self.fold == fold])

    def train(self, fold: int) -> tuple[str, ...]:
        """Patients who are learnt from when this fold is tested."""
        return tuple(self.fold.index[self.fold != fold])


@dataclass(frozen=True, eq=False)
class InnerSplit:
    """A part cut out of training patients, to choose the number of epochs on.

    Args:
        validation: True for patients of the validation part, in the order given.
        site_preserving: True when no known site is in both parts.
        note: how it came about.
    """

    validation: np.ndarray
    site_preserving: bool
    note: str


def make_folds(cohort: Patients, n_folds: int = 5, seed: int = 0, *, time_limit: float = 10.0) -> Folds:
    """Folds of a cohort that keep its sites whole and balance its events and classes; see `assign_folds`."""
    classes = Classes.of(cohort)
    return assign_folds(cohort.patients, cohort.sites, cohort.event, n_folds, seed=seed, time_limit=time_limit, classes=classes)


def folds_of(cohort: Patients, n_folds: int = 5, seed: int = 0) -> Folds:
    """The folds that the cohort came with, checked; made ones when it came with none."""
    if cohort.folds is None:
        return make_folds(cohort, n_folds, seed)
    index = pd.Index(cohort.patients, name="patient_id")
    fold = cohort.folds.reindex(index) if cohort.folds.index.is_unique else cohort.folds
    site, event = pd.Series(cohort.sites, index=index), pd.Series(cohort.event, index=index)
    warnings = check_folds(fold, site=site, event=event, slides=cohort.slides)
    shared = _shared_sites(fold.to_numpy(), cohort.sites)
    note = f"folds as given; {'no site is in two of them' if not shared else f'not site-preserving: {len(shared)} sites are in several'}"
    return _told(Folds(fold.astype(int).rename("fold"), not shared, note, warnings), Classes.of(cohort))


def assign_folds(
    patients: Column,
    sites: Column,
    event: Column,
    n_folds: int = 5,
    *,
    seed: int = 0,
    time_limit: float = 10.0,
    classes: Classes | None = None,
) -> Folds:
    """Folds of about equal numbers of events in which no site is split; the same seed gives the same folds.

    With fewer known sites than folds, or where no placement of whole sites gives every fold an event and two patients, the folds are
    balanced by patient instead and the note says "not site-preserving". A patient of unknown site (empty text) is a group of one.
    Where classes are given, each of them is spread over the folds as evenly as the sites and the events allow.

    Args:
        patients: ids.
        sites: site of each patient, empty text where unknown.
        event: True when the event was observed.
        n_folds: number of folds.
        seed: decides among equally good folds.
        time_limit: seconds after which the best folds found so far are taken.
        classes: tumour subtype of each patient.

    Raises:
        FoldError: there are too few events or patients for so many folds.
    """
    index, site, observed = _columns(patients, sites, event)
    _check_enough(observed, n_folds)
    known = np.unique(site[site != ""])
    if len(known) < n_folds:
        placement = Placement(np.empty(0, dtype=int), _too_few(len(known), f"{n_folds} folds"))
    else:
        group = _groups(site)
        n_events = np.bincount(group, weights=observed).astype(int)
        of_class = None if classes is None else _placed_classes(classes, group, n_folds)
        placement = place_groups(np.bincount(group), n_events, n_folds, classes=of_class, seed=seed, time_limit=time_limit)
    if len(placement.fold) == 0:
        fold = _by_patient(observed, n_folds, seed, classes)
        reason = placement.reason if len(known) < n_folds else f"every fold needs an event and two patients, and {placement.reason}"
        balanced = "events" if classes is None else "events and classes"
        note = f"not site-preserving: {reason}; {balanced} balanced by patient"
        return _told(Folds(pd.Series(fold, index=index, name="fold"), False, note), classes)
    fold = placement.fold[group]
    events = np.bincount(fold, weights=observed, minlength=n_folds).astype(int)
    parts = [f"site-preserving: {len(known)} sites, {events.min()} to {events.max()} events a fold"]
    if (site == "").any():
        parts.append(f"{int((site == '').sum())} patients of unknown site placed one by one")
    if placement.reason:
        parts.append(placement.reason)
    return _told(Folds(pd.Series(fold, index=index, name="fold"), True, "; ".join(parts)), classes)


def inner_split(sites: Column, event: Column, fraction: float = 0.2, seed: int = 0) -> InnerSplit:
    """A validation part of training patients: whole sites with about this fraction of the events and patients.

    Where whole sites cannot give it, patients are drawn instead, events and censored apart, and the note says so.

    Raises:
        FoldError: fewer than two events or four patients, or a fraction outside (0, 1).
    """
    _, site, observed = _columns(range(len(event)), sites, event)
    if not 0 < fraction < 1:
        raise FoldError(f"an inner split of {fraction:g} of the patients leaves one part empty: choose a fraction between 0 and 1.")
    _check_enough(observed, 2)
    known = np.unique(site[site != ""])
    if len(known) < 2 and not (len(known) == 0 and (site == "").all()):
        reason = _too_few(len(known), "two parts")
    elif len(known) == 0:
        reason = "no site is known"
    else:
        group = _groups(site)
        placement = pick_groups(np.bincount(group), np.bincount(group, weights=observed), fraction, seed=seed)
        if len(placement.fold):
            return InnerSplit(placement.fold[group].astype(bool), True, f"site-preserving: {len(known)} sites")
        reason = f"the validation part needs about {fraction * observed.sum():.0f} events, and {placement.reason}"
    generator = np.random.default_rng(seed)
    validation = np.zeros(len(observed), dtype=bool)
    for outcome in (True, False):
        those = generator.permutation(np.flatnonzero(observed == outcome))
        n_picked = round(fraction * len(those))
        validation[those[: min(max(n_picked, 1), len(those) - 1)]] = True
    return InnerSplit(validation, False, f"not site-preserving: {reason}; drawn by patient")


def check_folds(
    fold: pd.Series, *, site: pd.Series | None = None, event: pd.Series | None = None, slides: pd.DataFrame | None = None
) -> tuple[str, ...]:
    """What a reader has to know of these folds, as sentences; empty when there is nothing to say.

    Args:
        fold: patient id -> fold.
        site: patient id -> site, empty text where unknown.
        event: patient id -> True when the event was observed.
        slides: table with `slide_id` and `patient_id`.

    Raises:
        FoldError: a patient or a slide is in two folds, a patient has no fold, or there is one fold only.
    """
    _refuse_overlap(fold, slides)
    label, names = fold.to_numpy(), np.unique(fold.to_numpy())
    warnings: list[str] = []
    if site is not None:
        shared = _shared_sites(label, site.reindex(fold.index).fillna("").to_numpy(dtype=object))
        if shared:
            warnings.append(f"{len(shared)} sites are in several folds ({naming(shared)}): a model can gain from recognising the site.")
    for name in names:
        size = int((label == name).sum())
        if size < LEAST_PATIENTS:
            warnings.append(f"fold {name} has one patient: no pair to compare; it gives no concordance.")
        elif event is not None and not event.reindex(fold.index).to_numpy(dtype=bool)[label == name].any():
            warnings.append(f"fold {name} has no event among {size} patients: it gives no concordance.")
    return tuple(warnings)


def _refuse_overlap(fold: pd.Series, slides: pd.DataFrame | None) -> None:
    if fold.index.has_duplicates:
        twice = fold.index[fold.index.duplicated()].unique()
        raise FoldError(f"{len(twice)} patients are in more than one fold ({naming(twice)}): keep one row a patient in the splits.")
    if fold.isna().any():
        without = fold.index[fold.isna()]
        raise FoldError(
            f"{len(without)} patients have no fold ({naming(without)}): add them to the splits or leave them out of the cohort."
        )
    if fold.nunique() < 2:
        raise FoldError(f"all {len(fold)} patients are in fold {fold.iloc[0] if len(fold) else '?'}: at least two folds are needed.")
    if slides is not None and len(slides):
        of_slide = (
            slides.assign(fold=slides["patient_id"].map(fold)).dropna(subset=["fold"]).groupby("slide_id", sort=False)["fold"].nunique()
        )
        both = of_slide.index[of_slide > 1]
        if len(both):
            raise FoldError(
                f"{len(both)} slides are in more than one fold ({naming(both)}): a slide belongs to one patient; correct slides.csv."
            )


def _shared_sites(fold: np.ndarray, sites: np.ndarray) -> list[str]:
    known = sites != ""
    n_folds = pd.Series(fold[known]).groupby(pd.Series(sites[known])).nunique()
    return [str(site) for site in n_folds.index[n_folds > 1]]


def _columns(patients: Column, sites: Column, event: Column) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    index = pd.Index(list(patients), name="patient_id")
    site: np.ndarray = np.asarray(list(sites), dtype=object)
    observed: np.ndarray = np.asarray(event)
    if not len(index) == len(site) == len(observed):
        raise FoldError(f"{len(index)} patients, {len(site)} sites and {len(observed)} events: give one of each a patient.")
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise FoldError(f"{len(twice)} patients are named more than once ({naming(twice)}): name each patient once.")
    return index, site, observed.astype(bool)


def _check_enough(observed: np.ndarray, n_folds: int) -> None:
    if n_folds < 2:
        raise FoldError(f"{n_folds} fold: cross-validation needs at least two.")
    events = int(observed.sum())
    if events < n_folds or len(observed) < LEAST_PATIENTS * n_folds:
        raise FoldError(
            f"{len(observed)} patients with {events} events cannot fill {n_folds} parts with an event and two patients each: "
            f"choose fewer parts or an endpoint with more events."
        )


def _too_few(n_sites: int, parts: str) -> str:
    return "no site is known" if n_sites == 0 else f"{n_sites} site{'s' if n_sites > 1 else ''} for {parts}"


def _groups(site: np.ndarray) -> np.ndarray:
    """Number of the group of each patient: the site, or the patient alone where it is unknown."""
    own = np.array([f"{position}" if name == "" else f"site {name}" for position, name in enumerate(site)])
    return np.unique(own, return_inverse=True)[1]


def _by_patient(observed: np.ndarray, n_folds: int, seed: int, classes: Classes | None) -> np.ndarray:
    """Folds dealt like cards, the events first: no two folds differ by more than one event, nor by more than one patient of a class.

    An event goes to a fold with the fewest events, among these with the fewest of its class, then with the fewest patients; a censored
    patient to one with the fewest of its class, then with the fewest patients. Patients of unknown class come last and level the rest.
    Only where a fold would be left with too few patients does it take one that its class would send elsewhere.
    """
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(np.flatnonzero(observed)), generator.permutation(np.flatnonzero(~observed))])
    n_classes = 0 if classes is None else len(classes.names)
    own = np.full(len(observed), n_classes) if classes is None else np.where(classes.index < 0, n_classes, classes.index)
    order = order[np.lexsort((own[order], ~observed[order]))]
    events, patients, of_class = (np.zeros(shape, dtype=int) for shape in (n_folds, n_folds, (n_classes, n_folds)))
    nothing = np.zeros(n_folds, dtype=int)
    fold = np.empty(len(observed), dtype=int)
    for n_before, patient in enumerate(order):
        lacking = np.maximum(LEAST_PATIENTS - patients, 0)
        enough = lacking == 0 if len(order) - n_before <= lacking.sum() else nothing
        known = own[patient] < n_classes
        alike = of_class[own[patient]] if known else nothing
        fewest = np.lexsort((patients, alike, events if observed[patient] else nothing, enough))[0]
        fold[patient] = fewest
        events[fewest] += observed[patient]
        patients[fewest] += 1
        if known:
            of_class[own[patient], fewest] += 1
    return fold


def _placed_classes(classes: Classes, group: np.ndarray, n_folds: int) -> np.ndarray:
    """Patients of each class in each group, of the classes that are large enough to be in every fold."""
    counts = classes.counted(group).to_numpy()
    return counts[:, counts.sum(axis=0) >= n_folds]


def _told(folds: Folds, classes: Classes | None) -> Folds:
    """The same folds with what has to be said of the classes."""
    if classes is None:
        return folds
    fold = folds.fold.to_numpy()
    return replace(folds, note=f"{folds.note}; {classes.note(fold)}", warnings=(*folds.warnings, *classes.warnings(fold)))
