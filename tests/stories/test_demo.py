"""The first command of the README."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from prognos.cli import app, studies
from prognos.config import read_recipe


@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_page_and_says_what_was_planted(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "DEMO_PATIENTS", 40)
    small = ["study.workers=1", "study.replicates=10", "training.epochs=1", "model.tta.d_model=8", "tokens.n_patches=4", "study.n_folds=2"]
    arguments = [part for text in small for part in ("--set", text)]
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), *arguments])
    assert result.exit_code == 0, result.output
    assert "both show one planted cause of survival" in " ".join(result.stderr.split())
    assert all(model in result.stdout for model in ("null", "clinical", "snn", "abmil", "late-fusion", "tta"))
    run = tmp_path / "demo" / "run"
    assert f"report: {run / 'report.html'}" in result.stdout
    assert json.loads((run / "study.json").read_text())["simulated"] is True
    assert (tmp_path / "demo" / "cohort" / "truth.csv").is_file()


def test_the_demo_does_not_write_into_what_is_there(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "is not empty: give the demo a new --out" in result.stderr


def test_the_demo_compares_six_models_on_five_folds():
    from importlib import resources

    with resources.as_file(resources.files("prognos.study") / "demo.toml") as path:
        recipe = read_recipe(path)
    assert recipe.study.models == ("null", "clinical", "snn", "abmil", "late-fusion", "tta")
    assert recipe.study.n_folds == 5


@pytest.mark.slow
def test_tta_finds_the_shared_signal_that_the_demo_plants(prognos, tmp_path):
    """The cohort and the settings of the demo, whole; the other models are left out, whose results TTA does not depend on."""
    alone = ('study.models=["tta"]', "study.reference=tta", "study.workers=1", "study.replicates=0", 'study.metrics=["concordance"]')
    result = prognos("demo", "--out", tmp_path / "demo", *(part for text in alone for part in ("--set", text)))
    assert result.returncode == 0, result.stderr
    comparison = pd.read_csv(tmp_path / "demo" / "run" / "comparison.csv", keep_default_na=False)
    assert comparison[["model", "variant", "metric"]].to_numpy().tolist() == [["tta", "base", "concordance"]]
    assert float(comparison["mean"].iloc[0]) > 0.75
    folds = pd.read_csv(tmp_path / "demo" / "run" / "metrics.csv", keep_default_na=False)
    assert len(folds) == 5
