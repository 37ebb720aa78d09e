"""From a folder to a cohort: everything is read, every defect collected, then the rules of exclusion are applied."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.cohort import OMICS_KINDS, Cohort, rows_of, slides_of
from prognos.cohort.defects import CohortError, Defect, Exclusion, naming
from prognos.cohort.endpoints import Outcome, chosen_endpoint, read_outcome, time_unit_notes
from prognos.cohort.layout import Layout, find_layout
from prognos.cohort.slide_table import join_features, no_slides, read_slide_rows, rows_of_files
from prognos.cohort.subtype import SubtypeRule, read_labels, with_classes
from prognos.cohort.tables import NumberTable, TableDefect, read_number_table, read_text_table, text_ids, typed
from prognos.omics.gene_sets import read_gmt

NO_TIME = "no time"
TIME_NOT_POSITIVE = "time of 0 or below"
NO_EVENT = "no event code"
NO_MODALITY = "no usable modality"
NOT_IN_SPLITS = "not in the given splits"
UNKNOWN_SHARE = 0.1  # above this share of rows of no known patient, the tables do not belong together


@dataclass
class Folder:
    """What a cohort folder holds, of every patient of clinical.csv; `defects` and `notes` grow while it is read."""

    layout: Layout
    text: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(index=pd.Index([], dtype=object, name="patient_id")))
    slides: pd.DataFrame = field(default_factory=no_slides)
    d_patch: int = 0
    tables: dict[str, NumberTable] = field(default_factory=dict)
    gene_sets: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    folds: pd.Series | None = None
    defects: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def patients(self) -> pd.Index:
        """Every patient of clinical.csv."""
        return self.text.index

    @property
    def omics_kinds(self) -> tuple[str, ...]:
        """Omics tables that are there, in the order rna, cnv, snv."""
        return tuple(kind for kind in OMICS_KINDS if kind in self.tables)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps the defects of one part, so that the next part is read all the same."""
        try:
            yield
        except TableDefect as error:
            self.defects.extend(error.defects)

    def having(self) -> dict[str, pd.Index]:
        """Who has histology and who is in each table."""
        held = {"histology": pd.Index(self.slides["patient_id"].unique())} if len(self.slides) else {}
        return held | {name: table.values.index for name, table in self.tables.items()}


def read_cohort(
    path: Path,
    *,
    endpoint: str | None,
    gene_sets: Mapping[str, str | os.PathLike[str]],
    subtype: SubtypeRule,
    modalities: Mapping[str, str],
    outcome: bool,
) -> Cohort:
    """The cohort in a folder; see `Cohort.read`."""
    folder = read_folder(path, gene_sets=gene_sets, modalities=modalities, splits=outcome)
    return cohort_of(folder, endpoint=endpoint, subtype=subtype, outcome=outcome)


def read_folder(
    path: Path, *, gene_sets: Mapping[str, str | os.PathLike[str]], modalities: Mapping[str, str], splits: bool = True
) -> Folder:
    """Everything in a cohort folder, with its defects; of feature files only the headers."""
    layout = find_layout(path, gene_sets, modalities)
    folder = Folder(layout, defects=list(layout.defects))
    with folder.collecting():
        _read_clinical(folder)
    _read_slides(folder)
    for name, table in [(kind, layout.parts[kind]) for kind in OMICS_KINDS if kind in layout.parts] + list(layout.modalities.items()):
        with folder.collecting():
            _read_numbers(folder, name, table)
    for name, table in layout.gene_sets.items():
        _read_gene_sets(folder, name, table)
    if splits and "splits" in layout.parts:
        with folder.collecting():
            _read_splits(folder, layout.parts["splits"])
    if splits and (unused := layout.unused_tables()):
        folder.notes.append(
            f"{len(unused)} tables are not used ({naming(unused)}): name them under [modalities] in cohort.toml to use them."
        )
    return folder


def _read_clinical(folder: Folder) -> None:
    path = folder.layout.parts.get("clinical")
    if path is None:
        return
    text = read_text_table(path, folder.layout.columns, ("patient_id",))
    ids = text_ids(text["patient_id"], path, "patient_id")
    if ids.has_duplicates:
        repeated = ids[ids.duplicated()].unique()
        what = f"{len(repeated)} patients have more than one row ({naming(repeated)})"
        folder.defects.append(Defect(what, path.name, "keep one row a patient", tuple(repeated)))
    folder.text = text.drop(columns="patient_id").set_index(ids).loc[~ids.duplicated()]


