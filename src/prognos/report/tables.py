"""The tables of the report as values: captions, columns, and cells that know how they sort."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from prognos.metrics import METRICS
from prognos.report.run_folder import CohortFacts, RunFolder, missing_in_words
from prognos.report.run_tables import label
from prognos.report.verdicts import (
    CANARY,
    Verdict,
    direction,
    interval,
    metric_title,
    models_of,
    number,
    patterns_of,
    signed,
    verdict,
)

NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what it sorts by, and whether it stands out (never for something within noise)."""

    text: str
    value: float | str | None = None
    stands_out: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Args:
        caption: what it shows, and how the numbers came about.
        columns: headings; the first column names the row.
        rows: as many cells as columns in each.
        oracle: its numbers were chosen on the folds that they report.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    oracle: bool = False


def csv_link(text: str) -> str:
    """A table, as CSV text, as a link that holds it, for a page that needs no other file."""
    return "data:text/csv;charset=utf-8," + quote(text, safe="/:@.,;=+-_()")


def comparison_tables(run: RunFolder, cohort: str) -> list[Table]:
    """For each missing pattern a table of the concordance with differences, and one of all other metrics but those of subtypes."""
    tables = []
    for missing in patterns_of(run, cohort):
        tables.append(_concordance_table(run, cohort, missing))
        tables.append(_metric_table(run, cohort, missing))
    return [table for table in tables if table.rows]


def _concordance_table(run: RunFolder, cohort: str, missing: str) -> Table:
    rows = models_of(run, cohort, missing, "concordance")
    canary = models_of(run, cohort, missing, "concordance", canary=True).set_index("model") if run.study.canary else None
    columns = [
        "Model",
        "Concordance",
        "95% interval",
        "SD over folds",
        f"Difference to {run.study.reference or 'reference'}",
        "95% interval",
    ]
    columns += ["Reading"] + (["Noise canary"] if canary is not None else [])
    body = []
    for row in rows.itertuples():
        found = verdict(row, "concordance", run.study.reference)
        marked = found in (Verdict.BETTER, Verdict.WORSE)
        is_reference = found is Verdict.REFERENCE
        cells = [
            Cell(row.label, row.label),
            Cell(number(row.mean), row.mean),
            Cell(interval(row.low, row.high), row.low),
            Cell(number(row.sd), row.sd),
            Cell("–" if is_reference else signed(row.difference), row.difference, marked),
            Cell("–" if is_reference else interval(row.difference_low, row.difference_high, signed), row.difference_low, marked),
            Cell(found.value, found.value, marked),
        ]
        if canary is not None:
            cells.append(_canary_cell(canary, row) if row.variant in ("", "base") else Cell("–"))
        body.append(tuple(cells))
    body += _not_applicable_rows(run, cohort, set(rows.label), len(columns))
    phrase = missing_in_words(missing)
    where = f"{cohort}, {phrase}" if phrase else cohort
    caption = f"Concordance on {where}: mean over folds of the mean over seeds; intervals by bootstrap of the patients within folds"
    return Table(caption, tuple(columns), tuple(body), run.study.selection == "oracle")


def _canary_cell(canary: pd.DataFrame, row: Any) -> Cell:
    if row.model not in canary.index:
        return Cell("not run")
    noise = canary.loc[[row.model]].iloc[0]
    return Cell(f"{number(noise['mean'])} ({interval(noise.low, noise.high)})", float(noise["mean"]))


def _metric_table(run: RunFolder, cohort: str, missing: str) -> Table:
    rows = run.comparison[(run.comparison.cohort == cohort) & (run.comparison.missing == missing)]
    elsewhere = ["concordance", *(name for name in METRICS if METRICS[name].needs_subtypes and not run.subtypes.empty)]
    rows = rows[~rows.metric.isin(elsewhere) & ~rows.variant.str.endswith(CANARY)]
    metrics = list(dict.fromkeys(rows.metric[rows["mean"].notna()]))
    found = {(row.label, row.metric): row for row in rows.itertuples()}
    body: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(rows.label):
        cells = [Cell(name, name)]
        for metric in metrics:
            row = found.get((name, metric))
            cells.append(Cell("–") if row is None or pd.isna(row.mean) else _metric_cell(row, metric, run.study.reference))
        body.append(tuple(cells))
    if body:
        body += _not_applicable_rows(run, cohort, set(rows.label), len(metrics) + 1)
    titles = tuple(f"{metric_title(metric)}{ {1: ' ↑', -1: ' ↓'}.get(direction(metric), '') }" for metric in metrics)
    phrase = missing_in_words(missing)
    caption = (
        f"Other metrics on {cohort}{', ' + phrase if phrase else ''}: mean (95% interval). ↑ higher is better, ↓ lower is better; "
        f"▲ better and ▼ worse than {run.study.reference or 'the reference'} where the interval of the paired difference leaves out 0"
    )
    return Table(caption, ("Model", *titles), tuple(body), run.study.selection == "oracle")


