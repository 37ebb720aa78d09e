"""Every model on every fold: predictions -> metrics.csv, with the reason wherever a fold cannot be scored."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.metrics import METRICS, HeldOutFold, Metric
from prognos.metrics.classification import UNKNOWN
from prognos.metrics.concordance import Order

ROW = ("model", "variant", "cohort", "missing")
"""What a row of the comparison is about."""
CELL = ("model", "variant", "cohort", "seed", "fold", "missing")
"""What a row of metrics.csv is about, besides the metric."""
DEFAULTS: Mapping[str, object] = {"variant": "base", "cohort": "cohort", "seed": 0, "fold": 0, "missing": "none"}
METRIC_COLUMNS = (*CELL, "metric", "value")


@dataclass(frozen=True)
class FoldMetrics:
    """The metrics of every fold.

    Args:
        values: the columns of metrics.csv; `value` is NaN (an empty cell) where a fold cannot be scored.
        folds: for each model and fold its patients, events, comparable pairs and tau.
        notes: why a fold cannot be scored, and everything else to be said beside the numbers.
    """

    values: pd.DataFrame
    folds: pd.DataFrame
    notes: tuple[str, ...]


@dataclass
class ScoredFold:
    """One model on one fold.

    Args:
        key: its model, variant, cohort, seed, fold and missing pattern.
        fold: its predictions.
        patients: ids in the order of the fold.
        values: metrics by name.
        reasons: why a metric could not be computed, by name.
        replicates: bootstrap replicates of the metrics, by name.
    """

    key: dict[str, object]
    fold: HeldOutFold
    patients: tuple[str, ...]
    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    replicates: dict[str, Float[np.ndarray, " replicates"]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """MODEL, or MODEL@VARIANT when the variant is not the base."""
        return named(self.row)

    @property
    def row(self) -> tuple:
        """The row of the comparison that it belongs to."""
        return tuple(self.key[name] for name in ROW)


def fold_metrics(
    predictions: pd.DataFrame,
    survival: pd.DataFrame | None = None,
    *,
    metrics: Sequence[str] | None = None,
    training: pd.DataFrame | None = None,
    subtypes: pd.DataFrame | None = None,
) -> FoldMetrics:
    """The columns of metrics.csv, without a bootstrap; arguments as `assess`."""
    names = metric_names(metrics, survival is not None, subtypes is not None)
    scored, notes = score(with_defaults(predictions), survival, names, training, subtypes=subtypes)
    return FoldMetrics(metric_values(scored), fold_table(scored), tuple(notes))


def with_defaults(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the optional columns filled: variant base, cohort, seed 0, fold 0, missing none.

    Raises:
        ValueError: a needed column is not there.
    """
    needed = ("model", "patient_id", "time", "event", "risk")
    absent = [name for name in needed if name not in predictions.columns]
    if absent:
        raise ValueError(f"predictions lack {', '.join(absent)}; they have {', '.join(map(str, predictions.columns))}.")
    if predictions.empty:
        raise ValueError("predictions hold no row: there is nothing to score.")
    return predictions.assign(**{name: value for name, value in DEFAULTS.items() if name not in predictions.columns})


def metric_names(names: Sequence[str] | None, has_curves: bool, has_subtypes: bool) -> list[str]:
    """The metrics asked for, in the order given; without a wish, all that risks, curves and subtypes (where there are any) allow.

    Raises:
        ValueError: a name that is not in the table, with the nearest one.
    """
    if names is None:
        return [name for name, metric in METRICS.items() if _computable(metric, has_curves, has_subtypes)]
    for name in names:
        if name not in METRICS:
            nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)[0]
            raise ValueError(f"no metric is called {name!r}; did you mean {nearest!r}? Known: {', '.join(METRICS)}.")
    return list(names)


def _computable(metric: Metric, has_curves: bool, has_subtypes: bool) -> bool:
    return (has_curves or not metric.needs_curves) and (has_subtypes or not metric.needs_subtypes)


def score(
    predictions: pd.DataFrame,
    survival: pd.DataFrame | None,
    names: Sequence[str],
    training: pd.DataFrame | None,
    *,
    subtypes: pd.DataFrame | None = None,
) -> tuple[list[ScoredFold], list[str]]:
    """Every model on every fold, and notes about those that cannot be scored."""
    curves = _by_cell(survival, ("horizon", "survival"), "survival curves")
    probabilities = _by_cell(subtypes, ("subtype", "class", "probability"), "subtypes")
    scored: list[ScoredFold] = []
    for _, study_part in predictions.groupby([name for name in CELL if name != "fold"], sort=False):
        for number, part in study_part.groupby("fold", sort=False):
            key = {name: part[name].iloc[0] for name in CELL}
            train = _training_part(study_part, part, key, training)
            horizons, survived = _curves(curves.get(tuple(key.values())), part, key)
            label, probability, classes = _classes(probabilities.get(tuple(key.values())), part, key)
            fold = HeldOutFold(
                part["risk"].to_numpy(),
                part["time"].to_numpy(),
                part["event"].to_numpy(),
                None if train is None else train["time"].to_numpy(),
                None if train is None else train["event"].to_numpy(),
                horizons,
                survived,
                label,
                probability,
                classes,
            )
            cell = ScoredFold({**key, "fold": number}, fold, tuple(part["patient_id"]))
            for name in names:
                if not _computable(METRICS[name], survived is not None, probability is not None):
                    continue  # a model without curves, or subtypes, has no row for them
                try:
                    cell.values[name] = METRICS[name].value(fold)
                except ValueError as reason:
                    cell.reasons[name] = str(reason)
            scored.append(cell)
    _all_used(curves, scored, "survival curves")
    _all_used(probabilities, scored, "subtypes")
    said = [*_unusable(scored), *_without_curves(scored, survival is not None)]
    return scored, said if subtypes is None else [*said, *_of_subtypes(scored, names)]


