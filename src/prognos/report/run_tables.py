"""The tables of a run folder as the report reads them: which columns each has, and how its cells become values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from prognos.evidence.tables import TABLES, file_of

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
ORACLE = (*OF_FIT, "epochs", "last", "best_epoch", "best", "selection")
OF_SEEDS = ("model", "variant", "cohort", "missing", "seed")
CALIBRATION = (
    *(*OF_SEEDS, "horizon", "patients", "events", "at_risk"),
    *("predicted", "observed", "ici", "ici_low", "ici_high", "e50", "e90", "reason"),
)
DISTRIBUTION_CALIBRATION = (*OF_SEEDS, "patients", "low", "high", "share", "chi_square", "p", "reason")
NET_BENEFIT = (*OF_SEEDS[:4], "horizon", "threshold", "net_benefit", "treat_all")
COMPETING = ("patient_id", "competing", "cohort")
LOG = ("cohort", "label", "seed", "fold", "stage", "epoch", "step")
TEXT = (
    *("model", "variant", "cohort", "missing", "patient_id", "metric", "stage", "label", "selection", "left", "right"),
    *("subtype", "class", "kind", "gene", "collection", "gene_set"),
    *("reference", "omics_model", "histology_model", "right_of_parts"),
    *("pathway", "bank", "modality", "step"),
    "reason",
)

CALIBRATION_HORIZONS = (365.0, 1095.0, 1825.0)
ROWS_AT_ONCE = 500_000
OPTIONAL: Mapping[str, tuple[str, Sequence[str]]] = {
    "similarities": ("similarities.csv", SIMILARITIES),
    "gene_groups": ("gene_groups.csv.gz", GENE_GROUPS),
    "gene_group_sets": ("gene_group_sets.csv", GENE_GROUP_SETS),
    "tests": ("tests.csv", TESTS),
    "incremental": ("incremental.csv", INCREMENTAL),
    "fusion_audit": ("fusion_audit.csv", FUSION_AUDIT),
    "oracle": ("oracle.csv", ORACLE),
    "calibration": ("calibration.csv", CALIBRATION),
    "distribution_calibration": ("distribution_calibration.csv", DISTRIBUTION_CALIBRATION),
    "net_benefit": ("net_benefit.csv", NET_BENEFIT),
}
"""Field of `RunFolder` -> file and columns of tables that only some runs have; nothing is said where one is absent."""


class RunFolderError(ValueError):
    """A run folder that cannot become a report: what is missing, where, and what to do."""


def label(model: str, variant: str) -> str:
    """MODEL, or MODEL@VARIANT when the variant is not the base."""
    return model if variant in ("", "base") else f"{model}@{variant}"


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column `label`: the model and its variant in one name."""
    labels = [label(model, variant) for model, variant in zip(table.model, table.variant, strict=True)]
    return table.assign(label=pd.Series(labels, index=table.index, dtype=object))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
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


def needed_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table without which there is no report.

    Raises:
        RunFolderError: it is not there, or not as it should be.
    """
    if not path.is_file():
        raise RunFolderError(f"{path} does not exist, and a report needs it; finish the run with --resume or give another folder.")
    try:
        return read_table(path, columns)
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path} {reason(error)}; mend the file or make the run again.") from error


def optional_table(path: Path, columns: Sequence[str], gaps: list[str], *, said: bool = True) -> pd.DataFrame:
    """A table, or none of its rows; where `said`, its absence is a gap."""
    nothing = pd.DataFrame({column: pd.Series(dtype=object if column in TEXT else float) for column in columns})
    if not path.is_file():
        gaps += [f"{path.name} is absent."] if said else []
        return nothing
    try:
        return read_table(path, columns)
    except (ValueError, OSError) as error:
        gaps.append(f"{path.name} {reason(error)}.")
        return nothing


def evidence_tables(folder: Path, gaps: list[str]) -> dict[str, pd.DataFrame]:
    """The tables of RUN/evidence by name; without rows where they are absent."""
    return {name: labelled(optional_table(folder / file_of(name), columns, gaps, said=False)) for name, columns in TABLES.items()}


def subtype_table(path: Path, gaps: list[str]) -> pd.DataFrame:
    """Probabilities of subtypes; none where one of them is no probability."""
    table = optional_table(path, SUBTYPES, gaps, said=False)
    wrong = ~table.probability.between(0, 1)
    if wrong.any():
        gaps.append(f"{path.name} has {wrong.sum()} probabilities that are empty or outside 0 to 1, and was left aside.")
        return table.iloc[:0]
    return table


def survival_table(path: Path, gaps: list[str]) -> pd.DataFrame:
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
        gaps.append(f"{path.name} {reason(error)}.")
        return nothing
    return pd.concat(kept, ignore_index=True)


def _near_a_horizon(horizon: np.ndarray) -> np.ndarray:
    return np.isclose(horizon[:, None], CALIBRATION_HORIZONS).any(axis=1)


def training_logs(folder: Path, gaps: list[str]) -> pd.DataFrame:
    """Every models/COHORT/MODEL[@VARIANT]/seed-S/fold-F/log.csv, one after the other."""
    tables, unreadable = [], []
    for path in sorted(folder.glob("*/*/seed-*/fold-*/log.csv")):
        cohort, name, seed, fold = path.parts[-5:-1]
        try:
            if not path.read_text(encoding="utf-8").strip():  # a model that is solved at once has no epochs
                continue
            table = read_table(path, ("stage", "epoch", "step"))
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


def reason(error: Exception) -> str:
    """What to say of a file after its name."""
    text = str(error)
    return text if text.startswith("has ") else f"cannot be read ({text.splitlines()[0] if text else type(error).__name__})"
