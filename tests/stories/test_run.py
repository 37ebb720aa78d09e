"""From a cohort to a page, by the command line and from Python."""

import json

import pandas as pd
import pytest

MODELS = ("null", "clinical", "snn", "abmil", "late-fusion", "tta")


@pytest.fixture(scope="session")
def finished(prognos, small_cohort, quick, tmp_path_factory):
    """A whole small study by the command line."""
    out = tmp_path_factory.mktemp("runs") / "small"
    models = [argument for model in MODELS for argument in ("--model", model)]
    patterns = ["--set", 'study.missing=["none", "omics", "omics=0.5;histology=0.5"]', "--set", "study.n_folds=3"]
    result = prognos("run", "--cohort", small_cohort, *models, *quick, *patterns, "--canary", "--out", out)
    return out, result


@pytest.mark.slow
def test_one_command_goes_from_a_cohort_to_a_page(finished):
    out, result = finished
    assert result.returncode == 0, result.stderr
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "difference to clinical" in result.stdout
    assert "<html" in (out / "report.html").read_text()


@pytest.mark.slow
def test_every_patient_is_predicted_once_a_model_variant_and_pattern(finished, small_cohort):
    out, _ = finished
    patients = sorted(pd.read_csv(small_cohort / "clinical.csv")["patient_id"])
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    rows = table.groupby(["model", "variant", "missing"])["patient_id"].apply(sorted)
    assert all(found == patients for found in rows)
    assert {(model, "canary", "none") for model in MODELS} <= set(rows.index)
    assert ("snn", "base", "omics") not in rows.index


@pytest.mark.slow
def test_a_model_whose_only_modality_is_missing_is_said_to_be_not_applicable(finished):
    _, result = finished
    assert "not applicable: snn on sim: with omics missing" in result.stdout


@pytest.mark.slow
def test_the_page_is_made_again_from_the_folder_alone(finished, prognos, tmp_path):
    out, _ = finished
    moved = tmp_path / "moved"
    out.rename(moved)
    try:
        (moved / "report.html").unlink()
        result = prognos("report", moved)
        assert result.returncode == 0, result.stderr
        assert (moved / "report.html").is_file()
    finally:
        moved.rename(out)


@pytest.mark.slow
def test_anybody_can_score_the_predictions_of_a_run(finished, prognos, tmp_path):
    out, _ = finished
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    own = table[(table["variant"] == "base") & (table["missing"] == "none")]
    own[["model", "fold", "patient_id", "time", "event", "risk"]].to_csv(tmp_path / "theirs.csv", index=False)
    result = prognos("evaluate", tmp_path / "theirs.csv", "--out", tmp_path / "scored")
    assert result.returncode == 0, result.stderr
    ours, theirs = (pd.read_csv(folder / "metrics.csv", keep_default_na=False) for folder in (out, tmp_path / "scored"))
    keys = ["model", "fold"]
    ours = ours[(ours["variant"] == "base") & (ours["missing"] == "none") & (ours["metric"] == "concordance")].set_index(keys)
    theirs = theirs[theirs["metric"] == "concordance"].set_index(keys)
    assert (theirs["value"].astype(float) - ours["value"].astype(float).reindex(theirs.index)).abs().max() < 1e-12


