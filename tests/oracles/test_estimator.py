"""scikit-survival's tools accept a model of ours."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, KFold

from prognos.estimator import SurvivalEstimator

sksurv = pytest.importorskip("sksurv", reason="scikit-survival is not installed")

N_PATIENTS = 80


@pytest.fixture(scope="module")
def patients():
    """Covariates and survival that depends on age."""
    from sksurv.util import Surv

    generator = np.random.default_rng(0)
    X = pd.DataFrame({"age": generator.uniform(30, 90, N_PATIENTS), "sex": generator.choice(["m", "f"], N_PATIENTS)})
    time = generator.exponential(1000 * np.exp(-(X["age"] - 60) / 10)) + 1
    observed = (generator.random(N_PATIENTS) < 0.7) & (time < 2000)
    return X, Surv.from_arrays(observed, np.minimum(time, 2000))


def test_the_score_is_the_concordance_of_scikit_survival(patients):
    from sksurv.metrics import concordance_index_censored

    X, y = patients
    estimator = SurvivalEstimator("clinical").fit(X, y)
    assert estimator.score(X, y) == pytest.approx(concordance_index_censored(y["event"], y["time"], estimator.predict(X))[0], abs=1e-12)


def test_its_scorers_wrap_our_estimator(patients):
    from sksurv.metrics import as_concordance_index_ipcw_scorer, as_cumulative_dynamic_auc_scorer, as_integrated_brier_score_scorer

    X, y = patients
    times = np.percentile(y["time"], [30, 40, 50, 60])
    for scorer in (as_concordance_index_ipcw_scorer, as_cumulative_dynamic_auc_scorer, as_integrated_brier_score_scorer):
        options = {} if scorer is as_concordance_index_ipcw_scorer else {"times": times}
        wrapped = scorer(SurvivalEstimator("clinical"), **options).fit(X, y)
        assert np.isfinite(wrapped.score(X, y))


def test_a_grid_is_searched_by_its_brier_score(patients):
    from sksurv.metrics import as_integrated_brier_score_scorer

    X, y = patients
    times = np.percentile(y["time"], [30, 50])
    wrapped = as_integrated_brier_score_scorer(SurvivalEstimator("clinical"), times=times)
    grid = {"estimator__config": [{"penalties": (penalty,)} for penalty in (0.01, 1.0)]}
    assert GridSearchCV(wrapped, grid, cv=KFold(2), error_score="raise").fit(X, y).best_score_ < 0


def test_curves_are_what_its_brier_score_takes(patients):
    from sksurv.metrics import brier_score

    X, y = patients
    estimator = SurvivalEstimator("clinical").fit(X, y)
    times = np.percentile(y["time"], [30, 50])
    estimates = np.stack([curve(times) for curve in estimator.predict_survival_function(X)])
    assert (brier_score(y, y, estimates, times)[1] < 0.25).all()
