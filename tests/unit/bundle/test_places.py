import pytest

from prognos import load
from prognos import predict as prediction
from prognos.bundle import Bundle
from prognos.training import Fitted


def run_of(folder, *places):
    for place in places:
        path = folder / "models" / place / "fitted.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    return folder


def test_a_fold_folder_is_a_fitted_model(tmp_path):
    (tmp_path / "fitted.json").write_text("{}")
    assert prediction.fitted_folders(tmp_path) == [tmp_path]


def test_a_model_of_a_run_is_all_its_folds(tmp_path):
    run = run_of(tmp_path, "sim/tta/seed-1/fold-0", "sim/tta/seed-1/fold-1", "sim/tta@x/seed-1/fold-0")
    assert [folder.name for folder in prediction.fitted_folders(run, "tta")] == ["fold-0", "fold-1"]
    assert len(prediction.fitted_folders(run, "tta@x")) == 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (None, r"is a run of 2 models: choose one with --model \(snn, tta\)"),
        ("tto", r"there is no model 'tto'; did you mean 'tta'\?"),
        ("snn", r"has snn of 2 cohorts \(one, two\): give .*/models/COHORT/snn instead"),
    ],
)
def test_an_unclear_choice_is_refused(tmp_path, model, said):
    run = run_of(tmp_path, "one/snn/seed-1/fold-0", "two/snn/seed-1/fold-0", "one/tta/seed-1/fold-0")
    with pytest.raises(ValueError, match=said):
        prediction.fitted_folders(run, model)


def test_the_models_of_one_cohort_of_a_run_can_be_given(tmp_path):
    run = run_of(tmp_path, "one/snn/seed-1/fold-0", "two/snn/seed-1/fold-0")
    assert prediction.fitted_folders(run / "models" / "one" / "snn") == [run / "models" / "one" / "snn" / "seed-1" / "fold-0"]


def test_a_folder_without_fitted_models_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no fitted model: give a fold folder"):
        prediction.fitted_folders(tmp_path)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "model.pkl").write_text("x")
    with pytest.raises(ValueError, match=r"model\.pkl is not a bundle \(a bundle ends in \.zip\)"):
        prediction.fitted_folders(tmp_path / "model.pkl")


def test_a_bundle_is_its_models_and_has_no_other(late_fusion):
    assert len(prediction.fitted_folders(late_fusion.place)) == len(late_fusion.manifest.members)
    assert len(prediction.fitted_folders(late_fusion.place, "late-fusion")) == len(late_fusion.manifest.members)
    with pytest.raises(ValueError, match=r"is a bundle of late-fusion alone, not of snn: leave --model out"):
        prediction.fitted_folders(late_fusion.place, "snn")


def test_a_bundle_and_a_fold_folder_are_both_loaded(run, late_fusion):
    assert isinstance(load(str(late_fusion.place)), Bundle)
    assert isinstance(load(str(next(run.glob("models/*/snn/seed-1/fold-0")))), Fitted)