def _read_slides(folder: Folder) -> None:
    path = folder.layout.parts.get("slides")
    if path is None:
        if folder.layout.features is not None:
            folder.notes.append(f"{folder.layout.features.name} is there but slides.csv is not: histology is not used.")
        return
    try:
        rows, wrong = read_slide_rows(path, folder.layout.columns)
    except TableDefect as error:  # the feature files can be looked at all the same
        folder.defects.extend(error.defects)
        rows = rows_of_files(folder.layout.features)
        if rows.empty:
            return
    else:
        folder.defects.extend(wrong)
        n_defects = len(folder.defects)
        known = _known(folder, pd.Index(rows["patient_id"]), path, "slides")
        if len(folder.defects) == n_defects:  # few are unknown, and not used; many are a defect, and theirs are told beside it
            rows = rows.loc[known].reset_index(drop=True)
    joined = join_features(rows, folder.layout.features, path.name)
    folder.defects.extend(joined.defects)
    folder.notes.extend(joined.notes)
    folder.slides, folder.d_patch = joined.slides, joined.d_patch


def _read_numbers(folder: Folder, name: str, path: Path) -> None:
    table = read_number_table(path, folder.layout.columns, folder.patients)
    known = _known(folder, table.values.index.append(pd.Index(table.empty, dtype=object)), path, "rows")[: len(table.values)]
    if table.empty:
        folder.notes.append(f"{name}: {len(table.empty)} rows without any value count as absent ({naming(table.empty)}).")
    if table.n_missing:
        folder.notes.append(f"{name}: {table.n_missing} of {table.values.size} values are missing.")
    folder.tables[name] = NumberTable(table.values.loc[known], table.n_missing, table.empty)


def _known(folder: Folder, ids: pd.Index, path: Path, rows: str) -> np.ndarray:
    """Which rows are of a known patient; the others are a note or, when they are many, a defect."""
    if not len(folder.patients):
        return np.ones(len(ids), dtype=bool)  # clinical.csv has its own defect
    known = ids.isin(folder.patients)
    if known.all():
        return known
    unknown = ids[~known].unique()
    what = f"{int((~known).sum())} of {len(ids)} {rows} are of no patient of clinical.csv ({naming(unknown)})"
    if (~known).mean() > UNKNOWN_SHARE:
        folder.defects.append(Defect(what, path.name, _join_remedy(unknown, folder.patients), tuple(unknown)))
    else:
        folder.notes.append(f"{path.name}: {what}; they are not used.")
    return known


def _join_remedy(unknown: pd.Index, patients: pd.Index) -> str:
    """What probably happened to the ids."""
    without_zeros = set(patients.str.lstrip("0"))
    if unknown.str.removesuffix(".0").str.lstrip("0").isin(without_zeros).mean() > 0.5:
        return "the ids were read as numbers somewhere and lost their leading zeros: export them as text"
    if unknown.str[:12].isin(patients).mean() > 0.5:
        return "these are barcodes of specimens: keep their first 12 characters"
    return "use the same ids in both files, or remove the rows"


def _read_gene_sets(folder: Folder, name: str, path: Path) -> None:
    try:
        found = read_gmt(path)
    except ValueError as error:
        folder.defects.append(Defect(str(error).rstrip("."), f"gene sets {name!r}", "give a GMT file, for example from the MSigDB"))
        return
    folder.gene_sets[name] = found
    measured = set().union(*(folder.tables[kind].values.columns for kind in folder.omics_kinds))
    genes = {gene for members in found.values() for gene in members}
    if measured and not measured & genes:
        what = f"none of its {len(genes)} genes ({naming(sorted(genes))}) is among the {len(measured)} columns of the omics tables"
        remedy = f"use the same gene names in both; the tables have {naming(sorted(measured))}"
        folder.defects.append(Defect(what, f"gene sets {name!r}, {path.name}", remedy))


def _read_splits(folder: Folder, path: Path) -> None:
    rows = read_text_table(path, folder.layout.columns, ("patient_id", "fold"))
    ids = text_ids(rows["patient_id"], path, "patient_id")
    fold = pd.to_numeric(rows["fold"].str.strip(), errors="coerce")
    wrong = (fold.isna() | (fold % 1 != 0) | (fold < 0)).to_numpy()
    if wrong.any():
        cells = naming(f"{cell!r} of {patient}" for cell, patient in zip(rows.loc[wrong, "fold"], ids[wrong], strict=True))
        what = f"{int(wrong.sum())} folds are not whole numbers from 0 ({cells})"
        raise TableDefect(Defect(what, f"{path.name}, column fold", "number the folds 0, 1, 2 ...", tuple(ids[wrong])))
    folds = pd.Series(fold.to_numpy(dtype=np.int64), index=ids, name="fold")
    if ids.has_duplicates:
        repeated = ids[ids.duplicated()].unique()
        in_two = [patient for patient in repeated if folds.loc[patient].nunique() > 1]
        told = f", {len(in_two)} of them in two folds ({naming(in_two)})" if in_two else ""
        what = f"{len(repeated)} patients are listed more than once ({naming(repeated)}){told}"
        raise TableDefect(Defect(what, path.name, "each patient is tested in one fold: keep one row", tuple(repeated)))
    if folds.nunique() < 2:
        what = f"all {len(folds)} patients are in fold {folds.iloc[0]}"
        raise TableDefect(Defect(what, path.name, "give at least two folds, or remove the file: folds are then made"))
    folder.folds = folds[_known(folder, ids, path, "rows")]


