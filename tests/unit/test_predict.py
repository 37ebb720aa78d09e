from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from prognos import predict as prediction
from prognos.cohort import Cohort


@pytest.fixture
def cohort():
    """Three patients; only the first two have genes."""
    index = pd.Index(["a", "b", "c"], name="patient_id")
    return Cohort(
        name="new",
        endpoint="",
        clinical=pd.DataFrame({"age": [50.0, 60.0, 70.0]}, index=index),
        time=np.full(3, np.nan),
        event=np.zeros(3, dtype=bool),
        slides=pd.DataFrame({"slide_id": [], "patient_id": [], "path": [], "n_patches": []}),
        tables={"rna": pd.DataFrame({"G": [1.0, 2.0]}, index=index[:2])},
        omics_kinds=("rna",),
        gene_sets={},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=0,
        subtype=None,
    )


@pytest.fixture
def fitted(monkeypatch):
    """Two fitted models whose thresholds are 1 and 3; the second sees one unit more risk in everyone."""

    def load(folder):
        number = int(folder.name[-1])

        def answer(cohort, patients, *, without, horizons, draws):
            risk = np.arange(len(patients)) + 1.0 + number
            curves = np.full((len(patients), len(horizons)), 0.5 + 0.1 * number)
            without_input = np.array([p == "c" or "omics" in without for p in patients])
            not_converged = np.array([p == "b" and number == 1 for p in patients])
            drawn = np.array([p == "a" and "omics" in without and draws == 100 for p in patients])
            half = np.where(drawn, 0.25, np.nan)
            ends = {"low": risk - half, "high": risk + half}
            of_curves = {"survival_low": curves - half[:, None], "survival_high": curves + half[:, None]}
            told = {"without_input": without_input & ~drawn, "not_converged": not_converged, "patients": tuple(patients)}
            told |= {"subtypes": (), "subtype_probabilities": None}
            if "learns" in folder.parent.name:
                left = np.array([0.9, 0.2, 0.5])[: len(patients)] - 0.1 * number
                told["subtypes"] = ("left", "right" if "other" not in folder.name else "wrong")
                told["subtype_probabilities"] = np.stack([left, 1 - left], axis=1)
            return SimpleNamespace(risk=risk, survival=curves, **ends, **of_curves, **told)

        model = SimpleNamespace(needs=SimpleNamespace(modalities=("omics",)), filled_by="a coin")
        return SimpleNamespace(predict=answer, threshold=1.0 + 2 * number, model=model, filler=None)

    monkeypatch.setattr(prediction, "Fitted", SimpleNamespace(load=load))


def run_of(folder, *places):
    for place in places:
        path = folder / "models" / place / "fitted.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    return folder


@pytest.mark.usefixtures("fitted")
def test_one_model_gives_its_own_risk_and_no_spread(cohort, tmp_path):
    table = prediction.predict([tmp_path / "fold-0"], cohort).table
    assert table["risk"].tolist() == [1.0, 2.0, 3.0]
    assert table[["low", "high"]].isna().all(axis=None)
    # threshold 1: a risk above it is high
    assert table["group"].tolist() == ["low", "high", "high"]


@pytest.mark.usefixtures("fitted")
def test_several_models_are_compared_to_their_own_thresholds(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "fold-0", tmp_path / "fold-1"], cohort)
    # risk less threshold: 0, 1, 2 of the first, -1, 0, 1 of the second
    assert answer.table["risk"].tolist() == [-0.5, 0.5, 1.5]
    assert answer.table["low"].tolist() == [-1.0, 0.0, 1.0]
    assert answer.table["high"].tolist() == [0.0, 1.0, 2.0]
    assert answer.table["group"].tolist() == ["low", "high", "high"]
    # the mean of the curves at 0.5 and 0.6
    assert answer.survival["survival"].unique().tolist() == [0.55]


@pytest.mark.usefixtures("fitted")
def test_what_was_missing_is_told_with_what_stood_in(cohort, tmp_path):
    table = prediction.predict([tmp_path / "fold-0"], cohort).table
    assert table["missing"].tolist() == ["", "", "omics"]
    assert table["filled_by"].tolist() == ["", "", "the median training risk and the training Kaplan-Meier curve"]
    taken = prediction.predict([tmp_path / "fold-0"], cohort, patients=["b"], without=["omics"]).table
    assert taken["missing"].tolist() == ["omics"]


