import numpy as np
import pytest
import torch
from torch import nn

from prognos.interpret.gradients import integrated_gradients
from prognos.types import Bag, Prediction, Tokens


class Cubic(nn.Module):
    """risk = w1 x1^3 + w2 x1 x2; its integrated gradients from 0 are w1 x1^3 + w2 x1 x2 / 2 and w2 x1 x2 / 2."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, bag: Bag) -> Prediction:
        x = bag["omics"].values[:, 0]
        return Prediction(self.weight[0] * x[:, 0] ** 3 + self.weight[1] * x[:, 0] * x[:, 1])


class Deaf(nn.Module):
    """A risk that nothing moves."""

    def forward(self, bag: Bag) -> Prediction:
        return Prediction(torch.zeros(len(bag)))


class Sharp(nn.Module):
    """tanh(50 x): nearly all of the change lies in the first twentieth of the way."""

    def forward(self, bag: Bag) -> Prediction:
        return Prediction(torch.tanh(50 * bag["omics"].values[:, 0, 0]))


def bag_of(*rows: tuple[float, float]) -> Bag:
    values = torch.tensor(rows)[:, None]
    return Bag(tuple("abc"[: len(rows)]), {"omics": Tokens(values, torch.ones(len(rows), 1, dtype=torch.bool))})


def test_attributions_are_the_integral_of_the_gradient():
    found = integrated_gradients(Cubic(), bag_of((1.0, 2.0), (-2.0, 0.5)))
    # x1 x2 = 2 and -1; x1^3 = 1 and -8
    assert found.values[:, 0] == pytest.approx(np.array([[2 * 1 + 3 * 2 / 2, 3 * 2 / 2], [2 * -8 + 3 * -1 / 2, 3 * -1 / 2]]), rel=1e-5)
    assert found.risk == pytest.approx([8.0, -19.0])
    assert found.baseline == pytest.approx([0.0, 0.0])
    assert np.abs(found.unexplained).max() < 1e-4


def test_a_risk_that_changes_at_the_very_beginning_is_integrated_all_the_same():
    found = integrated_gradients(Sharp(), bag_of((1.0, 0.0)))
    assert found.values.sum() == pytest.approx(1.0, abs=0.01)


def test_attributing_leaves_the_parameters_as_they_were():
    model = Cubic()
    integrated_gradients(model, bag_of((1.0, 1.0)), steps=2)
    assert model.weight.requires_grad
    assert model.weight.grad is None


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="at least 1 step, and 0 were asked for"):
        integrated_gradients(Cubic(), bag_of((1.0, 1.0)), steps=0)


def test_a_model_whose_risk_does_not_depend_on_the_modality_is_refused():
    with pytest.raises(ValueError, match="the risk of Deaf has no gradient for omics"):
        integrated_gradients(Deaf(), bag_of((1.0, 1.0)))
