"""The training fold as a model may see it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from prognos.cohort import Cohort
from prognos.models.contract import Needs
from prognos.tokens.inputs import Reader
from prognos.types import Bag, Survival


@dataclass(frozen=True)
class Fold:
    """Training patients with their survival and a reader of their bags; fulfils `types.TrainingFold`.

    Args:
        cohort: training patients only.
        reader: makes their bags.
        device: where bags and survival go.
        n_patches: most patches of a patient in a training step.
    """

    cohort: Cohort
    reader: Reader
    device: torch.device
    n_patches: int

    @property
    def patients(self) -> tuple[str, ...]:
        """Ids of the training patients."""
        return self.cohort.patients

    @property
    def survival(self) -> Survival:
        """Their survival, in the order of `patients`."""
        return survival_of(self.cohort).to(self.device)

    @property
    def sites(self) -> tuple[str, ...]:
        """Their sites; empty text where unknown."""
        return tuple(str(site) for site in self.cohort.sites)

    def bags(self, batch_size: int = 1) -> Iterator[Bag]:
        """All training patients in order, with every patch."""
        for start in range(0, len(self.patients), batch_size):
            yield self.reader.bag(self.patients[start : start + batch_size]).to(self.device)


def survival_of(cohort: Cohort) -> Survival:
    """Time and event of a cohort's patients as tensors."""
    return Survival(torch.as_tensor(np.asarray(cohort.time), dtype=torch.float32), torch.as_tensor(np.asarray(cohort.event, dtype=bool)))


def having_any(cohort: Cohort, modalities: tuple[str, ...]) -> np.ndarray:
    """True for the patients that have at least one of the modalities (everyone has `clinical`)."""
    some = np.zeros(len(cohort.patients), dtype=bool)
    for modality in modalities:
        some |= np.ones_like(some) if modality == "clinical" else np.asarray(cohort.has(modality))
    return some


def feedable(cohort: Cohort, needs: Needs) -> str | None:
    """Why a cohort cannot feed a model, in a sentence, or None when it can."""
    for modality in needs.modalities:
        if modality != "clinical" and not (modality in cohort.modalities and np.asarray(cohort.has(modality)).any()):
            return f"{cohort.name} has no {modality}"
    if needs.omics == "pathways" and "omics" in needs.modalities and needs.gene_set not in cohort.gene_sets:
        return f"{cohort.name} has no gene sets called {needs.gene_set!r}: give them with --gene-sets {needs.gene_set}=FILE.gmt"
    return None


def batches_by_size(
    patients: tuple[str, ...], n_patches: Mapping[str, int], budget: int = 65_536, most: int = 64
) -> Iterator[tuple[str, ...]]:
    """Consecutive patients in batches whose padded size stays within a budget of patches; a large patient stands alone."""
    batch: list[str] = []
    longest = 0
    for patient in patients:
        size = max(longest, n_patches.get(patient, 0))
        if batch and (size * (len(batch) + 1) > budget or len(batch) == most):
            yield tuple(batch)
            batch, size = [], n_patches.get(patient, 0)
        batch.append(patient)
        longest = size
    if batch:
        yield tuple(batch)
