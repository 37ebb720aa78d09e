"""What a run folder holds, read for the report.

Only `predictions.csv` and `comparison.csv` have to be there. Everything else may be absent or unreadable; each such file is a
sentence in `RunFolder.gaps`, which the page prints.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prognos.report.fits import FitFacts, read_fits
from prognos.report.run_tables import (
    COMPARISON,
    COMPETING,
    METRICS,
    OPTIONAL,
    PREDICTIONS,
    SPLITS,
    RunFolderError,
    evidence_tables,
    labelled,
    needed_table,
    optional_table,
    reason,
    subtype_table,
    survival_table,
    training_logs,
)


class Facts(BaseModel):
    """JSON written beside a run; whatever is absent has a default, whatever else is there is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ModelFacts(Facts):
    """What is known of one model."""

    summary: str = ""
    paper: str = ""
    parameters: int | None = None


class CostFacts(Facts):
    """What one model or variant cost on one cohort: medians over its fits; predictions in CPU seconds a patient, by missing pattern.

    Runs of earlier versions know no CPU seconds and no memory of a fit.
    """

    model: str = ""
    variant: str = "base"
    cohort: str = ""
    parameters: int | None = None
    fit_seconds: float | None = None
    fit_cpu_seconds: float | None = None
    fit_peak_bytes: float | None = None
    predict_seconds: dict[str, float] = Field(default_factory=dict)


class StudyFacts(Facts):
    """Content of study.json."""

    name: str = ""
    command: str = ""
    reference: str = ""
    selection: str = ""
    not_applicable: tuple[dict[str, Any], ...] = ()
    unusable: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    models: dict[str, ModelFacts] = Field(default_factory=dict)
    cost: tuple[CostFacts, ...] = ()
    canary: bool = False
    simulated: bool = False
    evaluated: bool = False  # predictions that were handed to `prognos evaluate`: nobody here knows how they came about
    replicates: int | None = None


class ExclusionFacts(Facts):
    """One rule of exclusion and how many patients it left out."""

    rule: str
    count: int


class CohortFacts(Facts):
    """One cohort's part of cohort.json."""

    endpoint: str = ""
    patients_in_table: int | None = None
    kept: int | None = None
    events: int | None = None
    median_follow_up_days: float | None = None
    modalities: dict[str, int] = Field(default_factory=dict)
    exclusions: tuple[ExclusionFacts, ...] = ()
    notes: tuple[str, ...] = ()
    gene_sets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    patches: dict[str, float] = Field(default_factory=dict)
    split_card: tuple[dict[str, Any], ...] = ()
    site_preserving: bool | None = None
    split_source: str = ""
    split_note: str = ""
    detectable_difference: float | None = None


@dataclass(frozen=True)
class RunFolder:
    """A run as the report sees it; tables that were absent are empty, with their columns.

    Args:
        path: the folder.
        predictions: predictions.csv.
        comparison: comparison.csv.
        metrics: metrics.csv.
        survival: survival.csv.gz at the horizons of the calibration figure only.
        splits: splits.csv.
        logs: every log.csv, with cohort, label, seed and fold from its place.
        similarities: similarities.csv; only models that take patients apart have any.
        subtypes: subtypes.csv; only models that predict the subtype have any.
        gene_groups: gene_groups.csv.gz; only models that learn groups of genes have any.
        gene_group_sets: gene_group_sets.csv, likewise.
        tests: tests.csv; none where there is no reference.
        incremental: incremental.csv; none without a clinical model.
        fusion_audit: fusion_audit.csv; none without a model of each modality alone.
        oracle: oracle.csv; none unless the study asked for the warning.
        calibration: calibration.csv; none without survival curves.
        distribution_calibration: distribution_calibration.csv, likewise.
        net_benefit: net_benefit.csv, likewise.
        competing: competing.csv; only cohorts that know who died without the event have any.
        study: study.json.
        cohorts: cohort.json, an entry for each cohort of the predictions.
        provenance: provenance.json.
        recipe: recipe.toml as text.
        gaps: a sentence for everything that is absent or unreadable.
        fits: how each cohort's models and variants were trained, by cohort and label.
        evidence: the tables of `prognos.evidence.tables` by name; without rows where none was collected.
    """

    path: Path
    predictions: pd.DataFrame
    comparison: pd.DataFrame
    metrics: pd.DataFrame
    survival: pd.DataFrame
    splits: pd.DataFrame
    logs: pd.DataFrame
    similarities: pd.DataFrame
    subtypes: pd.DataFrame
    gene_groups: pd.DataFrame
    gene_group_sets: pd.DataFrame
    tests: pd.DataFrame
    incremental: pd.DataFrame
    fusion_audit: pd.DataFrame
    oracle: pd.DataFrame
    calibration: pd.DataFrame
    distribution_calibration: pd.DataFrame
    net_benefit: pd.DataFrame
    competing: pd.DataFrame
    study: StudyFacts
    cohorts: Mapping[str, CohortFacts]
    provenance: Mapping[str, Any]
    recipe: str
    gaps: tuple[str, ...]
    fits: Mapping[tuple[str, str], FitFacts] = field(default_factory=dict)
    evidence: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the study; the folder's where none is recorded."""
        return self.study.name or self.path.resolve().name


