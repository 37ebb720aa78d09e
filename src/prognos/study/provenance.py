"""Where a run comes from: versions, host settings, what the input files were, when and by which command."""

import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from prognos.cohort import Cohort
from prognos.cohort.folds import Folds
from prognos.cohort.split_card import detectable_difference, median_follow_up, split_card

_TABLES = (".csv", ".csv.gz", ".toml", ".gmt", ".parquet")


def versions() -> dict[str, str]:
    """Versions of prognos, of Python and of everything that prognos declares."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    names = [re.split(r"[^A-Za-z0-9_-]", text)[0] for text in importlib.metadata.requires("prognos") or () if "extra ==" not in text]
    for name in ("prognos", *names):
        found[name] = importlib.metadata.version(name)
    return found


def now() -> str:
    """The present time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hashes(folder: Path, others: Sequence[Path] = ()) -> dict[str, str]:
    """SHA-256 of a cohort's tables, and one digest of names and sizes of its feature files.

    Args:
        folder: the cohort folder.
        others: further files that the cohort was read with, such as gene sets.
    """
    found = {}
    for path in [*sorted(folder.iterdir() if folder.is_dir() else ()), *others]:
        if path.is_file() and path.name.endswith(_TABLES):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    features = folder / "features"
    if features.is_dir():
        listing = "\n".join(f"{path.name} {path.stat().st_size}" for path in sorted(features.iterdir()) if path.is_file())
        found["features (names and sizes)"] = hashlib.sha256(listing.encode()).hexdigest()
    return found


def cohort_facts(cohort: Cohort, folds: Folds) -> dict[str, Any]:
    """What cohort.json says of one cohort."""
    card = split_card(cohort, folds).reset_index().rename(columns={"median_follow_up": "median_follow_up_days"})
    fold = folds.fold.reindex(list(cohort.patients)).to_numpy()
    excluded = sum(len(exclusion.patients) for exclusion in cohort.exclusions)
    return {
        "endpoint": cohort.endpoint,
        "patients_in_table": len(cohort) + excluded,
        "kept": len(cohort),
        "events": int(np.sum(cohort.event)),
        "median_follow_up_days": _known(median_follow_up(cohort.time, cohort.event)),
        "modalities": {modality: int(cohort.has(modality).sum()) for modality in cohort.modalities},
        "exclusions": [{"rule": exclusion.rule, "count": len(exclusion.patients)} for exclusion in cohort.exclusions],
        "overview": overview(cohort),
        "notes": list(cohort.notes),
        "gene_sets": {name: _coverage(sets, cohort) for name, sets in cohort.gene_sets.items()},
        "patches": _patches(cohort),
        "split_card": [{key: _known(value) for key, value in row.items()} for row in card.to_dict("records")],
        "site_preserving": folds.site_preserving,
        "split_source": "made" if cohort.folds is None else "given",
        "split_note": folds.note,
        "detectable_difference": _known(detectable_difference(cohort.time, cohort.event, fold)),
    }


def overview(cohort: Cohort) -> dict[str, list[dict[str, Any]]]:
    """Patients and events by combination of modalities and by site, the largest first; sites without their names."""
    has = {name: np.asarray(cohort.has(name), dtype=bool) for name in cohort.modalities}
    event = np.asarray(cohort.event, dtype=bool)
    owned = [" + ".join(name for name, present in has.items() if present[row]) for row in range(len(cohort))]
    combined = [{"modalities": name, **count} for name, count in _counted(owned, event)]
    known = np.array([bool(site) for site in cohort.sites], dtype=bool)
    sites = [count for _, count in _counted(np.asarray(cohort.sites)[known].tolist(), event[known])]
    return {"combinations": combined, "sites": sites}


def _counted(names: Sequence[str], event: np.ndarray) -> list[tuple[str, dict[str, int]]]:
    """Patients and events of each name, those with most patients first."""
    counts: dict[str, dict[str, int]] = {}
    for name, had in zip(names, event.tolist(), strict=True):
        count = counts.setdefault(str(name), {"patients": 0, "events": 0})
        count["patients"] += 1
        count["events"] += had
    return sorted(counts.items(), key=lambda item: (-item[1]["patients"], -item[1]["events"], item[0]))


def _coverage(sets: Mapping[str, Sequence[str]], cohort: Cohort) -> dict[str, int]:
    genes = {gene for members in sets.values() for gene in members}
    measured = {str(column) for kind in cohort.omics_kinds for column in cohort.tables[kind].columns}
    return {"sets": len(sets), "genes_found": len(genes & measured), "genes": len(genes)}


def _patches(cohort: Cohort) -> dict[str, int | float]:
    if not len(cohort.slides):
        return {}
    counts = cohort.slides.groupby("patient_id")["n_patches"].sum()
    return {"min": int(counts.min()), "median": float(counts.median()), "max": int(counts.max())}


def _known(value: Any) -> Any:
    """A plain number; None for NaN, which JSON does not have."""
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value
