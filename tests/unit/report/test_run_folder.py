import json
from pathlib import Path

import pandas as pd
import pytest

from prognos.report.run_folder import RunFolder, missing_in_words, read_run_folder
from prognos.report.run_tables import CALIBRATION_HORIZONS, RunFolderError, label


def edit(path: Path, change) -> None:
    table = pd.read_csv(path, keep_default_na=False)
    change(table).to_csv(path, index=False)


def test_a_complete_run_has_no_gaps(finished: RunFolder):
    assert finished.gaps == ()
    assert len(finished.predictions) == 3 * 2 * 200
    assert finished.predictions.event.dtype == bool


def test_the_null_model_is_not_read_as_an_empty_name(run_folder: Path):
    edit(run_folder / "predictions.csv", lambda table: table.replace({"model": {"clinical": "null"}}))
    assert set(read_run_folder(run_folder).predictions.model) == {"null", "abmil", "tta"}


def test_patient_ids_keep_their_leading_zeros(run_folder: Path):
    edit(run_folder / "predictions.csv", lambda table: table.assign(patient_id=table.patient_id.str.replace("P", "0")))
    assert read_run_folder(run_folder).predictions.patient_id[0] == "0000"


def test_survival_is_kept_at_the_calibration_horizons_only(finished: RunFolder):
    assert set(finished.survival.horizon) == set(CALIBRATION_HORIZONS)


def test_logs_know_their_model_seed_and_fold_from_their_place(finished: RunFolder):
    assert set(finished.logs.label) == {"abmil", "tta"}
    assert set(finished.logs.seed) == {1, 2}
    assert set(finished.logs.fold) == {0, 1, 2, 3, 4}


def test_every_optional_file_may_be_absent_and_each_is_named(run_folder: Path):
    for path in list(run_folder.rglob("*")):
        if path.is_file() and path.name not in ("predictions.csv", "comparison.csv"):
            path.unlink()
    run = read_run_folder(run_folder)
    for name in ("metrics.csv", "survival.csv.gz", "splits.csv", "study.json", "cohort.json", "provenance.json", "recipe.toml"):
        assert f"{name} is absent." in run.gaps
    assert any(gap.startswith("No training log is there") for gap in run.gaps)
    assert run.name == run_folder.name


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("study.json", "{", "study.json is not JSON"),
        ("study.json", "[1]", "study.json holds no object"),
        ("study.json", '{"seeds": "many"}', "study.json is not as expected (seeds"),
        ("cohort.json", '{"made-up": {"kept": "all"}}', "cohort.json is not as expected for made-up (kept"),
        ("cohort.json", '{"other": {}}', "cohort.json does not know the cohort made-up"),
        ("metrics.csv", "model,value\n", "metrics.csv has no column variant"),
        ("metrics.csv", "", "metrics.csv cannot be read"),
        ("subtypes.csv", "model,class\n", "subtypes.csv has no column variant"),
        ("survival.csv.gz", "not gzip", "survival.csv.gz cannot be read"),
        ("models/made-up/tta/seed-1/fold-0/log.csv", "a\n1\n", "1 training logs cannot be read (models/made-up/tta/seed-1/fold-0/log.csv)"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_left_aside_and_said(run_folder: Path, name: str, text: str, said: str):
    (run_folder / name).write_text(text)
    assert [gap for gap in read_run_folder(run_folder).gaps if gap.startswith(said)]


@pytest.mark.parametrize("value", ["", "1.5"])
def test_subtypes_that_are_no_probabilities_are_left_aside_and_said(run_folder: Path, value: str):
    edit(run_folder / "subtypes.csv", lambda table: table.assign(probability=[value, *table.probability[1:].astype(str)]))
    run = read_run_folder(run_folder)
    assert run.subtypes.empty
    assert run.gaps == ("subtypes.csv has 1 probabilities that are empty or outside 0 to 1, and was left aside.",)


def test_subtypes_are_text_and_an_unknown_one_is_empty(run_folder: Path):
    edit(run_folder / "subtypes.csv", lambda table: table.replace({"ductal": "null", "lobular": "1"}))
    subtypes = read_run_folder(run_folder).subtypes
    assert set(subtypes["class"]) == {"null", "1", "mucinous"}
    assert set(subtypes.subtype) == {"null", "1", "mucinous", ""}


def test_a_run_without_subtypes_has_no_gap(run_folder: Path):
    (run_folder / "subtypes.csv").unlink()
    run = read_run_folder(run_folder)
    assert run.gaps == ()
    assert run.subtypes.empty


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"is not a folder; give the folder that 'prognos run'"):
        read_run_folder(tmp_path / "nowhere")