def _by_cell(table: pd.DataFrame | None, columns: Sequence[str], what: str) -> dict[tuple, pd.DataFrame]:
    """A table in long form, divided by model and fold; its optional columns are filled, as by `with_defaults`.

    Raises:
        ValueError: a needed column is not there.
    """
    if table is None:
        return {}
    absent = [name for name in ("model", "patient_id", *columns) if name not in table.columns]
    if absent:
        raise ValueError(f"{what} lack {', '.join(absent)}; they have {', '.join(map(str, table.columns))}.")
    filled = table.assign(**{name: value for name, value in DEFAULTS.items() if name not in table.columns})
    return dict(list(filled.groupby(list(CELL), sort=False)))


def _training_part(others: pd.DataFrame, part: pd.DataFrame, key: Mapping, training: pd.DataFrame | None) -> pd.DataFrame | None:
    """Who a fold's censoring is learnt from; never a patient of the fold itself."""
    if training is not None:
        chosen = np.ones(len(training), dtype=bool)
        for name in ("cohort", "seed", "fold"):
            if name in training.columns:
                chosen &= (training[name] == key[name]).to_numpy()
        return training[chosen] if chosen.any() else None
    rest = others[(others["fold"] != key["fold"]) & ~others["patient_id"].isin(part["patient_id"])]
    rest = rest.drop_duplicates("patient_id")
    return rest if len(rest) else None


def _curves(curves: pd.DataFrame | None, part: pd.DataFrame, key: Mapping) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Horizons and survival, patients x horizons in the order of the fold."""
    if curves is None:
        return None, None
    wide = curves.pivot(index="patient_id", columns="horizon", values="survival")
    lacking = sorted(set(part["patient_id"]) - set(wide.index[wide.notna().all(axis=1)]))
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(part)} patients of {_named(key)} have no complete survival curve ({', '.join(lacking[:3])}): "
            "give every patient of a fold the same horizons."
        )
    return wide.columns.to_numpy(dtype=np.float64), wide.loc[list(part["patient_id"])].to_numpy(dtype=np.float64)


def _classes(table: pd.DataFrame | None, part: pd.DataFrame, key: Mapping) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Labels (-1 where unknown), probabilities and names of the classes; patients in the order of the fold."""
    if table is None:
        return None, None, ()
    classes = tuple(dict.fromkeys(table["class"]))
    patients = list(part["patient_id"])
    wide = table.pivot(index="patient_id", columns="class", values="probability")
    lacking = sorted(set(patients) - set(wide.index[wide.notna().all(axis=1)]))
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(part)} patients of {_named(key)} do not have a probability of each of {len(classes)} subtypes "
            f"({', '.join(lacking[:3])}): give every patient of a fold the same classes."
        )
    labels = table[["patient_id", "subtype"]].drop_duplicates()
    twice = labels.loc[labels.duplicated("patient_id"), "patient_id"]
    if len(twice):
        raise ValueError(
            f"{len(twice)} of {len(part)} patients of {_named(key)} have several subtypes ({', '.join(twice[:3])}): "
            "write the same one in all rows of a patient."
        )
    observed = labels.set_index("patient_id")["subtype"].loc[patients]
    foreign = observed[observed.notna() & ~observed.isin(["", *classes])]
    if len(foreign):
        names = ", ".join(map(repr, foreign.unique()[:3]))
        raise ValueError(
            f"the subtype of {len(foreign)} of {len(part)} patients of {_named(key)} ({names}) is none of the classes "
            f"{', '.join(classes)}: leave it empty, or give probabilities of it."
        )
    place = {name: number for number, name in enumerate(classes)}
    label = np.array([place.get(name, UNKNOWN) for name in observed], dtype=np.int64)
    return label, wide.loc[patients, list(classes)].to_numpy(dtype=np.float64), classes


def _named(key: Mapping) -> str:
    return f"{key['model']}, variant {key['variant']}, {key['cohort']}, seed {key['seed']}, fold {key['fold']}, missing {key['missing']}"


