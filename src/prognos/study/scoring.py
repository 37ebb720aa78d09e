"""Every model on every fold: predictions -> metrics.csv, with the reason wherever a fold cannot be scored."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from prognos.metrics import METRICS, HeldOutFold
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
    def row(self) -> tuple:
        """The row of the comparison that it belongs to."""
        return tuple(self.key[name] for name in ROW)


def fold_metrics(
    predictions: pd.DataFrame,
    survival: pd.DataFrame | None = None,
    *,
    metrics: Sequence[str] | None = None,
    training: pd.DataFrame | None = None,
) -> FoldMetrics:
    """The columns of metrics.csv, without a bootstrap; arguments as `assess`."""
    scored, notes = score(with_defaults(predictions), survival, metric_names(metrics, survival is not None), training)
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


def metric_names(names: Sequence[str] | None, has_curves: bool) -> list[str]:
    """The metrics asked for, in the order given; without a wish, all that risks (and curves, where there are any) allow.

    Raises:
        ValueError: a name that is not in the table, with the nearest one.
    """
    if names is None:
        return [name for name, metric in METRICS.items() if has_curves or not metric.needs_curves]
    for name in names:
        if name not in METRICS:
            nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)[0]
            raise ValueError(f"no metric is called {name!r}; did you mean {nearest!r}? Known: {', '.join(METRICS)}.")
    return list(names)


def score(
    predictions: pd.DataFrame, survival: pd.DataFrame | None, names: Sequence[str], training: pd.DataFrame | None
) -> tuple[list[ScoredFold], list[str]]:
    """Every model on every fold, and notes about those that cannot be scored."""
    curves = {} if survival is None else dict(list(with_curve_defaults(survival).groupby(list(CELL), sort=False)))
    scored: list[ScoredFold] = []
    for _, study_part in predictions.groupby([name for name in CELL if name != "fold"], sort=False):
        for number, part in study_part.groupby("fold", sort=False):
            key = {name: part[name].iloc[0] for name in CELL}
            train = _training_part(study_part, part, key, training)
            horizons, survived = _curves(curves.get(tuple(key.values())), part, key)
            fold = HeldOutFold(
                part["risk"].to_numpy(),
                part["time"].to_numpy(),
                part["event"].to_numpy(),
                None if train is None else train["time"].to_numpy(),
                None if train is None else train["event"].to_numpy(),
                horizons,
                survived,
            )
            cell = ScoredFold({**key, "fold": number}, fold, tuple(part["patient_id"]))
            for name in names:
                if METRICS[name].needs_curves and survived is None:
                    continue  # a model without curves has no row for them
                try:
                    cell.values[name] = METRICS[name].value(fold)
                except ValueError as reason:
                    cell.reasons[name] = str(reason)
            scored.append(cell)
    _all_used(curves, scored)
    return scored, _unusable(scored) + _without_curves(scored, survival is not None)


def with_curve_defaults(survival: pd.DataFrame) -> pd.DataFrame:
    """Survival curves with the optional columns filled, as `with_defaults`.

    Raises:
        ValueError: a needed column is not there.
    """
    absent = [name for name in ("model", "patient_id", "horizon", "survival") if name not in survival.columns]
    if absent:
        raise ValueError(f"survival curves lack {', '.join(absent)}; they have {', '.join(map(str, survival.columns))}.")
    return survival.assign(**{name: value for name, value in DEFAULTS.items() if name not in survival.columns})


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


def _named(key: Mapping) -> str:
    return f"{key['model']}, variant {key['variant']}, {key['cohort']}, seed {key['seed']}, fold {key['fold']}, missing {key['missing']}"


def _all_used(curves: Mapping[tuple, pd.DataFrame], scored: Iterable[ScoredFold]) -> None:
    left = set(curves) - {tuple(cell.key.values()) for cell in scored}
    if left:
        first = dict(zip(CELL, min(left, key=str), strict=True))
        raise ValueError(
            f"the survival curves of {len(left)} of {len(curves)} folds belong to no prediction ({_named(first)}): "
            "write the same model, variant, cohort, seed, fold and missing in both tables."
        )


def _without_curves(scored: Iterable[ScoredFold], expected: bool) -> list[str]:
    models = dict.fromkeys(str(cell.key["model"]) for cell in scored if cell.fold.survival is None)
    if not expected or not models:
        return []
    return [f"no survival curves of {', '.join(models)}: Brier scores and calibration leave them out."]


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
