"""What the page says of models that predict the subtype: their metrics against the reference, and what these do not cover."""

from typing import Any

import pandas as pd

from prognos.metrics import METRICS
from prognos.report.run_folder import RunFolder, missing_in_words
from prognos.report.tables import Cell, Table
from prognos.report.verdicts import CANARY, Verdict, interval, metric_title, number, patterns_of, signed, verdict

SUBTYPE_METRICS = tuple(name for name, metric in METRICS.items() if metric.needs_subtypes)


def subtype_tables(run: RunFolder, cohort: str) -> list[Table]:
    """For each missing pattern the metrics of every model that predicts subtypes, with differences where there are any."""
    tables = [_table(run, cohort, missing) for missing in patterns_of(run, cohort)]
    return [table for table in tables if table.rows]


def _table(run: RunFolder, cohort: str, missing: str) -> Table:
    rows = run.comparison[(run.comparison.cohort == cohort) & (run.comparison.missing == missing)]
    rows = rows[rows.metric.isin(SUBTYPE_METRICS) & ~rows.variant.str.endswith(CANARY)].dropna(subset=["mean"])
    paired = bool(rows.difference.notna().any())
    columns = ["Model"]
    for metric in SUBTYPE_METRICS:
        columns += [metric_title(metric), *([f"Difference to {run.study.reference}", "Reading"] if paired else [])]
    found = {(row.label, row.metric): row for row in rows.itertuples()}
    body = []
    for label in dict.fromkeys(rows.label):
        cells = [Cell(label, label)]
        for metric in SUBTYPE_METRICS:
            cells += _cells(found.get((label, metric)), metric, run.study.reference, paired)
        body.append(tuple(cells))
    phrase = missing_in_words(missing)
    caption = (
        f"Subtypes of {cohort}{', ' + phrase if phrase else ''}: mean over folds of the mean over seeds (95% interval by bootstrap of the "
        "patients within folds); higher is better"
    )
    return Table(caption, tuple(columns), tuple(body), run.study.selection == "oracle")


def _cells(row: Any, metric: str, reference: str, paired: bool) -> list[Cell]:
    """The value of a metric and, where there are differences, how it stands to the reference's."""
    if row is None:
        return [Cell("–")] * (3 if paired else 1)
    value = Cell(_with_interval(number(row.mean), interval(row.low, row.high)), row.mean)
    if not paired:
        return [value]
    found = verdict(row, metric, reference)
    if found is Verdict.REFERENCE:
        return [value, Cell("–"), Cell(found.value, found.value)]
    marked = found in (Verdict.BETTER, Verdict.WORSE)
    difference = _with_interval(signed(row.difference), interval(row.difference_low, row.difference_high, signed))
    return [value, Cell(difference, row.difference, marked), Cell(found.value, found.value, marked)]


def _with_interval(value: str, ends: str) -> str:
    return value if ends == "–" else f"{value} ({ends})"


def subtype_remarks(run: RunFolder, cohort: str) -> list[str]:
    """What the numbers do not cover: differences without a reference, classes without a patient, patients without a known class."""
    table = run.subtypes[(run.subtypes.cohort == cohort) & ~run.subtypes.variant.str.endswith(CANARY)]
    if table.empty:
        return []
    remarks = [_reference_without(run, cohort), _absent_classes(table)]
    patients = table.drop_duplicates("patient_id")
    unknown = int((patients.subtype == "").sum())
    if unknown:
        remarks.append(f"{unknown} of {len(patients)} patients have no known subtype and are left out.")
    return [remark for remark in remarks if remark]


def _reference_without(run: RunFolder, cohort: str) -> str:
    rows = run.comparison[(run.comparison.cohort == cohort) & run.comparison.metric.isin(SUBTYPE_METRICS)]
    if not run.study.reference or run.study.reference in set(rows.label):
        return ""
    return (
        f"The reference, {run.study.reference}, predicts no subtypes, so no difference can be tested; a study whose reference predicts "
        "them shows paired differences here."
    )


def _absent_classes(table: pd.DataFrame) -> str:
    """The classes that the test part of a fold lacks, each with its folds; empty where it lacks none."""
    observed = table.groupby("fold").subtype.agg(set)
    lacking = {kind: [f"{fold}" for fold, there in observed.items() if kind not in there] for kind in dict.fromkeys(table["class"])}
    parts = [f"{kind} in fold{'s' if len(folds) > 1 else ''} {', '.join(folds)}" for kind, folds in lacking.items() if folds]
    if not parts:
        return ""
    return f"Without a patient in the test part: {'; '.join(parts)}. Each fold is scored on the subtypes that are there."
