import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from prognos import predict as prediction
from prognos.bundle import RISK_LEVELS, Bundle, Reason, ensemble
from prognos.cohort import Cohort
from prognos.omics import OmicsScaler, OmicsSchema
from prognos.predict import answer as answers
from prognos.predict.place import percentiles_among
from prognos.risk.marginal import MarginalHead
from prognos.tokens.inputs import Inputs, InputsConfig
from prognos.training import Fitted, Predictions
from prognos.types import Survival


def made(kind, **values):
    """An object of a class with some of its values, and no others."""
    one = object.__new__(kind)
    one.__dict__.update(values)
    return one


def reading(*genes):
    """The inputs of a model that reads the expression of some genes."""
    schema = OmicsSchema(("rna",), tuple(("rna", gene) for gene in genes))
    return Inputs(("omics",), InputsConfig(), omics=OmicsScaler(schema, np.zeros(len(genes)), np.ones(len(genes))))


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
def inputs():
    """What the fitted models read."""
    return {"inputs": reading("G")}


@pytest.fixture
def fitted(monkeypatch, inputs):
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
            told |= {"horizons": np.asarray(horizons)}
            told |= {"subtypes": (), "subtype_probabilities": None}
            if "learns" in folder.parent.name:
                left = np.array([0.9, 0.2, 0.5])[: len(patients)] - 0.1 * number
                told["subtypes"] = ("left", "right" if "other" not in folder.name else "wrong")
                told["subtype_probabilities"] = np.stack([left, 1 - left], axis=1)
            return made(Predictions, risk=risk, survival=curves, **ends, **of_curves, **told)

        model = SimpleNamespace(needs=SimpleNamespace(modalities=("omics",)), filled_by="a coin")
        marginal = MarginalHead()
        marginal.learn_baseline(torch.zeros(2), Survival(torch.tensor([100.0, 200.0]), torch.tensor([True, False])))
        said = {"cohort": "old", "endpoint": "os", "patients": 2, "events": 1}
        kept = {"model": model, "filler": None, "marginal": marginal, "name": "coin", "provenance": said}
        return made(Fitted, predict=answer, threshold=1.0 + 2 * number, **inputs, **kept)

    for module in (answers, ensemble):
        monkeypatch.setattr(module, "Fitted", SimpleNamespace(load=load))


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
        "  group: low (above or below the median risk that a model gave those it was trained on)",
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


# Place among the training patients


def with_test_fold(folder, risks):
    """A fold folder with the predictions of its test fold."""
    folder.mkdir(parents=True)
    rows = [f"{missing},{risk}" for missing, factor in (("none", 1), ("omics", 100)) for risk in (factor * value for value in risks)]
    (folder / "predictions.csv").write_text("\n".join(["missing,risk", *rows]) + "\n")
    return folder


@pytest.mark.usefixtures("fitted")
def test_a_risk_is_placed_among_those_that_each_model_gave_to_its_own_test_fold(cohort, tmp_path):
    # 0, 0.04 .. 4: the risk 1 lies at 25, 2 at 50; of the second model 0.08 .. 8: 2 lies at 25, 3 at 37.5
    first = with_test_fold(tmp_path / "fold-0", np.linspace(0, 4, 101))
    second = with_test_fold(tmp_path / "fold-1", np.linspace(0, 8, 101))
    one = prediction.predict([first], cohort)
    assert one.table["percentile"].tolist()[:2] == [25.0, 50.0]
    both = prediction.predict([first, second], cohort)
    assert both.table["percentile"].tolist()[:2] == [25.0, 43.8]
    assert ("Place", "a higher risk than 25 of 100 of the training patients whom the model was not trained on") in prediction.facts_of(
        both, "a"
    )


@pytest.mark.usefixtures("fitted")
def test_a_patient_without_input_has_no_place(cohort, tmp_path):
    answer = prediction.predict([with_test_fold(tmp_path / "fold-0", np.linspace(0, 4, 101))], cohort)
    assert np.isnan(answer.table.set_index("patient_id").loc["c", "percentile"])
    assert "Place" not in dict(prediction.facts_of(answer, "c"))


@pytest.mark.usefixtures("fitted")
def test_without_predictions_of_its_test_fold_a_model_gives_no_place(cohort, tmp_path):
    folders = [with_test_fold(tmp_path / "fold-0", [0.0, 1.0]), tmp_path / "fold-1"]
    assert prediction.predict(folders, cohort).table["percentile"].isna().all()


