import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.contract.tiny_cohort import tiny_cohort

from prognos.estimator import SurvivalEstimator
from prognos.metrics import concordance

N_PATIENTS = 60
QUICK = {"epochs": 1, "batch_size": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def ages():
    """Older patients die earlier, nearly in order."""
    generator = np.random.default_rng(0)
    age = np.linspace(30, 90, N_PATIENTS)[generator.permutation(N_PATIENTS)]
    return pd.DataFrame({"age": age, "sex": generator.choice(["male", "female"], N_PATIENTS)})


@pytest.fixture(scope="module")
def y(ages):
    time = 10000 / ages["age"] + np.random.default_rng(1).uniform(0, 40, N_PATIENTS)
    return outcome(np.arange(N_PATIENTS) % 4 > 0, time)


def outcome(event, time):
    """What `sksurv.util.Surv.from_arrays` makes."""
    y = np.empty(len(time), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = event, time
    return y


def test_covariates_give_risks_that_order_the_patients(ages, y):
    estimator = SurvivalEstimator("clinical").fit(ages, y)
    assert estimator.score(ages, y) > 0.9
    assert estimator.score(ages, y) == concordance(estimator.predict(ages), y["time"], y["event"])


def test_the_order_of_the_patients_does_not_matter(ages, y):
    estimator = SurvivalEstimator("clinical").fit(ages, y)
    np.testing.assert_allclose(estimator.predict(ages.iloc[::-1]), estimator.predict(ages)[::-1])


def test_scikit_learn_cross_validates_and_searches(ages, y):
    estimator = SurvivalEstimator("clinical", config={"inner_folds": 2, "penalties": (0.1,)})
    assert cross_val_score(estimator, ages, y, cv=KFold(3)).min() > 0.85
    grid = {"config": [{"inner_folds": 2, "penalties": (penalty,)} for penalty in (0.01, 1.0)]}
    search = GridSearchCV(estimator, grid, cv=KFold(2)).fit(ages, y)
    assert search.best_params_["config"]["penalties"] in ((0.01,), (1.0,))


def test_a_clone_has_the_settings_and_not_the_fit(ages, y):
    estimator = SurvivalEstimator("clinical", seed=3, config={"inner_folds": 2}).fit(ages, y)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.config is not estimator.config
    assert not hasattr(copy, "fitted_")
    with pytest.raises(NotFittedError):
        copy.predict(ages)


def test_a_clone_shares_the_cohort():
    estimator = SurvivalEstimator("abmil", cohort=tiny_cohort())
    assert clone(estimator).cohort is estimator.cohort


def test_an_estimator_can_be_fitted_again_to_other_columns(ages, y):
    estimator = SurvivalEstimator("clinical").fit(ages, y).fit(ages[["age"]], y)
    assert estimator.feature_names_in_.tolist() == ["age"]
    assert estimator.score(ages[["age"]], y) > 0.9


def test_parameters_can_be_set():
    estimator = SurvivalEstimator().set_params(model="snn", reads="rna")
    assert (estimator.model, estimator.reads) == ("snn", "rna")


def test_an_array_of_genes_goes_through_a_pipeline(y):
    genes = np.random.default_rng(2).normal(size=(N_PATIENTS, 5))
    model = SurvivalEstimator("snn", reads="rna", config={"d_model": 4}, training=QUICK)
    whole = make_pipeline(StandardScaler(), model).fit(genes, y)
    assert whole.predict(genes).shape == (N_PATIENTS,)
    assert model.n_features_in_ == 5


def test_ids_of_a_cohort_let_a_model_read_slides():
    cohort = tiny_cohort()
    ids = np.array(cohort.patients)[cohort.has("histology")]
    y = outcome(cohort.event[cohort.has("histology")], cohort.time[cohort.has("histology")])
    estimator = SurvivalEstimator("abmil", cohort=cohort, config={"d_model": 4, "d_attention": 4}, training=QUICK).fit(ids, y)
    assert estimator.predict(ids.reshape(-1, 1)).tolist() == estimator.predict(ids).tolist()


def test_the_labels_of_y_count_and_not_those_of_the_cohort():
    cohort = tiny_cohort()
    settings = {"cohort": cohort, "config": {"inner_folds": 2, "penalties": (0.1,)}}
    own = outcome(cohort.event, cohort.time)
    others = outcome(cohort.event[::-1], cohort.time[::-1])
    first, second = (SurvivalEstimator("clinical", **settings).fit(cohort.patients, y) for y in (own, others))
    assert first.predict(cohort.patients).tolist() != second.predict(cohort.patients).tolist()


def test_curves_are_functions_of_days_that_fall(ages, y):
    estimator = SurvivalEstimator("clinical").fit(ages, y)
    curves = estimator.predict_survival_function(ages)
    table = estimator.predict_survival_function(ages, return_array=True)
    assert table.shape == (N_PATIENTS, len(estimator.unique_times_))
    assert (np.diff(table, axis=1) <= 1e-12).all()
    np.testing.assert_allclose(curves[7](estimator.unique_times_), table[7])
    assert curves[0].domain == (0.0, y["time"].max())
    with pytest.raises(ValueError, match=r"survival is known from day 0 to day .*; 99999 to 99999 was asked for"):
        curves[0](99999.0)


# What is refused


def test_a_y_that_is_not_structured_is_refused(ages):
    with pytest.raises(ValueError, match=r"y is ndarray of float64 type: give a structured array of a bool \(event observed\) and a float"):
        SurvivalEstimator().fit(ages, np.ones(N_PATIENTS))


def test_times_that_are_not_above_0_are_refused(ages, y):
    wrong = y.copy()
    wrong["time"][:2] = (0.0, np.nan)
    with pytest.raises(ValueError, match=r"2 of 60 times of y are not days above 0"):
        SurvivalEstimator().fit(ages, wrong)


def test_an_x_of_another_length_is_refused(ages, y):
    with pytest.raises(ValueError, match=r"X has 10 patients and y 60: give one row of y for each"):
        SurvivalEstimator().fit(ages.head(10), y)


def test_an_x_without_two_axes_needs_a_cohort(y):
    with pytest.raises(ValueError, match=r"X has 1 axes: give patients x columns, or a cohort and the ids of its patients"):
        SurvivalEstimator().fit(np.arange(N_PATIENTS), y)


def test_ids_that_the_cohort_does_not_have_are_refused():
    cohort = tiny_cohort()
    with pytest.raises(ValueError, match=r"1 of 2 values of X are no patients of tiny \(nobody\): X holds ids"):
        SurvivalEstimator(cohort=cohort).fit([cohort.patients[0], "nobody"], outcome([True, True], [1.0, 2.0]))


def test_measurements_of_another_kind_need_a_cohort(ages, y):
    with pytest.raises(ValueError, match=r"reads is 'slides': without a cohort X holds one of clinical, rna, cnv, snv"):
        SurvivalEstimator("abmil", reads="slides").fit(ages, y)


def test_columns_that_were_fitted_with_have_to_be_there_again(ages, y):
    estimator = SurvivalEstimator("clinical").fit(ages, y)
    with pytest.raises(ValueError, match=r"X lacks 1 of the 2 columns that the model was fitted with \(sex\)"):
        estimator.predict(ages[["age"]])
