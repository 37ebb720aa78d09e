"""What a row of the comparison says, in words, and never more than its interval allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from prognos.metrics import METRICS
from prognos.report.figures.style import years
from prognos.report.run_folder import RunFolder, missing_in_words

CANARY = "canary"  # the variant whose labels were permuted

TITLES = {
    "concordance": "Concordance",
    "concordance_ipcw": "Concordance, Uno",
    "auc": "AUC, mean over horizons",
    "integrated_brier": "Integrated Brier",
    "scaled_brier": "Scaled Brier",
    "calibration": "Calibration error",
    "subtype_auc": "Subtype AUC",
    "subtype_balanced_accuracy": "Subtype balanced accuracy",
}


class Verdict(Enum):
    """How a model stands to the reference."""

    REFERENCE = "reference"
    BETTER = "better"
    WORSE = "worse"
    DIFFERS = "differs"
    WITHIN_NOISE = "within noise"
    UNKNOWN = "no interval"


@dataclass(frozen=True)
class _Task:
    """What a metric is of, in words: of one model, and of several."""

    metric: str
    name: str
    does: str
    do: str


_RANKING = _Task("concordance", "concordance", "ranks patients", "rank patients")
_TELLING = _Task("subtype_auc", "subtype AUC", "tells subtypes apart", "tell subtypes apart")


def metric_title(metric: str) -> str:
    """A metric's name for the reader."""
    base, _, horizon = metric.rpartition("_")
    if base and horizon.endswith("d") and horizon[:-1].isdigit():
        return f"{TITLES.get(base, base.replace('_', ' ').capitalize()).split(',')[0]} at {years(float(horizon[:-1]))}"
    return TITLES.get(metric, metric.replace("_", " ").capitalize())


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is known."""
    if metric not in METRICS:
        return 0
    return 1 if METRICS[metric].higher_is_better else -1


def verdict(row: Any, metric: str, reference: str) -> Verdict:
    """What the interval of the paired difference allows to say."""
    if row.label == reference:
        return Verdict.REFERENCE
    if pd.isna(row.difference_low) or pd.isna(row.difference_high):
        return Verdict.UNKNOWN
    if row.difference_low <= 0 <= row.difference_high:
        return Verdict.WITHIN_NOISE
    sign = direction(metric) * (1 if row.difference_low > 0 else -1)
    return {1: Verdict.BETTER, -1: Verdict.WORSE, 0: Verdict.DIFFERS}[sign]


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, or a dash."""
    return "–" if value is None or pd.isna(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference with its sign, or a dash."""
    return "–" if value is None or pd.isna(value) else f"{value:+.3f}".replace("-", "−")


def interval(low: float, high: float, form: Callable[[float], str] = number) -> str:
    """An interval as text."""
    return "–" if pd.isna(low) or pd.isna(high) else f"{form(low)} to {form(high)}"


def patterns_of(run: RunFolder, cohort: str) -> list[str]:
    """Missing patterns of a cohort's comparison, the complete one first."""
    found = dict.fromkeys(run.comparison.missing[run.comparison.cohort == cohort])
    return sorted(found, key=lambda missing: missing not in ("none", ""))


def models_of(run: RunFolder, cohort: str, missing: str, metric: str, *, canary: bool = False) -> pd.DataFrame:
    """Rows of the comparison with a value: the models, or their canaries."""
    table = run.comparison
    rows = table[(table.cohort == cohort) & (table.missing == missing) & (table.metric == metric)]
    return rows[rows.variant.str.endswith(CANARY) == canary].dropna(subset=["mean"])


def reference_rows(run: RunFolder, cohort: str, missing: str, metric: str) -> pd.DataFrame:
    """The reference's row, if there is one."""
    rows = models_of(run, cohort, missing, metric)
    return rows[rows.label == run.study.reference]


def findings(run: RunFolder, cohort: str) -> list[str]:
    """What came out for a cohort, in plain paragraphs: one for each missing pattern, one for subtypes, one for what to hold it against."""
    missing_patterns = patterns_of(run, cohort)
    done = _what_was_done(run, cohort)
    if not missing_patterns:
        return [f"{done} comparison.csv has no row for this cohort, so there is nothing to compare."]
    paragraphs = [" ".join(_separation(run, cohort, missing, _RANKING)) for missing in missing_patterns]
    paragraphs[0] = f"{done} {paragraphs[0]}"
    paragraphs += _of_subtypes(run, cohort, missing_patterns[0])
    sentences = _against_chance(run, cohort, missing_patterns[0])
    difference = run.cohorts[cohort].detectable_difference
    if difference is not None:
        sentences.append(
            f"The smallest difference in concordance that this cohort can resolve is about {number(difference)}; a smaller one would go "
            "unseen here, so 'within noise' does not mean 'equal'."
        )
    return [*paragraphs, " ".join(sentences)] if sentences else paragraphs


def _what_was_done(run: RunFolder, cohort: str) -> str:
    rows = run.predictions[run.predictions.cohort == cohort]
    rows = rows[~rows.variant.str.endswith(CANARY)]
    patients = rows.drop_duplicates("patient_id")
    models = counted(rows.label.nunique(), "model") + (" (variants counted)" if rows.label.nunique() > rows.model.nunique() else "")
    who = f"{counted(len(patients), 'patient')} of {cohort} with {counted(int(patients.event.sum()), 'event')}"
    return f"{models} on {who}, each tested on {counted(rows.fold.nunique(), 'fold')} with {counted(rows.seed.nunique(), 'seed')}."


def _separation(run: RunFolder, cohort: str, missing: str, task: _Task) -> list[str]:
    rows = models_of(run, cohort, missing, task.metric)
    phrase = missing_in_words(missing)
    opening = f"With {phrase}: " if phrase and not phrase.startswith("without") else f"{phrase.capitalize()}: " if phrase else ""
    reference = reference_rows(run, cohort, missing, task.metric)
    if reference.empty:
        name = run.study.reference or "none was recorded"
        return [f"{opening}The reference model ({name}) is not in this comparison, so no difference can be tested."]
    base = reference.iloc[0]
    sentences = [
        f"{opening}The reference, {base.label}, has a {task.name} of {number(base['mean'])} (95% interval {interval(base.low, base.high)})."
    ]
    verdicts = {row.label: (verdict(row, task.metric, run.study.reference), row) for row in rows.itertuples()}
    for wanted in (Verdict.BETTER, Verdict.WORSE):
        chosen = [
            f"{name} (difference {signed(row.difference)}, 95% interval {interval(row.difference_low, row.difference_high, signed)})"
            for name, (found, row) in verdicts.items()
            if found is wanted
        ]
        if chosen:
            sentences.append(f"{listed(chosen)} {task.does if len(chosen) == 1 else task.do} {wanted.value} than {base.label}.")
    close = [name for name, (found, _) in verdicts.items() if found is Verdict.WITHIN_NOISE]
    others = [name for name in verdicts if name != base.label]
    if close and len(close) == len(others):
        sentences.append(f"No model can be told apart from {base.label}: the interval of every difference holds zero ({listed(close)}).")
    elif close:
        sentences.append(f"{listed(close)} cannot be told apart from {base.label}.")
    unknown = [name for name, (found, _) in verdicts.items() if found is Verdict.UNKNOWN]
    if unknown:
        sentences.append(f"For {listed(unknown)} no interval of the difference is recorded.")
    return sentences


def _of_subtypes(run: RunFolder, cohort: str, missing: str) -> list[str]:
    """How well subtypes are told apart, against the reference where it predicts them; nothing where no model does."""
    rows = models_of(run, cohort, missing, _TELLING.metric)
    if rows.empty:
        return []
    if run.study.reference in set(rows.label):
        return [f"Subtypes: {' '.join(_separation(run, cohort, missing, _TELLING))}"]
    values = [f"{row.label} {number(row.mean)} ({interval(row.low, row.high)})" for row in rows.itertuples()]
    name = run.study.reference or "none was recorded"
    said = f"The reference model ({name}) predicts no subtypes, so no difference can be tested."
    return [f"Subtypes: AUC, with 95% interval (0.5: probabilities that know nothing): {listed(values)}. {said}"]


def _against_chance(run: RunFolder, cohort: str, missing: str) -> list[str]:
    rows = models_of(run, cohort, missing, "concordance").dropna(subset=["low", "high"])
    chance = rows[(rows.low <= 0.5) & (rows.high >= 0.5) & (rows.low < rows.high)]  # a constant risk has no interval
    sentences = []
    if len(chance):
        sentences.append(f"The interval of {listed(list(chance.label))} holds 0.5, the value of a random order.")
    if not run.study.canary:
        return sentences
    canary = models_of(run, cohort, missing, "concordance", canary=True)
    if canary.empty:
        return [*sentences, "A noise canary was asked for, but its rows are not in comparison.csv."]
    values = [f"{row.model} {number(row.mean)} ({interval(row.low, row.high)})" for row in canary.itertuples()]
    sentences.append(f"Noise canary (the same pipeline with permuted labels, which should give 0.5): {listed(values)}.")
    off = canary[(canary.low > 0.5) | (canary.high < 0.5)]
    if len(off):
        sentences.append(
            f"The canary of {listed(list(off.model))} leaves out 0.5. "
            "One in twenty does so by chance, and canaries of the same seed share "
            "their labels: repeat it with further seeds, and if it stays, find out why before you believe the result."
        )
    return sentences


def counted(n: int, noun: str) -> str:
    """A number of things: "1 patient", "2 patients"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
