"""Made folds of a resumed run are those that it began with, and so is what is to be said of them."""

import dataclasses

import pandas as pd
from tests.unit.study.conftest import make_cohort

from prognos import files
from prognos.study.run import _folds


def test_kept_folds_still_say_which_class_a_fold_does_not_test(tmp_path):
    cohort = make_cohort(folds=False)
    patients = list(cohort.patients)
    labels = pd.Series(["early" if i % 2 else "late" for i in range(len(patients))], index=patients)
    classed = dataclasses.replace(cohort, subtype=labels, subtype_classes=("early", "late"))
    kept = pd.DataFrame({"patient_id": patients, "fold": [i % 2 for i in range(len(patients))]})
    files.write_csv(tmp_path / "splits.csv", kept)
    files.write_json(tmp_path / "cohort.json", {"small": {"site_preserving": False, "split_note": "as begun"}})
    again = _folds(classed, 2, tmp_path, several=False)
    assert again.fold.tolist() == kept["fold"].tolist()
    assert again.warnings == (
        "not every fold tests every class (early is absent from fold 0; late is absent from fold 1): metrics of the subtype cover "
        "the classes present.",
    )
    assert _folds(cohort, 2, tmp_path, several=False).warnings == ()
