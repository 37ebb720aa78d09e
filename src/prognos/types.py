"""What flows between the stations of a study: outcomes, tokens, bags, predictions.

Axis names used by every annotation of the package: `batch patches pathways tokens prototypes heads bins times genes
d_patch d_model`. This module imports torch; `cohort`, `omics` and `metrics` work on arrays and do not import it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Survival:
    """Time to event of a batch of patients, and their tumour's subtype where a study has subtypes.

    Args:
        time: days from diagnosis to the event or to the last follow-up.
        event: True when the event was observed, False when the patient is censored.
        subtype: index into the cohort's classes, -1 where unknown.
    """

    time: Float[Tensor, " batch"]
    event: Bool[Tensor, " batch"]
    subtype: Int[Tensor, " batch"] | None = None

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: Any) -> "Survival":
        return Survival(self.time[index], self.event[index], None if self.subtype is None else self.subtype[index])

    def to(self, device: torch.device | str) -> "Survival":
        """These outcomes on a device."""
        return Survival(self.time.to(device), self.event.to(device), None if self.subtype is None else self.subtype.to(device))


@dataclass(frozen=True)
class Tokens:
    """One modality of a batch of patients.

    Args:
        values: one row a token. Histology: patch features as stored (float16 or float32; the encoder casts
            them patient by patient). Omics as pathways: the features of each pathway, padded with zeros to the widest one. Omics as
            genes, clinical and further tables: a single token.
        mask: True for real tokens. A patient without the modality has no real token.
        coords: x, y of each patch in level-0 pixels, where known.
        slide: which of the patient's slides each patch is of, counted from 0, where known.
    """

    values: Float[Tensor, "batch tokens width"]
    mask: Bool[Tensor, "batch tokens"]
    coords: Shaped[Tensor, "batch tokens 2"] | None = None
    slide: Int[Tensor, "batch tokens"] | None = None

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """True for patients that have the modality."""
        return self.mask.any(dim=1)

    def rows(self, patient: int) -> Float[Tensor, "tokens width"]:
        """The real tokens of one patient as stored: a view where they lie in front (they do in our batches)."""
        mask = self.mask[patient]
        n_real = int(mask.sum())
        in_front = bool(mask[:n_real].all())
        return self.values[patient, :n_real] if in_front else self.values[patient, mask]

    def slides(self, patient: int) -> Int[Tensor, " tokens"] | None:
        """Which slide each of one patient's `rows` is of; None where that is not known."""
        return None if self.slide is None else self.slide[patient, self.mask[patient]]

    def absent(self, patients: Bool[Tensor, " batch"] | None = None) -> "Tokens":
        """The same shapes with no real token, for everyone or for the patients that are True."""
        gone = torch.ones_like(self.present) if patients is None else patients
        return replace(self, values=self.values.masked_fill(gone[:, None, None], 0), mask=self.mask & ~gone[:, None])

    def to(self, device: torch.device | str) -> "Tokens":
        """These tokens on a device."""
        return self._each(lambda part: part.to(device))

    def of(self, patients: Int[Tensor, " some"]) -> "Tokens":
        """Those of some of the patients."""
        return self._each(lambda part: part[patients])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Tokens":
        """The same change of every tensor that is there."""
        coords, slide = (None if part is None else change(part) for part in (self.coords, self.slide))
        return Tokens(change(self.values), change(self.mask), coords, slide)


@dataclass(frozen=True)
class Bag:
    """A batch of patients, each with whatever modalities were measured: `bag["histology"].values`.

    A missing modality is tokens without a real one, not None; every modality that a model needs is a key.
    """

    patients: tuple[str, ...]
    modalities: Mapping[str, Tokens]

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, modality: str) -> Tokens:
        return self.modalities[modality]

    def __contains__(self, modality: str) -> bool:
        return modality in self.modalities

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def without(self, *names: str, patients: Bool[Tensor, " batch"] | None = None) -> "Bag":
        """The same patients as if nobody, or nobody of `patients`, had these modalities."""
        return replace(self, modalities={m: t.absent(patients) if m in names else t for m, t in self.modalities.items()})

    def to(self, device: torch.device | str) -> "Bag":
        """This bag on a device."""
        return replace(self, modalities={name: tokens.to(device) for name, tokens in self.modalities.items()})


@dataclass(frozen=True)
class Prediction:
    """What a model says of a batch of patients.

    Args:
        risk: one number a patient; higher means an earlier event. Cox: the log-risk. Discrete: minus the sum of S.
        hazard_logits: logit of the hazard of each time bin, for discrete heads only.
        subtype_logits: one a class of the cohort, for models that learn subtypes; their softmax are the probabilities.
        evidence: what the prediction rests on (plan, attention, components), named with its axes in the model's
            docstring. Its content never depends on a flag.
    """

    risk: Float[Tensor, " batch"]
    hazard_logits: Float[Tensor, "batch bins"] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    subtype_logits: Float[Tensor, "batch classes"] | None = None


@dataclass(frozen=True)
class Progress:
    """Where training stands; a model that schedules something reads it here and owns no clock.

    Args:
        step: optimiser steps done before this one, over all epochs of the stage.
        steps_per_epoch: optimiser steps in one epoch.
        epoch: index of the running epoch, from 0.
        epochs: epochs of this stage.
        stage: name of the stage.
    """

    step: int
    steps_per_epoch: int
    epoch: int
    epochs: int
    stage: str = "main"


@dataclass(frozen=True)
class InputShape:
    """What a cohort's inputs look like; with the config it fixes every parameter's shape.

    Args:
        d_patch: width of the patch features; 0 when the cohort has no slides.
        pathway_features: for each pathway, how many features (gene x data type) its token has.
        n_genes: number of features of the flat omics vector.
        tables: width of each further table, `clinical` included, by name.
        subtypes: the cohort's classes, for models that learn them; none in a cohort without.
    """

    d_patch: int = 0
    pathway_features: tuple[int, ...] = ()
    n_genes: int = 0
    tables: Mapping[str, int] = field(default_factory=dict)
    subtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnLatents:
    """How a stage trains on vectors that the model computed once of each training patient, in place of bags.

    Args:
        batch_size: patients in one optimiser step.
        steps: optimiser steps in an epoch.
        held_out: share of the training patients that the stage does not train on and watches.
        patience: epochs without a better loss on them after which the stage ends; it then stands at its best epoch. None trains to the end.
    """

    batch_size: int
    steps: int
    held_out: float = 0.1
    patience: int | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of training: the paper's warm-up, main or diffusion stage.

    Args:
        name: of the stage.
        epochs: passes over the training fold, or over its latents.
        learning_rate: peak learning rate.
        chosen: whether a selection of epochs (`inner`, `oracle`) looks at this stage.
        latents: for a stage on latents.
    """

    name: str
    epochs: int
    learning_rate: float
    chosen: bool = True
    latents: OnLatents | None = None


@runtime_checkable
class TrainingFold(Protocol):
    """The patients that a model may learn from, before and during training; nobody else is reachable from it."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Ids of the training patients."""
        ...

    @property
    def survival(self) -> Survival:
        """Their survival, in the order of `patients`."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """Their sites, in the order of `patients`; empty text where unknown."""
        ...

    def bags(self, batch_size: int = 1) -> Iterator[Bag]:
        """All training patients in order, with every patch, as bags of at most `batch_size` patients."""
        ...

    def tokens(self, modality: str) -> Tokens:
        """One modality of all training patients, in the order of `patients`; any but histology, whose patches come as bags."""
        ...
