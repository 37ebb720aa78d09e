from dataclasses import replace

import pandas as pd
import pytest

from prognos.report.figures.kaplan_meier import p_in_words, stratified_p_value
from prognos.report.risk_groups import patterns, repeats, risk_groups
from prognos.report.run_folder import RunFolder


def run_with(finished: RunFolder, rows: list[tuple]) -> RunFolder:
    """A run with these predictions: seed, fold, patient_id, risk, threshold."""
    table = pd.DataFrame(rows, columns=["seed", "fold", "patient_id", "risk", "threshold"])
    table = table.assign(model="m", variant="base", label="m", cohort="c", missing="none", time=100.0, event=True)
    return replace(finished, predictions=table)


def high(run: RunFolder) -> dict[str, bool]:
    patients = risk_groups(run, "c", "m", "none").patients
    return dict(zip(patients.patient_id, patients.high.tolist(), strict=True))


def test_each_fold_is_cut_at_its_own_threshold(finished: RunFolder):
    run = run_with(finished, [(1, 0, "a", 1.0, 0.5), (1, 0, "b", 0.0, 0.5), (1, 1, "c", 11.0, 10.5), (1, 1, "d", 10.0, 10.5)])
    assert high(run) == {"a": True, "b": False, "c": True, "d": False}


def test_a_risk_at_the_threshold_is_low(finished: RunFolder):
    assert high(run_with(finished, [(1, 0, "a", 0.5, 0.5)])) == {"a": False}


def test_the_majority_of_seeds_decides(finished: RunFolder):
    run = run_with(finished, [(1, 0, "a", 1.0, 0.0), (2, 0, "a", -1.0, 0.0), (3, 0, "a", -1.0, 0.0)])
    groups = risk_groups(run, "c", "m", "none")
    assert not groups.patients.high[0]
    assert groups.patients.agreement[0] == pytest.approx(2 / 3)


def test_the_first_seed_decides_a_tie_whatever_the_order_of_rows(finished: RunFolder):
    assert high(run_with(finished, [(2, 0, "a", -1.0, 0.0), (1, 0, "a", 1.0, 0.0)])) == {"a": True}


def test_a_fold_with_everybody_on_one_side_is_named(finished: RunFolder):
    run = run_with(finished, [(1, 0, "a", 1.0, 0.0), (1, 0, "b", -1.0, 0.0), (1, 3, "c", 2.0, 0.0), (1, 3, "d", 1.0, 0.0)])
    assert risk_groups(run, "c", "m", "none").one_sided == (3,)


def test_without_a_threshold_the_median_of_the_fold_stands_in_and_it_is_said(finished: RunFolder):
    nan = float("nan")
    run = run_with(finished, [(1, 0, "a", 1.0, nan), (1, 0, "b", 3.0, nan), (1, 1, "c", 10.0, nan), (1, 1, "d", 30.0, nan)])
    assert risk_groups(run, "c", "m", "none").within_fold
    assert high(run) == {"a": False, "b": True, "c": False, "d": True}


def test_there_is_no_p_value_when_all_are_in_one_group():
    patients = pd.DataFrame({"time": [1.0, 2.0], "event": [True, True], "high": [True, True], "fold": [0, 0]})
    assert pd.isna(stratified_p_value(patients))


def test_differences_between_folds_alone_give_no_small_p_value():
    # Fold 0 is all high and dies early, fold 1 all low and dies late: within a fold there is nothing to compare.
    patients = pd.DataFrame(
        {"time": [1.0, 2.0, 3.0, 8.0, 9.0, 10.0], "event": True, "high": [True] * 3 + [False] * 3, "fold": [0] * 3 + [1] * 3}
    )
    assert pd.isna(stratified_p_value(patients))


def test_a_p_value_is_never_written_as_zero():
    assert p_in_words(1e-30) == "p < 0.0001"
    assert p_in_words(0.0123) == "p = 0.012"


def test_a_model_that_reads_none_of_what_is_missing_stands_once(finished: RunFolder):
    complete = run_with(finished, [(1, 0, "a", 1.0, 0.5), (1, 0, "b", 0.0, 0.5)]).predictions
    parts = [complete, complete.assign(label="n")]
    parts.append(complete.iloc[::-1].assign(missing="omics"))  # the same risks in another order
    parts.append(complete.assign(label="n", missing="omics", risk=complete.risk + 1e-9))
    run = replace(finished, predictions=pd.concat(parts, ignore_index=True))
    assert repeats(run, "c") == {("m", "omics")}
    assert patterns(run, "c") == [("m", "none"), ("n", "none"), ("n", "omics")]
