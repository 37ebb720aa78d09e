"""How patients become bags: what is learnt on the training patients, and the reader of any cohort."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from prognos.cohort import Cohort
from prognos.cohort.clinical import ClinicalEncoder
from prognos.cohort.features import read_features
from prognos.omics import OmicsScaler, OmicsSchema
from prognos.tokens.fill import Policy
from prognos.tokens.reader import Measured, Reader
from prognos.tokens.store import PatchStore
from prognos.tokens.tables import TableScaler
from prognos.types import InputShape

DEFAULT_GENE_SET = "hallmark"


@runtime_checkable
class Needs(Protocol):
    """What a model says of its inputs (`prognos.models.contract.Needs` does)."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Keys of the bag that it reads."""
        ...

    @property
    def omics(self) -> str:
        """`genes` or `pathways`."""
        ...

    @property
    def gene_set(self) -> str | None:
        """Name of the collection that its pathways come from."""
        ...


class MissingModality(ValueError):
    """The training patients lack a modality that the model reads: it is not applicable to this cohort."""


class InputsConfig(BaseModel):
    """Which of the measurements are read, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    omics_kinds: tuple[str, ...] | None = Field(None, min_length=1, description="omics data types; all that the cohort has when not given")
    gene_set: str | None = Field(
        None, description="gene set collection of pathway models; the model's own (else 'hallmark') when not given"
    )
    n_patches: int = Field(4096, ge=1, description="patches of a patient in a training step; prediction reads all")
    fill: Policy = Field("model", description="stands in for a missing modality; model: the model sees to it, else the mean")
    store: str | None = Field(None, description="folder of packed patch features; the user's cache folder when not given")


@dataclass(frozen=True, eq=False)
class Inputs:
    """How patients become bags: learnt on the training patients, kept with the fitted model.

    Args:
        modalities: keys of every bag.
        config: the choices it was made with.
        pathways: True when omics are pathway tokens, False when they are one flat vector.
        d_patch: width of the patch features; 0 when they are not read.
        encoder: what the training slides' files name as their encoder; empty when they do not.
        omics: scaler of the omics features; None when they are not read.
        clinical: encoder of the covariates; None when they are not read.
        tables: scaler of each further table.
        notes: what was set to 0 or left out, for the record.
    """

    modalities: tuple[str, ...]
    config: InputsConfig
    pathways: bool = False
    d_patch: int = 0
    encoder: str = ""
    omics: OmicsScaler | None = None
    clinical: ClinicalEncoder | None = None
    tables: Mapping[str, TableScaler] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def learn(cls, cohort: Cohort, needs: Needs, config: InputsConfig | None = None) -> "Inputs":
        """The inputs of a model that is trained on this cohort.

        Args:
            cohort: the training patients, nobody else.
            needs: what the model reads.
            config: defaults when None.

        Raises:
            MissingModality: no training patient has a modality that the model reads.
            ValueError: the model's gene sets were not given, or none of their genes was measured.
        """
        config = config or InputsConfig()
        lacking = [modality for modality in needs.modalities if modality not in cohort.modalities]
        if lacking:
            raise MissingModality(_lacking(cohort, lacking))
        learnt: dict[str, Any] = {}
        notes: list[str] = []
        if "histology" in needs.modalities:
            learnt |= {"d_patch": cohort.d_patch, "encoder": _encoder(cohort)}
        if "omics" in needs.modalities:
            learnt["omics"] = _omics(cohort, needs, config)
            notes += _omics_notes(learnt["omics"], cohort)
        if "clinical" in needs.modalities:
            learnt["clinical"] = _clinical(cohort)
            notes += [f"clinical column {name!r} is constant in training: left out" for name in learnt["clinical"].dropped]
        further = [modality for modality in needs.modalities if modality not in ("histology", "omics", "clinical")]
        tables = {name: TableScaler.learn(cohort.tables[name], cohort.patients) for name in further}
        notes += [f"{name} column {column!r} is constant in training: set to 0" for name in further for column in tables[name].constant]
        return cls(needs.modalities, config, pathways=needs.omics == "pathways", tables=tables, notes=tuple(notes), **learnt)

    @property
    def shape(self) -> InputShape:
        """The sizes that fix a model's parameters."""
        tables = {name: len(scaler.columns) for name, scaler in (self.tables or {}).items()}
        if self.clinical is not None:
            tables = {"clinical": len(self.clinical.columns), **tables}
        schema = None if self.omics is None else self.omics.schema
        return InputShape(
            d_patch=self.d_patch,
            pathway_features=() if schema is None else schema.widths,
            n_genes=0 if schema is None else len(schema.features),
            tables=tables,
        )

    def reader(self, cohort: Cohort, *, progress: Callable[[int, int], None] | None = None) -> Reader:
        """The reader of a cohort's bags: opens the patch store and scales the tables once.

        A modality that this cohort lacks is absent from every bag; that is no error.

        Args:
            cohort: training or later patients.
            progress: called with the number of slides packed and to pack, when they have to be.

        Raises:
            ValueError: patch features of another width or encoder than in training.
        """
        measured, notes = self._measured(cohort)
        store = None
        if "histology" in self.modalities:
            store = PatchStore.open(cohort, self.config.store, progress=progress)
            _check_patches(store, cohort, self)
            without = sum(not store.n_patches(patient) for patient in cohort.patients)
            notes += [f"{without} patients have no histology"] if without else []
        return Reader(cohort.patients, self.modalities, measured, store, self.d_patch, tuple(notes))

    def _measured(self, cohort: Cohort) -> tuple[dict[str, Measured], list[str]]:
        """Every modality of a cohort but histology, scaled, and what became 0."""
        measured: dict[str, Measured] = {}
        notes: list[str] = []
        if self.omics is not None:
            gaps = self.omics.gaps(cohort.tables, cohort.patients)
            without = set(gaps.patients_without_any)
            present = np.array([patient not in without for patient in cohort.patients])
            index = self.omics.schema.index if self.pathways else None
            measured["omics"] = Measured(self.omics.transform(cohort.tables, cohort.patients), present, index)
            notes += gaps.notes
        if self.clinical is not None:
            measured["clinical"] = Measured(self.clinical.encode(cohort.clinical).astype(np.float32), cohort.has("clinical"))
        for name, scaler in (self.tables or {}).items():
            table = cohort.tables.get(name, pd.DataFrame())
            measured[name] = Measured(*scaler.transform(table, cohort.patients))
            absent = [column for column in scaler.columns if column not in table.columns]
            notes += [f"{len(absent)} columns are absent from {name} ({_some(absent)}): set to 0"] if absent else []
        notes += [f"{(~part.present).sum()} patients have no {name}" for name, part in measured.items() if not part.present.all()]
        return measured, notes

    def state(self) -> dict[str, Any]:
        """These inputs in JSON's types; floats come back exactly."""
        return {
            "modalities": list(self.modalities),
            "config": self.config.model_dump(mode="json"),
            "pathways": self.pathways,
            "d_patch": self.d_patch,
            "encoder": self.encoder,
            "omics": None if self.omics is None else self.omics.state(),
            "clinical": None if self.clinical is None else self.clinical.state(),
            "tables": {name: scaler.state() for name, scaler in (self.tables or {}).items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Inputs":
        """The inputs that `state` was taken of."""
        return cls(
            modalities=tuple(state["modalities"]),
            config=InputsConfig.model_validate(state["config"]),
            pathways=state["pathways"],
            d_patch=state["d_patch"],
            encoder=state["encoder"],
            omics=None if state["omics"] is None else OmicsScaler.from_state(state["omics"]),
            clinical=None if state["clinical"] is None else ClinicalEncoder.from_state(state["clinical"]),
            tables={name: TableScaler.from_state(scaler) for name, scaler in state["tables"].items()},
            notes=tuple(state["notes"]),
        )


def _omics(cohort: Cohort, needs: Needs, config: InputsConfig) -> OmicsScaler:
    """Schema and scaler of the training patients' omics."""
    kinds = config.omics_kinds or cohort.omics_kinds
    gene_set = None
    if needs.omics == "pathways":
        name = config.gene_set or needs.gene_set or DEFAULT_GENE_SET
        if name not in cohort.gene_sets:
            given = ", ".join(cohort.gene_sets) or "none"
            raise ValueError(
                f"the model's pathways come from the gene sets {name!r}, which were not given (given: {given}): "
                f"name a GMT file by --gene-sets {name}=FILE, or under [omics] gene_sets of the recipe or cohort.toml."
            )
        gene_set = cohort.gene_sets[name]
    schema = OmicsSchema.build(cohort.tables, kinds, gene_set)
    scaler = OmicsScaler.learn(cohort.tables, schema, cohort.patients)
    if len(scaler.gaps(cohort.tables, cohort.patients).patients_without_any) == len(cohort):
        raise MissingModality(_lacking(cohort, [" and ".join(kinds)]))
    return scaler


def _omics_notes(scaler: OmicsScaler, cohort: Cohort) -> list[str]:
    """What of the training patients' omics is 0 or left out."""
    notes = list(scaler.gaps(cohort.tables, cohort.patients).notes)
    constant, unmeasured = scaler.constant, scaler.schema.unmeasured
    if constant:
        notes.append(f"{len(constant)} genes are constant in training ({_some([gene for _, gene in constant])}): set to 0")
    if unmeasured:
        notes.append(f"{len(unmeasured)} gene sets have no measured gene ({_some(unmeasured)}): left out")
    return notes


def _clinical(cohort: Cohort) -> ClinicalEncoder:
    """The covariates of the training patients; at least one has to vary."""
    encoder = ClinicalEncoder.learn(cohort.clinical)
    if not encoder.columns:
        raise MissingModality(
            f"every covariate of {cohort.name} ({', '.join(encoder.dropped)}) is constant in training: nothing to learn from."
        )
    return encoder


def _encoder(cohort: Cohort) -> str:
    """What the first training slide says of its encoder."""
    return str(read_features(cohort.slides["path"].iloc[0]).attributes.get("encoder", ""))


def _lacking(cohort: Cohort, lacking: list[str]) -> str:
    """Why a model is not applicable."""
    return (
        f"the model reads {', '.join(lacking)}, which none of the {len(cohort)} training patients of {cohort.name} has "
        f"(they have {', '.join(cohort.modalities)}): add its files to the cohort, or choose another model."
    )


def _some(names: tuple[str, ...] | list[str]) -> str:
    """At most three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _check_patches(store: PatchStore, cohort: Cohort, inputs: Inputs) -> None:
    """Refuse patch features that are not those of training."""
    if store.d_patch not in (0, inputs.d_patch):
        raise ValueError(
            f"the patch features of {cohort.name} are {store.d_patch} wide, those of training {inputs.d_patch}: "
            "extract them with the encoder of training."
        )
    others = sorted({name for name, _ in store.origins if name and inputs.encoder and name != inputs.encoder})
    if others:
        raise ValueError(
            f"the patch features of {cohort.name} are of the encoder {others[0]!r}, those of training of {inputs.encoder!r}: "
            "extract them with the encoder of training."
        )
