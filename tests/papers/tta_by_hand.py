"""A tiny TTA in float64 and a bag for it, shared by the tests of its equations."""

import torch

from prognos.models.tta import TTA, TTAConfig
from prognos.types import Bag, InputShape, Progress, Survival, Tokens

SHAPE = InputShape(d_patch=4, pathway_features=(2, 3))
PROGRESS = Progress(step=3, steps_per_epoch=2, epoch=1, epochs=5)
SURVIVAL = Survival(torch.tensor([5.0, 2.0, 9.0], dtype=torch.float64), torch.tensor([True, True, False]))
N_PATCHES = (5, 2, 7)


def tiny(**settings) -> TTA:
    """K = 3 prototypes in D = 6 dimensions, dropout off."""
    torch.manual_seed(0)
    values = {"d_model": 6, "n_prototypes": 3, "dropout": 0.0} | settings
    return TTA(TTAConfig(**values), SHAPE).double().eval()


def bag() -> Bag:
    """Three patients with 5, 2 and 7 patches, padded to 7, and two pathways of 2 and 3 features."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor(N_PATCHES)[:, None]
    pathways = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)
    pathways[:, 0, 2] = 0.0
    return Bag(
        ("a", "b", "c"),
        {"histology": Tokens(patches * mask[:, :, None], mask), "omics": Tokens(pathways, torch.ones(3, 2, dtype=torch.bool))},
    )


class NoFold:
    """A training fold of nobody, for hooks that do not look at it."""

    patients: tuple[str, ...] = ()
    survival = SURVIVAL
    sites: tuple[str, ...] = ()

    def bags(self, batch_size: int = 1):
        """No bag."""
        return iter(())

    def tokens(self, modality: str):
        """Never asked for here."""
        raise NotImplementedError


def leaky(x: float) -> float:
    """LeakyReLU with slope 0.1."""
    return x if x > 0 else 0.1 * x


def unit(vector: list[float]) -> list[float]:
    """The vector divided by its length."""
    length = sum(v * v for v in vector) ** 0.5
    return [v / length for v in vector]


def dot(a: list[float], b: list[float]) -> float:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Matrix times vector."""
    return [dot(row, vector) for row in matrix]
