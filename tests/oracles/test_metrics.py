"""Our metrics against scikit-survival, lifelines, torchsurv and scikit-learn, with and without ties."""

import warnings
from dataclasses import dataclass

import lifelines
import lifelines.statistics
import lifelines.utils
import numpy as np
import pytest
import sklearn.metrics
import sksurv.metrics
import torch
from sksurv.util import Surv

from prognos.metrics import (
    balanced_accuracy,
    brier_score,
    concordance,
    concordance_ipcw,
    confusion,
    cumulative_dynamic_auc,
    horizon_grid,
    integrated_brier_score,
    kaplan_meier,
    logrank,
    one_vs_rest_auc,
    tau_rule,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torchsurv scripts its functions with what torch deprecates
    from torchsurv.metrics.auc import Auc
    from torchsurv.metrics.brier_score import BrierScore
    from torchsurv.metrics.cindex import ConcordanceIndex
    from torchsurv.stats.ipcw import get_ipcw

SIX_DIGITS = 1e-6


@dataclass(frozen=True)
class Patients:
    risk: np.ndarray
    time: np.ndarray
    event: np.ndarray


def draw(n_patients: int, seed: int, ties: bool) -> Patients:
    """Exponential times whose hazard doubles with each unit of risk; with ties, months and one decimal of risk."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n_patients)
    time, censored = generator.exponential(800 * 2.0**-risk), generator.exponential(1200, size=n_patients)
    event, time = time <= censored, np.minimum(time, censored) + 1.0
    if ties:
        time, risk = np.ceil(time / 60.0) * 60.0, np.round(risk, 1)
    return Patients(risk.astype(np.float32).astype(float), time.astype(np.float32).astype(float), event)


@pytest.fixture(params=[False, True], ids=["no-ties", "ties"])
def test_fold(request) -> Patients:
    return draw(150, 1, request.param)


@pytest.fixture(params=[False, True], ids=["train", "train-ties"])
def train_fold(request) -> Patients:
    return draw(600, 2, request.param)


def grid_of(test_fold: Patients, train_fold: Patients) -> np.ndarray:
    """Horizons up to tau at which scikit-survival, too, finds a case and a control."""
    grid = horizon_grid(train_fold.time, train_fold.event)
    return grid[(grid <= tau_rule(train_fold.time, train_fold.event)) & (grid > test_fold.time[test_fold.event].min())]


def structured(patients: Patients) -> np.ndarray:
    return Surv.from_arrays(patients.event, patients.time)


def within_training(test_fold: Patients, train_fold: Patients) -> Patients:
    """scikit-survival refuses test patients who were followed longer than the training fold."""
    kept = test_fold.time < train_fold.time.max()
    return Patients(test_fold.risk[kept], test_fold.time[kept], test_fold.event[kept])


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a) if a.dtype == bool else torch.from_numpy(a).float() for a in arrays]


def test_concordance_is_that_of_three_libraries(test_fold: Patients):
    ours = concordance(test_fold.risk, test_fold.time, test_fold.event)
    of_sksurv = sksurv.metrics.concordance_index_censored(test_fold.event, test_fold.time, test_fold.risk)[0]
    of_lifelines = lifelines.utils.concordance_index(test_fold.time, -test_fold.risk, test_fold.event)
    risk, event, time = tensors(test_fold.risk, test_fold.event, test_fold.time)
    assert ours == pytest.approx(of_sksurv, abs=1e-12)
    assert ours == pytest.approx(of_lifelines, abs=1e-12)
    assert ours == pytest.approx(float(ConcordanceIndex()(risk, event, time)), abs=SIX_DIGITS)


def test_unos_concordance_is_that_of_two_libraries(test_fold: Patients, train_fold: Patients):
    tau = tau_rule(train_fold.time, train_fold.event)
    ours = concordance_ipcw(test_fold.risk, test_fold.time, test_fold.event, train_fold.time, train_fold.event, tau=tau)
    of_sksurv = sksurv.metrics.concordance_index_ipcw(structured(train_fold), structured(test_fold), test_fold.risk, tau=tau)[0]
    assert ours == pytest.approx(of_sksurv, abs=1e-12)
    inside = within_training(test_fold, train_fold)
    ours_inside = concordance_ipcw(inside.risk, inside.time, inside.event, train_fold.time, train_fold.event, tau=tau)
    risk, event, time = tensors(inside.risk, inside.event, inside.time)
    weight = get_ipcw(*tensors(train_fold.event, train_fold.time), time)
    of_torchsurv = float(ConcordanceIndex()(risk, event, time, weight=weight, tmax=torch.tensor(tau).float()))
    assert ours_inside == pytest.approx(of_torchsurv, abs=SIX_DIGITS)


def test_auc_at_every_horizon_and_its_mean_are_those_of_scikit_survival(test_fold: Patients, train_fold: Patients):
    inside = within_training(test_fold, train_fold)
    grid = grid_of(inside, train_fold)
    area, mean = cumulative_dynamic_auc(inside.risk, inside.time, inside.event, train_fold.time, train_fold.event, grid)
    theirs, their_mean = sksurv.metrics.cumulative_dynamic_auc(structured(train_fold), structured(inside), inside.risk, grid)
    np.testing.assert_allclose(area, theirs, atol=1e-12)
    assert mean == pytest.approx(their_mean, abs=1e-12)


def test_auc_is_that_of_torchsurv(test_fold: Patients, train_fold: Patients):
    inside = within_training(test_fold, train_fold)
    grid = grid_of(inside, train_fold)[::10]
    area, _ = cumulative_dynamic_auc(inside.risk, inside.time, inside.event, train_fold.time, train_fold.event, grid)
    risk, event, time, horizons = tensors(inside.risk, inside.event, inside.time, grid)
    train_event, train_time = tensors(train_fold.event, train_fold.time)
    auc = Auc()
    theirs = auc(
        risk,
        event,
        time,
        new_time=horizons,
        weight=get_ipcw(train_event, train_time, time),
        weight_new_time=get_ipcw(train_event, train_time, horizons),
    )
    np.testing.assert_allclose(area, theirs.numpy(), atol=1e-5)  # in float32 it agrees to five digits


def test_brier_scores_are_those_of_two_libraries(test_fold: Patients, train_fold: Patients):
    inside = within_training(test_fold, train_fold)
    grid = grid_of(inside, train_fold)
    survival = np.exp(-np.outer(2.0**inside.risk, grid / 800.0))
    training = (train_fold.time, train_fold.event)
    by_horizon = brier_score(survival, inside.time, inside.event, *training, grid)
    integrated = integrated_brier_score(survival, inside.time, inside.event, *training, grid)
    _, theirs = sksurv.metrics.brier_score(structured(train_fold), structured(inside), survival, grid)
    np.testing.assert_allclose(by_horizon, theirs, atol=1e-12)
    integrated_theirs = sksurv.metrics.integrated_brier_score(structured(train_fold), structured(inside), survival, grid)
    assert integrated == pytest.approx(integrated_theirs, abs=1e-12)
    predicted, event, time, horizons = tensors(survival, inside.event, inside.time, grid)
    train_event, train_time = tensors(train_fold.event, train_fold.time)
    brier = BrierScore()
    of_torchsurv = brier(
        predicted,
        event,
        time,
        new_time=horizons,
        weight=get_ipcw(train_event, train_time, time),
        weight_new_time=get_ipcw(train_event, train_time, horizons),
    )
    np.testing.assert_allclose(by_horizon, of_torchsurv.numpy(), atol=SIX_DIGITS)
    assert integrated == pytest.approx(float(brier.integral()), abs=SIX_DIGITS)


def test_kaplan_meier_and_its_interval_are_those_of_lifelines(test_fold: Patients):
    ours = kaplan_meier(test_fold.time, test_fold.event)
    theirs = lifelines.KaplanMeierFitter().fit(test_fold.time, test_fold.event)
    ends = theirs.confidence_interval_.to_numpy()
    np.testing.assert_array_equal(ours.time, theirs.timeline)
    np.testing.assert_allclose(ours.survival, theirs.survival_function_.to_numpy()[:, 0], atol=1e-12)
    known = ours.survival > 0  # where the curve is 0 there is no variance: lifelines gives 0 to 0, we 0 to the last upper end
    np.testing.assert_allclose(ours.low[known], ends[known, 0], atol=1e-10)
    np.testing.assert_allclose(ours.high[known], ends[known, 1], atol=1e-10)
    np.testing.assert_array_equal(ours.at_risk, theirs.event_table["at_risk"].to_numpy())


@pytest.mark.parametrize("n_groups", [2, 4])
def test_log_rank_is_that_of_lifelines(test_fold: Patients, n_groups: int):
    group = np.arange(150) % n_groups
    ours = logrank(test_fold.time, test_fold.event, group)
    theirs = lifelines.statistics.multivariate_logrank_test(test_fold.time, group, test_fold.event)
    assert ours.statistic == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.p_value, rel=1e-9)
    assert ours.degrees_of_freedom == theirs.degrees_of_freedom


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("ties", [False, True], ids=["no-ties", "ties"])
def test_metrics_of_subtypes_are_those_of_scikit_learn(n_classes: int, ties: bool):
    generator = np.random.default_rng(n_classes)
    label = generator.integers(0, n_classes, 300)
    scores = np.exp((generator.normal(size=(300, n_classes)) + (label[:, None] == np.arange(n_classes))).round(0 if ties else 9))
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).round(6)  # equal ones are equal to the last bit
    theirs = sklearn.metrics.roc_auc_score(label, probabilities[:, 1] if n_classes == 2 else probabilities, multi_class="ovr")
    most_probable = probabilities.argmax(axis=1)
    assert one_vs_rest_auc(probabilities, label) == pytest.approx(theirs, abs=1e-12)
    assert balanced_accuracy(probabilities, label) == pytest.approx(sklearn.metrics.balanced_accuracy_score(label, most_probable))
    np.testing.assert_array_equal(confusion(probabilities, label, n_classes), sklearn.metrics.confusion_matrix(label, most_probable))
