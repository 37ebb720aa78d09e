"""Omics features on one scale, learnt on the training patients.

RNA: (x - median) / IQR, with the standard deviation where the IQR is 0, clipped at 5. Copy number: halved, so that
GISTIC's -2 ... 2 becomes -1 ... 1. Mutation: as it is. What was not measured is 0, which is the training median of RNA, the
neutral copy number and no mutation; it is counted, by `gaps`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from prognos.omics.scaling import centre_and_scale, measured, named, scaled, some
from prognos.omics.schema import OmicsSchema

FIXED_SCALE: Mapping[str, float] = {"cnv": 2.0, "snv": 1.0}
"""Data types whose scale is not learnt."""

CLIP: Mapping[str, float] = {"rna": 5.0}
"""Largest absolute value after scaling."""


@dataclass(frozen=True)
class OmicsGaps:
    """What patients lack; all of it became 0.

    Args:
        patients_without: for each data type, the patients of whom no feature was measured.
        patients_without_any: the patients of whom no data type was measured: they have no omics.
        missing_values: for each data type, the single values missing among the patients that have it.
        absent_genes: for each data type, the genes of the schema that are no column of the table.
    """

    patients_without: Mapping[str, tuple[str, ...]]
    patients_without_any: tuple[str, ...]
    missing_values: Mapping[str, int]
    absent_genes: Mapping[str, tuple[str, ...]]

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each gap, for the record of a run."""
        notes = []
        for kind, patients in self.patients_without.items():
            if patients:
                notes.append(f"{len(patients)} patients have no {kind}: set to 0")
            if self.missing_values[kind]:
                notes.append(f"{self.missing_values[kind]} single {kind} values are missing: set to 0")
            genes = self.absent_genes[kind]
            if genes:
                notes.append(f"{len(genes)} genes are absent from the {kind} table ({some(genes)}): set to 0")
        return tuple(notes)


@dataclass(frozen=True)
class OmicsScaler:
    """Centre and scale of every feature of a schema.

    Args:
        schema: which feature stands where.
        centre: one number a feature, in the unit of its table.
        scale: likewise, above 0; 0 marks an RNA gene that is constant in training, whose feature is always 0.
    """

    schema: OmicsSchema
    centre: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]

    @classmethod
    def learn(cls, tables: Mapping[str, pd.DataFrame], schema: OmicsSchema, patients: Sequence[str]) -> "OmicsScaler":
        """The scaler of training patients; no other row of the tables is looked at.

        Raises:
            ValueError: a value is infinite.
        """
        centre, scale = np.zeros(len(schema.features)), np.ones(len(schema.features))
        for kind in schema.kinds:
            places = schema.places(kind)
            if kind in FIXED_SCALE:
                scale[places] = FIXED_SCALE[kind]
            else:
                centre[places], scale[places] = centre_and_scale(_measured(tables, schema, kind, patients))
        return cls(schema, centre, scale)

    @property
    def constant(self) -> tuple[tuple[str, str], ...]:
        """The (data type, gene) features that do not vary in training and are set to 0."""
        return tuple(feature for feature, scale in zip(self.schema.features, self.scale, strict=True) if scale == 0)

    def transform(self, tables: Mapping[str, pd.DataFrame], patients: Sequence[str]) -> Float32[np.ndarray, "patients features"]:
        """The scaled features of patients, of these or of later tables; 0 where nothing was measured.

        Raises:
            ValueError: a value is infinite.
        """
        values = np.zeros((len(patients), len(self.schema.features)), dtype=np.float32)
        for kind in self.schema.kinds:
            places = self.schema.places(kind)
            values[:, places] = scaled(
                _measured(tables, self.schema, kind, patients), self.centre[places], self.scale[places], clip=CLIP.get(kind)
            )
        return values

    def gaps(self, tables: Mapping[str, pd.DataFrame], patients: Sequence[str]) -> OmicsGaps:
        """What `transform` sets to 0 for these patients and tables because it was not measured."""
        without, missing, absent = {}, {}, {}
        has_any = np.zeros(len(patients), dtype=bool)
        for kind in self.schema.kinds:
            genes = pd.Index(self.schema.genes(kind), dtype=object)
            known = np.asarray(genes.isin(tables[kind].columns) if kind in tables else np.zeros(len(genes), dtype=bool))
            is_known = ~np.isnan(_measured(tables, self.schema, kind, patients)[:, known])
            has = is_known.any(axis=1)
            has_any |= has
            without[kind] = named(patients, ~has)
            missing[kind] = int((~is_known[has]).sum())
            absent[kind] = tuple(genes[~known])
        return OmicsGaps(without, named(patients, ~has_any), missing, absent)

    def state(self) -> dict[str, Any]:
        """This scaler in JSON's types; floats come back exactly."""
        return {"schema": self.schema.state(), "centre": self.centre.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "OmicsScaler":
        """The scaler that `state` was taken of."""
        return cls(OmicsSchema.from_state(state["schema"]), np.asarray(state["centre"], float), np.asarray(state["scale"], float))


def _measured(
    tables: Mapping[str, pd.DataFrame], schema: OmicsSchema, kind: str, patients: Sequence[str]
) -> Float[np.ndarray, "patients genes"]:
    """Values of one data type as in its table, NaN where there is no table, row, column or value."""
    return measured(tables.get(kind, pd.DataFrame()), patients, schema.genes(kind))
