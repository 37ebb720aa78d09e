"""A model leaves the lab: a run becomes a bundle, and somebody else predicts one patient of another cohort with it."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from prognos.cli import app
from prognos.cohort.simulate import Truth, simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(small_cohort, tmp_path_factory) -> Path:
    """A study of the clinical model and of TTA, on two folds."""
    out = tmp_path_factory.mktemp("bundle-story") / "run"
    options = ["training.epochs=1", "tokens.n_patches=8", "model.tta.d_model=8", "model.tta.n_prototypes=4", "study.n_folds=2"]
    options += ["study.workers=1", "study.replicates=20"]
    chosen = [part for one in options for part in ("--set", one)]
    typed("run", "--cohort", small_cohort, "--model", "clinical", "--model", "tta", *chosen)(out)
    return out


@pytest.fixture(scope="module")
def bundle(run) -> Path:
    """The TTA of this study, as a zip."""
    result = typed("bundle", run, "--model", "tta")(run.parent / "tta.zip")
    assert "2 fitted models of every fold and seed" in result.stderr
    return run.parent / "tta.zip"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """Another cohort of the same encoder and genes."""
    place = tmp_path_factory.mktemp("elsewhere") / "other"
    return simulate(place, Truth.demo(), n_patients=40, patches=(5, 12), seed=11)


def typed(*words):
    """The command line with these words and an --out; a fault is an error of the test."""

    def call(out: Path):
        result = CliRunner().invoke(app, [*map(str, words), "--out", str(out)])
        assert result.exit_code == 0, result.output
        return result

    return call


def refused(*words) -> str:
    """What the command line says when it refuses."""
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_one_patient_of_another_cohort_without_omics_gets_a_page(bundle, elsewhere, tmp_path):
    result = typed("predict", bundle, "--cohort", elsewhere, "--patient", "SIM-0003", "--without", "omics")(tmp_path)
    assert "missing: omics" in result.stderr
    assert "unlike the training patients: " in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv",
        "survival.csv.gz",
        "patient-SIM-0003.json",
        "patient-SIM-0003.html",
    }
    said = json.loads((tmp_path / "patient-SIM-0003.json").read_text())
    assert said["missing"] == ["omics"]
    assert said["pathways"] == []
    assert 5 <= said["percentile"] <= 95
    assert "Patient SIM-0003" in (tmp_path / "patient-SIM-0003.html").read_text()


def test_pathways_and_patches_of_a_complete_patient_are_told(bundle, elsewhere, tmp_path):
    typed("predict", bundle, "--cohort", elsewhere, "--patient", "SIM-0004", "--quiet")(tmp_path)
    said = json.loads((tmp_path / "patient-SIM-0004.json").read_text())
    assert len(said["pathways"]) > 1
    assert len(said["patches"]) == 5


def test_a_model_is_validated_on_another_cohort(bundle, elsewhere, tmp_path):
    typed("predict", bundle, "--cohort", elsewhere, "--outcome", "os", "--quiet")(tmp_path / "predicted")
    predictions, survival = (tmp_path / "predicted" / name for name in ("predictions.csv", "survival.csv.gz"))
    typed("evaluate", predictions, "--survival", survival, "--quiet")(tmp_path / "evaluated")
    metrics = pd.read_csv(tmp_path / "evaluated" / "metrics.csv", keep_default_na=False).set_index("metric")["value"]
    assert 0 < float(metrics["concordance"]) < 1
    assert 0 < float(metrics["integrated_brier"]) < 1
    assert (tmp_path / "evaluated" / "report.html").is_file()


def test_a_model_fitted_anew_says_that_nobody_is_left_to_test_it_on(run, elsewhere, tmp_path):
    result = typed("bundle", run, "--model", "clinical", "--refit")(tmp_path / "clinical")
    assert "no patient of the cohort was kept back" in result.stderr
    result = typed("predict", tmp_path / "clinical", "--cohort", elsewhere, "--patient", "SIM-0003")(tmp_path / "out")
    assert "of the patients that it was trained on" in result.stderr


def test_where_a_bundled_model_looked_can_be_explained(bundle, elsewhere, tmp_path):
    typed("explain", bundle, "--cohort", elsewhere, "--patient", "SIM-0003", "--quiet")(tmp_path)
    assert "the first; the others may have looked elsewhere" in (tmp_path / "index.html").read_text()


# What is refused, with exit code 2


def spoilt(bundle: Path, to: Path, name: str, change) -> Path:
    """The bundle as a folder with one file changed."""
    zipfile.ZipFile(bundle).extractall(to)
    path = to / name
    path.write_bytes(change(path.read_bytes()))
    return to


def test_a_newer_format_is_refused(bundle, elsewhere, tmp_path):
    newer = spoilt(bundle, tmp_path / "b", "bundle.json", lambda text: text.replace(b'"format": 1', b'"format": 7', 1))
    said = refused("predict", newer, "--cohort", elsewhere, "--out", tmp_path / "out")
    assert "has format 7, newer than 1, which this prognos reads; update prognos." in said


def test_a_broken_hash_is_refused(bundle, elsewhere, tmp_path):
    broken = spoilt(bundle, tmp_path / "b", "models/seed-1/fold-1/weights.safetensors", lambda content: content[:-1] + b"x")
    said = refused("predict", broken, "--cohort", elsewhere, "--out", tmp_path / "out")
    assert "1 files are not what they were written as (models/seed-1/fold-1/weights.safetensors): copy it anew" in said


def test_patch_features_of_another_width_are_refused(bundle, tmp_path):
    other = simulate(tmp_path / "wide", Truth.demo(), n_patients=40, d_patch=11, patches=(5, 12), seed=11)
    said = refused("predict", bundle, "--cohort", other, "--out", tmp_path / "out")
    assert "11 wide" in said
    assert "extract them with the encoder of training" in said


def test_what_is_no_bundle_is_refused(elsewhere, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    assert "cannot be read as a zip" in refused("predict", tmp_path / "text.zip", "--cohort", elsewhere, "--out", tmp_path / "out")


def test_a_model_that_the_run_does_not_have_is_refused(run, tmp_path):
    assert "there is no model 'snn'" in refused("bundle", run, "--model", "snn", "--out", tmp_path / "snn.zip")


def test_a_cohort_that_lacks_half_of_the_genes_is_refused_with_three_of_them(bundle, elsewhere, tmp_path):
    other = shutil.copytree(elsewhere, tmp_path / "other")
    for kind in ("rna", "cnv", "snv"):
        for path in other.glob(f"{kind}.csv*"):
            table = pd.read_csv(path, dtype={"patient_id": str})
            table.iloc[:, : table.shape[1] // 2].to_csv(path, index=False)
    said = refused("predict", bundle, "--cohort", other, "--out", tmp_path / "out")
    assert re.search(r"\d+ of the \d+ omics features that tta reads are absent from other \((\w+ \w+, ){2}\w+ \w+ and \d+ more\)", said)
    assert "raise --most-absent" in said
