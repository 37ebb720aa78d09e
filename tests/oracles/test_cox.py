"""Cox's model and the Kaplan-Meier curve against lifelines, torchsurv and scikit-survival."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter, KaplanMeierFitter
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from prognos.models.clinical import ridge_coefficients
from prognos.risk import CoxHead, MarginalHead
from prognos.risk.cox import breslow_baseline, partial_likelihood_loss
from prognos.types import Prediction, Survival

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torchsurv scripts its functions with what torch deprecates
    from torchsurv.loss.cox import neg_partial_log_likelihood

N = 120


def patients(seed: int = 0, *, ties: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three standardised columns, one of which matters; days, many of them tied when rounded to weeks; about half censored."""
    generator = np.random.default_rng(seed)
    columns = generator.normal(size=(N, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    died, left = generator.exponential(300 * np.exp(-0.8 * columns[:, 0])), generator.exponential(400, size=N)
    days = np.minimum(died, left)
    days = np.ceil(days / 28) * 28 if ties else days
    return torch.as_tensor(columns), torch.as_tensor(days), torch.as_tensor(died <= left)


def frame(columns, time, event) -> pd.DataFrame:
    return pd.DataFrame(columns.numpy(), columns=["a", "b", "c"]).assign(time=time.numpy(), event=event.numpy())


@pytest.mark.parametrize("penalty", [0.003, 0.1, 1.0, 30.0])
def test_ridge_coefficients_are_those_of_lifelines(penalty):
    """lifelines divides its partial likelihood by the patients, we by the events; it standardises with n - 1, our columns are with n."""
    columns, time, event = patients()
    theirs = penalty * int(event.sum()) / N * (N - 1) / N
    fitter = CoxPHFitter(penalizer=theirs, l1_ratio=0.0)
    fitter.fit(frame(columns, time, event), "time", "event", fit_options={"precision": 1e-10})
    assert ridge_coefficients(columns, time, event, penalty).numpy() == pytest.approx(fitter.params_.to_numpy(), abs=1e-6)


def test_ridge_coefficients_without_a_tie_are_those_of_scikit_survival():
    columns, time, event = patients(ties=False)
    theirs = CoxPHSurvivalAnalysis(alpha=0.1 * int(event.sum())).fit(columns.numpy(), Surv.from_arrays(event.numpy(), time.numpy()))
    assert ridge_coefficients(columns, time, event, 0.1).numpy() == pytest.approx(theirs.coef_, abs=1e-6)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_the_partial_likelihood_is_that_of_torchsurv(ties):
    _, time, event = patients(1)
    risk = torch.randn(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.warns(UserWarning, match=f"using {ties} method"):
        theirs = neg_partial_log_likelihood(risk, event, time, ties_method=ties, reduction="sum")
    ours = partial_likelihood_loss(risk, time, event, ties) * event.sum()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_the_partial_likelihood_at_the_optimum_is_that_of_lifelines():
    columns, time, event = patients(2)
    fitter = CoxPHFitter().fit(frame(columns, time, event), "time", "event", fit_options={"precision": 1e-10})
    risk = columns @ torch.as_tensor(fitter.params_.to_numpy())
    ours = -float(partial_likelihood_loss(risk, time, event, "efron") * event.sum())
    assert ours == pytest.approx(fitter.log_likelihood_, rel=1e-7)


def test_the_baseline_hazard_is_that_of_lifelines():
    columns, time, event = patients(3)
    fitter = CoxPHFitter().fit(frame(columns, time, event), "time", "event")
    risk = columns @ torch.as_tensor(fitter.params_.to_numpy())
    times, log_hazard = breslow_baseline(risk, time, event)
    centred = float(torch.as_tensor(fitter.params_.to_numpy()) @ columns.mean(dim=0))
    theirs = fitter.baseline_cumulative_hazard_["baseline cumulative hazard"].loc[times.numpy()]
    assert torch.exp(log_hazard + centred).numpy() == pytest.approx(theirs.to_numpy(), rel=1e-6)


def test_survival_curves_are_those_of_scikit_survival():
    columns, time, event = patients(4)
    theirs = CoxPHSurvivalAnalysis(ties="breslow").fit(columns.numpy(), Surv.from_arrays(event.numpy(), time.numpy()))
    head = CoxHead(3)
    risk = columns @ torch.as_tensor(theirs.coef_)
    head.learn_baseline(risk, Survival(time, event))
    days = np.linspace(float(time.min()), float(time.max()) * 0.99, 17)
    expected = np.stack([curve(days) for curve in theirs.predict_survival_function(columns.numpy()[:6])])
    assert head.survival_curve(Prediction(risk[:6]), torch.as_tensor(days)).numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ties", [True, False])
def test_the_marginal_curve_is_that_of_lifelines(ties):
    _, time, event = patients(5, ties=ties)
    head = MarginalHead()
    head.learn_baseline(torch.zeros(N), Survival(time, event))
    days = np.concatenate([[0.0], time[event].numpy()[:20], np.linspace(1, 2000, 40)])
    theirs = KaplanMeierFitter().fit(time.numpy(), event.numpy()).survival_function_at_times(days)
    ours = head.survival_curve(Prediction(torch.zeros(1)), torch.as_tensor(days))[0]
    assert ours.numpy() == pytest.approx(theirs.to_numpy(), abs=1e-12)
