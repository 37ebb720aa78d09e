"""The tumour's subtype becomes classes of the whole cohort; what is asked for counts above cohort.toml."""

import numpy as np
import pandas as pd
import pytest

from prognos.cohort import Cohort, CohortError
from prognos.cohort.subtype import Classes, SubtypeRule
from prognos.config import ConfigError, make_recipe, recipe_values, to_toml
from prognos.study.run import read_cohorts

LABELS = ("CIN", "MSI", "CIN", "EBV", "", "MSI", "NA", "GS", "CIN", "CIN", "EBV", "HM")


@pytest.fixture
def folder(cohort_folder):
    """The small cohort with the labels above in the column `molecular`, beside Basal and LumA in turn in the column `subtype`."""
    path = cohort_folder / "clinical.csv"
    pd.read_csv(path, dtype=str).assign(molecular=LABELS).to_csv(path, index=False)
    return cohort_folder


def said(folder, text):
    (folder / "cohort.toml").write_text(f"[cohort]\n{text}\n")


def defects(folder, **asked):
    with pytest.raises(CohortError) as caught:
        Cohort.read(folder, **asked)
    return [str(defect) for defect in caught.value.defects]


# Classes


def test_all_labels_that_occur_are_classes_sorted_where_none_are_stated(folder):
    cohort = Cohort.read(folder, subtype="molecular")
    assert cohort.subtype_classes == ("CIN", "EBV", "GS", "HM", "MSI")
    assert cohort.subtype_index.tolist() == [0, 4, 0, 1, -1, 4, -1, 2, 0, 0, 1, 3]
    assert cohort.subtype_index.dtype == np.int64
    assert cohort.subtype.name == "molecular"
    assert Cohort.read(folder).subtype_classes == ("Basal", "LumA")


def test_stated_classes_keep_their_order_and_other_labels_count_as_missing(folder):
    cohort = Cohort.read(folder, subtype="molecular", subtype_classes=["MSI", "CIN"])
    assert cohort.subtype_classes == ("MSI", "CIN")
    assert len(cohort) == 12
    assert cohort.subtype.tolist()[:5] == ["CIN", "MSI", "CIN", None, None]
    assert cohort.subtype_index.tolist() == [1, 0, 1, -1, -1, 0, -1, -1, 1, 1, -1, -1]
    assert cohort.notes == ("molecular: 4 labels are not among the classes and count as missing ('EBV' of 2, 'GS' of 1, 'HM' of 1).",)


def test_merged_labels_are_one_class_where_the_first_of_them_was(folder):
    merge = {"hypermutated": ["MSI", "HM"]}
    assert Cohort.read(folder, subtype="molecular", merge=merge).subtype_classes == ("CIN", "EBV", "GS", "hypermutated")
    stated = Cohort.read(folder, subtype="molecular", subtype_classes=["HM", "GS", "MSI"], merge=merge)
    assert stated.subtype_classes == ("hypermutated", "GS")
    assert stated.subtype_index.tolist() == [-1, 0, -1, -1, -1, 0, -1, 1, -1, -1, -1, 0]


def test_a_merge_into_a_class_that_is_not_stated_is_stated_by_the_merge(folder):
    merge = {"hypermutated": ["MSI", "HM"]}
    assert Cohort.read(folder, subtype="molecular", subtype_classes=["CIN"], merge=merge).subtype_classes == ("CIN", "hypermutated")


def test_classes_are_those_of_kept_patients(folder, edit):
    edit("clinical.csv", "1200.0,1,GS", ",1,GS")
    assert Cohort.read(folder, subtype="molecular").subtype_classes == ("CIN", "EBV", "HM", "MSI")


def test_a_cohort_without_a_subtype_has_no_classes(folder, edit):
    edit("clinical.csv", ",subtype,", ",pam50,")
    cohort = Cohort.read(folder)
    assert cohort.subtype is None
    assert cohort.subtype_classes == ()
    assert cohort.subtype_index.tolist() == [-1] * 12
    nobody = Cohort.read(folder, subtype="molecular", subtype_classes=["HM"]).subset([f"{number:03d}" for number in range(1, 12)])
    assert nobody.subtype_classes == ("HM",)
    assert (nobody.subtype_index == -1).all()


def test_classes_that_no_kept_patient_has_are_no_subtype(folder, edit):
    edit("clinical.csv", "1600.0,1,HM", ",1,HM")
    cohort = Cohort.read(folder, subtype="molecular", subtype_classes=["HM"])
    assert (cohort.subtype, cohort.subtype_classes) == (None, ())


