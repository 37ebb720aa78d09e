"""A folder of slides becomes features, with its broken ones told, and a model trains on them."""

import signal
import time

import numpy as np
import pandas as pd
import pytest
from tests.unit.slides.made_slides import made_slide

from prognos.cohort.features import read_features

SIDE = 1024  # pixels of half a micron; tissue in the middle, four patches of 256 pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten slides: seven good ones, one cut in half, one without a resolution, one that is another's copy."""
    place = tmp_path_factory.mktemp("slides")
    for number in range(8):
        made_slide(place / f"slide-{number}.tiff", (SIDE, SIDE), seed=number)
    whole = (place / "slide-7.tiff").read_bytes()
    (place / "slide-7.tiff").write_bytes(whole[: len(whole) // 2])
    made_slide(place / "slide-8.tiff", (SIDE, SIDE), mpp=None, seed=8)
    (place / "slide-9.tiff").write_bytes((place / "slide-3.tiff").read_bytes())
    return place


@pytest.fixture(scope="module")
def processed(prognos, folder, tmp_path_factory):
    """What the command said, and its folder."""
    out = tmp_path_factory.mktemp("features")
    return prognos("slides", folder, "--out", out), out


def feature_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


@pytest.mark.slow
def test_seven_of_ten_slides_become_features_and_three_rows_say_why(processed):
    result, out = processed
    assert result.returncode == 0, result.stderr
    assert sorted(feature_bytes(out)) == [f"slide-{number}.h5" for number in range(7)]
    status = pd.read_csv(out / "slides_status.csv", keep_default_na=False).set_index("slide_id")
    assert status["status"].tolist() == ["done"] * 7 + ["failed"] * 3
    assert "the file was cut: copy it again" in status.loc["slide-7", "reason"]
    assert "does not say how many microns a pixel is; give --mpp X" in status.loc["slide-8", "reason"]
    assert "has the same bytes as slide-3.tiff; leave one of them out" in status.loc["slide-9", "reason"]
    assert result.stdout.splitlines()[-1] == "3 slides failed; slides_status.csv says why"
    assert all(reason in result.stderr for reason in status.loc["slide-7":, "reason"])


@pytest.mark.slow
def test_every_feature_file_has_the_default_encoders_width_and_a_picture_of_its_tissue(processed):
    _, out = processed
    for number in range(7):
        read = read_features(out / f"slide-{number}.h5")
        assert read.values.shape[1] == 1280
        assert len(read.values) >= 4
        assert (out / "tissue" / f"slide-{number}.png").exists()
        assert (out / "tissue" / f"slide-{number}.geojson").exists()


@pytest.mark.slow
def test_the_same_command_again_computes_nothing_and_says_the_same(prognos, processed, folder):
    result, out = processed
    before, status = feature_bytes(out), (out / "slides_status.csv").read_bytes()
    again = prognos("slides", folder, "--out", out)
    assert again.stdout == result.stdout
    assert feature_bytes(out) == before
    assert (out / "slides_status.csv").read_bytes() == status


@pytest.mark.slow
def test_an_assumed_resolution_is_said_to_be_assumed(prognos, folder, tmp_path):
    result = prognos("slides", folder / "slide-8.tiff", "--out", tmp_path, "--mpp", 0.5)
    assert result.returncode == 0, result.stderr
    assert "0.5 microns a pixel are assumed (--mpp) of slide-8: the file does not say" in result.stderr
    assert read_features(tmp_path / "slide-8.h5").attributes["mpp_source"] == "--mpp"


@pytest.mark.slow
def test_a_command_that_is_interrupted_goes_on_and_ends_in_the_same_bytes(start, prognos, processed, folder, tmp_path):
    _, whole = processed
    for attempt in range(3):  # a busy machine may let the command end before it is interrupted
        out = tmp_path / str(attempt)
        process = start("slides", folder, "--out", out)
        latest = time.monotonic() + 120
        while not list(out.glob("*.h5")) and process.poll() is None and time.monotonic() < latest:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        if process.returncode == 130:
            break
    assert process.returncode == 130
    assert "what is done is kept: the same command goes on from here" in error
    assert len(feature_bytes(out)) < 7
    assert prognos("slides", folder, "--out", out).returncode == 0
    assert feature_bytes(out) == feature_bytes(whole)


@pytest.mark.slow
def test_a_model_trains_on_the_features(prognos, processed, tmp_path, quick):
    _, features = processed
    names = [f"slide-{number}" for number in range(7)]
    patients = [f"patient-{number}" for number in range(7)]
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    pd.DataFrame(
        {"patient_id": patients, "os_time": np.arange(1, 8) * 100.0, "os_event": [1, 1, 0, 1, 1, 1, 0], "site": list("abcdefg")}
    ).to_csv(cohort / "clinical.csv", index=False)
    pd.DataFrame({"slide_id": names, "patient_id": patients}).to_csv(cohort / "slides.csv", index=False)
    (cohort / "cohort.toml").write_text(f'[files]\nfeatures = "{features}"\n')
    sets = ["--set", "study.n_folds=2"]
    result = prognos("run", "--cohort", cohort, "--model", "abmil", "--endpoint", "os", *quick, *sets, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(predictions.loc[predictions["model"] == "abmil", "patient_id"]) == set(patients)
    assert np.isfinite(predictions["risk"]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no slides: give slide files or folders"),
        (["FOLDER"], "--out is missing: name the folder for the features"),
        (["FOLDER", "--out", "OUT", "--encoder", "uni9"], "there is no encoder 'uni9'; did you mean 'uni'"),
        (["FOLDER", "--out", "OUT", "--stored", "int8"], "features cannot be stored as 'int8'"),
        (["FOLDER/slide-8.tiff", "--out", "OUT"], "no slide is done: 1 slide failed; OUT/slides_status.csv says why"),
        (["FOLDER", "--check-only"], "will fail: slide-7.tiff"),
    ],
)
def test_what_is_at_fault_as_a_whole_is_said_and_ends_with_2(prognos, folder, tmp_path, arguments, said):
    places = {"FOLDER": str(folder), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        arguments, said = [argument.replace(name, place) for argument in arguments], said.replace(name, place)
    result = prognos("slides", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
