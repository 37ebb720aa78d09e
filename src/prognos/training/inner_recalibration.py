"""Recalibration learnt inside a training fold: its patients are predicted by models that were not fitted to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from prognos import files
from prognos.cohort import Cohort
from prognos.cohort.folds import make_folds
from prognos.runtime import derive_seed
from prognos.training.fitted import Fitted
from prognos.training.recalibration import Recalibration

N_PARTS = 3
"""Inner parts, and so inner fits: each leaves out a third of the training patients."""


def inner_recalibration(
    train: Cohort, seed: int, fit_anew: Callable[[Cohort, Path | None], Fitted], folder: Path | None = None
) -> Recalibration:
    """Recalibration for a fitted model, from its training patients alone.

    The training patients are split in `N_PARTS`, sites kept apart. Each part is predicted by the same model, fitted with the same
    settings to the others; the held-out risks of all parts, each less its model's median training risk, teach the recalibration.

    Args:
        train: the patients whom the model was fitted to.
        seed: of the split.
        fit_anew: fits the model to other patients, with checkpoints in a folder.
        folder: where the split is kept, so that a fit that was killed goes on with the same parts; nowhere when empty.

    Raises:
        ValueError: too few patients or events to be split.
    """
    part_of = _inner_parts(train, seed, folder)
    risks = []
    for part in sorted(part_of.unique()):
        others = train.subset(tuple(part_of.index[part_of != part]))
        held_out = train.subset(tuple(part_of.index[part_of == part]))
        risks.append(_risks(fit_anew(others, None if folder is None else folder / f"part-{part}"), held_out))
    risk = pd.concat(risks).loc[list(train.patients)].to_numpy()
    return Recalibration.learn(risk, np.asarray(train.time, dtype=float), np.asarray(train.event, dtype=bool))


def _inner_parts(train: Cohort, seed: int, folder: Path | None) -> pd.Series:
    """Part of each training patient."""
    kept = None if folder is None else folder / "parts.csv"
    if kept is not None and kept.is_file():
        return pd.read_csv(kept, dtype={"patient_id": str}, keep_default_na=False).set_index("patient_id")["fold"]
    parts = make_folds(train, N_PARTS, seed=derive_seed("recalibration", train.name, seed) % 2**32).fold
    if kept is not None:
        files.write_csv(kept, parts.rename_axis("patient_id").reset_index())
    return parts


def _risks(inner: Fitted, held_out: Cohort) -> pd.Series:
    """Risk of each held-out patient less the median training risk."""
    return pd.Series(inner.predict(held_out).risk - inner.threshold, index=list(held_out.patients))
