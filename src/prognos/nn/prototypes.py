"""Centres of what the training patients show, by k-means: prototypes of patches and tokens, groups of genes."""

import torch
from jaxtyping import Float
from torch import Tensor

from prognos.nn.patches import spread_patches
from prognos.types import TrainingFold


def training_patches(train: TrainingFold, most: int) -> Float[Tensor, "patches d_patch"]:
    """Patches of the training patients, as many of each, evenly spread over the slide's order; all of who has fewer.

    Args:
        train: the training patients.
        most: patches of all patients together, and at least one of each.
    """
    each = max(1, most // max(1, len(train.patients)))
    found = []
    for bag in train.bags():
        rows = bag["histology"].rows(0)
        found.append(rows[spread_patches(len(rows), each).to(rows.device)].float())
    return torch.cat(found)


def patch_prototypes(train: TrainingFold, n_prototypes: int, *, most: int) -> Float[Tensor, "prototypes d_patch"]:
    """Centres of k-means over the training patients' patches, the same every time.

    Args:
        train: the training patients.
        n_prototypes: K; with fewer different patches the last centres are repeated.
        most: patches that the centres are found on; see `training_patches`.
    """
    return exactly(n_prototypes, k_means(training_patches(train, most), n_prototypes)).float()


def exactly(n: int, centres: Float[Tensor, "centres width"]) -> Float[Tensor, "n width"]:
    """As many centres as asked for: the last one again where there are fewer."""
    return torch.cat([centres, centres[-1:].expand(n - len(centres), -1)])


def k_means(points: Float[Tensor, "points width"], n_centres: int, *, starts: int = 4) -> Float[Tensor, "centres width"]:
    """The centres of k-means in double precision, the same every time; only as many as there are different points.

    Args:
        points: at least one.
        n_centres: k.
        starts: of which the best is taken.
    """
    from sklearn.cluster import KMeans  # slow to import

    rows = points.detach().double().cpu()
    k = min(n_centres, len(torch.unique(rows, dim=0)))
    return torch.as_tensor(KMeans(k, n_init=starts, random_state=0).fit(rows.numpy()).cluster_centers_)


def nearest_prototype(rows: Float[Tensor, "patches d_patch"], prototypes: Float[Tensor, "prototypes d_patch"]) -> Tensor:
    """The place of the prototype that is nearest to each patch, by Euclidean distance; (patches,)."""
    half = prototypes @ prototypes.T
    return (rows.to(prototypes.dtype) @ prototypes.T - half.diagonal() / 2).argmax(dim=1)