def _metric_cell(row: Any, metric: str, reference: str) -> Cell:
    mark = {Verdict.BETTER: " ▲", Verdict.WORSE: " ▼", Verdict.DIFFERS: " ≠"}.get(verdict(row, metric, reference), "")
    text = f"{number(row.mean)} ({interval(row.low, row.high)}){mark}" if pd.notna(row.low) else f"{number(row.mean)}{mark}"
    return Cell(text, row.mean, bool(mark))


def _not_applicable_rows(run: RunFolder, cohort: str, shown: set[str], n_columns: int) -> list[tuple[Cell, ...]]:
    """Rows of models that have no number at all; one that misses some folds has its numbers, and its reason elsewhere."""
    here = [entry for entry in run.study.not_applicable if entry.get("cohort") in (cohort, None)]
    labels = [name for name in dict.fromkeys(_named(entry) for entry in here) if name not in shown and not name.endswith(CANARY)]
    filler = tuple(Cell("–") for _ in range(n_columns - 2))
    return [(Cell(label, label), Cell(NOT_APPLICABLE), *filler) for label in labels]


def _named(entry: Mapping[str, Any]) -> str:
    model, variant = str(entry.get("model", "?")), str(entry.get("variant") or "base")
    return model if variant == "base" else f"{model}@{variant}"


def cohort_table(run: RunFolder) -> Table:
    """Who was kept, a row a cohort."""
    columns = (
        "Cohort",
        "Endpoint",
        "In the table",
        "Kept",
        "Events",
        "Median follow-up (years)",
        "Have histology",
        "Have omics",
        "Patches a patient",
    )
    rows = []
    for name, facts in run.cohorts.items():
        follow_up = None if facts.median_follow_up_days is None else facts.median_follow_up_days / 365.0
        patches = f"{facts.patches['min']:g} to {facts.patches['max']:g}" if {"min", "max"} <= set(facts.patches) else "–"
        if "median" in facts.patches and patches != "–":
            patches = f"{facts.patches['median']:g} (median), {patches}"
        rows.append(
            (
                Cell(name, name),
                Cell(facts.endpoint or "–"),
                *(_count(value) for value in (facts.patients_in_table, facts.kept, facts.events)),
                Cell(number(follow_up, 1), follow_up),
                *(_count(facts.modalities.get(modality)) for modality in ("histology", "omics")),
                Cell(patches),
            )
        )
    return Table("Patients of each cohort; median follow-up by reverse Kaplan-Meier", columns, tuple(rows))


def gene_set_table(cohort: str, facts: CohortFacts) -> Table:
    """How many genes of each gene set collection the cohort's tables hold."""
    rows = tuple(
        (Cell(name, name), *(_count(counts.get(key)) for key in ("sets", "genes", "genes_found")))
        for name, counts in facts.gene_sets.items()
    )
    return Table(f"Gene sets found in {cohort}", ("Collection", "Gene sets", "Genes in them", "Found in the tables"), rows)


def split_card(run: RunFolder, cohort: str, facts: CohortFacts) -> Table:
    """What each fold holds; from the predictions when no split card was recorded."""
    titles = {"shared_sites": "Sites also in training", "median_follow_up_days": "Median follow-up (years)"}
    card = [dict(row) for row in facts.split_card] or _counted_card(run, cohort)
    keys = list(dict.fromkeys(key for row in card for key in row))
    rows = []
    for row in card:
        cells = []
        for key in keys:
            value = row.get(key)
            if key == "median_follow_up_days":
                cells.append(Cell(number(None if value is None else value / 365.0, 1), value))
            else:
                cells.append(_count(value))
        rows.append(tuple(cells))
    columns = tuple(titles.get(key, key.replace("_", " ").capitalize()) for key in keys)
    return Table(f"The test part of every fold of {cohort}", columns, tuple(rows))


def _counted_card(run: RunFolder, cohort: str) -> list[dict[str, Any]]:
    real = run.predictions[(run.predictions.cohort == cohort) & ~run.predictions.variant.str.endswith(CANARY)]
    rows = real.drop_duplicates("patient_id")
    counted = rows.groupby("fold").event.agg(["size", "sum"])
    return [{"fold": int(fold), "patients": int(row["size"]), "events": int(row["sum"])} for fold, row in counted.iterrows()]