def test_parts_of_a_cohort_keep_the_classes_of_the_whole(folder):
    cohort = Cohort.read(folder, subtype="molecular")
    part = cohort.subset(["012", "002"])
    assert part.subtype_classes == cohort.subtype_classes
    assert part.subtype_index.tolist() == [3, 4]
    poorer = cohort.lacking({"001": ["omics", "clinical"]})
    assert poorer.subtype_classes == cohort.subtype_classes
    assert (poorer.subtype_index == cohort.subtype_index).all()


# What counts


def test_what_is_asked_for_counts_above_the_toml_file(folder):
    said(folder, 'subtype = "molecular"\nsubtype_classes = ["GS", "MSI", "HM"]\nmerge = { hypermutated = ["MSI", "HM"] }')
    assert Cohort.read(folder).subtype_classes == ("GS", "hypermutated")
    assert Cohort.read(folder, subtype_classes=["CIN", "EBV"]).subtype_classes == ("CIN", "EBV")
    assert Cohort.read(folder, subtype_classes=["hypermutated", "EBV"]).subtype_classes == ("hypermutated", "EBV")
    assert Cohort.read(folder, merge={"rare": ["GS", "HM"]}).subtype_classes == ("rare", "MSI")


def test_classes_of_the_toml_file_are_of_its_column_only(folder):
    said(folder, 'subtype = "molecular"\nsubtype_classes = ["GS", "CIN"]')
    assert Cohort.read(folder, subtype="molecular").subtype_classes == ("GS", "CIN")
    assert Cohort.read(folder, subtype="subtype").subtype_classes == ("Basal", "LumA")
    said(folder, 'subtype_classes = ["LumA", "Basal"]')
    assert Cohort.read(folder, subtype="subtype").subtype_classes == ("LumA", "Basal")
    assert Cohort.read(folder, subtype="molecular").subtype_classes == ("CIN", "EBV", "GS", "HM", "MSI")


def test_a_rule_that_leaves_nothing_open_is_not_changed():
    asked = SubtypeRule("a", ("x",), {"y": ("z",)})
    assert asked.over(SubtypeRule("a", ("p",), {"q": ("r",)})) == asked


# What is refused


@pytest.mark.parametrize(
    ("asked", "toml", "message"),
    [
        (
            {"subtype_classes": ["CIN", "MSS"]},
            'subtype_classes = ["CIN", "MSS"]',
            "subtype_classes; column molecular: no patient has the subtype 'MSS' "
            "(did you mean 'MSI'? Known: CIN, EBV, GS, HM, MSI); correct the label.",
        ),
        (
            {"merge": {"hypermutated": ["MSI", "POLE"]}},
            'merge = { hypermutated = ["MSI", "POLE"] }',
            "merge; column molecular: no patient has the subtype 'POLE' (Known: CIN, EBV, GS, HM, MSI); correct the label.",
        ),
        (
            {"subtype_classes": ["CIN", "GS", "CIN"]},
            'subtype_classes = ["CIN", "GS", "CIN"]',
            "subtype_classes; column molecular: 'CIN' is named more than once; name each class once.",
        ),
        (
            {"merge": {"a": ["CIN", "GS"], "b": ["GS"]}},
            'merge = { a = ["CIN", "GS"], b = ["GS"] }',
            "merge; column molecular: 'GS' is merged more than once; merge each label into one class.",
        ),
        (
            {"merge": {"a": []}},
            "merge = { a = [] }",
            "merge; column molecular: nothing becomes 'a'; name the labels that become this class, or remove it.",
        ),
    ],
    ids=["unknown class", "unknown label in a merge", "a class twice", "a label merged twice", "an empty merge"],
)
def test_classes_that_cannot_be_are_refused_wherever_they_are_stated(folder, asked, toml, message):
    assert defects(folder, subtype="molecular", **asked) == [message]
    said(folder, f'subtype = "molecular"\n{toml}')
    assert defects(folder) == [f"cohort.toml, [cohort] {message}"]


def test_a_column_that_is_not_there_is_refused_with_the_nearest(folder):
    (told,) = defects(folder, subtype="moleculer")
    assert told.startswith("clinical.csv: there is no column 'moleculer' for the subtype (did you mean 'molecular'?")
    assert told.endswith("; name a column that is there: subtype under [cohort].")