def cohort_of(folder: Folder, *, endpoint: str | None, subtype: SubtypeRule, outcome: bool) -> Cohort:
    """The cohort of one endpoint.

    Raises:
        CohortError: everything that is wrong with the folder and with the endpoint.
    """
    defects, notes = list(folder.defects), list(folder.notes)
    survival = _outcome(folder, endpoint, defects) if outcome else _unknown_outcome(folder)
    labels = _labels(folder, subtype, defects if outcome else [])
    if survival is None:
        raise CohortError(folder.layout.name, defects)
    if outcome:
        notes.extend(time_unit_notes(survival))
    exclusions = _exclusions(folder, survival, outcome=outcome)
    kept = ~folder.patients.isin([patient for exclusion in exclusions for patient in exclusion.patients])
    if not defects:
        defects.extend(_nobody_left(folder, survival, kept, exclusions, outcome=outcome))
    if defects:
        raise CohortError(folder.layout.name, defects)
    patients = folder.patients[kept]
    tables = {name: rows_of(table.values, patients) for name, table in folder.tables.items()}
    for name in [name for name, table in tables.items() if not len(table)]:
        notes.append(f"{name}: none of the kept patients has it.")
        del tables[name]
    slides = slides_of(folder.slides, patients)
    stated = subtype.over(folder.layout.subtype).stated()
    known, classes, told = (None, (), ()) if labels is None else with_classes(labels.loc[kept], stated)
    notes.extend(told)
    return Cohort(
        name=folder.layout.name,
        endpoint=survival.endpoint,
        clinical=typed(folder.text.loc[kept]),
        time=survival.time[kept],
        event=survival.event[kept] == 1,
        slides=slides,
        tables=tables,
        omics_kinds=tuple(kind for kind in OMICS_KINDS if kind in tables),
        gene_sets=folder.gene_sets,
        folds=None if folder.folds is None else folder.folds.reindex(patients),
        exclusions=exclusions,
        notes=tuple(notes),
        d_patch=folder.d_patch if len(slides) else 0,
        subtype=known,
        subtype_classes=classes,
    )


def _outcome(folder: Folder, asked: str | None, defects: list[Defect]) -> Outcome | None:
    path = folder.layout.parts.get("clinical")
    if path is None or not len(folder.text):
        return None
    chosen = chosen_endpoint(folder.text, asked or folder.layout.endpoint, path.name)
    if isinstance(chosen, Defect):
        defects.append(chosen)
        return None
    survival, wrong = read_outcome(folder.text, chosen, path.name)
    defects.extend(wrong)
    return survival


def _labels(folder: Folder, asked: SubtypeRule, defects: list[Defect]) -> pd.Series | None:
    """Labels of every patient; of new patients, of whom none need be known, what is wrong with them is no defect."""
    path = folder.layout.parts.get("clinical")
    return None if path is None else read_labels(folder.text, asked, folder.layout.subtype, path.name, defects)


def _unknown_outcome(folder: Folder) -> Outcome:
    unknown = np.full(len(folder.text), np.nan)
    return Outcome("", unknown, unknown)


def _exclusions(folder: Folder, survival: Outcome, *, outcome: bool) -> tuple[Exclusion, ...]:
    """Who is left out; a patient counts under the first rule that applies."""
    patients = folder.patients
    rules: dict[str, np.ndarray] = {}
    if outcome:
        rules[NO_TIME] = np.isnan(survival.time)
        rules[TIME_NOT_POSITIVE] = survival.time <= 0
        rules[NO_EVENT] = np.isnan(survival.event)
    if held := folder.having():
        rules[NO_MODALITY] = ~np.logical_or.reduce([patients.isin(having) for having in held.values()])
    if folder.folds is not None:
        rules[NOT_IN_SPLITS] = ~patients.isin(folder.folds.index)
    exclusions = []
    remaining = np.ones(len(patients), dtype=bool)
    for rule, applies in rules.items():
        if (left_out := remaining & applies).any():
            exclusions.append(Exclusion(rule, tuple(patients[left_out])))
        remaining &= ~applies
    return tuple(exclusions)


def _nobody_left(folder: Folder, survival: Outcome, kept: np.ndarray, exclusions: tuple[Exclusion, ...], *, outcome: bool) -> list[Defect]:
    if not kept.any():
        told = ", ".join(f"{len(exclusion.patients)} {exclusion.rule}" for exclusion in exclusions)
        return [Defect(f"none of {len(kept)} patients is left ({told})", folder.layout.name, "look at the rules that left them out")]
    if outcome and not (survival.event[kept] == 1).any():
        where = f"{folder.layout.parts['clinical'].name}, column {survival.endpoint}_event"
        return [
            Defect(
                f"none of the {int(kept.sum())} kept patients has an event", where, "check that 1 means observed, or name another endpoint"
            )
        ]
    return []
