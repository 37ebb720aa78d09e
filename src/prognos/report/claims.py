"""Is the result real: tests of differences, what is added to the clinical model, what fusion does with pairs of patients."""

from typing import Any

import pandas as pd

from prognos.report.oracle import oracle_table
from prognos.report.run_folder import RunFolder, missing_in_words
from prognos.report.tables import Cell, Table
from prognos.report.verdicts import interval, number, signed

LEVEL = 0.05
RIGHT_BY_CHANCE = {"both": None, "only omics": 0.5, "only histology": 0.5, "neither": None}


def claim_tables(run: RunFolder, cohort: str) -> list[Table]:
    """Those of the four tables that have a row: tests, incremental value, fusion audit, warning of the best epoch."""
    tables = (_tests(run, cohort), _incremental(run, cohort), _audit(run, cohort), oracle_table(run, cohort))
    return [table for table in tables if table.rows]


def _tests(run: RunFolder, cohort: str) -> Table:
    several, body = len(run.cohorts) > 1, []
    for row in run.tests[run.tests.cohort == cohort].itertuples():
        outside = not row.difference_low <= 0 <= row.difference_high if pd.notna(row.difference_low) else False
        ends = interval(row.difference_low, row.difference_high, signed)
        body.append(
            (
                Cell(row.label, row.label),
                Cell(missing_in_words(row.missing) or "complete"),
                Cell(row.reference),
                Cell(f"{signed(row.difference)} ({ends})", row.difference, outside),
                *_ps(row, several),
            )
        )
    caption = (
        f"Differences in concordance on {cohort}. Interval: bootstrap of patients, fitted models held fixed; p: corrected resampled t-test "
        f"over folds and seeds, where training patients differ too{'; after Holm: over the cohorts' if several else ''}. "
        "What both call a difference can be called one"
    )
    columns = ("Model", "Patients", "Against", "Difference", *_p_names(several))
    return Table(caption, columns, tuple(body), run.study.selection == "oracle")


def _incremental(run: RunFolder, cohort: str) -> Table:
    several, body = len(run.cohorts) > 1, []
    for row in run.incremental[run.incremental.cohort == cohort].itertuples():
        hazard = f"{number(row.hazard_ratio, 2)} ({interval(row.hazard_ratio_low, row.hazard_ratio_high, lambda end: number(end, 2))})"
        ratio = Cell(number(row.likelihood_ratio, 1), row.likelihood_ratio)
        body.append((Cell(row.label, row.label), Cell(hazard, row.hazard_ratio), ratio, *_ps(row, several)))
    caption = (
        f"What each model adds to the clinical one on {cohort}: Cox model of both risks with a baseline for each fold, out-of-fold risks "
        "standardised within fold, mean over seeds. Hazard ratio: for one standard deviation of the model's risk, the clinical risk given"
    )
    columns = ("Model", "Hazard ratio (95%)", "Likelihood ratio", *_p_names(several))
    return Table(caption, columns, tuple(body), run.study.selection == "oracle")


def _audit(run: RunFolder, cohort: str) -> Table:
    table = run.fusion_audit[run.fusion_audit.cohort == cohort]
    body = []
    for label, rows in table.groupby("label", sort=False):
        of_kind = {row.right_of_parts: row for row in rows.itertuples()}
        cells = [Cell(str(label), str(label))]
        for kind, chance in RIGHT_BY_CHANCE.items():
            row = of_kind.get(kind)
            if row is None:
                cells.append(Cell("–"))
                continue
            outside = chance is not None and not row.fused_right_low <= chance <= row.fused_right_high
            cells.append(
                Cell(f"{number(row.fused_right)} ({interval(row.fused_right_low, row.fused_right_high)})", row.fused_right, outside)
            )
        body.append(tuple(cells))
    if table.empty:
        return Table("", (), ())
    first = table.iloc[0]
    shares = {row.right_of_parts: f"{row.share:.0%}" for row in table[table.label == first.label].itertuples()}
    parts = f"{first.omics_model} (omics alone) and {first.histology_model} (histology alone)"
    caption = (
        f"What fusion does on {cohort} with comparable pairs of patients that {parts} order rightly or wrongly: share of the pairs of each "
        "kind that the fused model orders rightly. Where one modality alone is right, 0.5 is a coin; where both are right, fusion can only "
        "lose; where neither is, only an interaction can win"
    )
    columns = tuple(f"{kind.capitalize()} right ({shares.get(kind, '–')} of pairs)" for kind in RIGHT_BY_CHANCE)
    return Table(caption, ("Model", *columns), tuple(body), run.study.selection == "oracle")


def _p_names(several: bool) -> tuple[str, ...]:
    return ("p", "p after Holm") if several else ("p",)


def _ps(row: Any, several: bool) -> list[Cell]:
    """p, and what Holm leaves of it where there are several cohorts; the last one stands out."""
    return [_p(row.p, stands_out=False), _p(row.p_holm)] if several else [_p(row.p)]


def _p(value: float, *, stands_out: bool = True) -> Cell:
    if pd.isna(value):
        return Cell("–")
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", float(value), stands_out and bool(value < LEVEL))
