"""The training fold as a model may see it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prognos import runtime
from prognos.cohort import Cohort
from prognos.models.contract import Needs
from prognos.tokens.fill import Filler
from prognos.tokens.inputs import InputsConfig, Reader
from prognos.types import Bag, Survival, Tokens


@dataclass(frozen=True)
class Fold:
    """Training patients with their survival and a reader of their bags; fulfils `types.TrainingFold`.

    Args:
        cohort: training patients only.
        reader: makes their bags.
        device: where bags and survival go.
        n_patches: most patches of a patient in a training step.
        filler: fills in what patients lack, where the model does not see to that itself.
    """

    cohort: Cohort
    reader: Reader
    device: torch.device
    n_patches: int
    filler: Filler | None = None

    @property
    def patients(self) -> tuple[str, ...]:
        """Ids of the training patients."""
        return self.cohort.patients

    @property
    def survival(self) -> Survival:
        """Their survival and subtypes, in the order of `patients`."""
        return survival_of(self.cohort).to(self.device)

    @property
    def sites(self) -> tuple[str, ...]:
        """Their sites; empty text where unknown."""
        return tuple(str(site) for site in self.cohort.sites)

    def bags(self, batch_size: int = 1) -> Iterator[Bag]:
        """All training patients in order, with every patch."""
        for start in range(0, len(self.patients), batch_size):
            yield self.filled(self.reader.bag(self.patients[start : start + batch_size])).to(self.device)

    def tokens(self, modality: str) -> Tokens:
        """One modality but histology of all training patients, as measured."""
        return self.reader.measured[modality].tokens(np.arange(len(self.patients))).to(self.device)

    def filled(self, bag: Bag) -> Bag:
        """The bag as the model gets it."""
        return bag if self.filler is None else self.filler(bag)


def survival_of(cohort: Cohort) -> Survival:
    """Time, event and, in a cohort with classes, subtype of its patients as tensors."""
    subtype = torch.as_tensor(cohort.subtype_index) if cohort.subtype_classes else None
    time, event = torch.as_tensor(np.asarray(cohort.time), dtype=torch.float64), torch.as_tensor(np.asarray(cohort.event, dtype=bool))
    return Survival(time, event, subtype)


def having_any(cohort: Cohort, modalities: Sequence[str], omics_kinds: Sequence[str] | None = None) -> np.ndarray:
    """True for the patients that have at least one of the modalities, and for everyone when there is none to have.

    Args:
        cohort: whose patients.
        modalities: what a model reads.
        omics_kinds: the data types that `omics` stands for; all of them when empty.
    """
    if not modalities:
        return np.ones(len(cohort.patients), dtype=bool)
    some = np.zeros(len(cohort.patients), dtype=bool)
    for modality in modalities:
        names = tuple(omics_kinds) if modality == "omics" and omics_kinds else (modality,)
        for name in names:
            if name in cohort.modalities or name in cohort.omics_kinds:
                some |= np.asarray(cohort.has(name))
    return some


def feedable(cohort: Cohort, needs: Needs, config: InputsConfig | None = None) -> str | None:
    """Why a cohort cannot feed a model, in a sentence, or None when it can.

    Args:
        cohort: the patients.
        needs: what the model reads.
        config: which omics data types and which gene sets it reads; the model's own when empty.
    """
    config = config or InputsConfig()
    for modality in needs.modalities:
        kinds = config.omics_kinds if modality == "omics" else None
        if not having_any(cohort, (modality,), kinds).any():
            return f"none of the {len(cohort.patients)} patients of {cohort.name} has {' or '.join(kinds or (modality,))}"
    gene_set = config.gene_set or needs.gene_set
    if needs.omics == "pathways" and "omics" in needs.modalities and gene_set not in cohort.gene_sets:
        return f"{cohort.name} has no gene sets called {gene_set!r}: give them with --gene-sets {gene_set}=FILE.gmt"
    return None


def evaluation_bags(reader: Reader, patients: Sequence[str], *, most_patches: int | None = None, seed: int = 0) -> Iterator[Bag]:
    """Bags of all these patients for prediction, in an order of their own that does not depend on the order given.

    Args:
        reader: of a cohort that has the patients.
        patients: whose bags.
        most_patches: patients with more patches are drawn from, each alone, by seed and patient id: what is drawn of one does not
            depend on who else is predicted. Every patch when empty.
        seed: of that draw.
    """
    sizes = {patient: reader.n_patches(patient) for patient in patients}
    ordered = sorted(sizes, key=lambda patient: (sizes[patient], patient))
    whole = tuple(patient for patient in ordered if most_patches is None or sizes[patient] <= most_patches)
    for batch in batches_by_size(whole, sizes):
        yield reader.bag(batch)
    for patient in ordered[len(whole) :]:
        yield reader.bag((patient,), n_patches=most_patches, generator=runtime.generator("evaluation patches", seed, patient))


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
