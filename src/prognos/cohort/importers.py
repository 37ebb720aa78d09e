"""Tables of other tools become a cohort folder; the report says what was inverted or converted, and the counts."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.cohort.cohort import OMICS_KINDS
from prognos.cohort.defects import naming, nearest
from prognos.cohort.endpoints import endpoint_names
from prognos.cohort.importers_anndata import from_h5ad, from_h5mu
from prognos.cohort.importers_parts import ImportSourceError, Parts
from prognos.cohort.importers_published import from_clinical_resource, from_mcat, from_mmp, from_survpath
from prognos.cohort.published_splits import read_splits
from prognos.cohort.split_card import median_follow_up
from prognos.files import write_csv, write_text

FORMATS: Mapping[str, Callable[[Path, str | None], Parts]] = {
    "mcat": from_mcat,
    "porpoise": from_mcat,
    "survpath": from_survpath,
    "mmp": from_mmp,
    "tcga-cdr": from_clinical_resource,
    "h5ad": from_h5ad,
    "h5mu": from_h5mu,
}


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Args:
        folder: the cohort folder.
        files: names of the files written.
        lines: what was read, inverted and converted, and the counts.
    """

    folder: Path
    files: tuple[str, ...]
    lines: tuple[str, ...]

    def text(self) -> str:
        """The report as it is printed."""
        return "\n".join(self.lines)


def import_table(
    format: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    project: str | None = None,
    splits: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """A cohort folder made of the tables of another tool.

    Args:
        format: `mcat`, `porpoise`, `survpath`, `mmp`, `tcga-cdr`, `h5ad` or `h5mu`.
        source: the table, or the folder that holds it.
        out: the cohort folder to make; what it holds already is never overwritten.
        project: which cohort of a source that holds several, for example `BLCA` or `COAD+READ`.
        splits: folder of published splits, where the source has none.
        features: folder with the feature files, noted in cohort.toml.

    Raises:
        ImportSourceError: the format is unknown, the source is not of this format, or `out` has such files already.
    """
    if format not in FORMATS:
        raise ImportSourceError(f"there is no format {format!r} ({nearest(format, FORMATS)}).")
    parts = FORMATS[format](Path(source), project)
    if splits is not None:
        parts.folds = read_splits(splits)
    _check(parts, str(source))
    folder = Path(out)
    written = _contents(parts, folder, features)
    there = [name for name in written if (folder / name).exists()]
    if there:
        raise ImportSourceError(f"{folder} holds {naming(there)} already: choose another folder, or remove them.")
    for name, content in written.items():
        (write_text if isinstance(content, str) else write_csv)(folder / name, content)
    lines = [*parts.said, *_counts(parts), f"written to {folder}: {', '.join(written)}", *_next_steps(parts, folder, features)]
    return ImportReport(folder, tuple(written), tuple(lines))


def _check(parts: Parts, source: str) -> None:
    ids = parts.clinical["patient_id"].astype(str)
    if (ids == "").any():
        raise ImportSourceError(f"{source}: {int((ids == '').sum())} patients have no id: fill it in or remove the rows.")
    if ids.duplicated().any():
        repeated = ids[ids.duplicated()].unique()
        raise ImportSourceError(f"{source}: {len(repeated)} patients have several rows ({naming(repeated)}): keep one row a patient.")


def _contents(parts: Parts, folder: Path, features: str | os.PathLike[str] | None) -> dict[str, pd.DataFrame | str]:
    """File name -> what goes into it."""
    contents: dict[str, pd.DataFrame | str] = {"clinical.csv": parts.clinical}
    if parts.slides is not None and len(parts.slides):
        contents["slides.csv"] = parts.slides
    contents |= {f"{name}.csv.gz": table for name, table in parts.tables.items()}
    if parts.folds is not None:
        known = parts.folds.index.isin(parts.clinical["patient_id"])
        if not known.all():
            parts.said.append(
                f"splits: {int((~known).sum())} patients are not in the table and left out ({naming(parts.folds.index[~known])})"
            )
        contents["splits.csv"] = parts.folds[known].rename("fold").rename_axis("patient_id").reset_index()
    settings = []
    if features is not None:
        settings += ["[files]", f"features = {json.dumps(str(Path(features).resolve()), ensure_ascii=False)}"]
    further = [name for name in parts.tables if name not in OMICS_KINDS]
    if further:
        settings += ["[modalities]", *(f"{json.dumps(name)} = {json.dumps(name + '.csv.gz')}" for name in further)]
    if settings:
        contents["cohort.toml"] = "\n".join(settings) + "\n"
    return contents


def _counts(parts: Parts) -> list[str]:
    clinical = parts.clinical
    lines = [f"patients: {len(clinical)}"]
    for name in endpoint_names(clinical)[0]:
        time = pd.to_numeric(clinical[f"{name}_time"], errors="coerce").to_numpy(dtype=np.float64)
        event = pd.to_numeric(clinical[f"{name}_event"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        usable = (time > 0) & np.isfinite(event)
        follow_up = median_follow_up(time[usable], event[usable] == 1) if usable.any() else np.nan
        told = "not reached" if np.isnan(follow_up) else f"{follow_up:.0f} days"
        lines.append(
            f"{name}: {int(usable.sum())} patients with a time above 0, {int((event[usable] == 1).sum())} events, median follow-up {told}"
        )
    if parts.slides is not None:
        lines.append(f"slides: {len(parts.slides)} of {parts.slides['patient_id'].nunique()} patients")
    lines += [f"{name}: {len(table)} patients x {table.shape[1]} columns" for name, table in parts.tables.items()]
    if parts.folds is not None:
        sizes = parts.folds[parts.folds.index.isin(clinical["patient_id"])].value_counts().sort_index()
        lines.append(f"folds: {', '.join(f'{fold}: {size}' for fold, size in sizes.items())}")
    return lines


def _next_steps(parts: Parts, folder: Path, features: str | os.PathLike[str] | None) -> list[str]:
    steps = [f"next: prognos check {folder}"]
    if parts.slides is not None and len(parts.slides) and features is None:
        steps.insert(
            0, f"next: put the feature files in {folder / 'features'} as <slide_id>.h5, or name their folder under [files] in cohort.toml"
        )
    return steps
