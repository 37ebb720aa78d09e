import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.bundle.conftest import N_FOLDS, N_PATIENTS

from prognos.bundle import RISK_LEVELS, Bundle, make_bundle
from prognos.cohort import Cohort
from prognos.study.study import Study
from prognos.training import Fitted, fit


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def test_a_bundle_holds_the_models_of_every_fold_and_seed(late_fusion):
    assert late_fusion.manifest.kind == "ensemble"
    assert [(member.seed, member.fold) for member in late_fusion.manifest.members] == [(1, fold) for fold in range(N_FOLDS)]
    assert late_fusion.manifest.fitted_on.patients == N_PATIENTS


def test_the_models_of_a_bundle_predict_what_those_of_the_run_predict(run, late_fusion, cohort_folder):
    cohort = Cohort.read(cohort_folder)
    own = Fitted.load(run / "models" / cohort.name / "late-fusion" / "seed-1" / "fold-0").predict(cohort)
    bundled = Fitted.load(late_fusion.folders[0]).predict(cohort)
    assert own.risk.tolist() == bundled.risk.tolist()
    assert own.survival.tolist() == bundled.survival.tolist()


def test_the_ensemble_is_the_mean_of_risks_less_their_thresholds(late_fusion, cohort_folder):
    cohort = Cohort.read(cohort_folder)
    patients = cohort.patients[:4]
    models = [Fitted.load(folder) for folder in late_fusion.folders]
    expected = np.mean([model.predict(cohort, patients).risk - model.threshold for model in models], axis=0)
    np.testing.assert_allclose(late_fusion.predict(cohort, patients).risk, expected, rtol=1e-12)


def test_no_patient_is_named_anywhere_in_a_bundle(late_fusion, cohort_folder):
    ids = [patient.encode() for patient in Cohort.read(cohort_folder).patients]
    for name in late_fusion.manifest.files:
        content = (late_fusion.root / name).read_bytes()
        assert not [one for one in ids if one in content], name


def test_the_place_of_packed_features_does_not_travel(run, tmp_path):
    run = copied(run, tmp_path / "run")
    for path in run.glob("models/*/abmil/*/*/fitted.json"):
        path.write_text(path.read_text().replace('"store": null', '"store": "somewhere/of/mine"'))
    bundle = make_bundle(run, "abmil", tmp_path / "abmil")
    assert "of/mine" not in (bundle.folders[0] / "fitted.json").read_text()


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    first, second = (make_bundle(run, "snn", tmp_path / name).place for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()


def test_a_folder_and_a_zip_hold_the_same_files(run, tmp_path):
    folder, archive = make_bundle(run, "snn", tmp_path / "snn"), make_bundle(run, "snn", tmp_path / "snn.zip")
    assert folder.manifest == archive.manifest


def test_the_held_out_risks_of_each_model_are_those_of_its_own_test_fold(run, late_fusion):
    predictions = Study.open(run).predictions()
    own = predictions[(predictions["model"] == "late-fusion") & (predictions["fold"] == 1)]
    member = next(member for member in late_fusion.manifest.members if member.fold == 1)
    np.testing.assert_allclose(member.risks, np.percentile(own["risk"], RISK_LEVELS))


def test_the_numbers_of_the_study_stand_beside_those_of_the_clinical_and_the_null_model(run, late_fusion):
    rows = pd.DataFrame(late_fusion.manifest.held_out.rows)
    assert rows["model"].unique().tolist() == ["null", "clinical", "late-fusion"]
    comparison = Study.open(run).comparison()
    own = comparison[(comparison["model"] == "late-fusion") & (comparison["metric"] == "concordance")]["mean"]
    said = rows[(rows["model"] == "late-fusion") & (rows["metric"] == "concordance")]["mean"]
    assert said.tolist() == own.tolist()


def test_the_encoder_and_the_genes_are_those_of_the_inputs(late_fusion):
    inputs = Fitted.load(late_fusion.folders[0]).inputs
    assert late_fusion.manifest.encoder.d_patch == 10
    assert late_fusion.manifest.encoder.name == inputs.encoder
    assert sum(late_fusion.manifest.genes.values()) == len(inputs.omics.schema.features)


def test_a_variant_can_be_bundled(run, tmp_path):
    bundle = make_bundle(run, "snn@narrow", tmp_path / "narrow.zip")
    assert bundle.manifest.label == "snn@narrow"
    assert Fitted.load(bundle.folders[0]).config.d_model == 4


def test_one_cohort_of_a_run_can_be_named_by_its_folder(run, cohort_folder, tmp_path):
    assert make_bundle(run / "models" / cohort_folder.name / "snn", "snn", tmp_path / "snn.zip").manifest.label == "snn"


# Refit


def test_a_refit_is_fitted_on_all_patients_once_a_seed(run, cohort_folder, tmp_path):
    bundle = make_bundle(run, "late-fusion", tmp_path / "late.zip", refit=True)
    assert bundle.manifest.kind == "refit"
    assert [(member.seed, member.fold) for member in bundle.manifest.members] == [(1, None)]
    fitted = Fitted.load(bundle.folders[0])
    cohort = Cohort.read(cohort_folder)
    assert fitted.provenance["patients"] == int((cohort.has("omics") | cohort.has("histology")).sum())
    assert fitted.training.epochs == 1
    assert fitted.model.parts["snn"].config.d_model == 8
    assert "No patient of this cohort is left to test them on" in bundle.card


def test_what_was_fitted_anew_leaves_nothing_beside_the_bundle(run, tmp_path):
    make_bundle(run, "clinical", tmp_path / "clinical.zip", refit=True)
    assert [path.name for path in tmp_path.iterdir()] == ["clinical.zip"]


# What is refused


def test_a_run_that_is_not_finished_is_refused(run, tmp_path):
    unfinished = copied(run, tmp_path / "run")
    (unfinished / "study.json").unlink()
    with pytest.raises(ValueError, match="holds no finished study"):
        make_bundle(unfinished, "snn", tmp_path / "snn.zip")


def test_a_model_that_the_run_does_not_have_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"there is no model 'tta'"):
        make_bundle(run, "tta", tmp_path / "tta.zip")


