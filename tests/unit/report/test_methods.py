"""Every sentence of the methods section is true of the run that it is written for."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from prognos.report.fits import FitFacts
from prognos.report.methods import methods
from prognos.report.references import OF_MODELS, REFERENCES, Citations, works_of
from prognos.report.run_folder import CohortFacts, ModelFacts, RunFolder, StudyFacts, read_run_folder

TRAINING = {
    "epochs": 30,
    "batch_size": 8,
    "accumulate": 1,
    "learning_rate": 0.0005,
    "weight_decay": 1e-05,
    "schedule": "cosine",
    "warmup": 0.1,
}
COX, DISCRETE = {"survival": "cox"}, {"survival": "discrete"}


def fit(reads: tuple[str, ...] = ("histology", "omics"), *, config=COX, tokens=None, **training) -> FitFacts:
    inputs = {"modalities": list(reads), "config": {"n_patches": 4096, "fill": "model", **(tokens or {})}}
    return FitFacts(config=config, training={**TRAINING, "evaluation_patches": None, "missing": "none", **training}, inputs=inputs)


def text_of(run: RunFolder, title: str) -> str:
    return dict(methods(run).paragraphs)[title]


@pytest.fixture
def fitted(finished: RunFolder) -> RunFolder:
    """The run with what its fitted models say: abmil and tta alike but for the loss and the batches."""
    fits = {("made-up", "abmil"): fit(("histology",), batch_size=32), ("made-up", "tta"): fit(config=DISCRETE)}
    return replace(finished, fits=fits)


def test_the_patients_are_counted_with_everyone_left_out(finished: RunFolder):
    events = int(finished.predictions.drop_duplicates("patient_id").event.sum())
    told = text_of(finished, "Patients")
    assert told.startswith(f"made-up gave 200 patients with {events} events for the endpoint DSS; median follow-up was 4.1 years")
    assert "Of its table's 214 patients these were left out: time is empty, NaN or not above 0 (9); no usable modality" in told
    assert "There was histology for 188 and omics for 200 of them." in told


def test_simulated_patients_are_called_so(finished: RunFolder):
    run = replace(finished, study=finished.study.model_copy(update={"simulated": True}))
    assert text_of(run, "Patients").startswith("The patients were simulated.")


@pytest.mark.parametrize(
    ("source", "preserving", "sites", "said"),
    [
        ("made", True, 4, ("the folds were made by prognos.", "No known tissue source site is in two folds.")),
        ("given", False, 4, ("the folds came with the cohort.", "Patients of one site can be in the training and in the test part.")),
        ("made", False, 0, ("the folds were made by prognos.", "Tissue source sites were not known")),
        ("", None, 4, ("5-fold cross-validation.",)),
    ],
    ids=["made, sites apart", "given, sites shared", "no sites", "not recorded"],
)
def test_folds_are_described_as_they_came_about(finished: RunFolder, source, preserving, sites, said):
    facts = CohortFacts(split_source=source, site_preserving=preserving, split_card=({"fold": 0, "sites": sites},))
    told = text_of(replace(finished, cohorts={"made-up": facts}), "Division into folds")
    assert all(sentence in told for sentence in said)
    others = {"came with the cohort", "made by prognos", "No known", "can be in the training", "were not known"}
    assert sum(word in told for word in others) == (len(said) if source else 0)


def test_models_are_cited_and_described_with_how_they_were_trained(fitted: RunFolder):
    told = text_of(fitted, "Models and training")
    assert "Compared were clinical [2], abmil (gated attention) [3] and tta (transport of patches to prototypes) [4]." in told
    assert "Every model was fitted with 2 seeds (1, 2)." in told
    rates = "(peak learning rate 0.0005, weight decay 1e-05, cosine schedule, warm-up over 10% of the steps)"
    loss = "Cox's partial likelihood, with whatever terms of its own a model adds"
    assert f"abmil was trained on {loss}, with AdamW [5] for 30 epochs in batches of 32 {rates}." in told
    assert "tta was trained on the likelihood of a discrete-time hazard" in told
    assert "In training at most 4,096 patches of a patient were read at a time; predictions read all of them." in told
    assert "Patients who lacked a modality were kept, and each model dealt with that in its own way." in told


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ("last", "For all trained models the weights after the last epoch were used, and nothing was chosen on the test part."),
        ("inner", "the number of epochs was chosen on a validation part cut out of the training part"),
        ("oracle", "the epoch was chosen on the test part itself (oracle), so that the reported numbers are too good"),
    ],
)
def test_the_choice_of_the_epoch_is_told_as_it_was(fitted: RunFolder, selection: str, said: str):
    run = replace(fitted, study=fitted.study.model_copy(update={"selection": selection}))
    told = text_of(run, "Models and training")
    assert said in told
    assert ("nothing was chosen on the test part" in told) == (selection == "last")
    learnt = text_of(run, "Division into folds")
    assert ("Apart from the number of epochs, everything that was learnt" in learnt) == (selection == "oracle")


def test_models_that_chose_their_epoch_in_different_ways_are_told_apart(fitted: RunFolder):
    stamped = fitted.comparison.assign(selection=fitted.comparison.model.map({"clinical": "last", "abmil": "last", "tta": "oracle"}))
    told = text_of(replace(fitted, comparison=stamped), "Models and training")
    assert "For abmil the weights after the last epoch were used" in told
    assert "For tta the epoch was chosen on the test part itself" in told


def test_stopping_early_filling_and_recalibration_are_told(finished: RunFolder):
    fits = {("made-up", "tta"): fit(tokens={"fill": "mean"}, stop_after=7, recalibration="inner", missing="omics=0.2")}
    told = text_of(replace(finished, fits=fits), "Models and training")
    assert "for at most 30 epochs" in told
    assert "training patients were taken not to have what 'omics=0.2' says" in told
    assert "what they lacked was filled in by the policy 'mean', learnt on the training part" in told
    assert "The survival curves of tta are those of a Cox model of the risks of patients who were held out in inner parts" in told


def test_what_no_file_says_of_training_is_not_said(finished: RunFolder):
    told = text_of(finished, "Models and training")
    assert "How the models were trained is not recorded." in told
    assert "AdamW" not in told


def test_metrics_intervals_and_tests_are_those_of_the_run(finished: RunFolder):
    told = text_of(finished, "Evaluation")
    assert "Harrell's concordance [5], the integrated Brier score [6], the time-dependent area under the curve (at 365 days) [7]" in told
    assert "averaged over seeds, then over folds" in told
    assert "from a bootstrap of patients within folds" in told  # the recipe of this run does not say how many replicates
    assert "Differences to clinical are paired." in told
    assert not any(word in told for word in ("t-test", "likelihood ratio", "permuted", "changed in these ways"))


def test_replicates_tests_canary_and_missing_patterns_are_told_where_there_are_any(finished: RunFolder):
    without = finished.comparison.assign(missing="omics=0.5")
    tests = pd.DataFrame({"p": [0.03], "label": ["tta"]})
    run = replace(
        finished,
        recipe="[study]\nreplicates = 500\n",
        tests=tests,
        comparison=pd.concat([finished.comparison, without]),
        study=finished.study.model_copy(update={"canary": True}),
    )
    told = text_of(run, "Evaluation")
    assert "from 500 bootstrap replicates" in told
    assert "corrected resampled t-test over folds and seeds" in told
    assert "adjusted over cohorts" not in told
    assert "also run on permuted labels" in told
    assert "changed in these ways: omics missing in 50%." in told


def test_calibration_decisions_and_competing_events_are_told_where_the_run_has_them(finished: RunFolder):
    told = text_of(finished, "Evaluation")
    of_use = ("integrated calibration index [", "D-calibration [", "Net benefit at thresholds", "Aalen-Johansen estimator [")
    assert all(words in told for words in of_use)
    without = {name: getattr(finished, name).iloc[:0] for name in ("calibration", "distribution_calibration", "net_benefit", "competing")}
    told = text_of(replace(finished, **without), "Evaluation")
    assert not any(words in told for words in of_use)


def test_attributions_are_told_where_evidence_was_collected(finished: RunFolder):
    assert "integrated gradients" not in text_of(finished, "Evaluation")
    fits = pd.DataFrame({"patients": [24.0, 20.0]})
    rows = pd.DataFrame({"pathway": ["A"]})
    told = text_of(replace(finished, evidence={**finished.evidence, "fits": fits, "pathway_attributions": rows}), "Evaluation")
    assert "of at most 24 held-out patients of each fit are integrated gradients [" in told


def test_predictions_of_another_tool_get_no_sentence_on_how_they_were_made(run_folder: Path):
    for name in ("study.json", "provenance.json", "recipe.toml", "cohort.json"):
        (run_folder / name).unlink()
    (run_folder / "evaluation.json").write_text(json.dumps({"reference": "clinical", "replicates": 300}))
    told = dict(methods(read_run_folder(run_folder)).paragraphs)
    assert told["Models and training"] == (
        "Predictions of clinical, abmil and tta were handed to prognos; how these models were trained is not known here."
    )
    assert told["Division into folds"] == "The predictions cover 5 test folds; how these were made is not known here."
    assert "the threshold that was recorded for the fold" in told["Evaluation"]
    assert "from 300 bootstrap replicates" in told["Evaluation"]
    assert told["Software"] == "Versions of software are not recorded."


def test_references_are_numbered_as_they_are_cited_and_all_are_cited(fitted: RunFolder):
    section = methods(fitted)
    text = " ".join(text for _, text in section.paragraphs)
    assert all(f"[{number}]" in text for number in range(1, len(section.references) + 1))
    assert section.references[0].startswith("Schemper M., Smith T. L. A note on quantifying follow-up")
    assert section.bibtex.count("\n@") + 1 == len(section.references)
    assert "  pages = {343--346},\n" in section.bibtex


def test_works_cited_again_keep_their_number():
    cite = Citations()
    assert [cite("cox1972"), cite("holm1979", "cox1972"), cite("cox1972"), cite()] == [" [1]", " [1, 2]", " [1]", ""]


def test_presets_cite_what_their_model_cites():
    assert works_of("tta-paper") == works_of("tta-released") == works_of("tta") == ("tta",)
    assert works_of("late-fusion") == ()
    assert {key for keys in OF_MODELS.values() for key in keys} <= set(REFERENCES)


def test_a_model_without_a_reference_has_its_paper_in_words(finished: RunFolder):
    facts = {"tta": ModelFacts(summary="does things", paper="Doe 2031"), "newcomer": ModelFacts(summary="does others", paper="Roe 2032")}
    renamed = finished.predictions.replace({"model": {"abmil": "newcomer"}})
    run = replace(finished, predictions=renamed, study=finished.study.model_copy(update={"models": facts}))
    told = text_of(run, "Models and training")
    assert "newcomer (does others; after Roe 2032) and tta (does things) [3]." in told


def test_a_run_without_intervals_says_so(finished: RunFolder):
    bare = finished.comparison.assign(low=float("nan"), high=float("nan"))
    assert "No intervals were computed." in text_of(replace(finished, comparison=bare, study=StudyFacts()), "Evaluation")
