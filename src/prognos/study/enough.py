"""Whether every training part has enough to learn from, asked of the whole plan before anything is trained.

A test part without an event, or of one patient, is a warning: that fold gives no concordance, and the study goes on. A training
part without an event gives no model at all, and one with a handful of patients of a class gives a model that does not know it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from prognos.cohort import Cohort
from prognos.cohort.defects import THREE, naming
from prognos.models import MODELS
from prognos.study.canary import permuted
from prognos.study.plan import CANARY, Job, Plan, needs_in
from prognos.training.fold import having_any

LEAST: Mapping[str, tuple[int, int]] = {"last": (2, 1), "inner": (4, 2), "oracle": (2, 1)}
"""Patients and events that a training part needs, by selection: `inner` cuts it into two parts with an event and two patients each."""

LEAST_OF_CLASS = 10
"""Patients of each class that a training part needs for a model that learns the tumour's subtype."""


@dataclass(frozen=True)
class _Counted:
    """Patients and events that a job has to learn from, and patients of each class among them."""

    patients: int
    events: int
    of_class: tuple[int, ...]


@dataclass(frozen=True)
class _TooLittle:
    """A training part that a job cannot learn from."""

    cohort: str
    fold: int
    patients: int
    events: int
    selection: str


def check_training_parts(plan: Plan, cohorts: Mapping[str, Cohort], folds: Mapping[str, pd.Series]) -> None:
    """Refuse a plan in which a job would have too few patients or events to learn from, or too few patients of a class that it learns.

    A job of which nobody in the training part has a modality that its model reads is left alone: it is "not applicable".

    Raises:
        ValueError: naming cohort and fold, what is left to train on, and for which models.
    """
    counted = [(job, part) for job in plan.jobs if (part := _counted(job, cohorts[job.cohort], folds[job.cohort])) is not None]
    _check_events(counted)
    _check_classes(counted, cohorts)


def _check_events(counted: Sequence[tuple[Job, _Counted]]) -> None:
    found: dict[_TooLittle, list[str]] = {}
    for job, part in counted:
        least_patients, least_events = LEAST[job.selection]
        if part.patients < least_patients or part.events < least_events:
            found.setdefault(_TooLittle(job.cohort, job.fold, part.patients, part.events, job.selection), []).append(job.model)
    if not found:
        return
    told = [
        f"{part.cohort}, fold {part.fold}: the other folds have {part.patients} patients with {part.events} events to train "
        f"{naming(dict.fromkeys(models))} on"
        for part, models in found.items()
    ]
    selection = max((part.selection for part in found), key=lambda name: LEAST[name])
    least_patients, least_events = LEAST[selection]
    more = f"; and {len(told) - THREE} more" if len(told) > THREE else ""
    raise ValueError(
        f"{'; '.join(told[:THREE])}{more}: at least {least_patients} patients and {least_events} "
        f"event{'s' if least_events > 1 else ''} are needed{' by the selection inner' if selection == 'inner' else ''}. "
        "Use fewer folds (study.n_folds, or another splits.csv) or an endpoint with more events. Nothing was trained."
    )


def _check_classes(counted: Sequence[tuple[Job, _Counted]], cohorts: Mapping[str, Cohort]) -> None:
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for job, part in counted:
        if not needs_in(job.model, job.config).subtype:
            continue
        for name, number in zip(cohorts[job.cohort].subtype_classes, part.of_class, strict=True):
            if number < LEAST_OF_CLASS:
                found.setdefault((job.cohort, name), []).append((number, job.fold, job.model))
    if not found:
        return
    told = []
    for (cohort, name), places in found.items():
        where = naming(dict.fromkeys(f"{number} in fold {fold}" for number, fold, _ in sorted(places)))
        models = naming(dict.fromkeys(model for _, _, model in places))
        told.append(f"{cohort} has too few training patients of the class {name!r} for {models} ({where})")
    more = f"; and {len(told) - THREE} more" if len(told) > THREE else ""
    name = next(iter(found))[1]
    raise ValueError(
        f"{'; '.join(told[:THREE])}{more}: a model that learns subtypes needs at least {LEAST_OF_CLASS} of each class in every fold. "
        f'Merge it with another class, [cohort] merge = {{ NEW = ["{name}", "OTHER"] }}, or leave it out of subtype_classes. '
        "Nothing was trained."
    )


def _counted(job: Job, cohort: Cohort, folds: pd.Series) -> _Counted | None:
    """Whom a job has to learn from; None where nobody has what its model reads. A canary's events are permuted, its classes not."""
    of_patient = folds.reindex(list(cohort.patients)).to_numpy(float)
    train = ~np.isnan(of_patient) & (of_patient != job.fold)
    modalities = needs_in(job.model, job.config).modalities
    kinds = {**MODELS[job.model].inputs, **job.inputs}.get("omics_kinds")
    if not all((having_any(cohort, (modality,), kinds if modality == "omics" else None) & train).any() for modality in modalities):
        return None
    learnt = train & having_any(cohort, modalities, kinds)
    event = np.asarray(permuted(cohort, job.seed).event if job.variant == CANARY else cohort.event, dtype=bool)
    known = cohort.subtype_index[learnt & (cohort.subtype_index >= 0)]
    of_class = np.bincount(known, minlength=len(cohort.subtype_classes))
    return _Counted(int(learnt.sum()), int(event[learnt].sum()), tuple(of_class.tolist()))
