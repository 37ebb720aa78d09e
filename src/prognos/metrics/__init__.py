"""Metrics: (risk or curve, time, event) -> number, (probabilities, label) -> number.

Arrays in, floats or small frozen results out; no torch.

Unusable input raises (`NoComparablePairs`, `ValueError` with counts), never a silent 0, 0.5 or NaN.
"""

from prognos.metrics.arrays import NoComparablePairs
from prognos.metrics.auc import cumulative_dynamic_auc
from prognos.metrics.brier import brier_score, integrated_brier_score, scaled_brier
from prognos.metrics.calibration import Calibration, calibration
from prognos.metrics.calibration_index import CalibrationIndex, calibration_index, ici_interval
from prognos.metrics.censoring import CLINICAL_HORIZONS, Censoring, horizon_grid, tau_rule
from prognos.metrics.classification import balanced_accuracy, confusion, one_vs_rest_auc
from prognos.metrics.concordance import concordance, concordance_ipcw
from prognos.metrics.cumulative_incidence import CumulativeIncidence, cumulative_incidence
from prognos.metrics.distribution_calibration import DistributionCalibration, distribution_calibration, survival_reached
from prognos.metrics.fold import HeldOutFold
from prognos.metrics.kaplan_meier import KaplanMeier, kaplan_meier, reverse_kaplan_meier_median
from prognos.metrics.logrank import LogRank, logrank
from prognos.metrics.net_benefit import NetBenefit, net_benefit
from prognos.metrics.table import METRICS, Metric

__all__ = [
    "CLINICAL_HORIZONS",
    "METRICS",
    "Calibration",
    "CalibrationIndex",
    "Censoring",
    "CumulativeIncidence",
    "DistributionCalibration",
    "HeldOutFold",
    "KaplanMeier",
    "LogRank",
    "Metric",
    "NetBenefit",
    "NoComparablePairs",
    "balanced_accuracy",
    "brier_score",
    "calibration",
    "calibration_index",
    "concordance",
    "concordance_ipcw",
    "confusion",
    "cumulative_dynamic_auc",
    "cumulative_incidence",
    "distribution_calibration",
    "horizon_grid",
    "ici_interval",
    "integrated_brier_score",
    "kaplan_meier",
    "logrank",
    "net_benefit",
    "one_vs_rest_auc",
    "reverse_kaplan_meier_median",
    "scaled_brier",
    "survival_reached",
    "tau_rule",
]
