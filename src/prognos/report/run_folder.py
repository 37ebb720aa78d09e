"""What a run folder holds, read for the report.

Only `predictions.csv` and `comparison.csv` have to be there. Everything else may be absent or unreadable; each such file is a
sentence in `RunFolder.gaps`, which the page prints.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

KEYS = ("model", "variant", "cohort", "seed", "fold", "missing", "patient_id")
PREDICTIONS = (*KEYS, "time", "event", "risk", "threshold")
COMPARISON = (
    *("model", "variant", "cohort", "missing", "metric", "mean", "sd", "low", "high"),
    *("difference", "difference_low", "difference_high"),
)
METRICS = ("model", "variant", "cohort", "seed", "fold", "missing", "metric", "value")
SURVIVAL = (*KEYS, "horizon", "survival")
SPLITS = ("patient_id", "fold")
SIMILARITIES = (*(key for key in KEYS if key != "missing"), "left", "right", "cosine")
SUBTYPES = (*KEYS, "subtype", "class", "probability")
OF_FIT = KEYS[:5]
GENE_GROUPS = (*OF_FIT, "kind", "gene", "group", "share")
GENE_GROUP_SETS = (*OF_FIT, "group", "collection", "gene_set", "of_group", "of_set", "in_both", "p", "p_holm")
TESTS = (
    *("model", "variant", "cohort", "missing", "metric", "reference"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
)
INCREMENTAL = (
    *("model", "variant", "cohort", "likelihood_ratio", "p", "p_holm"),
    *("hazard_ratio", "hazard_ratio_low", "hazard_ratio_high"),
)
FUSION_AUDIT = (
    *("model", "variant", "cohort", "omics_model", "histology_model", "right_of_parts"),
    *("share", "fused_right", "fused_right_low", "fused_right_high"),
)
LOG = ("cohort", "label", "seed", "fold", "stage", "epoch", "step")
TEXT = (
    *("model", "variant", "cohort", "missing", "patient_id", "metric", "stage", "label", "selection", "left", "right"),
    *("subtype", "class", "kind", "gene", "collection", "gene_set"),
    *("reference", "omics_model", "histology_model", "right_of_parts"),
)

CALIBRATION_HORIZONS = (365.0, 1095.0, 1825.0)
ROWS_AT_ONCE = 500_000


class RunFolderError(ValueError):
    """A run folder that cannot become a report: what is missing, where, and what to do."""


class Facts(BaseModel):
    """JSON written beside a run; whatever is absent has a default, whatever else is there is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ModelFacts(Facts):
    """What is known of one model."""

    summary: str = ""
    paper: str = ""
    parameters: int | None = None


class CostFacts(Facts):
    """What one model or variant cost on one cohort: medians over its fits; predictions in CPU seconds a patient, by missing pattern."""

    model: str = ""
    variant: str = "base"
    cohort: str = ""
    parameters: int | None = None
    fit_seconds: float | None = None
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
        study: study.json.
        cohorts: cohort.json, an entry for each cohort of the predictions.
        provenance: provenance.json.
        recipe: recipe.toml as text.
        gaps: a sentence for everything that is absent or unreadable.
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
    study: StudyFacts
    cohorts: Mapping[str, CohortFacts]
    provenance: Mapping[str, Any]
    recipe: str
    gaps: tuple[str, ...]

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
    predictions = _needed_table(path / "predictions.csv", PREDICTIONS)
    comparison = _needed_table(path / "comparison.csv", COMPARISON)
    if predictions.empty:
        raise RunFolderError(f"{path / 'predictions.csv'} has no rows, so there is nothing to report; resume the run with --resume.")
    facts = _json(path / "cohort.json", gaps)
    return RunFolder(
        path=path,
        predictions=_labelled(predictions),
        comparison=_labelled(comparison),
        metrics=_labelled(_optional_table(path / "metrics.csv", METRICS, gaps)),
        survival=_labelled(_survival(path / "survival.csv.gz", gaps)),
        splits=_optional_table(path / "splits.csv", SPLITS, gaps),
        logs=_logs(path / "models", gaps),
        similarities=_labelled(_optional_table(path / "similarities.csv", SIMILARITIES, gaps, said=False)),
        subtypes=_labelled(_subtypes(path / "subtypes.csv", gaps)),
        gene_groups=_labelled(_optional_table(path / "gene_groups.csv.gz", GENE_GROUPS, gaps, said=False)),
        gene_group_sets=_labelled(_optional_table(path / "gene_group_sets.csv", GENE_GROUP_SETS, gaps, said=False)),
        tests=_labelled(_optional_table(path / "tests.csv", TESTS, gaps, said=False)),
        incremental=_labelled(_optional_table(path / "incremental.csv", INCREMENTAL, gaps, said=False)),
        fusion_audit=_labelled(_optional_table(path / "fusion_audit.csv", FUSION_AUDIT, gaps, said=False)),
        study=_study(path, gaps),
        cohorts={name: _cohort(name, facts, gaps) for name in predictions.cohort.unique()},
        provenance=_json(path / "provenance.json", gaps),
        recipe=_text(path / "recipe.toml", gaps),
        gaps=tuple(gaps),
    )


