"""From out-of-fold predictions to metrics.csv and comparison.csv: every model on the same folds, with paired differences.

A number of the comparison is the mean over folds of the mean over seeds. Its interval comes from a bootstrap of patients
within folds; the same draws serve every model of a cohort, so that differences are paired. Risks of different folds are
never pooled: they come from different fitted models.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import stdtr

from prognos.metrics import METRICS
from prognos.metrics.bootstrap import Interval, Resamples, draw_counts, interval, mean_over_folds
from prognos.study.scoring import (
    ROW,
    FoldMetrics,
    ScoredFold,
    fold_metrics,
    fold_table,
    metric_names,
    metric_values,
    named,
    score,
    shortened,
    with_defaults,
)

__all__ = [
    "COMPARISON_COLUMNS",
    "Assessment",
    "CorrectedT",
    "FoldMetrics",
    "assess",
    "compare",
    "corrected_resampled_t",
    "fold_metrics",
    "verdicts",
    "within_noise",
]

COMPARISON_COLUMNS = (*ROW, "metric", "mean", "sd", "low", "high", "difference", "difference_low", "difference_high")


@dataclass(frozen=True)
class Assessment:
    """Metrics and comparison of a study.

    Args:
        metrics: the columns of metrics.csv.
        comparison: the columns of comparison.csv.
        folds: for each model and fold its patients, events, comparable pairs and tau.
        notes: what cannot be scored and why, replicates without a number, what a difference rests on.
    """

    metrics: pd.DataFrame
    comparison: pd.DataFrame
    folds: pd.DataFrame
    notes: tuple[str, ...]


class _Notes:
    """What has to be said beside the numbers; what is said of several models is said once, with their names."""

    def __init__(self, first: Iterable[str]):
        self.of: dict[str, list[str]] = {text: [] for text in first}
        self.lost: dict[tuple[str, str], Interval] = {}

    def add(self, text: str, row: tuple | None = None) -> None:
        models = self.of.setdefault(text, [])
        if row is not None:
            models.append(named(row))

    def add_lost(self, cohort: str, metric: str, found: Interval) -> None:
        """Replicates of a metric that no number came of; of all models and missing patterns the most are said."""
        worst = self.lost.setdefault((cohort, metric), found)
        if found.usable < worst.usable:
            self.lost[cohort, metric] = found

    def lines(self) -> tuple[str, ...]:
        said = [f"{text} ({shortened(models)})." if models else text for text, models in self.of.items()]
        return (*said, *(_lost_in_words(*of, found) for of, found in self.lost.items()))


def _lost_in_words(cohort: str, metric: str, worst: Interval) -> str:
    """One sentence for a metric on a cohort."""
    given = "no interval is given" if worst.low is None else "its interval is of the others"
    lost = f"{worst.replicates - worst.usable} of {worst.replicates} bootstrap replicates cannot be scored"
    return f"{cohort}, {metric}: {lost} in the worst row; {given}."


def assess(
    predictions: pd.DataFrame,
    survival: pd.DataFrame | None = None,
    *,
    reference: str | None = "clinical",
    metrics: Sequence[str] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    training: pd.DataFrame | None = None,
    subtypes: pd.DataFrame | None = None,
) -> Assessment:
    """Everything that is said of out-of-fold predictions: metrics by fold, and models compared.

    Args:
        predictions: the columns of predictions.csv; those beyond model, patient_id, time, event and risk are optional.
        survival: the columns of survival.csv.gz, or None without curves.
        reference: the model that differences are taken to, in its base variant; None for no differences.
        metrics: names from `METRICS`; all when None.
        replicates: bootstrap replicates; 0 for no intervals.
        seed: of the bootstrap.
        training: who the training part of each fold is: time and event, and cohort, seed or fold where it depends on
            them. When None it is the other folds of the same model, variant, cohort, seed and missing pattern.
        subtypes: the columns of subtypes.csv, or None without subtypes.

    Raises:
        ValueError: a column is missing, or a metric is unknown.
    """
    table = with_defaults(predictions)
    wanted = metric_names(metrics, survival is not None, subtypes is not None)
    scored, unusable = score(table, survival, wanted, training, subtypes=subtypes)
    notes = _Notes(unusable)
    if replicates:
        _resample(scored, replicates, seed)
    rows = _by_row(scored)
    compared = [line for row in rows for line in _compare_row(row, rows, reference, notes)]
    names = dict.fromkeys(row[0] for row in rows)
    if reference is not None and reference not in names:
        notes.add(f"the reference {reference!r} is not among the models ({', '.join(map(str, names))}): no differences are given.")
    elif reference is not None:
        _note_reference_without_subtypes(scored, reference, notes)
    comparison = pd.DataFrame(compared, columns=list(COMPARISON_COLUMNS))
    return Assessment(metric_values(scored), comparison, fold_table(scored), notes.lines())


def compare(
    predictions: pd.DataFrame,
    survival: pd.DataFrame | None = None,
    *,
    reference: str | None = "clinical",
    metrics: Sequence[str] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    subtypes: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The columns of comparison.csv; arguments as `assess`, whose notes are in `.attrs["notes"]`."""
    assessment = assess(predictions, survival, reference=reference, metrics=metrics, replicates=replicates, seed=seed, subtypes=subtypes)
    assessment.comparison.attrs["notes"] = list(assessment.notes)
    return assessment.comparison


