import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.contract.tiny_cohort import tiny_fit

from prognos.cohort import Cohort
from prognos.cohort.simulate import Truth, simulate
from prognos.explain import Request, explain, fold_to_explain, patient_maps, table
from prognos.models import MODELS

SHOWN = {
    "abmil": ["attention"],
    "attnmisl": ["attention", *(f"kind {k}" for k in range(4))],
    "clam": ["attention"],
    "cmta": [f"group {g}" for g in range(1, 7)],
    "hipt": ["attention"],
    "late-fusion": ["attention"],
    "m3care": ["attention"],
    "shaspec": ["attention"],
    "smil": ["attention"],
    "mcat": [f"group {g}" for g in range(1, 7)],
    "mmp": [f"prototype {k}" for k in range(1, 5)],
    "motcat": [f"group {g}" for g in range(1, 7)],
    "must": ["attention"],
    "ld-cvae": [f"group {g}" for g in range(1, 7)],
    "pibd": ["similarity", "kept"],
    "panther": [f"prototype {k}" for k in range(1, 5)],
    "otsurv": [f"prototype {k}" for k in range(1, 5)],
    "survpath": ["attention of pathways"],
    "mcti": ["attention", "kept"],
    "tta": ["mass", "confidence", "prototype 1", "prototype 2", "prototype 3", "prototype 4"],
}

WITHOUT_MAPS = {"transmil"}
"""Models that look through landmarks only."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twelve simulated patients; the third has two slides of different length, and the last has no slide."""
    folder = simulate(
        tmp_path_factory.mktemp("explain") / "sim", Truth.demo(), n_patients=12, n_sites=2, d_patch=10, patches=(5, 9), seed=1
    )
    slides = pd.read_csv(folder / "slides.csv", dtype=str)
    kept = slides[~slides["patient_id"].isin(["SIM-0012"])].drop_duplicates("patient_id")
    second = slides[slides["patient_id"] == "SIM-0012"].head(1).assign(patient_id="SIM-0003")
    pd.concat([kept, second]).to_csv(folder / "slides.csv", index=False)
    return Cohort.read(folder)


@pytest.fixture(scope="module")
def fitted(cohort):
    """Small fitted models by name."""
    found = {}

    def fit(name):
        if name not in found:
            found[name] = tiny_fit(cohort, name, training={"epochs": 1})
        return found[name]

    return fit


