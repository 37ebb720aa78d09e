from dataclasses import replace

import pandas as pd
import pytest

from prognos.report.run_folder import RunFolder
from prognos.report.subtypes import subtype_remarks, subtype_tables

COHORT = "made-up"
ENDS = ["difference", "difference_low", "difference_high"]


@pytest.fixture
def ablation(finished: RunFolder) -> RunFolder:
    """tta is the reference; its variant without exchange is worse in one metric, and abmil within noise in the other."""
    lines = finished.comparison[finished.comparison.metric.str.startswith("subtype")]
    variant = lines[lines.label == "tta"].assign(variant="no-exchange", label="tta@no-exchange")
    comparison = pd.concat([finished.comparison, variant], ignore_index=True).set_index(["label", "metric"])
    comparison.loc[("tta@no-exchange", "subtype_auc"), ENDS] = [-0.05, -0.08, -0.02]
    comparison.loc[("tta@no-exchange", "subtype_balanced_accuracy"), ENDS] = [-0.01, -0.04, 0.02]
    comparison.loc[("abmil", "subtype_auc"), ENDS] = [-0.34, -0.4, -0.3]
    study = finished.study.model_copy(update={"reference": "tta"})
    return replace(finished, comparison=comparison.reset_index(), study=study)


def texts(run: RunFolder) -> dict[str, list[str]]:
    (table,) = subtype_tables(run, COHORT)
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows} | {"": list(table.columns[1:])}


def test_without_a_reference_there_are_values_and_intervals_alone(finished: RunFolder):
    assert texts(finished) == {
        "": ["Subtype AUC", "Subtype balanced accuracy"],
        "abmil": ["0.633 (0.580 to 0.686)", "0.441 (0.380 to 0.502)"],
        "tta": ["0.971 (0.950 to 0.992)", "0.902 (0.860 to 0.944)"],
    }


def test_variants_stand_beside_their_reference_with_a_reading(ablation: RunFolder):
    found = texts(ablation)
    reading = ["Difference to tta", "Reading"]
    assert found[""] == ["Subtype AUC", *reading, "Subtype balanced accuracy", *reading]
    assert found["tta"] == ["0.971 (0.950 to 0.992)", "–", "reference", "0.902 (0.860 to 0.944)", "–", "reference"]
    assert found["tta@no-exchange"] == [
        *("0.971 (0.950 to 0.992)", "−0.050 (−0.080 to −0.020)", "worse"),
        *("0.902 (0.860 to 0.944)", "−0.010 (−0.040 to +0.020)", "within noise"),
    ]
    assert found["abmil"][3:] == ["0.441 (0.380 to 0.502)", "–", "no interval"]


def test_only_what_leaves_out_zero_stands_out(ablation: RunFolder):
    (table,) = subtype_tables(ablation, COHORT)
    marked = {(row[0].text, cell.text) for row in table.rows for cell in row if cell.stands_out}
    assert marked == {
        *(("tta@no-exchange", text) for text in ("−0.050 (−0.080 to −0.020)", "worse")),
        *(("abmil", text) for text in ("−0.340 (−0.400 to −0.300)", "worse")),
    }


def test_each_missing_pattern_has_a_table_and_a_metric_that_was_not_asked_for_is_a_dash(ablation: RunFolder):
    without = ablation.comparison[ablation.comparison.metric == "subtype_auc"].assign(missing="omics")
    tables = subtype_tables(replace(ablation, comparison=pd.concat([ablation.comparison, without], ignore_index=True)), COHORT)
    assert [table.caption.split(":")[0] for table in tables] == ["Subtypes of made-up", "Subtypes of made-up, without omics"]
    assert [cell.text for cell in tables[1].rows[0][4:]] == ["–", "–", "–"]


def test_the_remarks_name_the_reference_the_absent_classes_and_who_is_left_out(finished: RunFolder, ablation: RunFolder):
    said = subtype_remarks(finished, COHORT)
    assert said[0].startswith("The reference, clinical, predicts no subtypes, so no difference can be tested;")
    assert said[1:] == subtype_remarks(ablation, COHORT)
    assert said[1:] == [
        "Without a patient in the test part: mucinous in fold 2. Each fold is scored on the subtypes that are there.",
        "1 of 200 patients have no known subtype and are left out.",
    ]


def test_absent_classes_are_listed_each_with_all_its_folds(ablation: RunFolder):
    rare = ablation.subtypes.assign(subtype=ablation.subtypes.subtype.mask(ablation.subtypes.fold.isin([1, 2]), "lobular"))
    said = subtype_remarks(replace(ablation, subtypes=rare), COHORT)[0]
    assert said.startswith("Without a patient in the test part: ductal in folds 1, 2; mucinous in folds 1, 2. Each")


def test_where_nothing_lacks_there_is_nothing_to_remark(ablation: RunFolder):
    whole = ablation.subtypes[~ablation.subtypes.fold.isin([2]) & (ablation.subtypes.subtype != "")]
    assert subtype_remarks(replace(ablation, subtypes=whole), COHORT) == []
    assert subtype_remarks(replace(ablation, subtypes=whole.iloc[:0]), COHORT) == []