def _all_used(tables: Mapping[tuple, pd.DataFrame], scored: Iterable[ScoredFold], what: str) -> None:
    left = set(tables) - {tuple(cell.key.values()) for cell in scored}
    if left:
        first = dict(zip(CELL, min(left, key=str), strict=True))
        raise ValueError(
            f"the {what} of {len(left)} of {len(tables)} folds belong to no prediction ({_named(first)}): "
            "write the same model, variant, cohort, seed, fold and missing in both tables."
        )


def _without_curves(scored: Iterable[ScoredFold], expected: bool) -> list[str]:
    models = dict.fromkeys(str(cell.key["model"]) for cell in scored if cell.fold.survival is None)
    if not expected or not models:
        return []
    return [f"no survival curves of {', '.join(models)}: Brier scores and calibration leave them out."]


def _of_subtypes(scored: Sequence[ScoredFold], names: Sequence[str]) -> list[str]:
    """Notes about the metrics of subtypes: models without any, classes that a test part lacks, patients whose subtype is not known."""
    asked = ", ".join(name for name in names if METRICS[name].needs_subtypes)
    if not asked:
        return []
    without = [cell.name for cell in scored if cell.fold.probabilities is None]
    notes = [f"{asked}: no subtypes are predicted by {shortened(without)}; these metrics leave them out"] if without else []
    cells_of: dict[tuple[str, str], list[ScoredFold]] = defaultdict(list)
    for cell in scored:
        if cell.fold.probabilities is not None:
            cells_of[str(cell.key["cohort"]), cell.name].append(cell)
    said: dict[str, list[str]] = defaultdict(list)
    for (cohort, name), cells in cells_of.items():
        for text in (_absent_classes(cells), _unlabelled(cells)):
            if text:
                said[f"{cohort}, {asked}: {text}"].append(name)
    return notes + [f"{text} ({shortened(models)})" for text, models in said.items()]


def _absent_classes(cells: Iterable[ScoredFold]) -> str:
    """Which classes the test parts lack, each with its folds; empty where they lack none."""
    folds: dict[str, dict[str, None]] = defaultdict(dict)
    for cell in cells:
        for kind in cell.fold.absent_classes:
            folds[kind][str(cell.key["fold"])] = None
    if not folds:
        return ""
    where = "; ".join(f"{kind} in fold{'s' if len(of_kind) > 1 else ''} {', '.join(of_kind)}" for kind, of_kind in folds.items())
    return f"absent from the test part: {where}; each fold is scored on the classes that are there"


def _unlabelled(cells: Sequence[ScoredFold]) -> str:
    """How many patients have no known subtype; empty where all have."""
    known = {patient: label != UNKNOWN for cell in cells for patient, label in zip(cell.patients, cell.fold.subtypes[1], strict=True)}
    n_unknown = len(known) - sum(known.values())
    return f"{n_unknown} of {len(known)} patients have no known subtype and are left out" if n_unknown else ""


def _unusable(scored: Iterable[ScoredFold]) -> list[str]:
    """One note a cohort and metric: how many folds cannot be scored, of which models, and the first reason."""
    failed: dict[tuple, list[ScoredFold]] = defaultdict(list)
    tried: dict[tuple, int] = defaultdict(int)
    for cell in scored:
        for name in (*cell.values, *cell.reasons):
            tried[cell.key["cohort"], name] += 1
        for name in cell.reasons:
            failed[cell.key["cohort"], name].append(cell)
    notes = []
    for (cohort, name), cells in failed.items():
        shown = shortened([str(cell.key["model"]) for cell in cells])
        first = cells[0]
        notes.append(
            f"{cohort}, {name}: {len(cells)} of {tried[cohort, name]} folds cannot be scored ({shown}). "
            f"Seed {first.key['seed']}, fold {first.key['fold']}: {first.reasons[name]}"
        )
    return notes


def named(row: tuple) -> str:
    """The model of a row of the comparison: MODEL, or MODEL@VARIANT when the variant is not the base."""
    return str(row[0]) if row[1] == "base" else f"{row[0]}@{row[1]}"


def shortened(names: Iterable[str]) -> str:
    """At most three different names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} more" if len(distinct) > 3 else "")


def metric_values(scored: Iterable[ScoredFold]) -> pd.DataFrame:
    """The columns of metrics.csv; NaN where a fold cannot be scored."""
    lines = [
        {**cell.key, "metric": name, "value": cell.values.get(name, np.nan)}
        for cell in scored
        for name in METRICS
        if name in cell.values or name in cell.reasons
    ]
    return pd.DataFrame(lines, columns=list(METRIC_COLUMNS))


def fold_table(scored: Iterable[ScoredFold]) -> pd.DataFrame:
    """For each model and fold: patients, events, comparable pairs, and tau, by which it was truncated."""
    lines = []
    for cell in scored:
        fold = cell.fold
        pairs = Order.of(np.asarray(fold.time), np.asarray(fold.event)).n_pairs
        tau = np.nan if fold.train_time is None else fold.tau
        lines.append({**cell.key, "patients": len(fold), "events": int(np.sum(fold.event)), "comparable_pairs": pairs, "tau": tau})
    return pd.DataFrame(lines)
