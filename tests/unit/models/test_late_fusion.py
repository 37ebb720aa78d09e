"""Late fusion: z-scores by hand, and patients of whom one part knows nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from prognos.models.contract import Model, Needs
from prognos.models.late_fusion import LateFusion, LateFusionConfig
from prognos.types import Bag, InputShape, Prediction, Progress, Survival, Tokens

GENES = [1.0, 2.0, 3.0, 6.0]
PATCHES = [10.0, 30.0, 20.0, 40.0]
SURVIVAL = Survival(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([True, True, False, True]))


class Genes(Model):
    """A fitted model whose risk is the number that stands in the bag."""

    needs = Needs(modalities=("omics",))

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, bag, progress=None):
        return Prediction(bag[self.needs.modalities[0]].values[:, 0, 0])


class Patches(Genes):
    needs = Needs(modalities=("histology",))


def bag(genes=GENES, patches=PATCHES, lacking_genes=(), lacking_patches=()) -> Bag:
    n = len(genes)
    patients = tuple("abcdefgh"[:n])

    def tokens(values, lacking):
        return Tokens(torch.tensor(values)[:, None, None], torch.tensor([[p not in lacking] for p in patients]))

    return Bag(patients, {"omics": tokens(genes, lacking_genes), "histology": tokens(patches, lacking_patches)})


class Fold:
    """The four patients, in bags of any size; fulfils `prognos.types.TrainingFold`."""

    def __init__(self, whole: Bag):
        self.whole, self.patients = whole, whole.patients

    @property
    def survival(self):
        return SURVIVAL

    @property
    def sites(self):
        return ("",) * 4

    def bags(self, batch_size=1):
        yield self.whole

    def tokens(self, modality: str):
        """Never asked for here."""
        raise NotImplementedError


def learnt(train: Bag) -> LateFusion:
    model = LateFusion(LateFusionConfig(), InputShape(d_patch=1, n_genes=1))
    model.take_parts({"snn": Genes(), "abmil": Patches()})
    model.learn(Fold(train))
    return model.eval()


def z(values: list[float], of: list[float]) -> np.ndarray:
    return (np.array(of) - np.mean(values)) / np.std(values, ddof=1)


def test_the_risk_is_the_mean_of_z_scored_risks():
    risk = learnt(bag())(bag()).risk.detach()
    assert risk.tolist() == pytest.approx(((z(GENES, GENES) + z(PATCHES, PATCHES)) / 2).tolist(), abs=1e-6)


def test_a_test_patient_is_scored_by_the_training_patients():
    model = learnt(bag())
    risk = model(bag([9.0], [10.0])).risk.detach()
    assert risk.tolist() == pytest.approx(((z(GENES, [9.0]) + z(PATCHES, [10.0])) / 2).tolist(), abs=1e-6)


def test_who_lacks_a_modality_gets_the_other_z_score_alone():
    risk = learnt(bag())(bag(lacking_genes="a", lacking_patches="b")).risk.detach()
    assert risk[0] == pytest.approx(z(PATCHES, PATCHES)[0], abs=1e-6)
    assert risk[1] == pytest.approx(z(GENES, GENES)[1], abs=1e-6)


def test_who_lacks_both_stands_at_the_training_average():
    prediction = learnt(bag())(bag(lacking_genes="a", lacking_patches="a"))
    assert float(prediction.risk[0].detach()) == 0.0
    assert prediction.evidence["part_risks"][0].isnan().all()


def test_training_patients_without_a_modality_do_not_count_in_its_mean():
    model = learnt(bag(lacking_genes="d"))
    assert float(model.mean[0]) == pytest.approx(2.0)
    assert float(model.deviation[0]) == pytest.approx(1.0)  # of 1, 2, 3


def test_a_part_that_says_the_same_of_everyone_adds_nothing():
    model = learnt(bag([5.0, 5.0, 5.0, 5.0]))
    risk = model(bag([5.0, 5.0, 5.0, 5.0])).risk.detach()
    assert risk.tolist() == pytest.approx((z(PATCHES, PATCHES) / 2).tolist(), abs=1e-6)


def test_a_part_known_of_one_training_patient_has_no_spread():
    model = learnt(bag(lacking_genes="bcd"))
    assert (float(model.mean[0]), float(model.deviation[0])) == (1.0, 1.0)


def test_the_loss_is_the_survival_loss_of_the_fused_risk():
    model = learnt(bag())
    found = model.losses(bag(), SURVIVAL, Progress(0, 1, 0, 1))
    risk = (z(GENES, GENES) + z(PATCHES, PATCHES)) / 2
    total = sum(np.log(np.exp(risk[i:]).sum()) - risk[i] for i in (0, 1, 3)) / 3
    assert float(found["survival"].detach()) == pytest.approx(total, rel=1e-5)
