"""Which patients a model calls high risk, without any look at the test fold.

A fold's model has a threshold from its own training part, so risks of different folds are never compared with one another.
With several seeds a patient is high risk when more than half of the seeds say so; in a tie the first seed decides.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prognos.report.run_folder import RunFolder


@dataclass(frozen=True)
class RiskGroups:
    """Low and high risk of one model, variant, cohort and missing pattern.

    Args:
        patients: a row a patient: patient_id, fold, time, event, high, agreement (share of the seeds that say the same).
        one_sided: folds whose patients are all in one group; they add nothing to a stratified comparison.
        within_fold: no threshold was recorded, so that the median of the fold's own risks stands in for it.
    """

    patients: pd.DataFrame
    one_sided: tuple[int, ...]
    within_fold: bool


def risk_groups(run: RunFolder, cohort: str, label: str, missing: str) -> RiskGroups:
    """The risk group of every patient, over all folds."""
    predictions = run.predictions
    chosen = (predictions.cohort == cohort) & (predictions.label == label) & (predictions.missing == missing)
    rows = predictions[chosen].dropna(subset=["risk", "time"])
    within_fold = bool(rows.threshold.isna().any())
    threshold = rows.threshold
    if within_fold:
        threshold = threshold.fillna(rows.groupby(["seed", "fold"]).risk.transform("median"))
    rows = rows.assign(above=rows.risk > threshold).sort_values("seed", kind="stable")
    patients = rows.groupby(["fold", "patient_id"], as_index=False).agg(
        time=("time", "first"), event=("event", "first"), share=("above", "mean"), first=("above", "first")
    )
    high = np.where(patients.share == 0.5, patients["first"], patients.share > 0.5).astype(bool)
    patients = patients.assign(high=high, agreement=np.where(high, patients.share, 1 - patients.share), fold=patients.fold.astype(int))
    sides = patients.groupby("fold").high.nunique()
    one_sided = tuple(int(fold) for fold in sides.index[sides < 2])
    return RiskGroups(patients.drop(columns=["share", "first"]), one_sided, within_fold)


def patterns(run: RunFolder, cohort: str) -> list[tuple[str, str]]:
    """Every (label, missing) of a cohort's predictions that is not a repeat, in the order of the file."""
    rows, repeated = run.predictions[run.predictions.cohort == cohort], repeats(run, cohort)
    return [pair for pair in dict.fromkeys(zip(rows.label, rows.missing, strict=True)) if pair not in repeated]


def repeats(run: RunFolder, cohort: str) -> set[tuple[str, str]]:
    """Each (label, missing) whose risks are those of the same model with nothing missing: it reads none of what is."""
    rows = run.predictions[run.predictions.cohort == cohort].set_index(["seed", "fold", "patient_id"])
    found = set()
    for label, part in rows.groupby("label", sort=False):
        complete = part.risk[part.missing.isin(("", "none"))]
        for missing, of_pattern in part.groupby("missing", sort=False):
            same = missing not in ("", "none") and complete.index.is_unique and of_pattern.risk.equals(complete.reindex(of_pattern.index))
            if same:
                found.add((str(label), str(missing)))
    return found


def panel_name(label: str, phrase: str) -> str:
    """What a picture of one model and missing pattern is called."""
    return f"{label}, {phrase}" if phrase else label
