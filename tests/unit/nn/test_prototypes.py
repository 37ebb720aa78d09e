"""Prototypes of patches: from training patients only, as many patches of each."""

import torch

from prognos.nn.prototypes import nearest_prototype, patch_prototypes, training_patches
from prognos.types import Bag, Tokens


class Fold:
    """Patients whose patches lie at their own place and hold the patch's number."""

    survival = None
    sites = ()

    def tokens(self, modality):
        raise NotImplementedError

    def __init__(self, *sizes: int, spread: float = 0.0):
        self.patients = tuple(str(i) for i in range(len(sizes)))
        generator = torch.Generator().manual_seed(0)
        self.rows = [torch.full((n, 2), 10.0 * i) + spread * torch.randn(n, 2, generator=generator) for i, n in enumerate(sizes)]

    def bags(self, batch_size: int = 1):
        for patient, rows in zip(self.patients, self.rows, strict=True):
            mask = torch.ones(1, max(1, len(rows)), dtype=torch.bool)
            values = rows if len(rows) else torch.zeros(1, 2)
            yield Bag((patient,), {"histology": Tokens(values[None], mask if len(rows) else ~mask)})


def test_each_training_patient_gives_as_many_patches_and_a_small_one_all():
    found = training_patches(Fold(100, 3, 100), most=30)
    assert [int((found[:, 0] == 10 * i).sum()) for i in range(3)] == [10, 3, 10]


def test_prototypes_are_the_centres_of_what_there_is():
    centres = patch_prototypes(Fold(50, 50, 50, spread=0.1), 3, most=150)
    assert sorted(round(float(value)) for value in centres[:, 0]) == [0, 10, 20]


def test_with_fewer_different_patches_than_prototypes_the_last_is_repeated():
    centres = patch_prototypes(Fold(4, 4), 5, most=100)
    assert len(centres) == 5
    assert len(torch.unique(centres, dim=0)) == 2


def test_a_patient_without_patches_gives_none():
    assert len(training_patches(Fold(5, 0), most=10)) == 5


def test_the_nearest_prototype_is_that_of_the_least_distance():
    generator = torch.Generator().manual_seed(1)
    rows, prototypes = torch.randn(40, 3, generator=generator), torch.randn(6, 3, generator=generator)
    assert nearest_prototype(rows, prototypes).tolist() == torch.cdist(rows, prototypes).argmin(dim=1).tolist()
