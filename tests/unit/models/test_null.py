"""The Kaplan-Meier null: one risk and one curve, for a cohort of which nothing was measured."""

import torch

from prognos.models.null import Null, NullConfig
from prognos.types import Bag, InputShape, Progress, Survival

SURVIVAL = Survival(torch.tensor([10.0, 20.0, 20.0, 40.0]), torch.tensor([True, True, False, True]))


class Fold:
    """Four patients; fulfils `prognos.types.TrainingFold`."""

    survival, patients, sites = SURVIVAL, tuple("abcd"), ("",) * 4

    def bags(self, batch_size=1):
        yield Bag(self.patients, {})

    def tokens(self, modality: str):
        """Never asked for here."""
        raise NotImplementedError


def test_everyone_has_risk_zero_and_the_kaplan_meier_curve():
    """Four at risk at day 10, three at day 20, one at day 40: 3/4, 3/4 x 2/3, 0."""
    model = Null(NullConfig(), InputShape())
    nobody = Bag(("x", "y"), {})
    model.finish(Fold(), model(nobody).risk)
    prediction = model(nobody)
    curve = model.head.survival_curve(prediction, torch.tensor([0.0, 9.9, 10.0, 19.0, 20.0, 39.0, 40.0, 99.0]))
    assert prediction.risk.tolist() == [0.0, 0.0]
    expected = torch.tensor([1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    assert torch.allclose(curve, expected.expand(2, 8))


def test_there_is_nothing_to_train():
    model = Null(NullConfig(), InputShape())
    assert list(model.parameters()) == []
    assert float(model.losses(Bag(("x",), {}), SURVIVAL, Progress(0, 1, 0, 1))["survival"]) == 0.0
