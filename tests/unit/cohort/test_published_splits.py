"""Folds that others published, in their layouts, with their defects."""

from pathlib import Path

import pandas as pd
import pytest

from prognos.cohort.folds import FoldError, assign_folds
from prognos.cohort.published_splits import read_folds, read_splits


def tables(folder: Path, *splits: dict[str, list[str]]) -> Path:
    """One `splits_K.csv` a split, columns filled up with empty cells."""
    for number, parts in enumerate(splits):
        pd.DataFrame({part: pd.Series(ids) for part, ids in parts.items()}).to_csv(folder / f"splits_{number}.csv")
    return folder


def folders(folder: Path, *splits: dict[str, list[str]], column: str = "case_id") -> Path:
    for number, parts in enumerate(splits):
        inside = folder / f"STUDY_survival_k={number}"
        inside.mkdir()
        for part, ids in parts.items():
            pd.DataFrame({column: ids, "slide_id": [f"{name}-slide" for name in ids]}).to_csv(inside / f"{part}.csv", index=False)
    return folder


def test_splits_of_train_and_val_are_read_as_folds(tmp_path):
    fold = read_splits(tables(tmp_path, {"train": ["c", "d", "e"], "val": ["01", "b"]}, {"train": ["01", "b"], "val": ["c", "d", "e"]}))
    assert fold.to_dict() == {"01": 0, "b": 0, "c": 1, "d": 1, "e": 1}
    assert fold.index.name == "patient_id"


def test_the_test_part_is_held_out_where_there_is_one(tmp_path):
    splits = (
        {"train": ["c"], "val": ["b"], "test": ["a"]},
        {"train": ["a"], "val": ["c"], "test": ["b"]},
        {"train": ["b"], "val": ["a"], "test": ["c"]},
    )
    assert read_splits(tables(tmp_path, *splits)).to_dict() == {"a": 0, "b": 1, "c": 2}


def test_folders_of_train_and_test_are_read_and_slides_of_one_patient_counted_once(tmp_path):
    fold = read_splits(folders(tmp_path, {"train": ["c"], "test": ["a", "a", "b"]}, {"train": ["a", "b"], "test": ["c", "c"]}))
    assert fold.to_dict() == {"a": 0, "b": 0, "c": 1}


def test_slides_are_joined_to_their_patients(tmp_path):
    folder = tables(tmp_path, {"train": ["s3"], "val": ["s1", "s2"]}, {"train": ["s1", "s2"], "val": ["s3"]})
    assert read_splits(folder, patient_of={"s1": "p", "s2": "p", "s3": "q"}).to_dict() == {"p": 0, "q": 1}


def test_slides_of_one_patient_in_both_parts_are_an_error(tmp_path):
    folder = tables(tmp_path, {"train": ["s2"], "val": ["s1"]}, {"train": ["s1"], "val": ["s2"]})
    with pytest.raises(FoldError, match=r"splits_0.csv: 1 patients are in both train and val \(p\)"):
        read_splits(folder, patient_of={"s1": "p", "s2": "p"})


def test_a_slide_of_no_known_patient_is_named(tmp_path):
    folder = tables(tmp_path, {"train": ["s2"], "val": ["s1"]}, {"train": ["s1"], "val": ["s2"]})
    with pytest.raises(FoldError, match=r"1 slides of splits_0.csv are of no known patient \(s2\)"):
        read_splits(folder, patient_of={"s1": "p"})


def test_a_patient_in_both_parts_is_named(tmp_path):
    folder = tables(tmp_path, {"train": ["a", "b"], "val": ["b"]}, {"train": ["b"], "val": ["a"]})
    with pytest.raises(FoldError, match=r"1 patients are in both train and val \(b\)"):
        read_splits(folder)


def test_a_validation_part_that_is_the_test_part_is_refused(tmp_path):
    folder = folders(tmp_path, {"train": ["c"], "val": ["a", "b"], "test": ["b", "a"]}, {"train": ["a"], "val": ["c"], "test": ["c"]})
    with pytest.raises(FoldError, match="val and test are the same 2 patients"):
        read_splits(folder)


def test_a_patient_tested_twice_is_named(tmp_path):
    folder = tables(tmp_path, {"train": ["c"], "val": ["a", "b"]}, {"train": ["c"], "val": ["b"]})
    with pytest.raises(FoldError, match=r"1 patients of splits_1.csv are tested in an earlier split too \(b\)"):
        read_splits(folder)


def test_patients_who_are_never_tested_are_named(tmp_path):
    folder = tables(tmp_path, {"train": ["b", "c"], "val": ["a"]}, {"train": ["a", "c"], "val": ["b"]})
    with pytest.raises(FoldError, match=r"1 patients in .* are trained on but tested in no split \(c\)"):
        read_splits(folder)


def test_a_split_that_tests_nobody_is_refused(tmp_path):
    folder = tables(tmp_path, {"train": ["a"], "val": ["b"]}, {"train": ["a", "b"]})
    with pytest.raises(FoldError, match=r"splits_1.csv has nobody in a test or val part"):
        read_splits(folder)


def test_a_folder_without_splits_is_refused(tmp_path):
    with pytest.raises(FoldError, match=r"holds 0 splits: expected files splits_0.csv"):
        read_splits(tmp_path)
    with pytest.raises(FoldError, match="holds 0 splits"):
        read_splits(tmp_path / "nowhere")


def test_a_part_that_names_no_patients_is_refused(tmp_path):
    inside = tmp_path / "STUDY_k=0"
    inside.mkdir()
    pd.DataFrame({"age": [1]}).to_csv(inside / "train.csv", index=False)
    with pytest.raises(FoldError, match=r"STUDY_k=0/train.csv names no patients"):
        read_splits(tmp_path)


def test_folds_are_read_with_ids_as_text(tmp_path):
    (tmp_path / "splits.csv").write_text("patient_id,fold\n007,1\n008,0.0\n")
    assert read_folds(tmp_path / "splits.csv").to_dict() == {"007": 1, "008": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient,fold\na,0\n", "has no column 'patient_id'"),
        ("patient_id,fold\na,0\nb,second\n", r"the fold of 1 patients \(b\) is not a whole number, for example 'second'"),
        ("patient_id,fold\na,0\nb,\n", r"the fold of 1 patients \(b\)"),
        ("patient_id,fold\na,0\na,1\n", r"1 patients have more than one row \(a\)"),
    ],
)
def test_defects_of_a_table_of_folds_are_named(tmp_path, text, words):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(FoldError, match=words):
        read_folds(tmp_path / "splits.csv")


@pytest.mark.parametrize(("name", "narrowest"), [("tcga-blca", 2), ("tcga-crc", 2), ("tcga-brca", 8), ("tcga-stad", 20)])
def test_made_folds_balance_real_cohorts_better_than_published_ones(shared_data, name, narrowest):
    clinical = pd.read_csv(shared_data / name / "clinical.csv", dtype={"patient_id": str, "site": str}).set_index("patient_id")
    published = read_folds(shared_data / name / "splits.csv")
    clinical = clinical.loc[published.index]
    clinical = clinical[(clinical["dss_time"] > 0) & clinical["dss_event"].notna()]
    made = assign_folds(clinical.index, clinical["site"], clinical["dss_event"] == 1)

    def spread(fold: pd.Series) -> int:
        events = clinical.groupby(fold.reindex(clinical.index).to_numpy())["dss_event"].sum()
        return int(events.max() - events.min())

    assert made.site_preserving
    assert clinical.groupby(made.fold.to_numpy())["site"].unique().explode().is_unique
    assert spread(made.fold) <= narrowest
    assert spread(made.fold) < spread(published)
