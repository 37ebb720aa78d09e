"""The table of metrics: under which name each is written, how it is computed on a fold, and which way is better."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from prognos.metrics import bootstrap
from prognos.metrics.auc import areas, cumulative_dynamic_auc, mean_area
from prognos.metrics.bootstrap import Resamples
from prognos.metrics.brier import integrated_brier_score, scaled_brier
from prognos.metrics.calibration import calibration
from prognos.metrics.censoring import CLINICAL_HORIZONS
from prognos.metrics.classification import balanced_accuracy, one_vs_rest_auc
from prognos.metrics.concordance import concordance, concordance_ipcw
from prognos.metrics.fold import HeldOutFold


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Args:
        summary: what it is, in a sentence.
        value: its value on a fold; raises ValueError, with the reason, where the fold cannot be scored.
        replicates: its value under every bootstrap replicate of the fold, NaN where one cannot be scored.
        higher_is_better: True for concordance, False for errors.
        needs_curves: True when it needs predicted survival, not only the risk.
        needs_subtypes: True when it needs predicted probabilities of subtypes.
        worthless: the value of a model that knows nothing; None when there is no such value.
        centred: True when the bootstrap interval is moved onto the estimate (see `bootstrap.interval`).
    """

    summary: str
    value: Callable[[HeldOutFold], float]
    replicates: Callable[[Resamples], np.ndarray]
    higher_is_better: bool = True
    needs_curves: bool = False
    needs_subtypes: bool = False
    worthless: float | None = None
    centred: bool = False


def _concordance(fold: HeldOutFold) -> float:
    return concordance(fold.risk, fold.time, fold.event)


def _concordance_ipcw(fold: HeldOutFold) -> float:
    return concordance_ipcw(fold.risk, fold.time, fold.event, *fold.training, tau=fold.tau)


def _auc(fold: HeldOutFold) -> float:
    return mean_area(areas(fold.risk, fold.time, fold.event, fold.censoring, fold.grid), fold.time, fold.event, fold.grid)


def _auc_replicates(resamples: Resamples) -> np.ndarray:
    return bootstrap.mean_area_replicates(resamples, resamples.fold.grid)


def _auc_at(fold: HeldOutFold, *, horizon: float) -> float:
    return cumulative_dynamic_auc(fold.risk, fold.time, fold.event, *fold.training, _up_to_tau(fold, horizon))[1]


def _auc_at_replicates(resamples: Resamples, *, horizon: float) -> np.ndarray:
    return bootstrap.area_replicates(resamples, _up_to_tau(resamples.fold, horizon))[:, 0]


def _up_to_tau(fold: HeldOutFold, horizon: float) -> np.ndarray:
    if horizon > fold.tau:
        raise ValueError(
            f"{horizon:g} days lie beyond tau = {fold.tau:g}, the 80th percentile of the training fold's follow-up: "
            "too few are followed so long to learn the censoring."
        )
    return np.array([horizon])


def _integrated_brier(fold: HeldOutFold) -> float:
    horizons, survival = fold.curves
    return integrated_brier_score(survival, fold.time, fold.event, *fold.training, horizons)


def _scaled_brier(fold: HeldOutFold) -> float:
    horizons, survival = fold.curves
    return scaled_brier(survival, fold.time, fold.event, *fold.training, horizons)


def _calibration(fold: HeldOutFold, *, horizon: float) -> float:
    return calibration(fold.survival_at(horizon), fold.time, fold.event, horizon).error


def _subtype_auc(fold: HeldOutFold) -> float:
    return one_vs_rest_auc(*fold.subtypes)


def _subtype_balanced_accuracy(fold: HeldOutFold) -> float:
    return balanced_accuracy(*fold.subtypes)


METRICS: dict[str, Metric] = {
    "concordance": Metric(
        "Harrell's C-index: share of comparable pairs in which the earlier event has the higher risk.",
        _concordance,
        bootstrap.concordance_replicates,
        worthless=0.5,
    ),
    "concordance_ipcw": Metric(
        "Uno's C-index up to tau (80th percentile of training follow-up), weighted by the training fold's censoring.",
        _concordance_ipcw,
        bootstrap.concordance_ipcw_replicates,
        worthless=0.5,
    ),
    "auc": Metric(
        "Time-dependent AUC, mean over horizons up to tau, weighted by the fall of the survival curve.",
        _auc,
        _auc_replicates,
        worthless=0.5,
    ),
    **{
        f"auc_{horizon:.0f}d": Metric(
            f"Time-dependent AUC at {horizon:.0f} days.",
            partial(_auc_at, horizon=horizon),
            partial(_auc_at_replicates, horizon=horizon),
            worthless=0.5,
        )
        for horizon in CLINICAL_HORIZONS
    },
    "integrated_brier": Metric(
        "Integrated Brier score of the survival curves up to tau: weighted squared error, 0 is perfect.",
        _integrated_brier,
        bootstrap.integrated_brier_replicates,
        higher_is_better=False,
        needs_curves=True,
    ),
    "scaled_brier": Metric(
        "1 - integrated Brier score / that of the training fold's Kaplan-Meier curve: 0 is no better than that curve.",
        _scaled_brier,
        bootstrap.scaled_brier_replicates,
        needs_curves=True,
        worthless=0.0,
    ),
    **{
        f"calibration_{horizon:.0f}d": Metric(
            f"Calibration error at {horizon:.0f} days: mean distance of predicted from observed probability over thirds by risk.",
            partial(_calibration, horizon=horizon),
            partial(bootstrap.calibration_replicates, horizon=horizon),
            higher_is_better=False,
            needs_curves=True,
            centred=True,
        )
        for horizon in CLINICAL_HORIZONS
    },
    "subtype_auc": Metric(
        "AUC of the probability of a subtype, its patients against all others: mean over the subtypes in the test part.",
        _subtype_auc,
        bootstrap.one_vs_rest_auc_replicates,
        needs_subtypes=True,
        worthless=0.5,
    ),
    "subtype_balanced_accuracy": Metric(
        "Share of a subtype's patients who get it as the most probable one: mean over the subtypes in the test part.",
        _subtype_balanced_accuracy,
        bootstrap.balanced_accuracy_replicates,
        needs_subtypes=True,
    ),
}
"""Every metric by the name that metrics.csv and comparison.csv use."""
