"""What a model adds to the clinical one: a likelihood ratio on out-of-fold risks."""

import warnings

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from prognos.study.significance import holm

INCREMENTAL = "incremental.csv"
CLINICAL = "clinical"
SAME = 1e-6
"""Two standardised risks whose correlation is nearer to 1 or -1 than this are one."""
INCREMENTAL_COLUMNS = (
    *("model", "variant", "cohort", "patients", "events"),
    *("likelihood_ratio", "p", "p_holm", "hazard_ratio", "hazard_ratio_low", "hazard_ratio_high"),
)


def incremental_value(predictions: pd.DataFrame) -> pd.DataFrame:
    """The columns of incremental.csv: each model beside the clinical one, complete patients.

    Two Cox models with a baseline of their own in each fold: one with the clinical risk, one with the model's risk too. The likelihood
    ratio (one degree of freedom) asks whether the second says more. A patient's risk is the mean over seeds of risks standardised
    within fold, so that no fold's scale counts; the hazard ratio is for one standard deviation. p_holm is Holm's over cohorts. Training
    parts of folds overlap, which p does not know of.
    """
    complete = predictions[predictions.missing == "none"]
    if CLINICAL not in set(complete.model):
        return pd.DataFrame(columns=list(INCREMENTAL_COLUMNS))
    rows = []
    for cohort, of_cohort in complete.groupby("cohort", sort=False):
        base = of_cohort[of_cohort.variant == "base"]
        clinical = standardised(base[base.model == CLINICAL])
        for (model, variant), part in of_cohort.groupby(["model", "variant"], sort=False):
            if model == CLINICAL or part.groupby("fold").risk.nunique().max() < 2:
                continue
            both = clinical.join(standardised(part)[["risk"]].add_prefix("model_"), how="inner")
            rows.append((model, variant, cohort, len(both), int(both.event.sum()), *_added(both)))
    names = [name for name in INCREMENTAL_COLUMNS if name != "p_holm"]
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = table.groupby(["model", "variant"], sort=False).p.transform(lambda p: holm(p.to_numpy())) if len(table) else []
    return table[list(INCREMENTAL_COLUMNS)]


def standardised(predictions: pd.DataFrame) -> pd.DataFrame:
    """risk, time, event and fold of each patient: the mean over seeds of risks standardised within seed and fold."""
    risk = predictions.groupby(["seed", "fold"]).risk.transform(lambda values: (values - values.mean()) / (values.std(ddof=0) or 1.0))
    by_patient = predictions.assign(risk=risk).groupby("patient_id")
    return by_patient.agg(risk=("risk", "mean"), time=("time", "first"), event=("event", "first"), fold=("fold", "first"))


def _added(patients: pd.DataFrame) -> tuple[float, float, float, float, float]:
    """Likelihood ratio, p, and the hazard ratio of the model's risk with its interval; NaN where Cox's likelihood has no maximum.

    A risk that orders and spaces patients as the clinical one does adds nothing: the ratio is 0, and there is no hazard ratio.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning

    nothing = (np.nan,) * 5
    patients = patients.assign(event=patients.event.astype(bool))
    if abs(patients.risk.corr(patients.model_risk)) > 1 - SAME:
        return 0.0, 1.0, np.nan, np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            without = CoxPHFitter().fit(patients[["risk", "time", "event", "fold"]], "time", "event", strata="fold")
            fitted = CoxPHFitter().fit(patients[["risk", "model_risk", "time", "event", "fold"]], "time", "event", strata="fold")
        except (ConvergenceError, ConvergenceWarning, ValueError):
            return nothing
    ratio = max(0.0, 2 * (fitted.log_likelihood_ - without.log_likelihood_))
    low, high = fitted.confidence_intervals_.loc["model_risk"]
    return ratio, float(chdtrc(1, ratio)), float(fitted.hazard_ratios_["model_risk"]), float(np.exp(low)), float(np.exp(high))