@pytest.fixture
def slide_files(cohort, tmp_path):
    """Plain images that stand for the slides of SIM-0003."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for slide in cohort.slides[cohort.slides["patient_id"] == "SIM-0003"]["slide_id"]:
        Image.effect_noise((1024, 1024), 80).convert("RGB").resize((8192, 8192)).save(folder / f"{slide}.jpg")
    return folder


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_model_that_reads_histology_shows_its_maps_of_every_patch(cohort, fitted, name):
    maps = patient_maps(fitted(name), cohort, "SIM-0003")
    assert [kind.name for kind in maps.kinds] == SHOWN[name]
    assert [len(slide) for slide in maps.slides] == cohort.slides[cohort.slides["patient_id"] == "SIM-0003"]["n_patches"].tolist()
    assert all(np.isfinite(values).all() for slide in maps.slides for values in slide.raw.values())


def test_no_model_that_reads_histology_is_forgotten():
    reading = {name.split("-")[0] for name, entry in MODELS.items() if "histology" in entry.load().needs.modalities}
    assert reading == {name.split("-")[0] for name in SHOWN} | WITHOUT_MAPS


@pytest.mark.parametrize("name", ["abmil", "mcti"])
def test_attention_sums_to_one_over_the_patient(cohort, fitted, name):
    maps = patient_maps(fitted(name), cohort, "SIM-0003")
    assert sum(slide.raw["attention"].sum() for slide in maps.slides) == pytest.approx(1, abs=1e-5)


def test_the_weights_of_prototypes_divide_the_patch_that_transport_takes(cohort, fitted):
    one = fitted("tta")
    maps = patient_maps(one, cohort, "SIM-0003")
    total = np.sum([maps.slides[0].raw[kind.name] for kind in maps.family], axis=0)
    # the softmax sums to 1 and the plan to the mass
    assert total == pytest.approx(1 - one.config.mixing + one.config.mixing * maps.slides[0].raw["mass"], abs=1e-3)


def test_a_model_that_looks_through_landmarks_only_is_refused(cohort):
    one = tiny_fit(cohort, "must", config={"specific": "nystrom"}, training={"epochs": 1})
    with pytest.raises(ValueError, match=r"must shows no number for single patches.*explain another model"):
        patient_maps(one, cohort, "SIM-0003")


def test_maps_show_every_patch_where_the_prediction_drew_some(cohort, fitted):
    drawn = tiny_fit(cohort, "abmil", training={"epochs": 1, "evaluation_patches": 4})
    maps = patient_maps(drawn, cohort, "SIM-0003")
    n_patches = sum(len(slide) for slide in maps.slides)
    assert n_patches > 4
    assert f"The prediction rests on 4 patches that were drawn; the maps show all {n_patches}." in maps.notes


def test_the_table_has_a_row_a_patch_and_a_column_a_map(cohort, fitted):
    maps = patient_maps(fitted("abmil"), cohort, "SIM-0003")
    found = table(maps)
    assert list(found.columns) == ["slide_id", "x", "y", "side", "attention"]
    assert found["slide_id"].unique().tolist() == [slide.slide_id for slide in maps.slides]
    assert found["side"].unique().tolist() == [512]


def test_without_slide_files_everything_but_pixels_is_written_and_the_page_says_so(cohort, fitted, tmp_path):
    written = {path.relative_to(tmp_path).as_posix() for path in explain(fitted("abmil"), cohort, "SIM-0001", tmp_path)}
    assert {"index.html", "patches.csv"} <= written
    assert not any(name.startswith("top-") for name in written)
    assert {name.split("/")[1] for name in written if "/" in name} >= {"attention-raw.png", "attention-raw.tiff", "patches.geojson"}
    assert "No slide files were given (--slides)" in (tmp_path / "index.html").read_text()


@pytest.mark.slow
def test_with_slide_files_top_patches_are_cut_out(cohort, fitted, slide_files, tmp_path):
    written = explain(fitted("tta"), cohort, "SIM-0003", tmp_path / "out", Request(slide_files, top=3, facts=[("Risk", "0.5")]))
    names = {path.name for path in written}
    assert {"top-confidence.png", "gallery-prototype.png", "prototype.png"} <= names
    html = (tmp_path / "out" / "index.html").read_text()
    assert "No slide files" not in html
    assert html.count('<img src="data:image/jpeg') >= 3


def test_a_slide_that_has_no_file_is_said(cohort, fitted, tmp_path):
    (tmp_path / "slides").mkdir()
    explain(fitted("abmil"), cohort, "SIM-0001", tmp_path / "out", Request(tmp_path / "slides"))
    assert "holds no file of it; it is drawn on a plain ground." in (tmp_path / "out" / "index.html").read_text()


def test_a_slide_file_that_cannot_be_read_is_said_and_not_the_end(cohort, fitted, tmp_path):
    (tmp_path / "slides").mkdir()
    slide = cohort.slides[cohort.slides["patient_id"] == "SIM-0001"]["slide_id"].iloc[0]
    (tmp_path / "slides" / f"{slide}.svs").write_bytes(b"broken")
    explain(fitted("abmil"), cohort, "SIM-0001", tmp_path / "out", Request(tmp_path / "slides"))
    assert f"Slide {slide} is drawn on a plain ground: {slide}.svs" in (tmp_path / "out" / "index.html").read_text()


def test_a_slide_file_on_which_the_patches_do_not_lie_is_refused(cohort, fitted, tmp_path):
    (tmp_path / "slides").mkdir()
    slide = cohort.slides[cohort.slides["patient_id"] == "SIM-0001"]["slide_id"].iloc[0]
    Image.new("RGB", (300, 200)).save(tmp_path / "slides" / f"{slide}.png")
    with pytest.raises(ValueError, match=r"has 300 x 200 level-0 pixels: this is not the file that the features were made of"):
        explain(fitted("abmil"), cohort, "SIM-0001", tmp_path / "out", Request(tmp_path / "slides"))


def test_a_folder_of_slides_that_is_not_there_is_refused(cohort, fitted, tmp_path):
    with pytest.raises(ValueError, match=r"--slides .*nowhere: there is no such folder"):
        explain(fitted("abmil"), cohort, "SIM-0001", tmp_path / "out", Request(tmp_path / "nowhere"))


def test_no_patch_to_cut_out_is_refused(cohort, fitted, tmp_path):
    with pytest.raises(ValueError, match="top is 0: at least 1 patch"):
        explain(fitted("abmil"), cohort, "SIM-0001", tmp_path, Request(top=0))


def test_one_slide_can_be_asked_for(cohort, fitted, tmp_path):
    second = cohort.slides[cohort.slides["patient_id"] == "SIM-0003"]["slide_id"].iloc[1]
    explain(fitted("abmil"), cohort, "SIM-0003", tmp_path, Request(slide_id=second))
    assert pd.read_csv(tmp_path / "patches.csv")["slide_id"].unique().tolist() == [second]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [second]


def test_a_patient_without_slides_is_refused(cohort, fitted, tmp_path):
    with pytest.raises(ValueError, match="patient SIM-0012 has no slide features"):
        explain(fitted("abmil"), cohort, "SIM-0012", tmp_path)


def test_a_slide_of_unknown_resolution_has_no_scale_bar_and_the_page_says_so(cohort, fitted, tmp_path):
    without = replace(cohort, slides=cohort.slides.drop(columns="mpp"))
    explain(fitted("abmil"), without, "SIM-0001", tmp_path / "out")
    assert "The resolution of 1 slides is not known" in (tmp_path / "out" / "index.html").read_text()


def test_the_same_request_gives_the_same_bytes(cohort, fitted, tmp_path):
    first, second = (explain(fitted("abmil"), cohort, "SIM-0001", tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_geojson_of_a_model_is_json(cohort, fitted, tmp_path):
    written = explain(fitted("mcti"), cohort, "SIM-0001", tmp_path)
    path = next(path for path in written if path.suffix == ".geojson")
    assert json.loads(path.read_text())["type"] == "FeatureCollection"


def test_of_several_models_the_one_that_was_tested_on_the_patient_is_explained(tmp_path):
    folders = []
    for fold, patient in enumerate(("007", "008")):
        folder = tmp_path / "seed-1" / f"fold-{fold}"
        folder.mkdir(parents=True)
        (folder / "predictions.csv").write_text(f"patient_id,risk\n{patient},0.5\n")
        folders.append(folder)
    chosen, why = fold_to_explain(folders, "008")
    assert (chosen, why) == (folders[1], "Of 2 fitted models this is seed-1/fold-1, which was tested on this patient and not trained.")
    chosen, why = fold_to_explain(folders, "009")
    assert (chosen, why) == (folders[0], "Of 2 fitted models this is seed-1/fold-0, the first; the others may have looked elsewhere.")
    assert fold_to_explain(folders[1:], "009") == (folders[1], "")