def read_run_folder(path: Path) -> RunFolder:
    """The content of a run folder.

    Raises:
        RunFolderError: there is no such folder, or predictions.csv or comparison.csv is absent or lacks columns.
    """
    if not path.is_dir():
        raise RunFolderError(f"{path} is not a folder; give the folder that 'prognos run' or 'prognos evaluate' wrote.")
    gaps: list[str] = []
    predictions = needed_table(path / "predictions.csv", PREDICTIONS)
    comparison = needed_table(path / "comparison.csv", COMPARISON)
    if predictions.empty:
        raise RunFolderError(f"{path / 'predictions.csv'} has no rows, so there is nothing to report; resume the run with --resume.")
    facts = _json(path / "cohort.json", gaps)
    fits, evidence = read_fits(path / "models", gaps), evidence_tables(path, gaps)
    return RunFolder(
        path=path,
        predictions=labelled(predictions),
        comparison=labelled(comparison),
        metrics=labelled(optional_table(path / "metrics.csv", METRICS, gaps)),
        survival=labelled(survival_table(path / "survival.csv.gz", gaps)),
        splits=optional_table(path / "splits.csv", SPLITS, gaps),
        logs=training_logs(path / "models", gaps),
        subtypes=labelled(subtype_table(path / "subtypes.csv", gaps)),
        **{name: labelled(optional_table(path / file, columns, gaps, said=False)) for name, (file, columns) in OPTIONAL.items()},
        competing=optional_table(path / "competing.csv", COMPETING, gaps, said=False),
        study=_study(path, gaps),
        cohorts={name: _cohort(name, facts, gaps) for name in predictions.cohort.unique()},
        provenance=_json(path / "provenance.json", gaps),
        recipe=_text(path / "recipe.toml", gaps),
        gaps=tuple(gaps),
        fits=fits,
        evidence=evidence,
    )


def missing_in_words(missing: str) -> str:
    """A missing pattern as a phrase; empty when nothing was taken away."""
    if missing in ("", "none"):
        return ""
    parts = []
    for part in missing.split(";"):
        modality, _, rate = part.partition("=")
        share = f"{modality} missing in {float(rate):.0%}" if re.fullmatch(r"[\d.]+", rate) else f"without {modality}"
        parts.append(f"{modality} of another patient" if rate == "shuffled" else share)
    return ", ".join(parts)


def _json(path: Path, gaps: list[str]) -> dict[str, Any]:
    text = _text(path, gaps)
    if not path.is_file():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        gaps.append(f"{path.name} is not JSON ({error}).")
        return {}
    if not isinstance(value, dict):
        gaps.append(f"{path.name} holds no object.")
        return {}
    return value


def _text(path: Path, gaps: list[str]) -> str:
    if not path.is_file():
        gaps.append(f"{path.name} is absent.")
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:
        gaps.append(f"{path.name} {reason(error)}.")
        return ""


def _study(folder: Path, gaps: list[str]) -> StudyFacts:
    """study.json, or what `prognos evaluate` says of predictions that came from somewhere else."""
    path = folder / "study.json"
    evaluated = not path.is_file() and (folder / "evaluation.json").is_file()
    if evaluated:
        path = folder / "evaluation.json"
    facts = _json(path, gaps)
    if evaluated:
        opening = "These predictions were handed to 'prognos evaluate'; how the models were trained is not known here."
        said = [*(facts.get("warnings") or ()), *(facts.get("notes") or ())]
        facts = {
            "reference": facts.get("reference") or "",
            "warnings": [opening, *said],
            "evaluated": True,
            "replicates": facts.get("replicates"),
        }
    try:
        return StudyFacts.model_validate(facts)
    except ValidationError as error:
        gaps.append(f"{path.name} is not as expected ({_first_fault(error)}) and was left aside.")
        return StudyFacts()


def _cohort(name: str, facts: Mapping[str, Any], gaps: list[str]) -> CohortFacts:
    if facts and name not in facts:
        gaps.append(f"cohort.json does not know the cohort {name}.")
    try:
        return CohortFacts.model_validate(facts.get(name, {}))
    except ValidationError as error:
        gaps.append(f"cohort.json is not as expected for {name} ({_first_fault(error)}) and was left aside.")
        return CohortFacts()


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
