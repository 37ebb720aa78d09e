"""How the training patients of a bundle lie, and what of another patient is unlike them. Aggregates only: no patient, no id.

A distance or a number is called unusual when it lies beyond `LIMIT` of the training patients. Distances are measured fold by fold: each
patient's to a spread that was learnt without the patient's fold, since a patient always lies near what was learnt from the patient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.bundle.manifest import RISK_LEVELS
from prognos.bundle.spread import ARRAYS, Spread
from prognos.cohort import Cohort
from prognos.cohort.clinical import COVARIATES, covariates
from prognos.cohort.defects import naming
from prognos.omics.scaling import measured
from prognos.tokens.inputs import Inputs

LIMIT = 97.5
"""Percentile of the held-out training patients' distances beyond which a patient is unusual."""

RANGE = (1.0, 99.0)
"""Percentiles between which numbers of patches and covariates are usual."""

ABSENT_SAID = 0.05
"""Share of absent genes from which on every patient of a cohort counts as unusual."""

FEWEST = 20
"""Patients that a spread is learnt from at least."""

DIRECTIONS = {"along": "along the main directions of the training patients", "off": "beside the main directions of the training patients"}


@dataclass(frozen=True)
class Reason:
    """Why a patient is unlike the training patients.

    Args:
        where: a modality, `patches`, `genes` or a covariate.
        text: a sentence with the numbers.
    """

    where: str
    text: str


