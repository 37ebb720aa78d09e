import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from prognos.bundle import Reason
from prognos.predict import Answer, Contributions
from prognos.predict.answer import About
from prognos.report.patient import patient_page, write_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def answered(patient="007", **more):
    """An answer of three models for one patient."""
    row = {"patient_id": [patient], "risk": [0.5], "low": [-0.1], "high": [0.9], "group": ["high"], "missing": ["omics"]}
    table = pd.DataFrame({**row, "filled_by": ["the mean"], "percentile": [80.0], "unusual": [""]})
    horizons = np.arange(0.0, 3651.0, 365.0)
    alive = np.exp(-horizons / 2000)
    curve = pd.DataFrame({"patient_id": patient, "horizon": horizons, "survival": alive, "low": alive * 0.8, "high": np.sqrt(alive)})
    about = About("tta", "there", "os", 300, 120, "the training patients whom the model was not trained on", bundled=True)
    return Answer(table, curve, 3, marginal=(alive**0.5).tolist(), about=about, **more)


def contributed(n_pathways=50):
    names = [f"HALLMARK_PATHWAY_{number}" for number in range(n_pathways)]
    pathways = pd.DataFrame({"pathway": names, "attribution": np.linspace(1, -1, n_pathways), "agreement": 1.0})
    patches = pd.DataFrame({"slide_id": "s1", "x": [512.0] * 5, "y": [1024.0] * 5, "side": 512, "percentile": 99.9})
    return Contributions(pathways, patches, "attention: weight of the patch", 3)


def test_the_page_says_what_was_predicted_and_by_what(tmp_path):
    path = write_page(answered(), "007", contributed(), tmp_path)
    page = path.read_text()
    assert path.name == "patient-007.html"
    for text in ("fitted on 300 patients of there with 120 events", "0.500 (-0.100 to 0.900 over 3 fitted models)", "omics: the mean"):
        assert text in page
    assert "a higher risk than 80 of 100" in page
    assert "Research software: not for decisions about a patient." in page


def test_the_page_asks_for_nothing_outside():
    page = patient_page(answered(), "007", contributed())
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert "@import" not in page
    assert "<script" not in page


def test_the_same_answer_gives_the_same_page():
    assert patient_page(answered(), "007", contributed()) == patient_page(answered(), "007", contributed())


def test_a_name_is_text_and_never_markup():
    page = patient_page(answered("<b>x</b>"), "<b>x</b>", contributed())
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ({"007": (Reason("omics", "omics lies far away."),)}, "omics lies far away."),
        ({"007": ()}, "Nothing that was looked at"),
        ({}, "Not known: only a bundle knows how its training patients lie."),
    ],
)
def test_what_is_unlike_the_training_patients_is_said_also_when_it_is_not_known(reasons, said):
    assert said in patient_page(answered(reasons=reasons), "007", contributed())


def test_without_pathways_and_patches_the_page_says_why():
    page = patient_page(answered(), "007", Contributions(notes=("No gene sets were given.",)))
    assert "the model reads no omics of this patient, or no gene sets were at hand" in page
    assert "shows no number for single patches" in page
    assert "No gene sets were given." in page


def test_an_iteration_that_did_not_converge_is_said_on_the_page():
    assert "Warning: an iteration inside the model did not converge" in patient_page(answered(not_converged=("007",)), "007", contributed())


@pytest.mark.slow
def test_the_fullest_page_prints_on_one_sheet(tmp_path):
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)}): the page is not printed")
    reasons = {"007": tuple(Reason(name, f"{name} lies 3.0 beside the main directions of the training patients.") for name in "abcd")}
    page = write_page(answered(reasons=reasons, not_converged=("007",), absent=("rna A",)), "007", contributed(), tmp_path)
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--no-pdf-header-footer")
    pdf = tmp_path / "page.pdf"
    subprocess.run([browser, *quiet, f"--print-to-pdf={pdf}", page.as_uri()], check=True, capture_output=True, timeout=120)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) == 1