def test_beyond_the_outermost_references_a_place_is_said_as_such():
    references = [np.linspace(0, 1, len(RISK_LEVELS))]
    assert percentiles_among(np.array([[-9.0, 0.5, 9.0]]), references).tolist() == [5.0, 50.0, 95.0]
    table = pd.DataFrame({"patient_id": ["x", "y"], "risk": 0.0, "low": np.nan, "high": np.nan, "group": "low", "missing": ""})
    table = table.assign(filled_by="", percentile=[5.0, 95.0], unusual="")
    curve = pd.DataFrame({"patient_id": ["x", "y"], "horizon": 0.0, "survival": 1.0, "low": np.nan, "high": np.nan})
    answer = prediction.Answer(table, curve, 1, about=answers.About(place="those"))
    assert dict(prediction.facts_of(answer, "x"))["Place"] == "risk among the lowest 5 of 100 of those"
    assert dict(prediction.facts_of(answer, "y"))["Place"] == "risk among the highest 5 of 100 of those"


def test_a_model_that_gives_everyone_the_same_risk_places_everyone_in_the_middle():
    assert percentiles_among(np.array([[0.0]]), [np.zeros(len(RISK_LEVELS))]).tolist() == [50.0]


# Genes


@pytest.mark.usefixtures("fitted")
def test_a_cohort_without_too_many_of_the_genes_is_refused_with_their_names(cohort, inputs, tmp_path):
    inputs["inputs"] = reading("G", "H", "I", "J", "K")
    cohort.tables["rna"][["H", "I"]] = 0.0
    with pytest.raises(ValueError, match=r"2 of the 5 omics features that coin reads are absent from new \(rna J, rna K\), more than 20%"):
        prediction.predict([tmp_path / "fold-0"], cohort)
    answer = prediction.predict([tmp_path / "fold-0"], cohort, most_absent=0.4)
    assert answer.warnings == ("2 omics features that the model reads are absent (rna J, rna K): set to 0.",)
    assert prediction.predict([tmp_path / "fold-0"], cohort, without=["omics"]).absent == ()


# Unlike the training patients


@pytest.mark.usefixtures("fitted")
def test_what_is_unusual_of_a_patient_is_named_in_the_table_and_told(cohort, tmp_path):
    reasons = {"a": (Reason("omics", "Far away."), Reason("omics", "Far beside.")), "b": (), "c": ()}
    summary = SimpleNamespace(unusual=lambda cohort, patients, inputs, without: reasons)
    said = SimpleNamespace(name="old", endpoint="os", patients=9, events=4)
    members = [SimpleNamespace(risks=tuple(np.linspace(0, 4, len(RISK_LEVELS))))]
    manifest = SimpleNamespace(kind="refit", members=members, label="coin@b", fitted_on=said)
    bundle = made(Bundle, training=summary, manifest=manifest)
    answer = prediction.predict([tmp_path / "fold-0"], cohort, bundle=bundle)
    assert answer.table["unusual"].tolist() == ["omics", "", ""]
    assert dict(prediction.facts_of(answer, "a"))["Unlike the training patients"] == "Far away. Far beside."
    assert dict(prediction.facts_of(answer, "b"))["Unlike the training patients"] == "nothing that was looked at"
    assert "1 of 3 patients are unlike the training patients (a): see the column unusual" in answer.warnings[0]
    assert answer.about.place == "the patients that it was trained on, whose risks are further apart than those of others"


# Files


@pytest.mark.usefixtures("fitted")
def test_the_promised_columns_come_first(cohort, tmp_path):
    written = prediction.write(prediction.predict([tmp_path / "fold-0"], cohort), tmp_path / "out")
    assert [path.name for path in written] == ["predictions.csv", "survival.csv.gz"]
    columns = pd.read_csv(written[0]).columns.tolist()
    assert columns == ["patient_id", "risk", "low", "high", "group", "missing", "filled_by", "percentile", "unusual"]


@pytest.mark.usefixtures("fitted")
def test_the_file_of_a_patient_holds_what_is_known_and_null_for_the_rest(cohort, tmp_path):
    answer = prediction.predict([tmp_path / "fold-0"], cohort)
    pathways = pd.DataFrame({"pathway": ["P"], "attribution": [0.5], "agreement": [1.0]})
    contributed = {"b": prediction.Contributions(pathways=pathways, n_models=1)}
    written = prediction.write(answer, tmp_path / "out", contributed=contributed)
    said = json.loads(written[-1].read_text())
    assert written[-1].name == "patient-b.json"
    assert (said["risk"], said["threshold"], said["group"], said["low"], said["unusual"]) == (2.0, 1.0, "high", None, None)
    assert said["pathways"] == [{"pathway": "P", "attribution": 0.5, "agreement": 1.0}]
    assert len(said["survival"]) == len(set(prediction.HORIZONS)) == len(answer.marginal)
    assert said["model"]["label"] == "coin"
    assert said["notice"] == "Research software: not for decisions about a patient."


def test_no_chance_is_told_as_certain():
    told = [answers.chance_in_words(share) for share in (0.0, 0.0099, 0.01, 0.5, 0.99, 0.9951, 1.0, float("nan"))]
    assert told == ["under 1%", "under 1%", "1%", "50%", "99%", "over 99%", "over 99%", ""]