def label(model: str, variant: str) -> str:
    """MODEL, or MODEL@VARIANT when the variant is not the base."""
    return model if variant in ("", "base") else f"{model}@{variant}"


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


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    labels = [label(model, variant) for model, variant in zip(table.model, table.variant, strict=True)]
    return table.assign(label=pd.Series(labels, index=table.index, dtype=object))


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table whose text stays text: "null" is a model and "none" a pattern, not an empty cell."""
    header = pd.read_csv(path, nrows=0).columns
    absent = [column for column in columns if column not in header]
    if absent:
        raise ValueError(f"has no column {', '.join(absent)}; it has {', '.join(header)}")
    numbers = {column: ["", "nan", "NaN", "NA"] for column in header if column not in TEXT}
    types = {column: str for column in TEXT if column in header}
    table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=numbers)
    if "event" in table:
        table["event"] = table.event.astype(float) == 1
    wrong = [column for column in columns if column not in TEXT and table[column].dtype == object]
    if wrong and len(table):
        raise ValueError(f"has text where numbers belong, in column {', '.join(wrong)}")
    return table


def _needed_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise RunFolderError(f"{path} does not exist, and a report needs it; finish the run with --resume or give another folder.")
    try:
        return _read_table(path, columns)
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path} {_reason(error)}; mend the file or make the run again.") from error


def _optional_table(path: Path, columns: Sequence[str], gaps: list[str], *, said: bool = True) -> pd.DataFrame:
    """A table, or none of its rows; where `said`, its absence is a gap."""
    nothing = pd.DataFrame({column: pd.Series(dtype=object if column in TEXT else float) for column in columns})
    if not path.is_file():
        gaps += [f"{path.name} is absent."] if said else []
        return nothing
    try:
        return _read_table(path, columns)
    except (ValueError, OSError) as error:
        gaps.append(f"{path.name} {_reason(error)}.")
        return nothing


def _subtypes(path: Path, gaps: list[str]) -> pd.DataFrame:
    """Probabilities of subtypes; none where one of them is no probability."""
    table = _optional_table(path, SUBTYPES, gaps, said=False)
    wrong = ~table.probability.between(0, 1)
    if wrong.any():
        gaps.append(f"{path.name} has {wrong.sum()} probabilities that are empty or outside 0 to 1, and was left aside.")
        return table.iloc[:0]
    return table


def _survival(path: Path, gaps: list[str]) -> pd.DataFrame:
    """Survival curves at the calibration horizons, read in pieces because the file may be large."""
    nothing = pd.DataFrame({column: pd.Series(dtype=object if column in TEXT else float) for column in SURVIVAL})
    if not path.is_file():
        gaps.append(f"{path.name} is absent.")
        return nothing
    types = {column: str for column in TEXT if column in SURVIVAL}
    try:
        pieces = pd.read_csv(path, usecols=list(SURVIVAL), dtype=types, keep_default_na=False, chunksize=ROWS_AT_ONCE)
        kept = [piece[_near_a_horizon(piece.horizon.to_numpy(float))] for piece in pieces]
    except (ValueError, OSError, EOFError) as error:
        gaps.append(f"{path.name} {_reason(error)}.")
        return nothing
    return pd.concat(kept, ignore_index=True)


def _near_a_horizon(horizon: np.ndarray) -> np.ndarray:
    return np.isclose(horizon[:, None], CALIBRATION_HORIZONS).any(axis=1)


def _logs(folder: Path, gaps: list[str]) -> pd.DataFrame:
    """Every models/COHORT/MODEL[@VARIANT]/seed-S/fold-F/log.csv, one after the other."""
    tables, unreadable = [], []
    for path in sorted(folder.glob("*/*/seed-*/fold-*/log.csv")):
        cohort, name, seed, fold = path.parts[-5:-1]
        try:
            if not path.read_text(encoding="utf-8").strip():  # a model that is solved at once has no epochs
                continue
            table = _read_table(path, ("stage", "epoch", "step"))
        except (ValueError, OSError):
            unreadable.append(path.relative_to(folder.parent).as_posix())
            continue
        place = {"cohort": cohort, "label": name, "seed": int(seed.removeprefix("seed-")), "fold": int(fold.removeprefix("fold-"))}
        tables.append(table.assign(**place))
    if unreadable:
        gaps.append(f"{len(unreadable)} training logs cannot be read ({', '.join(unreadable[:3])}).")
    if not tables:
        gaps.append("No training log is there (models/COHORT/MODEL/seed-S/fold-F/log.csv).")
        return pd.DataFrame({column: pd.Series(dtype=object if column in TEXT else float) for column in LOG})
    return pd.concat(tables, ignore_index=True)


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
        gaps.append(f"{path.name} {_reason(error)}.")
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
        facts = {"reference": facts.get("reference") or "", "warnings": [opening, *said]}
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


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text.startswith("has ") else f"cannot be read ({text.splitlines()[0] if text else type(error).__name__})"