def test_a_cohort_that_has_changed_since_the_run_is_refused(run, cohort_folder, tmp_path):
    moved = shutil.copytree(cohort_folder, tmp_path / "sim")
    assert isinstance(make_bundle(run, "snn", tmp_path / "same.zip", cohort=moved), Bundle)
    clinical = moved / "clinical.csv"
    clinical.write_text(clinical.read_text().replace("female", "male", 1))
    with pytest.raises(ValueError, match=r"1 files of .*sim are not those that the run was made with \(clinical\.csv\): put them back"):
        make_bundle(run, "snn", tmp_path / "other.zip", cohort=moved)


def test_a_cohort_that_is_no_longer_there_is_asked_for(run, tmp_path):
    with pytest.raises(ValueError, match=r"the cohort of this run is not at .*nowhere: say with --cohort where it lies now"):
        make_bundle(run, "snn", tmp_path / "snn.zip", cohort=tmp_path / "nowhere")


def test_a_model_that_keeps_vectors_of_its_training_patients_is_refused(run, cohort_folder, tmp_path):
    keeping = copied(run, tmp_path / "run")
    training = {"epochs": 1, "device": "cpu"}
    fitted = fit(Cohort.read(cohort_folder), "abmil", config={"d_model": 8}, training=training, inputs={"fill": "nearest"})
    fitted.save(next(keeping.glob("models/*/abmil/seed-1/fold-0")))
    said = r"abmil fills in what a patient lacks from its \d+ training patients and so keeps a vector of each, which must not be handed out"
    with pytest.raises(ValueError, match=said):
        make_bundle(keeping, "abmil", tmp_path / "abmil.zip")


def test_a_model_without_predictions_of_complete_patients_is_refused(run, tmp_path):
    lacking = copied(run, tmp_path / "run")
    for path in lacking.glob("models/*/snn/*/*/predictions.csv"):
        path.unlink()
    with pytest.raises(ValueError, match=r"fold-0 has no predictions of its test fold with nothing taken away: run the study with 'none'"):
        make_bundle(lacking, "snn", tmp_path / "snn.zip")


def test_a_canary_is_refused(run, tmp_path):
    canary = copied(run, tmp_path / "run")
    folder = next(canary.glob("models/*/snn"))
    shutil.copytree(folder, folder.with_name("snn@canary"))
    with pytest.raises(ValueError, match="snn@canary was fitted on permuted labels"):
        make_bundle(canary, "snn@canary", tmp_path / "canary.zip")
