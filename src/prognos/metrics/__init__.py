"""Metrics: (risk or curve, time, event) -> number, (probabilities, label) -> number.

Arrays in, floats or small frozen results out; no torch.

Unusable input raises (`NoComparablePairs`, `ValueError` with counts), never a silent 0, 0.5 or NaN.
"""

from prognos.metrics.arrays import NoComparablePairs
from prognos.metrics.auc import cumulative_dynamic_auc
from prognos.metrics.brier import brier_score, integrated_brier_score, scaled_brier
from prognos.metrics.calibration import Calibration, calibration
from prognos.metrics.censoring import CLINICAL_HORIZONS, Censoring, horizon_grid, tau_rule
from prognos.metrics.classification import balanced_accuracy, confusion, one_vs_rest_auc
from prognos.metrics.concordance import concordance, concordance_ipcw
from prognos.metrics.fold import HeldOutFold
from prognos.metrics.kaplan_meier import KaplanMeier, kaplan_meier, reverse_kaplan_meier_median
from prognos.metrics.logrank import LogRank, logrank
from prognos.metrics.table import METRICS, Metric

__all__ = [
    "CLINICAL_HORIZONS",
    "METRICS",
    "Calibration",
    "Censoring",
    "HeldOutFold",
    "KaplanMeier",
    "LogRank",
    "Metric",
    "NoComparablePairs",
    "balanced_accuracy",
    "brier_score",
    "calibration",
    "concordance",
    "concordance_ipcw",
    "confusion",
    "cumulative_dynamic_auc",
    "horizon_grid",
    "integrated_brier_score",
    "kaplan_meier",
    "logrank",
    "one_vs_rest_auc",
    "reverse_kaplan_meier_median",
    "scaled_brier",
    "tau_rule",
]
