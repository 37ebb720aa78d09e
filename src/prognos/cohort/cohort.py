"""A cohort: the patients of one folder with their survival and whatever was measured of them."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from prognos.cohort.clinical import COVARIATES
from prognos.cohort.defects import Exclusion, naming

OMICS_KINDS = ("rna", "cnv", "snv")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients with one endpoint and the modalities that were measured, joined by patient id.

    Args:
        name: name of the folder, or the one that cohort.toml gives.
        endpoint: which endpoint `time` and `event` are of; empty for a cohort that was read without outcome.
        clinical: one row a kept patient, index `patient_id`, every column of clinical.csv.
        time: days from diagnosis to the event or the last follow-up; NaN without outcome.
        event: True when the event was observed.
        slides: `slide_id`, `patient_id`, `path` of the feature file, `n_patches`, `mpp` where given; ordered by patient.
        tables: modality -> numbers of those who have it (float32, index `patient_id`), in the order of the patients.
        omics_kinds: which of the tables are omics, in the order rna, cnv, snv.
        gene_sets: name of a collection -> pathway -> genes.
        folds: the fold in which each patient is tested; None when folds have to be made.
        exclusions: who was left out, by rule.
        notes: stated rules that were applied, and warnings.
        d_patch: width of the patch features; 0 without slides.
        subtype: class of each patient, None where missing, under the name of its column; None when the cohort has none.
        subtype_classes: the classes of the whole cohort, which a part of it keeps; empty when the cohort has no subtype.
    """

    name: str
    endpoint: str
    clinical: pd.DataFrame
    time: Float[np.ndarray, " patients"]
    event: Bool[np.ndarray, " patients"]
    slides: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    omics_kinds: tuple[str, ...]
    gene_sets: Mapping[str, Mapping[str, tuple[str, ...]]]
    folds: pd.Series | None
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    d_patch: int
    subtype: pd.Series | None
    subtype_classes: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        gene_sets: Mapping[str, str | os.PathLike[str]] | None = None,
        subtype: str | None = None,
        subtype_classes: Sequence[str] | None = None,
        merge: Mapping[str, Sequence[str]] | None = None,
        modalities: Mapping[str, str] | None = None,
        outcome: bool = True,
    ) -> "Cohort":
        """The cohort in a folder.

        Args:
            path: the folder.
            endpoint: `os`, `dss` ...; must be named when clinical.csv has several.
            gene_sets: name -> GMT file, on top of those that cohort.toml names.
            subtype: column of clinical.csv with the tumour subtype. This and the next two count above cohort.toml, of which
                nothing counts for another column than its own.
            subtype_classes: its classes, in this order; every other label counts as missing. All labels that occur when left out.
            merge: class -> labels that become it.
            modalities: name -> table inside the folder, on top of those that cohort.toml names.
            outcome: False for new patients of whom nothing is known yet: time is NaN, nobody is left out for it, no class of
                the subtype need occur, and splits.csv is not read.

        Raises:
            CohortError: the folder has defects; all of them are listed.
        """
        from prognos.cohort.read import read_cohort
        from prognos.cohort.subtype import SubtypeRule

        merged = {name: tuple(labels) for name, labels in (merge or {}).items()}
        return read_cohort(
            Path(path),
            endpoint=endpoint,
            gene_sets=gene_sets or {},
            subtype=SubtypeRule(subtype, tuple(subtype_classes or ()), merged),
            modalities=modalities or {},
            outcome=outcome,
        )

    def __len__(self) -> int:
        return len(self.clinical)

    @property
    def patients(self) -> tuple[str, ...]:
        """Ids of the kept patients."""
        return tuple(self.clinical.index)

    @property
    def sites(self) -> np.ndarray:
        """Tissue source site of each patient, empty text where unknown."""
        if "site" not in self.clinical:
            return np.full(len(self), "", dtype=object)
        return self.clinical["site"].fillna("").to_numpy(dtype=object)

    @property
    def subtype_index(self) -> Int[np.ndarray, " patients"]:
        """Index of each patient's class in `subtype_classes`, -1 where it is unknown."""
        if self.subtype is None:
            return np.full(len(self), -1, dtype=np.int64)
        return pd.Index(self.subtype_classes, dtype=object).get_indexer(self.subtype).astype(np.int64)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What at least one patient has: `clinical`, `histology`, `omics`, then the further tables."""
        further = [name for name in self.tables if name not in self.omics_kinds]
        return tuple(name for name in ("clinical", "histology", "omics", *further) if self.has(name).any())

    def has(self, modality: str) -> Bool[np.ndarray, " patients"]:
        """True for patients who have the modality; `omics` means any of the omics tables, which also have their own names.

        A patient has `clinical` when age, sex, tumour stage or grade is known.

        Raises:
            ValueError: no cohort has a modality of this name and this one has no such table.
        """
        if modality == "clinical":
            known = self.clinical.reindex(columns=list(COVARIATES))
            return known.notna().any(axis=1).to_numpy(dtype=bool)
        if modality == "histology":
            return self.clinical.index.isin(self.slides["patient_id"])
        if modality == "omics":
            return np.logical_or.reduce([np.zeros(len(self), dtype=bool), *(self.has(kind) for kind in self.omics_kinds)])
        if modality in OMICS_KINDS and modality not in self.tables:
            return np.zeros(len(self), dtype=bool)
        if modality not in self.tables:
            known = ", ".join(dict.fromkeys(("clinical", "histology", "omics", *OMICS_KINDS, *self.tables)))
            raise ValueError(f"{self.name} has no modality {modality!r}; known: {known}.")
        return self.clinical.index.isin(self.tables[modality].index)

    def shuffled(self, modality: str, generator: np.random.Generator) -> "Cohort":
        """The cohort in which patients who have a modality have that of each other; `omics` moves all its tables together.

        Raises:
            ValueError: no cohort has a modality of this name, or it is the clinical one, whose columns are also the labels'.
        """
        if modality == "clinical":
            raise ValueError("the clinical modality cannot be shuffled: it stands in one table with the outcome; shuffle another one.")
        having = self.clinical.index[self.has(modality)]
        new_owner = dict(zip(having, generator.permutation(having), strict=True))
        if modality == "histology":
            exchanged = self.slides.assign(patient_id=self.slides.patient_id.map(new_owner))
            return replace(self, slides=slides_of(exchanged, self.clinical.index))
        order, tables = self.clinical.index, dict(self.tables)
        for name in self.omics_kinds if modality == "omics" else (modality,):
            exchanged = tables[name].rename(index=new_owner)
            tables[name] = exchanged.loc[order[order.isin(exchanged.index)]]
        return replace(self, tables=tables)

    def subset(self, patients: Sequence[str]) -> "Cohort":
        """The cohort of these patients only, in the order given.

        Raises:
            ValueError: a patient is named twice or is not in the cohort.
        """
        order = pd.Index(list(patients), dtype=object, name="patient_id")
        if order.has_duplicates:
            repeated = order[order.duplicated()].unique()
            raise ValueError(f"{len(repeated)} patients are named more than once ({naming(repeated)}): name each patient once.")
        position = self.clinical.index.get_indexer(order)
        if (position < 0).any():
            unknown = order[position < 0]
            raise ValueError(f"{len(unknown)} patients are not in {self.name} ({naming(unknown)}): choose among Cohort.patients.")
        return replace(
            self,
            clinical=self.clinical.iloc[position],
            time=self.time[position],
            event=self.event[position],
            slides=slides_of(self.slides, order),
            tables={name: rows_of(table, order) for name, table in self.tables.items()},
            folds=None if self.folds is None else self.folds.reindex(order),
            subtype=None if self.subtype is None else self.subtype.reindex(order),
        )

    def lacking(self, lost: Mapping[str, Collection[str]]) -> "Cohort":
        """The same patients as if some measurements had not been made.

        Args:
            lost: patient -> modalities that are taken away; `omics` stands for every omics table.
        """
        gone = {m: [p for p, names in lost.items() if m in names] for m in ("clinical", "histology", "omics", *self.tables)}
        tables = {}
        for name, table in self.tables.items():
            losers = {*gone[name], *(gone["omics"] if name in self.omics_kinds else ())}
            tables[name] = table[~table.index.isin(losers)]
        clinical = self.clinical.copy()
        known = [column for column in COVARIATES if column in clinical]
        clinical.loc[clinical.index.isin(gone["clinical"]), known] = np.nan
        slides = self.slides[~self.slides["patient_id"].isin(gone["histology"])].reset_index(drop=True)
        return replace(self, clinical=clinical, slides=slides, tables=tables)


def rows_of(table: pd.DataFrame, patients: pd.Index) -> pd.DataFrame:
    """The rows of those of the patients who are in the table, in the order of the patients."""
    position = table.index.get_indexer(patients)
    return table.iloc[position[position >= 0]]


def slides_of(slides: pd.DataFrame, patients: pd.Index) -> pd.DataFrame:
    """The slides of these patients, in the order of the patients, slides of one patient in the order they had."""
    position = patients.get_indexer(slides["patient_id"])
    order = np.argsort(position, kind="stable")
    return slides.iloc[order[position[order] >= 0]].reset_index(drop=True)