def risk_group_table(groups: pd.DataFrame, label: str) -> Table:
    """Patients and events on both sides of the threshold, a row a fold."""
    rows = []
    for fold, of_fold in groups.groupby("fold"):
        low, high = of_fold[~of_fold.high], of_fold[of_fold.high]
        note = "all on one side" if low.empty or high.empty else ""
        counts = (len(low), int(low.event.sum()), len(high), int(high.event.sum()))
        rows.append((Cell(f"{fold}", float(str(fold))), *(_count(value) for value in counts), Cell(note)))
    columns = ("Fold", "Low risk", "events", "High risk", "events", "Note")
    return Table(f"Risk groups of {label} by fold", columns, tuple(rows))


def entries_table(caption: str, entries: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """Recorded entries (not applicable, unusable) as they are."""
    rows = tuple(tuple(_count(entry.get(key)) for key in keys) for entry in entries)
    return Table(caption, tuple(key.capitalize() for key in keys), rows)


def unusable_table(run: RunFolder) -> Table:
    """What could not be scored: a row for each model, metric and reason, with the first three places and how many there are."""
    places: dict[tuple[str, ...], list[str]] = {}
    for entry in run.study.unusable:
        key = tuple(str(entry.get(name, "–")) for name in ("model", "cohort", "metric", "reason"))
        places.setdefault(key, []).append(f"seed {entry.get('seed', '–')} fold {entry.get('fold', '–')}")
    rows = []
    for (model, cohort, metric, reason), where in places.items():
        shown = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        rows.append(
            (Cell(model, model), Cell(cohort, cohort), Cell(metric_title(metric), metric), Cell(shown, float(len(where))), Cell(reason))
        )
    return Table("What could not be scored, and why", ("Model", "Cohort", "Metric", "Where", "Reason"), tuple(rows))


def metric_meanings(run: RunFolder) -> Table:
    """What each metric of the comparison measures."""
    names = [name for name in dict.fromkeys(run.comparison.metric[run.comparison["mean"].notna()]) if name in METRICS]
    rows = tuple((Cell(metric_title(name), name), Cell(METRICS[name].summary)) for name in names)
    return Table("The metrics", ("Metric", "What it is"), rows)


def model_table(run: RunFolder) -> Table:
    """The models of the study: what they are, where they come from, how large they are."""
    rows = []
    for name in dict.fromkeys([*run.study.models, *run.predictions.model]):
        facts = run.study.models.get(name)
        summary, paper = (facts.summary, facts.paper) if facts else ("", "")
        parameters = facts.parameters if facts else None
        rows.append((Cell(name, name), _count(parameters), Cell(summary or "–"), Cell(paper or "–")))
    return Table("Models", ("Model", "Parameters", "What it does", "Paper"), tuple(rows))


def cost_table(run: RunFolder) -> Table:
    """What each model cost, and each of its variants."""
    rows = [row for row in run.study.cost if not row.variant.endswith(CANARY)]
    patterns = list(dict.fromkeys(pattern for row in rows for pattern in row.predict_seconds))
    titles = [f"Prediction {missing_in_words(pattern) or 'complete'}, ms" for pattern in patterns]
    body = []
    for row in rows:
        name = label(row.model, row.variant)
        times = [row.predict_seconds.get(pattern) for pattern in patterns]
        cells = [_scaled(spent, 1000.0) for spent in times]
        fit = (_scaled(row.fit_seconds), _scaled(row.fit_cpu_seconds), _scaled(row.fit_peak_bytes, 1e-6, digits=0))
        body.append((Cell(name, name), Cell(row.cohort, row.cohort), _count(row.parameters), *fit, *cells))
    caption = (
        "What the models cost on this machine: a fit with its predictions in seconds, the fit alone in CPU seconds, the most memory of the "
        "process in the fit, and a patient's prediction in milliseconds of one core, reading included; medians over folds and seeds"
    )
    return Table(caption, ("Model", "Cohort", "Parameters", "Fit, s", "Fit, CPU s", "Memory, MB", *titles), tuple(body))


def _scaled(value: float | None, factor: float = 1.0, *, digits: int = 1) -> Cell:
    """A measured value times a factor; a dash where nothing was measured."""
    return Cell("–") if value is None else Cell(f"{value * factor:,.{digits}f}", value)


def provenance_table(provenance: Mapping[str, Any], caption: str) -> Table:
    """Nested values as rows: the path to each value, and the value."""
    return Table(caption, ("What", "Value"), tuple((Cell(key, key), Cell(value)) for key, value in _flat(provenance)))


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{path} › ")
        elif isinstance(value, list):
            rows.append((path, ", ".join(str(item) for item in value)))
        else:
            rows.append((path, f"{value:,.1f}" if isinstance(value, float) else str(value)))
    return rows


def _count(value: Any) -> Cell:
    if value is None or value == "":
        return Cell("–")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value), str(value))
    return Cell(f"{value:,}" if isinstance(value, int) else f"{value:g}", float(value))
