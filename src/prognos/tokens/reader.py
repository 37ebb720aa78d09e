"""A cohort's patients as bags of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from prognos.tokens.store import PatchStore
from prognos.types import Bag, Tokens


@dataclass(frozen=True, eq=False)
class Measured:
    """One modality of all patients of a cohort, scaled.

    Args:
        values: what each token is made of.
        present: True for patients that have the modality.
        index: place in `values` of each token's numbers, -1 for 0; None when the values are one token as they stand.
    """

    values: Float32[np.ndarray, "patients features"]
    present: Bool[np.ndarray, " patients"]
    index: Int[np.ndarray, "tokens width"] | None = None

    def tokens(self, rows: Int[np.ndarray, " batch"]) -> Tokens:
        """The tokens of some patients."""
        values, present = self.values[rows], torch.from_numpy(self.present[rows])
        if self.index is None:
            return Tokens(torch.from_numpy(values[:, None]), present[:, None])
        padded = np.concatenate([values, np.zeros((len(rows), 1), np.float32)], axis=1)  # place -1 is the 0 at the end
        return Tokens(torch.from_numpy(padded[:, self.index]), present[:, None].repeat(1, len(self.index)))


@dataclass(frozen=True, eq=False)
class Reader:
    """Gives the bags of a cohort.

    Args:
        patients: those of the cohort.
        modalities: keys of every bag.
        measured: every modality but histology.
        store: patches; None when the bags have no histology.
        d_patch: width of the patch features.
        notes: what these patients lack and became 0, for the record.
    """

    patients: tuple[str, ...]
    modalities: tuple[str, ...]
    measured: Mapping[str, Measured]
    store: PatchStore | None
    d_patch: int
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_row", {patient: row for row, patient in enumerate(self.patients)})

    def bag(self, patients: Sequence[str], *, n_patches: int | None = None, generator: np.random.Generator | None = None) -> Bag:
        """The bag of these patients.

        A modality that nobody of them has is one token of padding. Histology is float16, padded behind to the longest of the
        bag, with coordinates; it is never padded to `n_patches`.

        Args:
            patients: of the reader's cohort, in any order; a patient may come twice.
            n_patches: at most so many patches a patient, drawn uniformly without replacement and in the order of the
                slide; every patch when None.
            generator: what they are drawn with; patients are drawn for in the order given.

        Raises:
            ValueError: no patient, an unknown one, or only one of `n_patches` and `generator`.
        """
        rows = self._rows(patients, n_patches, generator)
        modalities = {
            name: self._histology(patients, n_patches, generator) if name == "histology" else self.measured[name].tokens(rows)
            for name in self.modalities
        }
        return Bag(tuple(patients), modalities)

    def n_patches(self, patient: str) -> int:
        """Number of patches of a patient; 0 when histology is not read."""
        return 0 if self.store is None else self.store.n_patches(patient)

    def _rows(self, patients: Sequence[str], n_patches: int | None, generator: np.random.Generator | None) -> Int[np.ndarray, " batch"]:
        """The places of patients in the cohort, after a look at what was asked for."""
        if not patients:
            raise ValueError("a bag of no patients was asked for; name at least one.")
        known: Mapping[str, int] = self._row  # type: ignore[attr-defined]
        unknown = [patient for patient in patients if patient not in known]
        if unknown:
            raise ValueError(
                f"{len(unknown)} patients are not in the reader's cohort ({', '.join(unknown[:3])}): "
                "make a reader of the cohort that has them."
            )
        if (n_patches is None) != (generator is None):
            raise ValueError("a subsample of patches takes both n_patches and a generator; every patch is read with neither.")
        if n_patches is not None and n_patches < 1:
            raise ValueError(f"n_patches is {n_patches}; it must be at least 1.")
        return np.array([known[patient] for patient in patients])

    def _histology(self, patients: Sequence[str], n_patches: int | None, generator: np.random.Generator | None) -> Tokens:
        """Patches in front, padding behind."""
        totals = [self.n_patches(patient) for patient in patients]
        counts = [total if n_patches is None else min(total, n_patches) for total in totals]
        longest = max(1, *counts)
        values = np.empty((len(patients), longest, self.d_patch), dtype=np.float16)
        coords = np.empty((len(patients), longest, 2), dtype=np.float32)
        slide = np.zeros((len(patients), longest), dtype=np.int16)
        for row, (patient, total, count) in enumerate(zip(patients, totals, counts, strict=True)):
            if count and self.store is not None:
                index = None
                if count < total and generator is not None:
                    index = np.sort(generator.choice(total, size=count, replace=False, shuffle=False))
                self.store.rows(patient, index, out=values[row, :count])
                self.store.coords(patient, index, out=coords[row, :count])
                slide[row, :count] = self.store.slide(patient, index)
            values[row, count:], coords[row, count:] = 0, 0
        mask = np.arange(longest) < np.array(counts)[:, None]
        return Tokens(torch.from_numpy(values), torch.from_numpy(mask), torch.from_numpy(coords), torch.from_numpy(slide))