def test_a_column_of_selections_is_read_as_text_and_one_without_is_read_too(run_folder: Path):
    before = read_run_folder(run_folder)
    for name in ("metrics.csv", "comparison.csv"):
        pd.read_csv(run_folder / name, keep_default_na=False).assign(selection="oracle").to_csv(run_folder / name, index=False)
    stamped = read_run_folder(run_folder)
    assert set(stamped.comparison["selection"]) == set(stamped.metrics["selection"]) == {"oracle"}
    pd.testing.assert_frame_equal(stamped.comparison.drop(columns="selection"), before.comparison)


@pytest.mark.parametrize("name", ["predictions.csv", "comparison.csv"])
def test_the_two_needed_files_are_missed_with_what_to_do(run_folder: Path, name: str):
    (run_folder / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{name} does not exist, and a report needs it; finish the run"):
        read_run_folder(run_folder)


def test_predictions_without_a_column_are_refused(run_folder: Path):
    edit(run_folder / "predictions.csv", lambda table: table.drop(columns="risk"))
    with pytest.raises(RunFolderError, match=r"predictions.csv has no column risk; it has model, variant"):
        read_run_folder(run_folder)


def test_text_where_a_number_belongs_is_refused(run_folder: Path):
    edit(run_folder / "predictions.csv", lambda table: table.assign(risk="high"))
    with pytest.raises(RunFolderError, match="has text where numbers belong, in column risk; mend the file"):
        read_run_folder(run_folder)


def test_predictions_without_rows_are_refused(run_folder: Path):
    edit(run_folder / "predictions.csv", lambda table: table.iloc[:0])
    with pytest.raises(RunFolderError, match=r"predictions.csv has no rows, so there is nothing to report"):
        read_run_folder(run_folder)


def test_unknown_keys_of_the_json_files_do_no_harm(run_folder: Path):
    study = json.loads((run_folder / "study.json").read_text())
    (run_folder / "study.json").write_text(json.dumps({**study, "novelty": 1}))
    assert read_run_folder(run_folder).gaps == ()


def test_a_variant_is_part_of_the_label_unless_it_is_the_base():
    assert label("tta", "base") == "tta"
    assert label("tta", "no-apart") == "tta@no-apart"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("none", ""),
        ("omics", "without omics"),
        ("omics=0.5;histology=0.2", "omics missing in 50%, histology missing in 20%"),
        ("omics=shuffled", "omics of another patient"),
    ],
)
def test_a_missing_pattern_is_said_in_words(missing: str, words: str):
    assert missing_in_words(missing) == words


def test_an_evaluation_of_foreign_predictions_brings_its_reference_and_notes(run_folder: Path):
    (run_folder / "study.json").unlink()
    evaluation = {"reference": "clinical", "notes": ["the median risk of each fold stands in"], "warnings": ["times look like months"]}
    (run_folder / "evaluation.json").write_text(json.dumps(evaluation))
    run = read_run_folder(run_folder)
    assert run.study.reference == "clinical"
    assert run.study.warnings[0].startswith("These predictions were handed to 'prognos evaluate'")
    assert run.study.warnings[1:] == ("times look like months", "the median risk of each fold stands in")
    assert run.gaps == ()


def test_a_model_without_epochs_has_an_empty_log_and_that_is_no_gap(run_folder: Path):
    for fold in range(5):
        (run_folder / f"models/made-up/abmil/seed-1/fold-{fold}/log.csv").write_text("\n")
    run = read_run_folder(run_folder)
    assert run.gaps == ()
    assert set(run.logs.seed[run.logs.label == "abmil"]) == {2}
