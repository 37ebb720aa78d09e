"""Everything that can be said of a cohort before a model sees it: what `prognos check` prints."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.clinical import covariates, unread_labels
from prognos.cohort.cohort import Cohort
from prognos.cohort.defects import CohortError, Defect, Exclusion, naming, owners
from prognos.cohort.endpoints import endpoint_names, read_outcome
from prognos.cohort.features import UNKNOWN, FeatureFileError, read_features
from prognos.cohort.read import Folder, cohort_of, read_folder
from prognos.cohort.split_card import median_follow_up
from prognos.cohort.subtype import SubtypeRule

DAYS_A_YEAR = 365.25
ODD_AGE = 130.0
LARGE_RNA = 100.0


@dataclass(frozen=True, eq=False)
class Check:
    """A cohort without defects, counted.

    Args:
        cohort: the cohort itself.
        n_patients: patients in clinical.csv; `len(cohort)` of them are kept.
        n_events: events among the kept patients.
        median_follow_up: days, by reverse Kaplan-Meier among the kept; NaN where it is not reached.
        endpoints: a row an endpoint; `known` (time and event), `events`, `not_positive` (times of 0 or below), `alone` (time
            without event or the reverse), among all patients.
        modalities: a row a modality; `patients` (of all), `kept`, `columns`, `missing` values, `largest` absolute value.
        overlaps: a row a combination of modalities that patients have together; `patients` (of all), `kept`.
        genes: a row a gene set; `collection`, `genes`, and how many of them each omics table has.
        patches: rows `slide` and `patient`; `n`, `min`, `median`, `max` number of patches, among all patients.
        coordinates: unit of the coordinates -> number of slides; empty when the values were not read.
        exclusions: who was left out, by rule.
        notes: rules that were applied and warnings.
    """

    cohort: Cohort
    n_patients: int
    n_events: int
    median_follow_up: float
    endpoints: pd.DataFrame
    modalities: pd.DataFrame
    overlaps: pd.DataFrame
    genes: pd.DataFrame
    patches: pd.DataFrame
    coordinates: Mapping[str, int]
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str, str]]:
        """Section, what, value: one row a line of the printed check."""
        cohort = self.cohort
        years = self.median_follow_up / DAYS_A_YEAR
        follow_up = "not reached" if np.isnan(years) else f"{self.median_follow_up:.0f} days ({years:.1f} years)"
        rows = [
            ("cohort", "name", cohort.name),
            ("cohort", "endpoint", cohort.endpoint),
            ("cohort", "patients in the table", str(self.n_patients)),
            ("cohort", "kept", str(len(cohort))),
            ("cohort", "events", f"{self.n_events} ({self.n_events / len(cohort):.0%})"),
            ("cohort", "median follow-up (reverse Kaplan-Meier)", follow_up),
            ("cohort", "sites", _sites(cohort)),
            ("cohort", "folds", _folds(cohort)),
        ]
        rows += [("left out", exclusion.rule, f"{len(exclusion.patients)} ({naming(exclusion.patients)})") for exclusion in self.exclusions]
        rows += [("endpoints", str(name), _endpoint(row)) for name, row in self.endpoints.iterrows()]
        rows += [("modalities", str(name), _modality(row)) for name, row in self.modalities.iterrows()]
        rows += [("together", str(name), f"{row['kept']} kept, {row['patients']} in all") for name, row in self.overlaps.iterrows()]
        rows += [("patches", f"per {name}", _patches(row)) for name, row in self.patches.iterrows()]
        rows += [("patches", "coordinates", f"{unit}: {count} slides") for unit, count in self.coordinates.items()]
        rows += self._gene_rows()
        if cohort.subtype is not None:
            known = cohort.subtype_index[cohort.subtype_index >= 0]
            counts = np.bincount(known, minlength=len(cohort.subtype_classes))
            rows.append(("subtype", "column", str(cohort.subtype.name)))
            rows += [("subtype", name, str(count)) for name, count in zip(cohort.subtype_classes, counts, strict=True)]
            rows.append(("subtype", "without a label", str(len(cohort) - len(known))))
        return rows + [("notes", "", note) for note in self.notes]

    def _gene_rows(self) -> list[tuple[str, str, str]]:
        rows = []
        for collection, sets in self.genes.groupby("collection", sort=False):
            name = str(collection)
            if not self.cohort.omics_kinds:
                rows.append(("gene sets", name, f"{len(sets)} gene sets, but there is no omics table"))
                continue
            share = (sets["measured"] / sets["genes"]).to_numpy()
            told = f"{share.min():.0%} / {np.median(share):.0%} / {share.max():.0%} of a set measured (min / median / max)"
            unmeasured = sets.index[sets["measured"] == 0]
            if len(unmeasured):
                told += f"; nothing of {naming(unmeasured)}"
            rows.append(("gene sets", name, f"{len(sets)} gene sets; {told}"))
            genes = {gene for members in self.cohort.gene_sets[name].values() for gene in members}
            for kind in self.cohort.omics_kinds:
                found = len(genes & set(self.cohort.tables[kind].columns))
                rows.append(("gene sets", f"{name}, {kind}", f"{found} of {len(genes)} genes"))
        return rows

    def text(self) -> str:
        """The check as plain text, a section after the other."""
        lines: list[str] = []
        section = ""
        for part, what, value in self.rows():
            if part != section:
                lines += [*([""] if lines else []), part]
                section = part
            lines.append(f"  {what}: {value}" if what else f"  {value}")
        return "\n".join(lines)


def check(
    path: str | os.PathLike[str],
    endpoint: str | None = None,
    *,
    gene_sets: Mapping[str, str | os.PathLike[str]] | None = None,
    subtype: str | None = None,
    modalities: Mapping[str, str] | None = None,
    values: bool = True,
) -> Check:
    """A cohort folder, read and counted, the values of every feature file included.

    Args:
        path: the folder.
        endpoint: must be named when clinical.csv has several.
        gene_sets: name -> GMT file, on top of those that cohort.toml names.
        subtype: column with the tumour subtype; counts above cohort.toml.
        modalities: name -> table, on top of those that cohort.toml names.
        values: False reads only the headers of the feature files.

    Raises:
        CohortError: with every defect of the folder, those of the feature values included.
    """
    folder = read_folder(Path(path), gene_sets=gene_sets or {}, modalities=modalities or {})
    coordinates = _check_values(folder) if values else {}
    cohort = cohort_of(folder, endpoint=endpoint, subtype=SubtypeRule(subtype), outcome=True)
    return Check(
        cohort=cohort,
        n_patients=len(folder.patients),
        n_events=int(cohort.event.sum()),
        median_follow_up=median_follow_up(cohort.time, cohort.event),
        endpoints=_endpoints(folder),
        modalities=_modalities(folder, cohort),
        overlaps=_overlaps(folder, cohort),
        genes=_genes(cohort),
        patches=_patch_counts(folder),
        coordinates=coordinates,
        exclusions=cohort.exclusions,
        notes=(*cohort.notes, *_clinical_notes(cohort), *_value_notes(folder, coordinates)),
    )


def _check_values(folder: Folder) -> dict[str, int]:
    """Reads every feature file; values that are not finite become one defect. Returns the units of the coordinates."""
    units: dict[str, int] = {}
    broken: list[str] = []
    concerned: list[str] = []
    for path, patient in zip(folder.slides["path"], folder.slides["patient_id"], strict=True):
        try:
            read = read_features(path)
            finite = np.isfinite(read.values).all(axis=1)
        except FeatureFileError as error:
            broken.append(str(error))
            concerned.append(patient)
            continue
        if not finite.all():
            broken.append(f"{Path(path).name}: {int((~finite).sum())} of {len(finite)} patches are not finite")
            concerned.append(patient)
        units[read.units] = units.get(read.units, 0) + 1
    if broken:
        told = "; ".join(broken[:3]) + (f"; and {len(broken) - 3} more" if len(broken) > 3 else "")
        what = f"{len(broken)} feature {'files have' if len(broken) > 1 else 'file has'} unusable values: {told}"
        remedy = "extract the features again, or remove the slides from slides.csv"
        folder.defects.append(Defect(what, "features", remedy, owners(concerned)))
    return units


def _endpoints(folder: Folder) -> pd.DataFrame:
    rows = {}
    for name in endpoint_names(folder.text)[0]:
        outcome, _ = read_outcome(folder.text, name, "clinical.csv")
        known = np.isfinite(outcome.time) & np.isfinite(outcome.event)
        rows[name] = {
            "known": int(known.sum()),
            "events": int((outcome.event[known] == 1).sum()),
            "not_positive": int((outcome.time <= 0).sum()),
            "alone": int((np.isfinite(outcome.time) != np.isfinite(outcome.event)).sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["known", "events", "not_positive", "alone"])


def _modalities(folder: Folder, cohort: Cohort) -> pd.DataFrame:
    kept = pd.Index(cohort.patients)
    rows = {}
    for name, patients in folder.having().items():
        table = folder.tables.get(name)
        n_columns = folder.d_patch if table is None else table.values.shape[1]
        largest = np.nan if table is None or not table.values.size else float(np.nanmax(np.abs(table.values.to_numpy())))
        rows[name] = (len(patients), int(kept.isin(patients).sum()), n_columns, 0 if table is None else table.n_missing, largest)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["patients", "kept", "columns", "missing", "largest"])


def _overlaps(folder: Folder, cohort: Cohort) -> pd.DataFrame:
    """Pairs and the whole; with many modalities only pairs."""
    held = folder.having()
    together: list[Sequence[str]] = list(combinations(held, 2)) if len(held) > 1 else []
    if len(held) > 2:
        together.append(tuple(held))
    rows = {}
    for names in together:
        patients = folder.patients[np.logical_and.reduce([folder.patients.isin(held[name]) for name in names])]
        rows[" + ".join(names)] = (len(patients), int(pd.Index(cohort.patients).isin(patients).sum()))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["patients", "kept"])


def _genes(cohort: Cohort) -> pd.DataFrame:
    columns = {kind: set(cohort.tables[kind].columns) for kind in cohort.omics_kinds}
    anywhere = set().union(*columns.values())
    rows, names = [], []
    for collection, sets in cohort.gene_sets.items():
        for name, genes in sets.items():
            members = set(genes)
            counted = {kind: len(members & found) for kind, found in columns.items()}
            rows.append({"collection": collection, "genes": len(members), "measured": len(members & anywhere), **counted})
            names.append(name)
    return pd.DataFrame(rows, index=names, columns=["collection", "genes", "measured", *columns])


def _patch_counts(folder: Folder) -> pd.DataFrame:
    if not len(folder.slides):
        return pd.DataFrame(columns=["n", "min", "median", "max"])
    per_slide = folder.slides["n_patches"]
    per_patient = folder.slides.groupby("patient_id")["n_patches"].sum()
    rows = {
        name: (len(counts), int(counts.min()), float(counts.median()), int(counts.max()))
        for name, counts in (("slide", per_slide), ("patient", per_patient))
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n", "min", "median", "max"])


def _clinical_notes(cohort: Cohort) -> list[str]:
    notes = []
    for name, labels in unread_labels(cohort.clinical).items():
        told = naming(f"{label!r} of {count}" for label, count in labels.items())
        notes.append(f"{name}: labels that count as missing: {told}.")
    numbers = covariates(cohort.clinical)
    known = [f"{name} {int(numbers[name].notna().sum())}" for name in numbers if numbers[name].notna().any()]
    notes.append(f"clinical covariates known of {len(cohort)}: {', '.join(known) or 'none'}.")
    oldest = numbers["age"].max()
    if oldest > ODD_AGE:
        notes.append(f"age: the largest is {oldest:g}: are these days or months? prognos counts years.")
    return notes


def _value_notes(folder: Folder, coordinates: Mapping[str, int]) -> list[str]:
    notes = []
    rna = folder.tables.get("rna")
    if rna is not None and rna.values.size and (largest := float(np.nanmax(np.abs(rna.values.to_numpy())))) > LARGE_RNA:
        notes.append(f"rna: values up to {largest:.0f}; they are scaled by median and interquartile range and clipped at 5.")
    if len(coordinates) > 1:
        notes.append("coordinates are in several units: maps of these slides have different scales.")
    if UNKNOWN in coordinates:
        notes.append(f"coordinates of {coordinates[UNKNOWN]} slides are of unknown unit: maps need one, training does not.")
    return notes


def _sites(cohort: Cohort) -> str:
    known = cohort.sites[cohort.sites != ""]
    return f"{len(set(known))} ({len(cohort) - len(known)} patients without)" if len(known) else "unknown"


def _folds(cohort: Cohort) -> str:
    if cohort.folds is None:
        return "none given; they will be made"
    sizes = cohort.folds.value_counts().sort_index()
    events = pd.Series(cohort.event, index=cohort.folds.to_numpy()).groupby(level=0).sum()
    return ", ".join(f"{fold}: {size} patients, {events[fold]} events" for fold, size in sizes.items())


def _endpoint(row: pd.Series) -> str:
    told = f"{row['known']} patients, {row['events']} events"
    if row["not_positive"]:
        told += f"; {row['not_positive']} times of 0 or below"
    return told + (f"; {row['alone']} with time or event alone" if row["alone"] else "")


def _modality(row: pd.Series) -> str:
    told = f"{row['kept']:.0f} kept, {row['patients']:.0f} in all; {row['columns']:.0f} columns"
    return told + (f"; {row['missing']:.0f} values missing" if row["missing"] else "")


def _patches(row: pd.Series) -> str:
    return f"{row['min']:.0f} / {row['median']:g} / {row['max']:.0f} (min / median / max of {row['n']:.0f})"


__all__ = ["Check", "CohortError", "check"]