def _resample(scored: list[ScoredFold], replicates: int, seed: int) -> None:
    """Bootstrap replicates of every metric; the models of a fold share the draws of its patients."""
    together: dict[tuple, set[str]] = defaultdict(set)
    for cell in scored:
        together[cell.key["cohort"], cell.key["seed"], cell.key["fold"]].update(cell.patients)
    drawn: dict[tuple, tuple[dict[str, int], np.ndarray]] = {}
    for cell in scored:
        fold_key = (cell.key["cohort"], cell.key["seed"], cell.key["fold"])
        patients = tuple(sorted(together[fold_key]))
        key = (cell.key["cohort"], patients)
        if key not in drawn:
            counts = draw_counts(len(patients), replicates, [seed, str(cell.key["cohort"]), "\n".join(patients)])
            drawn[key] = ({patient: place for place, patient in enumerate(patients)}, counts)
        place, counts = drawn[key]
        resamples = Resamples(cell.fold, counts[:, [place[patient] for patient in cell.patients]])
        cell.replicates.update({name: METRICS[name].replicates(resamples) for name in cell.values})


def _by_row(scored: Iterable[ScoredFold]) -> dict[tuple, list[ScoredFold]]:
    rows: dict[tuple, list[ScoredFold]] = defaultdict(list)
    for cell in scored:
        rows[cell.row].append(cell)
    return dict(rows)


def _by_fold(cells: Iterable[ScoredFold], name: str, what: str) -> dict:
    """For each fold, one entry a seed, of the folds that can be scored; `what` is values or replicates."""
    folds: dict = defaultdict(list)
    for cell in cells:
        if name in getattr(cell, what):
            folds[cell.key["fold"]].append(getattr(cell, what)[name])
    return dict(folds)


def _compare_row(row: tuple, rows: Mapping[tuple, list[ScoredFold]], reference: str | None, notes: _Notes) -> list[dict]:
    """The lines of the comparison of one model, variant, cohort and missing pattern: one a metric."""
    other = _reference_row(row, rows, reference, notes)
    names = dict.fromkeys(name for cell in rows[row] for name in (*cell.values, *cell.reasons))
    lines = []
    for name in names:
        line = dict.fromkeys(COMPARISON_COLUMNS, np.nan) | dict(zip(ROW, row, strict=True)) | {"metric": name}
        values, replicates = _by_fold(rows[row], name, "values"), _by_fold(rows[row], name, "replicates")
        if values:
            by_fold = [float(np.mean(seeds)) for seeds in values.values()]
            line["mean"] = float(np.mean(by_fold))
            line["sd"] = float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else np.nan
            n_folds = len({cell.key["fold"] for cell in rows[row]})
            if len(by_fold) < n_folds:
                notes.add(f"{_where(row)}, {name}: mean over {len(by_fold)} of {n_folds} folds, the others cannot be scored", row)
        if values and replicates:
            centre = line["mean"] if METRICS[name].centred else None
            found = _put_interval(line, ("low", "high"), mean_over_folds(replicates.values()), centre)
            if found.usable < found.replicates:
                notes.add_lost(str(row[2]), name, found)
        if values and other is not None:
            _put_difference(line, name, rows[row], rows[other], notes)
        lines.append(line)
    return lines


def _reference_row(row: tuple, rows: Mapping[tuple, list[ScoredFold]], reference: str | None, notes: _Notes) -> tuple | None:
    """The reference's row of the same cohort and missing pattern, or without missing data where it has no other."""
    model, variant, cohort, missing = row
    if reference is None or (model, variant) == (reference, "base"):
        return None
    if (reference, "base", cohort, missing) in rows:
        return (reference, "base", cohort, missing)
    complete = (reference, "base", cohort, "none")
    if complete in rows:
        notes.add(f"{_where(row)}: differences are to {reference} with nothing missing, the only one there is", row)
        return complete
    return None


