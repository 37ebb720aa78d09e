"""The page's tables on whether a result is real."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prognos.report.claims import claim_tables
from prognos.report.run_folder import RunFolder, read_run_folder
from prognos.report.sections import SECTIONS

OF = {"model": "tta", "variant": "base", "cohort": "made-up", "label": "tta"}
TEST = {**OF, "missing": "none", "metric": "concordance", "reference": "clinical", "difference": 0.061}
ENDS = {"difference_low": 0.012, "difference_high": 0.11, "p": 0.04, "p_holm": 0.08}
ADDED = {**OF, "likelihood_ratio": 5.81, "p": 0.0004, "p_holm": 0.0004}
HAZARD = {"hazard_ratio": 1.24, "hazard_ratio_low": 1.046, "hazard_ratio_high": 1.47}
AUDITED = {**OF, "omics_model": "snn", "histology_model": "abmil"}


@pytest.fixture
def told(run_folder: Path) -> RunFolder:
    """The run with a row of each table, four of the audit, as its files say it."""
    kinds = (("both", 0.3, 0.9), ("only omics", 0.3, 0.7), ("only histology", 0.2, 0.48), ("neither", 0.2, 0.1))
    audit = [
        {
            **AUDITED,
            "right_of_parts": kind,
            "share": share,
            "fused_right": right,
            "fused_right_low": right - 0.05,
            "fused_right_high": right + 0.05,
        }
        for kind, share, right in kinds
    ]
    tables = {"tests": [TEST | ENDS], "incremental": [ADDED | HAZARD], "fusion_audit": audit}
    for name, rows in tables.items():
        pd.DataFrame(rows).drop(columns="label").to_csv(run_folder / f"{name}.csv", index=False)
    return read_run_folder(run_folder)


def test_a_difference_stands_with_its_interval_and_what_a_test_over_folds_and_seeds_says(told: RunFolder):
    table = claim_tables(told, "made-up")[0]
    (row,) = table.rows
    assert [cell.text for cell in row] == ["tta", "complete", "clinical", "+0.061 (+0.012 to +0.110)", "0.040"]
    # the interval excludes 0, p is below 0.05
    assert [cell.stands_out for cell in row] == [False, False, False, True, True]


def test_with_several_cohorts_it_is_p_after_holm_that_counts(told: RunFolder):
    table = claim_tables(replace(told, cohorts={**told.cohorts, "another": told.cohorts["made-up"]}), "made-up")[0]
    assert table.columns[-2:] == ("p", "p after Holm")
    assert [(cell.text, cell.stands_out) for cell in table.rows[0][-2:]] == [("0.040", False), ("0.080", False)]


def test_a_difference_without_an_interval_or_a_test_has_dashes(told: RunFolder):
    bare = TEST | dict.fromkeys(ENDS, np.nan)
    (row,) = claim_tables(replace(told, tests=pd.DataFrame([bare])), "made-up")[0].rows
    assert [cell.text for cell in row][3:] == ["+0.061 (–)", "–"]


def test_what_is_added_to_the_clinical_model_is_a_hazard_ratio_and_a_likelihood_ratio(told: RunFolder):
    (row,) = claim_tables(told, "made-up")[1].rows
    assert [cell.text for cell in row] == ["tta", "1.24 (1.05 to 1.47)", "5.8", "< 0.001"]


def test_the_audit_says_of_each_kind_of_pair_how_many_there_are_and_how_many_the_fused_model_orders_rightly(told: RunFolder):
    table = claim_tables(told, "made-up")[2]
    assert table.columns[1:3] == ("Both right (30% of pairs)", "Only omics right (30% of pairs)")
    (row,) = table.rows
    assert row[1].text == "0.900 (0.850 to 0.950)"
    # with omics it goes beyond a coin; with histology it does not
    assert [cell.stands_out for cell in row] == [False, False, True, False, False]


def test_a_run_without_these_tables_has_no_such_section(finished: RunFolder, told: RunFolder):
    assert claim_tables(finished, "made-up") == []
    (section,) = (section for section in SECTIONS if section.anchor == "is-it-real")
    assert (section.shown(finished), section.shown(told)) == (False, True)
