"""What a model adds to the clinical one."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chi2
from tests.unit.study.test_significance import study

from prognos.study.incremental import incremental_value, standardised


def test_the_likelihood_ratio_is_that_of_two_cox_models_with_a_baseline_for_each_fold():
    predictions = study({"clinical": 1.0, "tta": 1.0})
    (row,) = incremental_value(predictions).itertuples()
    both = standardised(predictions[predictions.model == "clinical"])
    both["other"] = standardised(predictions[predictions.model == "tta"]).risk
    fits = [
        CoxPHFitter().fit(both[[*columns, "time", "event", "fold"]], "time", "event", strata="fold")
        for columns in (["risk"], ["risk", "other"])
    ]
    ratio = 2 * (fits[1].log_likelihood_ - fits[0].log_likelihood_)
    assert row.likelihood_ratio == pytest.approx(ratio, rel=1e-6)
    assert row.p == pytest.approx(chi2.sf(ratio, 1), rel=1e-6)
    assert row.hazard_ratio == pytest.approx(np.exp(fits[1].params_["other"]), rel=1e-6)


def test_the_clinical_risk_itself_on_another_scale_adds_nothing():
    predictions = study({"clinical": 1.0})
    again = predictions.assign(model="tta", risk=3 * predictions.risk + 1)
    table = incremental_value(pd.concat([predictions, again], ignore_index=True))
    assert table[["likelihood_ratio", "p"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert table.hazard_ratio.isna().all()


def test_no_scale_of_a_fold_or_seed_counts():
    predictions = study({"clinical": 1.0, "tta": 1.0})
    scaled = predictions.assign(risk=predictions.risk * (1 + predictions.fold) + 10 * predictions.seed)
    left, right = incremental_value(predictions), incremental_value(scaled)
    assert left.likelihood_ratio.tolist() == pytest.approx(right.likelihood_ratio.tolist())


def test_a_model_that_says_the_same_of_everyone_and_a_study_without_a_clinical_model_have_no_row():
    predictions = study({"clinical": 1.0, "tta": 1.0})
    constant = predictions[predictions.model == "tta"].assign(model="null", risk=0.0)
    assert incremental_value(pd.concat([predictions, constant], ignore_index=True)).model.tolist() == ["tta"]
    assert incremental_value(predictions[predictions.model == "tta"]).empty
