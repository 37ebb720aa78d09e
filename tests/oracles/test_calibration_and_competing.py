"""Cox regression, cumulative incidence and net benefit against lifelines."""

import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import AalenJohansenFitter, CoxPHFitter, KaplanMeierFitter

from prognos.metrics import cumulative_incidence, net_benefit
from prognos.metrics.cox_regression import cox_regression

GENERATOR = np.random.default_rng(11)
N = 150
COLUMNS = GENERATOR.normal(size=(N, 2))
TIME = GENERATOR.exponential(500 * np.exp(-0.5 * COLUMNS[:, 0]))  # no ties: lifelines takes Efron's form
EVENT = GENERATOR.uniform(size=N) < 0.6
COMPETING = ~EVENT & (GENERATOR.uniform(size=N) < 0.5)


def test_coefficients_and_baseline_are_those_of_lifelines():
    found = cox_regression(COLUMNS, TIME, EVENT)
    table = pd.DataFrame(COLUMNS, columns=["a", "b"]).assign(time=TIME, event=EVENT)
    theirs = CoxPHFitter().fit(table, "time", "event")
    assert found.coefficients == pytest.approx(theirs.params_.to_numpy(), abs=1e-5)
    baseline = theirs.baseline_cumulative_hazard_.iloc[:, 0]
    shift = float(np.exp(-COLUMNS.mean(axis=0) @ found.coefficients))  # theirs is at the mean patient
    assert found.hazard == pytest.approx(baseline.loc[found.time].to_numpy() * shift, rel=1e-5)


def test_cumulative_incidence_is_that_of_lifelines():
    found = cumulative_incidence(TIME, EVENT, COMPETING)
    code = np.where(EVENT, 1, np.where(COMPETING, 2, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AalenJohansenFitter(calculate_variance=False).fit(TIME, code, event_of_interest=1).cumulative_density_
    assert found.incidence == pytest.approx(theirs.iloc[:, 0].reindex(found.time, method="ffill").to_numpy(), abs=1e-10)


def test_net_benefit_is_what_lifelines_curve_of_the_treated_gives():
    predicted = 1 - np.exp(-0.5 * np.exp(0.5 * COLUMNS[:, 0]))
    for threshold in (0.3, 0.45):
        who = predicted >= threshold
        survival = float(KaplanMeierFitter().fit(TIME[who], EVENT[who]).predict(365.0))
        expected = who.mean() * (1 - survival - survival * threshold / (1 - threshold))
        assert net_benefit(1 - predicted, TIME, EVENT, 365.0, np.array([threshold])).model[0] == pytest.approx(expected)
