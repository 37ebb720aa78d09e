"""Clinical Cox: its penalty, its inner folds, its coefficients."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from prognos.models.clinical import Clinical, ClinicalConfig, _inner_folds, ridge_coefficients
from prognos.types import Bag, InputShape, Survival, Tokens

GRID = (0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Fold:
    """Patients with two columns; fulfils `prognos.types.TrainingFold`."""

    columns: torch.Tensor
    survival: Survival
    sites: tuple[str, ...]

    @property
    def patients(self):
        return tuple(f"p{i:03d}" for i in range(len(self.survival)))

    def bags(self, batch_size=1):
        for start in range(0, len(self.survival), batch_size):
            values = self.columns[start : start + batch_size, None].float()
            mask = torch.ones(len(values), 1, dtype=torch.bool)
            yield Bag(self.patients[start : start + batch_size], {"clinical": Tokens(values, mask)})

    def tokens(self, modality: str):
        """Never asked for here."""
        raise NotImplementedError


def fold(effect: float, n: int = 80, seed: int = 0, sites: tuple[str, ...] | None = None) -> Fold:
    """Exponential times whose log-hazard is `effect` times the first column; a third of the patients is censored."""
    generator = np.random.default_rng(seed)
    columns = generator.normal(size=(n, 2))
    time = generator.exponential(np.exp(-effect * columns[:, 0]))
    event = generator.random(n) > 1 / 3
    return Fold(torch.as_tensor(columns), Survival(torch.as_tensor(time), torch.as_tensor(event)), sites or ("",) * n)


def learnt(train: Fold, penalties=GRID) -> Clinical:
    model = Clinical(ClinicalConfig(penalties=penalties, inner_folds=3), InputShape(tables={"clinical": 2}))
    model.learn(train)
    return model


def test_the_gradient_is_zero_at_the_ridge_coefficients():
    """Newton ends where the derivative of l(b) + penalty / 2 |b|^2 is zero: by finite differences."""
    train = fold(1.0)
    time, event = train.survival.time, train.survival.event

    def objective(b):
        total = 0.0
        risk = (train.columns @ b).numpy()
        for i in np.flatnonzero(event.numpy()):
            total += np.log(np.exp(risk[time.numpy() >= float(time[i])]).sum()) - risk[i]
        return total / int(event.sum()) + 0.3 / 2 * float(b @ b)

    b = ridge_coefficients(train.columns, time, event, 0.3)
    for k in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[k] = 1e-4
        assert abs(objective(b + step) - objective(b - step)) / 2e-4 < 1e-6


def test_noise_is_given_a_strong_penalty_and_a_signal_a_weak_one():
    chosen = [[float(learnt(fold(effect, seed=seed)).penalty) for seed in range(3)] for effect in (0.0, 1.5)]
    assert np.mean([penalty >= 0.1 for penalty in chosen[0]]) > 0.6
    assert np.mean([penalty <= 0.1 for penalty in chosen[1]]) == 1.0


def test_a_stronger_penalty_shrinks_the_coefficients():
    train = fold(1.0)
    norms = [float(learnt(train, (penalty,)).head.weight.weight.detach().norm()) for penalty in GRID]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.7 * norms[0]


def test_a_higher_hazard_is_a_higher_risk():
    model, train = learnt(fold(1.0)), fold(1.0)
    bag = next(train.bags(80))
    risk = model(bag).risk.detach()
    assert float(torch.corrcoef(torch.stack([risk.double(), train.columns[:, 0]]))[0, 1]) > 0.9


def test_the_evidence_is_the_coefficients():
    model = learnt(fold(1.0))
    bag = next(fold(1.0).bags(2))
    assert torch.equal(model(bag).evidence["coefficients"], model.head.weight.weight[0])


def test_perfect_separation_stays_finite():
    n = 30
    columns = torch.stack([torch.linspace(-1, 1, n), torch.zeros(n)], dim=1).double()
    survival = Survival(torch.linspace(30, 1, n).double(), torch.ones(n, dtype=torch.bool))
    weight = learnt(Fold(columns, survival, ("",) * n)).head.weight.weight
    assert bool(weight.isfinite().all())
    assert float(weight[0, 1].detach()) == 0.0


def test_one_event_is_enough_for_the_penalty_to_be_chosen():
    train = fold(0.0, n=12)
    event = torch.zeros(12, dtype=torch.bool)
    event[3] = True
    model = learnt(Fold(train.columns, Survival(train.survival.time, event), train.sites))
    assert float(model.penalty) in GRID


def test_no_column_has_no_coefficient():
    assert ridge_coefficients(torch.zeros(3, 0).double(), torch.ones(3).double(), torch.ones(3, dtype=torch.bool), 0.1).shape == (0,)


# Inner folds


def test_inner_folds_keep_sites_whole_where_there_are_enough_and_balance_events():
    sites = tuple(f"s{i % 12}" for i in range(80))
    train = fold(0.0, sites=sites)
    inner = _inner_folds(train, 4)
    assert all(len({inner[i] for i in range(80) if sites[i] == site}) == 1 for site in set(sites))
    events = np.bincount(inner, weights=train.survival.event.numpy())
    assert events.max() - events.min() <= 6


def test_inner_folds_are_of_patients_where_sites_are_few_or_unknown():
    for sites in (("a", "b") * 40, ("",) * 80):
        inner = _inner_folds(fold(0.0, sites=sites), 4)
        events = np.bincount(inner, weights=fold(0.0).survival.event.numpy())
        assert events.max() - events.min() <= 1


def test_patients_of_unknown_site_are_dealt_one_by_one():
    sites = tuple(f"s{i % 10}" if i < 60 else "" for i in range(80))
    inner = _inner_folds(fold(0.0, sites=sites), 4)
    assert len({inner[i] for i in range(60, 80)}) == 4


def test_inner_folds_do_not_depend_on_the_order_of_patients_but_by_their_ids():
    assert _inner_folds(fold(0.0), 5).tolist() == _inner_folds(fold(0.0), 5).tolist()


@pytest.mark.parametrize("n_folds", [2, 5])
def test_every_inner_fold_has_patients(n_folds):
    assert set(_inner_folds(fold(0.0), n_folds)) == set(range(n_folds))