@pytest.mark.usefixtures("fitted")
def test_draws_of_what_is_missing_give_an_interval_of_risk_and_curve(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "fold-0", tmp_path / "fold-1"], cohort, without=["omics"])
    row = answer.table.set_index("patient_id").loc["a"]
    # risk less threshold is 0 and -1, each give or take 0.25
    assert (row["low"], row["high"]) == (-1.25, 0.25)
    assert answer.survival.loc[answer.survival["patient_id"] == "a", ["low", "high"]].drop_duplicates().round(9).values.tolist() == [
        [0.25, 0.85]
    ]
    assert prediction.told(answer, "a").splitlines() == [
        "patient a",
        "  risk: -0.500 (-1.250 to 0.250 over 2 fitted models and 100 draws of what is missing, which is not all that is unknown)",
        "  group: low (above or below the median of the training patients)",
        "  predicted to be free of the event: 55% at 1 y (25% to 85%), 55% at 3 y (25% to 85%), 55% at 5 y (25% to 85%)",
        "  missing: omics: a coin",
    ]


@pytest.mark.usefixtures("fitted")
def test_patients_for_whom_one_model_did_not_converge_are_named(cohort, tmp_path):
    assert prediction.predict([tmp_path / "fold-0"], cohort).warnings == ()
    answer = prediction.predict([tmp_path / "fold-0", tmp_path / "fold-1"], cohort)
    assert answer.not_converged == ("b",)
    assert answer.warnings == (
        "an iteration inside the model did not converge for 1 of 3 patients (b): their risks rest on what it had reached; "
        "look at their data.",
    )


@pytest.mark.usefixtures("fitted")
def test_a_patient_or_modality_that_is_not_there_is_refused(cohort, tmp_path):
    with pytest.raises(ValueError, match=r"1 patients are not in new \(z\): look at its clinical\.csv"):
        prediction.predict([tmp_path / "fold-0"], cohort, patients=["z"])
    with pytest.raises(ValueError, match=r"--without: there is no modality 'omix'; did you mean 'omics'\?"):
        prediction.predict([tmp_path / "fold-0"], cohort, without=["omix"])


@pytest.mark.usefixtures("fitted")
def test_a_page_tells_risk_group_and_curve_of_one_patient(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "fold-0", tmp_path / "fold-1"], cohort)
    written = prediction.write(answer, tmp_path / "out", pages=["a"])
    assert [path.name for path in written] == ["predictions.csv", "survival.csv.gz", "patient-a.html"]
    page = written[-1].read_text()
    assert "-0.500 (-1.000 to 0.000 over 2 fitted models)" in page
    assert "55% at 3 y" in page
    assert "<polyline" in page
    assert "http" not in page


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


# Subtypes


@pytest.mark.usefixtures("fitted")
def test_subtypes_are_the_mean_of_the_models_and_the_most_probable_stands_first(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "learns" / "fold-0", tmp_path / "learns" / "fold-1"], cohort)
    assert answer.subtypes.to_dict("list") == {
        "patient_id": ["a", "a", "b", "b", "c", "c"],
        "class": ["left", "right", "right", "left", "right", "left"],
        "probability": [0.85, 0.15, 0.85, 0.15, 0.55, 0.45],
    }
    assert ("Subtype", "right 85%, left 15%") in prediction.facts_of(answer, "b")
    written = prediction.write(answer, tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "subtypes.csv").columns.tolist() == ["patient_id", "class", "probability"]
    assert tmp_path / "out" / "subtypes.csv" in written


@pytest.mark.usefixtures("fitted")
def test_a_model_without_subtypes_says_nothing_of_them(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "fold-0"], cohort)
    assert answer.subtypes.empty
    assert "Subtype" not in dict(prediction.facts_of(answer, "b"))
    prediction.write(answer, tmp_path / "out")
    assert not (tmp_path / "out" / "subtypes.csv").exists()


@pytest.mark.usefixtures("fitted")
def test_models_of_different_subtypes_are_not_mixed(cohort, tmp_path):
    with pytest.raises(ValueError, match="these fitted models learnt different subtypes: predict with one of them"):
        prediction.predict([tmp_path / "learns" / "fold-0", tmp_path / "learns" / "fold-other-1"], cohort)
