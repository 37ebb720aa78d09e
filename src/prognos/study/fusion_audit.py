"""What fusion does with pairs of patients that one modality alone orders rightly, and with those that neither does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from prognos.metrics.bootstrap import draw_counts, interval
from prognos.metrics.concordance import TIED_RISK
from prognos.models import MODELS

FUSION_AUDIT = "fusion_audit.csv"
AUDIT_COLUMNS = (
    *("model", "variant", "cohort", "omics_model", "histology_model", "right_of_parts"),
    *("share", "share_low", "share_high", "fused_right", "fused_right_low", "fused_right_high"),
)
KINDS = ("both", "only omics", "only histology", "neither")


def fusion_audit(predictions: pd.DataFrame, *, replicates: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The columns of fusion_audit.csv: for each model of both modalities, complete patients.

    Comparable pairs of patients of a fold are divided by which unimodal model of the study orders them rightly. `share` is how many there
    are, `fused_right` how many of them the fused model orders rightly, over the pairs of all folds and seeds; with 95% bootstrap intervals
    of patients within folds. Risks that are tied are not right. No rows without a model of each modality alone.
    """
    complete = predictions[(predictions.missing == "none") & (predictions.variant == "base")]
    parts = [unimodal(complete, modality) for modality in ("omics", "histology")]
    rows = []
    if None not in parts:
        fused = predictions[(predictions.missing == "none") & predictions.model.map(_reads_both)]
        for (model, variant, cohort), part in fused.groupby(["model", "variant", "cohort"], sort=False):
            unimodals = [complete[(complete.model == name) & (complete.cohort == cohort)] for name in parts]
            for kind, numbers in zip(KINDS, _audited(part, unimodals, replicates, seed), strict=True):
                rows.append((model, variant, cohort, *parts, kind, *numbers))
    return pd.DataFrame(rows, columns=list(AUDIT_COLUMNS))


def unimodal(predictions: pd.DataFrame, modality: str) -> str | None:
    """The first model of the study that reads this modality alone."""
    alone = [name for name in dict.fromkeys(predictions.model) if name in MODELS and _needs(name) == (modality,)]
    return alone[0] if alone else None


def _needs(model: str) -> tuple[str, ...]:
    return MODELS[model].load().needs.modalities


def _reads_both(model: str) -> bool:
    return model in MODELS and {"omics", "histology"} <= set(_needs(model))


def _audited(fused: pd.DataFrame, parts: Sequence[pd.DataFrame], replicates: int, seed: int) -> list[tuple[float, ...]]:
    """For each kind of pair: share with interval, share that the fused model orders rightly with interval."""
    of_folds = []
    for fold in dict.fromkeys(fused.fold):
        of_seeds = []
        for run in dict.fromkeys(fused.seed):
            frames = [frame for frame in (_run(table, run, fold) for table in (fused, *parts)) if frame is not None]
            if len(frames) < 1 + len(parts):
                continue
            patients = frames[0].index
            counts = draw_counts(len(patients), replicates, [seed, str(fold), "\n".join(patients)])
            whole = np.concatenate([np.ones((1, len(patients))), counts]).astype(np.float32)
            risks = [frame.risk.reindex(patients).to_numpy() for frame in frames]
            of_seeds.append(_sums(frames[0].time.to_numpy(), frames[0].event.to_numpy(bool), risks, whole))
        if of_seeds:
            of_folds.append(np.mean(of_seeds, axis=0))
    if not of_folds:
        return [(np.nan,) * 6 for _ in KINDS]
    pairs, right = np.sum(of_folds, axis=0).transpose(1, 0, 2)  # kinds x replicates each, the first of which is the estimate
    with np.errstate(invalid="ignore", divide="ignore"):  # a replicate without a comparable pair, or without one of a kind, has no share
        shares = (pairs / pairs.sum(axis=0), right / pairs)
    rows = []
    for kind in range(len(KINDS)):
        numbers: list[float] = []
        for share in shares:
            ends = interval(share[kind, 1:])
            numbers += [share[kind, 0], *(np.nan if end is None else end for end in (ends.low, ends.high))]
        rows.append(tuple(map(float, numbers)))
    return rows


def _run(predictions: pd.DataFrame, seed: int, fold: int) -> pd.DataFrame | None:
    """Patients of one fold by one seed; the only seed where a model has one."""
    of_fold = predictions[predictions.fold == fold]
    seeds = list(dict.fromkeys(of_fold.seed))
    if not seeds:
        return None
    return of_fold[of_fold.seed == (seed if seed in seeds else seeds[0])].set_index("patient_id")


def _sums(
    time: Float[np.ndarray, " patients"], event: Bool[np.ndarray, " patients"], risks: Sequence[np.ndarray], counts: np.ndarray
) -> Float[np.ndarray, "kinds two replicates"]:
    """For each kind of pair and replicate how many there are, and how many of them the fused model orders rightly."""
    first = np.flatnonzero(event)  # the earlier one of a comparable pair had the event
    comparable = (time[first, None] < time) | ((time[first, None] == time) & ~event)
    fused, omics, histology = ((risk[first, None] - risk > TIED_RISK) & comparable for risk in risks)
    kinds = (omics & histology, omics & ~histology, ~omics & histology, comparable & ~omics & ~histology)

    def weighed(pairs: np.ndarray) -> np.ndarray:
        return ((counts @ pairs.T.astype(counts.dtype)) * counts[:, first]).sum(axis=1)

    return np.array([(weighed(kind), weighed(kind & fused)) for kind in kinds])
