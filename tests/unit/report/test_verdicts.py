from dataclasses import replace

import pandas as pd
import pytest

from prognos.report.run_folder import CohortFacts, RunFolder
from prognos.report.verdicts import Verdict, direction, findings, metric_title, signed, verdict

COHORT = "made-up"


def row(low: float, high: float, label: str = "tta"):
    return next(pd.DataFrame({"label": [label], "difference_low": [low], "difference_high": [high]}).itertuples())


@pytest.mark.parametrize(
    ("low", "high", "metric", "expected"),
    [
        (0.01, 0.02, "concordance", Verdict.BETTER),
        (-0.02, -0.01, "concordance", Verdict.WORSE),
        (-0.02, -0.01, "integrated_brier", Verdict.BETTER),
        (0.01, 0.02, "calibration_slope", Verdict.DIFFERS),
        (-0.01, 0.02, "concordance", Verdict.WITHIN_NOISE),
        (0.0, 0.02, "concordance", Verdict.WITHIN_NOISE),
        (float("nan"), float("nan"), "concordance", Verdict.UNKNOWN),
    ],
)
def test_only_an_interval_without_zero_is_a_difference(low: float, high: float, metric: str, expected: Verdict):
    assert verdict(row(low, high), metric, "clinical") is expected


def test_the_reference_is_compared_with_nothing():
    assert verdict(row(0.1, 0.2, "clinical"), "concordance", "clinical") is Verdict.REFERENCE


def test_a_lower_brier_score_and_a_higher_auc_are_better():
    assert [direction(metric) for metric in ("integrated_brier", "calibration_365d", "auc_365d", "scaled_brier")] == [-1, -1, 1, 1]
    assert direction("subtype_auc") == 1
    assert direction("of_tomorrow") == 0


def test_metrics_are_called_by_words():
    assert metric_title("auc_1095d") == "AUC at 3 years"
    assert metric_title("concordance_ipcw") == "Concordance, Uno"
    assert metric_title("calibration_365d") == "Calibration error at 1 year"
    assert metric_title("subtype_balanced_accuracy") == "Subtype balanced accuracy"


def test_a_sign_is_always_shown():
    assert (signed(0.0123), signed(-0.0123), signed(None)) == ("+0.012", "−0.012", "–")


def text_of(run: RunFolder) -> str:
    return " ".join(findings(run, COHORT))


def test_the_opening_says_who_separates_and_who_does_not(finished: RunFolder):
    text = text_of(finished)
    assert "3 models on 200 patients of made-up" in text
    assert "tta (difference +0.061, 95% interval +0.012 to +0.110) ranks patients better than clinical." in text
    assert "abmil cannot be told apart from clinical." in text
    assert "can resolve is about 0.058" in text


def test_when_nothing_separates_it_is_said(finished: RunFolder):
    comparison = finished.comparison.assign(difference_low=-0.1, difference_high=0.1)
    text = text_of(replace(finished, comparison=comparison))
    assert "No model can be told apart from clinical: the interval of every difference holds zero (abmil and tta)." in text
    assert "better" not in text


def test_a_reference_that_is_absent_is_said(finished: RunFolder):
    run = replace(finished, study=finished.study.model_copy(update={"reference": "ridge"}))
    assert "The reference model (ridge) is not in this comparison" in text_of(run)


def test_subtypes_without_a_reference_that_predicts_them_are_told_without_differences(finished: RunFolder):
    text = text_of(finished)
    assert "(0.5: probabilities that know nothing): abmil 0.633 (0.580 to 0.686) and tta 0.971 (0.950 to 0.992)." in text
    assert "The reference model (clinical) predicts no subtypes, so no difference can be tested." in text
    rows = finished.comparison[~finished.comparison.metric.str.startswith("subtype")]
    assert "ubtypes" not in text_of(replace(finished, comparison=rows))


def test_a_reference_that_predicts_subtypes_is_compared_with(finished: RunFolder):
    worse = (finished.comparison.metric == "subtype_auc") & (finished.comparison.label == "abmil")
    ends = {"difference": -0.338, "difference_low": -0.4, "difference_high": -0.3}
    comparison = finished.comparison.assign(**{name: finished.comparison[name].mask(worse, value) for name, value in ends.items()})
    study = finished.study.model_copy(update={"reference": "tta"})
    text = text_of(replace(finished, comparison=comparison, study=study))
    assert "Subtypes: The reference, tta, has a subtype AUC of 0.971 (95% interval 0.950 to 0.992)." in text
    assert "abmil (difference −0.338, 95% interval −0.400 to −0.300) tells subtypes apart worse than tta." in text


def test_an_interval_that_holds_one_half_is_said_to_hold_chance(finished: RunFolder):
    comparison = finished.comparison.assign(low=finished.comparison.low.where(finished.comparison.label != "abmil", 0.48))
    assert "The interval of abmil holds 0.5, the value of a random order." in text_of(replace(finished, comparison=comparison))


def test_a_constant_risk_is_not_said_to_hold_chance(finished: RunFolder):
    constant = finished.comparison.label == "abmil"
    comparison = finished.comparison.assign(
        low=finished.comparison.low.mask(constant, 0.5), high=finished.comparison.high.mask(constant, 0.5)
    )
    assert "holds 0.5" not in text_of(replace(finished, comparison=comparison))


def test_a_cohort_without_comparison_is_said(finished: RunFolder):
    run = replace(finished, comparison=finished.comparison.iloc[:0], cohorts={COHORT: CohortFacts()})
    assert "comparison.csv has no row for this cohort" in text_of(run)


def canary_run(finished: RunFolder, low: float) -> RunFolder:
    rows = finished.comparison[finished.comparison.label == "tta"]
    noise = rows.assign(variant="canary", label="tta@canary", mean=0.53, low=low, high=0.56)
    study = finished.study.model_copy(update={"canary": True})
    return replace(finished, comparison=pd.concat([finished.comparison, noise]), study=study)


def test_the_canary_stands_beside_the_result(finished: RunFolder):
    text = text_of(canary_run(finished, 0.47))
    assert "which should give 0.5): tta 0.530 (0.470 to 0.560)." in text
    assert "find out why" not in text


def test_a_canary_that_sings_is_a_warning(finished: RunFolder):
    assert "The canary of tta leaves out 0.5. One in twenty does so by chance" in text_of(canary_run(finished, 0.51))


def test_a_canary_that_was_asked_for_and_did_not_run_is_said(finished: RunFolder):
    run = replace(finished, study=finished.study.model_copy(update={"canary": True}))
    assert "A noise canary was asked for, but its rows are not in comparison.csv." in text_of(run)


def test_each_missing_pattern_has_its_sentence(finished: RunFolder):
    without = finished.comparison.assign(missing="omics", difference_low=-0.1, difference_high=0.1)
    text = text_of(replace(finished, comparison=pd.concat([finished.comparison, without])))
    assert "Without omics: The reference, clinical" in text
