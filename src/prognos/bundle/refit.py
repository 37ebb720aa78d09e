"""The model of a study fitted once more, on the patients of all folds, with the settings of the folds."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prognos.cohort import Cohort
from prognos.training import FitOptions, Fitted, fit


def refit_of(folders: Sequence[Path], cohort: Cohort, out: Path) -> list[Path]:
    """Fits one model for each seed of some fold folders on all patients; the folders that were written, `seed-S/all`.

    Where the epochs of the folds were chosen on inner patients, the median over the folds of a seed is taken.

    Args:
        folders: `seed-S/fold-F` of one model.
        cohort: the patients of all folds.
        out: where to write.
    """
    by_seed: dict[int, list[Fitted]] = {}
    for folder in folders:
        fitted = Fitted.load(folder)
        by_seed.setdefault(fitted.seed, []).append(fitted)
    written = []
    for seed, models in by_seed.items():
        parts = {}
        for name in models[0].model.needs.parts:
            parts[name] = _anew([Fitted.load(_part(folders[0], name))], cohort, seed, {})
        written.append(_anew(models, cohort, seed, parts).save(out / f"seed-{seed}" / "all"))
    return written


def _part(folder: Path, name: str) -> Path:
    """Where a run keeps the part of a model of one fold: of the same variant where that changes it, else the usual one."""
    model = folder.parents[1]
    variant = model.name.partition("@")[2]
    own = model.parent / f"{name}@{variant}"
    place = own if variant and own.is_dir() else model.parent / name
    return place / folder.parent.name / folder.name


def _anew(models: Sequence[Fitted], cohort: Cohort, seed: int, parts: dict[str, Fitted]) -> Fitted:
    """A model with the settings of some fitted ones, on other patients."""
    first = models[0]
    training: dict[str, Any] = first.training.model_dump()
    chosen = [fitted.training.stop_after for fitted in models if fitted.training.stop_after is not None]
    if chosen:
        training["stop_after"] = max(1, round(statistics.median(chosen)))
    return fit(
        cohort,
        first.name,
        seed=seed,
        config=first.config.model_dump(),
        training=training,
        inputs=first.inputs.config.model_dump(),
        options=FitOptions(parts=parts),
    )
