"""Prototypes of patches: centres of k-means over patches of the training patients."""

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
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
    patches = training_patches(train, most).double().cpu()
    different = torch.unique(patches, dim=0)
    k = min(n_prototypes, len(different))
    centres = torch.as_tensor(KMeans(k, n_init=4, random_state=0).fit(patches.numpy()).cluster_centers_)
    return torch.cat([centres, centres[-1:].expand(n_prototypes - k, -1)]).float()


def nearest_prototype(rows: Float[Tensor, "patches d_patch"], prototypes: Float[Tensor, "prototypes d_patch"]) -> Tensor:
    """The place of the prototype that is nearest to each patch, by Euclidean distance; (patches,)."""
    half = prototypes @ prototypes.T
    return (rows.to(prototypes.dtype) @ prototypes.T - half.diagonal() / 2).argmax(dim=1)