def _note_reference_without_subtypes(scored: Iterable[ScoredFold], reference: str, notes: _Notes) -> None:
    """Says that metrics of subtypes have no differences where the reference has none of them."""
    having = [cell for cell in scored if any(METRICS[name].needs_subtypes for name in (*cell.values, *cell.reasons))]
    if having and not any(cell.row[:2] == (reference, "base") for cell in having):
        found = dict.fromkeys(name for cell in having for name in (*cell.values, *cell.reasons) if METRICS[name].needs_subtypes)
        text = f"{', '.join(found)}: the reference {reference} predicts no subtypes, so that no differences are given"
        notes.add(f"{text}; a reference that predicts them would have some.")


def _put_difference(line: dict, name: str, cells: list[ScoredFold], others: list[ScoredFold], notes: _Notes) -> None:
    """Adds the paired difference over the folds that both can be scored on."""
    folds = set(_by_fold(cells, name, "values")) & set(_by_fold(others, name, "values"))
    if not folds:
        return
    own = [cell for cell in cells if cell.key["fold"] in folds]
    theirs = [cell for cell in others if cell.key["fold"] in folds]
    means = [float(np.mean([np.mean(seeds) for seeds in _by_fold(side, name, "values").values()])) for side in (own, theirs)]
    line["difference"] = means[0] - means[1]
    if {(cell.key["fold"], frozenset(cell.patients)) for cell in own} != {(cell.key["fold"], frozenset(cell.patients)) for cell in theirs}:
        notes.add(f"{_where(own[0].row)}: not scored on the same patients of each fold as {theirs[0].key['model']}", own[0].row)
    sides = [_by_fold(side, name, "replicates") for side in (own, theirs)]
    if all(sides):
        paired = mean_over_folds(sides[0].values()) - mean_over_folds(sides[1].values())
        _put_interval(line, ("difference_low", "difference_high"), paired)


def _put_interval(line: dict, ends: tuple[str, str], values: np.ndarray, centre: float | None = None) -> Interval:
    """Adds an interval to a line, if there is one, and returns it."""
    found = interval(values, centre=centre)
    if found.low is not None:
        line[ends[0]], line[ends[1]] = found.low, found.high
    return found


def _where(row: tuple) -> str:
    _, _, cohort, missing = row
    return str(cohort) if missing == "none" else f"{cohort} without {missing}"


def within_noise(low: float, high: float) -> bool:
    """True when the interval of a difference holds 0, or there is none: such a difference is never set in bold."""
    return not (low > 0 or high < 0)


def verdicts(comparison: pd.DataFrame) -> pd.Series:
    """For each row: better, worse or within noise of the reference; empty text where there is no difference to judge."""
    found = []
    for line in comparison.itertuples():
        if np.isnan(line.difference):
            found.append("")
        elif within_noise(line.difference_low, line.difference_high):
            found.append("within noise")
        else:
            found.append("better" if (line.difference > 0) == METRICS[line.metric].higher_is_better else "worse")
    return pd.Series(found, index=comparison.index, name="verdict", dtype=object)


@dataclass(frozen=True)
class CorrectedT:
    """A t-test of differences over folds that share training patients.

    Args:
        statistic: the t statistic.
        degrees_of_freedom: folds less one.
        p_value: two-sided.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float


def corrected_resampled_t(differences: Float[np.ndarray, " folds"], *, test_share: float) -> CorrectedT:
    """The corrected resampled t-test of Nadeau and Bengio (2003).

    t = mean / sqrt((1 / folds + n_test / n_train) variance): training parts overlap, so the folds are not independent
    and the plain variance of the mean is too small.

    Args:
        differences: of a metric between two models, one a fold (and repetition).
        test_share: share of the patients in each test fold; one fifth for five folds.

    Raises:
        ValueError: fewer than two folds, differences that are all the same, or a share outside 0 to 1.
    """
    n_folds = len(differences)
    if n_folds < 2 or not 0 < test_share < 1:
        raise ValueError(
            f"{n_folds} differences with a test share of {test_share:g}: two or more, and a share between 0 and 1, are needed."
        )
    variance = float(np.var(differences, ddof=1))
    if variance == 0:
        raise ValueError(f"all {n_folds} differences are {differences[0]:g}: without spread there is no t-test.")
    statistic = float(np.mean(differences) / np.sqrt((1 / n_folds + test_share / (1 - test_share)) * variance))
    return CorrectedT(statistic, n_folds - 1, float(2 * stdtr(n_folds - 1, -abs(statistic))))