@dataclass(frozen=True, eq=False)
class TrainingSummary:
    """How the training patients lie.

    Args:
        spreads: of each modality that is read, but clinical; histology by the mean of a patient's patches.
        distances: modality -> `along` and `off` -> held-out distances at `RISK_LEVELS` and at `LIMIT`.
        ranges: `patches` and covariates -> the percentiles of `RANGE`.
        patients: modality -> how many patients it rests on.
    """

    spreads: Mapping[str, Spread]
    distances: Mapping[str, Mapping[str, Sequence[float]]]
    ranges: Mapping[str, Sequence[float]]
    patients: Mapping[str, int]

    @classmethod
    def learn(cls, cohort: Cohort, folds: pd.Series, inputs: Inputs) -> "TrainingSummary":
        """The summary of training patients.

        Args:
            cohort: the patients of all folds.
            folds: patient -> fold.
            inputs: what is read, as one of the fitted models reads it.
        """
        spreads: dict[str, Spread] = {}
        distances: dict[str, dict[str, list[float]]] = {}
        counts: dict[str, int] = {}
        fold = folds.reindex(list(cohort.patients)).to_numpy()
        for modality in _spread_over(inputs):
            values = _values(modality, cohort, inputs)
            known = ~np.isnan(values).all(axis=1)
            if known.sum() < FEWEST:
                continue
            values, parts = values[known], fold[known]
            held_out = np.full((len(values), 2), np.nan)
            for part in np.unique(parts):
                if (parts != part).sum() >= FEWEST // 2:
                    held_out[parts == part] = Spread.learn(values[parts != part]).distances(values[parts == part])
            if np.isnan(held_out).all():
                continue
            spreads[modality] = Spread.learn(values)
            levels = np.nanpercentile(held_out, [*RISK_LEVELS, LIMIT], axis=0)
            distances[modality] = {name: levels[:, column].tolist() for column, name in enumerate(DIRECTIONS)}
            counts[modality] = int(known.sum())
        return cls(spreads, distances, _ranges(cohort, inputs), counts)

    def unusual(
        self, cohort: Cohort, patients: Sequence[str], inputs: Inputs, without: Sequence[str] = ()
    ) -> dict[str, tuple[Reason, ...]]:
        """What of each patient is unlike the training patients; nothing for a usual one.

        Args:
            cohort: has the patients.
            patients: which of them.
            inputs: of one of the fitted models.
            without: modalities that are not looked at.
        """
        part = cohort.subset(tuple(patients))
        found: dict[str, list[Reason]] = {patient: [] for patient in patients}
        for modality, spread in self.spreads.items():
            if modality not in without and modality in (*part.modalities, *part.omics_kinds):
                for patient, pair in zip(part.patients, spread.distances(_values(modality, part, inputs)).tolist(), strict=True):
                    found[patient] += self._far(modality, dict(zip(DIRECTIONS, pair, strict=True)))
        for name, values in _numbers(part, inputs, without).items():
            low, high = self.ranges.get(name, (-np.inf, np.inf))
            for patient, value in zip(part.patients, values.tolist(), strict=True):
                if value < low or value > high:
                    text = f"{name} is {value:g}; of the training patients 98 of 100 lie from {low:g} to {high:g}."
                    found[patient].append(Reason(name, text))
        if inputs.omics is not None and "omics" not in without and (gone := absent_genes(part, inputs)):
            share = len(gone) / len(inputs.omics.schema.features)
            if share > ABSENT_SAID:
                reason = Reason("genes", f"{share:.0%} of the omics features that the model reads are absent ({naming(gone)}).")
                for patient, has in zip(part.patients, part.has("omics").tolist(), strict=True):
                    found[patient] += [reason] if has else []
        return {patient: tuple(reasons) for patient, reasons in found.items()}

    def _far(self, modality: str, distances: Mapping[str, float]) -> list[Reason]:
        reasons = []
        for name, words in DIRECTIONS.items():
            limit = self.distances[modality][name][-1]
            if distances[name] > limit:
                text = (
                    f"{modality} lies {distances[name]:.1f} {words} (a typical one 1); {LIMIT:g} of 100 held-out training patients lie "
                    f"within {limit:.1f}."
                )
                reasons.append(Reason(modality, text))
        return reasons

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers in JSON's types, and arrays by name."""
        arrays = {f"{modality}.{name}": array for modality, spread in self.spreads.items() for name, array in spread.arrays().items()}
        plain = {"distances": dict(self.distances), "ranges": dict(self.ranges), "patients": dict(self.patients)}
        return plain, arrays

    @classmethod
    def from_state(cls, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "TrainingSummary":
        """The summary that `state` was taken of."""
        spreads = {modality: Spread.from_arrays({name: arrays[f"{modality}.{name}"] for name in ARRAYS}) for modality in plain["distances"]}
        return cls(spreads, plain["distances"], plain["ranges"], plain["patients"])


def absent_genes(cohort: Cohort, inputs: Inputs) -> tuple[str, ...]:
    """The omics features, as `rna TP53`, that a model reads and that no table of a cohort has."""
    if inputs.omics is None:
        return ()
    columns = {kind: frozenset(cohort.tables[kind].columns) if kind in cohort.tables else frozenset() for kind in inputs.omics.schema.kinds}
    return tuple(f"{kind} {gene}" for kind, gene in inputs.omics.schema.features if gene not in columns[kind])


def _spread_over(inputs: Inputs) -> tuple[str, ...]:
    return tuple(modality for modality in inputs.modalities if modality != "clinical")


def _values(modality: str, cohort: Cohort, inputs: Inputs) -> Float[np.ndarray, "patients columns"]:
    """What was measured of each patient, as in the tables; NaN for what was not."""
    patients = cohort.patients
    if modality == "histology":
        reader = inputs.reader(cohort)
        assert reader.store is not None, "a model that reads histology has a store"
        values = np.full((len(patients), inputs.d_patch), np.nan)
        for row, patient in enumerate(patients):
            if reader.store.n_patches(patient):
                values[row] = reader.store.rows(patient).astype(np.float32).mean(axis=0)
        return values
    if modality == "omics":
        assert inputs.omics is not None, "a model that reads omics has a scaler of them"
        schema = inputs.omics.schema
        tables = [measured(cohort.tables.get(kind, pd.DataFrame()), patients, schema.genes(kind)) for kind in schema.kinds]
        return np.concatenate(tables, axis=1)
    columns = (inputs.tables or {})[modality].columns
    return measured(cohort.tables.get(modality, pd.DataFrame()), patients, columns)


def _numbers(cohort: Cohort, inputs: Inputs, without: Sequence[str] = ()) -> dict[str, Float[np.ndarray, " patients"]]:
    """Number of patches and covariates of each patient, of those that are read; NaN where missing."""
    found: dict[str, np.ndarray] = {}
    if "histology" in inputs.modalities and "histology" not in without:
        counts = cohort.slides.groupby("patient_id")["n_patches"].sum() if len(cohort.slides) else pd.Series(dtype=float)
        found["patches"] = counts.reindex(list(cohort.patients)).to_numpy(dtype=float)
    if "clinical" in inputs.modalities and "clinical" not in without:
        numbers = covariates(cohort.clinical)
        found |= {name: numbers[name].to_numpy(dtype=float) for name in COVARIATES}
    return found


def _ranges(cohort: Cohort, inputs: Inputs) -> dict[str, list[float]]:
    known = {name: values[~np.isnan(values)] for name, values in _numbers(cohort, inputs).items()}
    return {name: np.percentile(values, RANGE).tolist() for name, values in known.items() if len(values)}
