from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from prognos import files
from prognos.config import make_recipe
from prognos.study.run import read_cohorts


@pytest.fixture
def with_subtypes(cohort):
    """Subtypes "late" and "early" of two consecutive patients each; p05 has none."""
    labels = pd.Series(["late", "late", "early", "early"] * 5, index=cohort.clinical.index, name="subtype", dtype=object)
    labels["p05"] = None
    return replace(cohort, subtype=labels)


def test_probabilities_of_subtypes_are_kept_under_every_missing_pattern(study_of, stub_fit, with_subtypes):
    stub_fit.classes = {"tta": ("late", "early")}
    study = study_of(models=["null", "tta"], own=with_subtypes, study={"missing": ["none", "omics"]})
    table = study.subtypes()
    keys = ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id"]
    assert list(table.columns) == [*keys, "subtype", "class", "probability"]
    assert set(table["model"]) == {"tta"}
    own = table[table["missing"] == "none"]
    assert sorted(own["patient_id"]) == sorted([*with_subtypes.patients] * 2)  # a row a class
    assert own["class"].tolist() == ["late", "early"] * 20
    observed = own.drop_duplicates("patient_id").set_index("patient_id")["subtype"]
    assert observed.to_dict() == with_subtypes.subtype.fillna("").to_dict()
    # the stub's risk is 12 / 7 + 1 + 10 / 100 for p12, who is tested in fold 0, and one less without omics
    for missing, risk in (("none", 12 / 7 + 1.1), ("omics", 12 / 7 + 0.1)):
        row = table[(table["patient_id"] == "p12") & (table["missing"] == missing) & (table["class"] == "late")].iloc[0]
        assert row["probability"] == round(1 / (1 + np.exp(-risk / 10)), 6)


def test_subtypes_are_metrics_of_the_models_that_predict_them(study_of, stub_fit, with_subtypes):
    stub_fit.classes = {"tta": ("late", "early")}
    metrics = ["concordance", "subtype_auc", "subtype_balanced_accuracy"]
    study = study_of(models=["null", "tta"], own=with_subtypes, study={"metrics": metrics})
    found = study.metrics().set_index(["model", "fold", "metric"])["value"]
    assert set(found["null"].index.get_level_values("metric")) == {"concordance"}
    # fold 0 tests p00, p02 ... p18: late are 0, 4, 8, 12, 16, early 2, 6 ... 18; "late" is more probable the higher the number.
    # 4 is later than 2, 8 than 2 and 6 ...: 0 + 1 + 2 + 3 + 4 of 5 x 5 pairs
    assert found[("tta", 0, "subtype_auc")] == pytest.approx(10 / 25)
    # every risk is above 0, so that everyone is called late
    assert found[("tta", 0, "subtype_balanced_accuracy")] == 0.5
    assert set(study.comparison()[study.comparison()["metric"] == "subtype_auc"]["model"]) == {"tta"}
    warnings = study.facts()["warnings"]
    asked = "subtype_auc, subtype_balanced_accuracy"
    assert f"small, {asked}: 1 of 20 patients have no known subtype and are left out (tta)" in warnings
    assert any(text.startswith(f"{asked}: the reference null predicts no subtypes") for text in warnings)


def test_a_fold_with_one_subtype_alone_is_unusable_with_its_reason(study_of, stub_fit, with_subtypes):
    stub_fit.classes = {"tta": ("late", "early")}
    even = pd.Series(["late", "early"] * 10, index=with_subtypes.clinical.index, dtype=object)  # fold 0 tests the even numbers
    study = study_of(models=["tta"], own=replace(with_subtypes, subtype=even), study={"metrics": ["concordance", "subtype_auc"]})
    assert study.metrics().set_index(["metric", "fold"]).loc["subtype_auc", "value"].isna().all()
    unusable = study.facts()["unusable"]
    assert [(row["metric"], row["fold"]) for row in unusable] == [("subtype_auc", 0), ("subtype_auc", 1)]
    assert "10 patients have a known class, of 1 different ones" in unusable[0]["reason"]
    absent = "absent from the test part: early in fold 0; late in fold 1; each fold is scored on the classes that are there (tta)"
    assert f"small, subtype_auc: {absent}" in study.facts()["warnings"]


def test_a_cohort_without_subtypes_still_has_their_probabilities(study_of, stub_fit):
    stub_fit.classes = {"tta": ("late", "early")}
    assert set(study_of(models=["tta"]).subtypes()["subtype"]) == {""}


def test_a_recipe_says_which_subtypes_there_are(tmp_path):
    lines = [f"p{number},{100 + number},1,{kind}" for number, kind in enumerate(["a1", "a2", "b", "c", ""])]
    files.write_text(tmp_path / "small" / "clinical.csv", "\n".join(["patient_id,os_time,os_event,kind", *lines]) + "\n")
    chosen = {"subtype": "kind", "subtype_classes": ["b", "a"], "merge": {"a": ["a1", "a2"]}}
    recipe = make_recipe({"cohort": {"path": str(tmp_path / "small"), **chosen}, "study": {"models": ["null"]}})
    cohort = read_cohorts(recipe)["small"]
    assert cohort.subtype_classes == ("b", "a")
    assert cohort.subtype.tolist() == ["a", "a", "b", None, None]


def test_without_a_model_of_subtypes_there_is_no_table_of_them(study_of):
    study = study_of()
    assert not (study.folder / "subtypes.csv").exists()
    with pytest.raises(ValueError, match=r"subtypes\.csv does not exist: no subtypes were predicted; that takes a cohort"):
        study.subtypes()