@pytest.mark.slow
def test_new_patients_are_predicted_by_one_fold_or_by_all(finished, prognos, small_cohort, tmp_path):
    out, _ = finished
    fold = out / "models" / "sim" / "tta" / "seed-1" / "fold-0"
    one = prognos("predict", fold, "--cohort", small_cohort, "--patient", "SIM-0001", "--without", "omics", "--out", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    row = pd.read_csv(tmp_path / "one" / "predictions.csv").iloc[0]
    assert (row["patient_id"], row["missing"], row["filled_by"]) == ("SIM-0001", "omics", "nothing: predicted from the rest")
    assert "SIM-0001" in (tmp_path / "one" / "patient-SIM-0001.html").read_text()
    every = prognos("predict", out, "--model", "tta", "--cohort", small_cohort, "--out", tmp_path / "all")
    assert every.returncode == 0, every.stderr
    table = pd.read_csv(tmp_path / "all" / "predictions.csv")
    assert list(table.columns) == ["patient_id", "risk", "low", "high", "group", "missing", "filled_by", "percentile", "unusual"]
    assert ((table["low"] <= table["risk"]) & (table["risk"] <= table["high"])).all()
    assert set(table["group"]) == {"low", "high"}


@pytest.mark.slow
def test_a_fitted_model_of_a_run_repeats_its_own_predictions(finished, small_cohort):
    import prognos

    out, _ = finished
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False, float_precision="round_trip")
    chosen = table[(table["model"] == "tta") & (table["variant"] == "base") & (table["fold"] == 1)]
    fitted = prognos.load(out / "models" / "sim" / "tta" / "seed-1" / "fold-1")
    cohort = prognos.Cohort.read(small_cohort)
    for pattern, without in (("none", ()), ("omics", "omics")):
        own = chosen[chosen["missing"] == pattern]
        again = fitted.predict(cohort, list(own["patient_id"]), without=without)
        assert abs(again.risk - own["risk"].to_numpy()).max() < 1e-5


@pytest.mark.slow
def test_the_same_study_from_python(small_cohort, tmp_path, finished):
    import prognos

    cohort = prognos.Cohort.read(small_cohort, endpoint="os")
    study = prognos.cross_validate(
        cohort,
        models=["null", "snn"],
        out=tmp_path / "run",
        training={"epochs": 2},
        tokens={"n_patches": 8},
        study={"workers": 1, "n_folds": 3, "replicates": 0},
    )
    assert set(study.comparison()["model"]) == {"null", "snn"}
    assert study.report(tmp_path / "page.html").is_file()
    out, _ = finished
    whole = pd.read_csv(out / "predictions.csv", keep_default_na=False, float_precision="round_trip")
    same = whole[(whole["model"] == "snn") & (whole["variant"] == "base") & (whole["missing"] == "none")]
    own = study.predictions()
    assert own[own["model"] == "snn"]["risk"].tolist() == same["risk"].tolist()


@pytest.mark.slow
def test_a_planted_signal_is_found_and_shuffled_labels_show_none(tmp_path):
    import prognos

    cohort = prognos.Cohort.read(prognos.simulate(tmp_path / "strong", prognos.Truth(shared=3.0), n_patients=240, patches=(5, 6), seed=11))
    study = prognos.cross_validate(
        cohort,
        models=["snn"],
        out=tmp_path / "run",
        training={"epochs": 12, "learning_rate": 1e-3},
        study={"workers": 1, "canary": True, "metrics": ["concordance"], "replicates": 200, "reference": "snn"},
    )
    row = study.comparison().set_index("variant")
    assert row.loc["base", "low"] > 0.5
    assert row.loc["canary", "low"] < 0.5 < row.loc["canary", "high"]


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["inner", "oracle"])
def test_an_epoch_is_chosen_where_the_recipe_says(small_cohort, tmp_path, selection):
    import prognos

    study = prognos.cross_validate(
        small_cohort,
        models=["null", "snn"],
        out=tmp_path / "run",
        training={"epochs": 4},
        study={"workers": 1, "n_folds": 2, "replicates": 0, "selection": selection, "metrics": ["concordance"]},
    )
    folders = sorted((study.folder / "models" / "sim" / "snn").glob("*/*"))
    chosen = [json.loads((folder / "selection.json").read_text()) for folder in folders]
    assert all(choice["selection"] == selection and 1 <= choice["epochs"] <= 4 for choice in chosen)
    assert [len(pd.read_csv(folder / "log.csv")) for folder in folders] == [choice["epochs"] for choice in chosen]
    assert study.facts()["selection"] == selection
    assert any("oracle" in warning for warning in study.facts()["warnings"]) == (selection == "oracle")
    assert not list(study.folder.rglob("checkpoint-*"))