def test_classes_of_a_column_that_is_not_there_or_empty_are_refused(folder, edit):
    edit("clinical.csv", ",subtype,", ",pam50,")
    (told,) = defects(folder, subtype_classes=["CIN"])
    assert told.startswith("clinical.csv: there is no column 'subtype' for the subtype")
    path = folder / "clinical.csv"
    pd.read_csv(path, dtype=str).assign(subtype="").to_csv(path, index=False)
    (told,) = defects(folder, merge={"a": ["CIN"]})
    assert told == "merge; column subtype: no patient has the subtype 'CIN' (Known: none); correct the label."


def test_new_patients_need_no_class(folder, edit):
    said(folder, 'subtype = "molecular"\nsubtype_classes = ["CIN", "POLE"]')
    new = Cohort.read(folder, outcome=False)
    assert new.subtype_classes == ("CIN", "POLE")
    edit("clinical.csv", ",molecular", ",else")
    assert Cohort.read(folder, outcome=False).subtype_classes == ()


# Recipes


def recipe_of(folder, *overrides, **section):
    return make_recipe({"cohort": {"path": str(folder), **section}}, overrides)


def read_as(recipe):
    (cohort,) = read_cohorts(recipe).values()
    return cohort


def test_a_recipe_states_column_classes_and_merge(folder):
    recipe = recipe_of(folder, subtype="molecular", subtype_classes=["GS", "HM"], merge={"HM": ["HM", "MSI"]})
    assert read_as(recipe).subtype_classes == ("GS", "HM")
    assert recipe_values(recipe)["cohort"] == {
        "path": [str(folder)],
        "subtype": "molecular",
        "subtype_classes": ["GS", "HM"],
        "merge": {"HM": ["HM", "MSI"]},
    }
    assert '[cohort.merge]\nHM = ["HM", "MSI"]' in to_toml(recipe_values(recipe))


def test_classes_and_merge_can_be_set_on_the_command_line(folder):
    classes, merge = """cohort.subtype_classes=["MSI", "rare"]""", """cohort.merge={ rare = ["GS", "EBV"] }"""
    assert read_as(recipe_of(folder, "cohort.subtype=molecular", classes, merge)).subtype_classes == ("MSI", "rare")


def test_a_recipe_that_states_no_classes_says_nothing_of_them(folder):
    assert recipe_values(recipe_of(folder))["cohort"] == {"path": [str(folder)]}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"subtype_classes": "CIN"}, r"cohort\.subtype_classes = 'CIN': input should be a valid tuple"),
        ({"subtype_classes": []}, r"cohort\.subtype_classes = \[\]: tuple should have at least 1 item"),
        ({"merge": {"a": "CIN"}}, r"cohort\.merge\.a = 'CIN': input should be a valid tuple"),
        ({"subtype_clases": ["CIN"]}, r"there is no key 'subtype_clases'; did you mean 'subtype_classes'\?"),
    ],
)
def test_classes_of_a_wrong_kind_are_refused(folder, section, message):
    with pytest.raises(ConfigError, match=message):
        recipe_of(folder, **section)


# Classes in folds


CLASSES = Classes(("a", "b", "c"), np.array([0, 0, 1, 1, -1, 0]))


def test_patients_of_a_class_are_counted_by_fold():
    counts = CLASSES.counted(np.array([0, 0, 0, 2, 2, 2]))
    assert counts.index.tolist() == [0, 2]
    assert counts.to_dict("list") == {"a": [2, 1], "b": [1, 1], "c": [0, 0]}


def test_the_note_says_the_least_and_the_most_of_each_class_and_the_warning_what_is_not_tested():
    fold = np.array([0, 0, 0, 2, 2, 2])
    assert CLASSES.note(fold) == "a fold tests 1 to 2 a, 1 to 1 b, 0 to 0 c"
    assert CLASSES.warnings(fold) == (
        "not every fold tests every class (c is absent from folds 0, 2): metrics of the subtype cover the classes present.",
    )


def test_at_most_three_classes_that_folds_lack_are_named():
    many = Classes(tuple("abcde"), np.arange(5))
    assert many.warnings(np.array([0, 0, 1, 1, 1])) == (
        "not every fold tests every class (a is absent from fold 1; b is absent from fold 1; c is absent from fold 0; and 2 more): "
        "metrics of the subtype cover the classes present.",
    )
