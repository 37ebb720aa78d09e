import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from tests.unit.study.conftest import StubFit, StubModel

from prognos import files, runtime
from prognos.config import make_recipe, read_recipe
from prognos.study.conclusion import share_in_words
from prognos.study.fold import FIXED_HORIZONS, best_epoch, horizons_of, parts_of
from prognos.study.plan import make_plan
from prognos.study.run import RunError, default_folder
from prognos.study.study import Study
from prognos.study.timing import Clock, bytes_of
from prognos.tokens.inputs import MissingModality


def test_a_run_holds_the_files_that_the_interface_promises(study_of):
    folder = study_of().folder
    names = (
        "recipe.toml",
        "provenance.json",
        "splits.csv",
        "predictions.csv",
        "survival.csv.gz",
        "metrics.csv",
        "comparison.csv",
        "study.json",
    )
    assert all((folder / name).is_file() for name in names)
    assert (folder / "models" / "small" / "snn" / "seed-1" / "fold-0" / "fitted.json").is_file()


def test_similarities_are_kept_of_models_that_show_them_and_of_patients_who_have_both(study_of, stub_fit, cohort):
    stub_fit.similar = {"snn"}
    table = pd.read_csv(study_of(fit=stub_fit).folder / "similarities.csv")
    assert list(table.columns) == ["model", "variant", "cohort", "seed", "fold", "patient_id", "left", "right", "cosine"]
    assert set(table["model"]) == {"snn"}
    assert sorted(table["patient_id"]) == sorted(set(cohort.patients) - {"p04"})
    assert set(zip(table["left"], table["right"], strict=True)) == {("specific a", "specific b")}


def test_without_such_a_model_there_is_no_file_of_similarities(study_of):
    assert not (study_of().folder / "similarities.csv").exists()


def test_the_study_says_what_each_model_cost(study_of):
    cost = json.loads((study_of(study={"missing": ["none", "omics"]}).folder / "study.json").read_text())["cost"]
    assert [(row["model"], row["variant"], row["cohort"]) for row in cost] == [("null", "base", "small"), ("snn", "base", "small")]
    assert cost[0]["parameters"] == 3
    assert [set(row["predict_seconds"]) for row in cost] == [{"none", "omics"}, {"none"}]  # without omics snn has nothing
    for row in cost:
        assert 0 <= row["predict_seconds"]["none"] <= row["fit_seconds"] + 0.01
        assert row["fit_cpu_seconds"] >= 0
        assert row["fit_peak_bytes"] is None or row["fit_peak_bytes"] > 1e6


def test_a_run_of_an_earlier_version_is_finished_with_what_its_fits_recorded(study_of):
    folder = study_of().folder
    for path in folder.rglob("done.json"):
        told = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in told.items() if key not in ("fit_cpu_seconds", "fit_peak_bytes")}))
    study_of(resume=True)
    cost = json.loads((folder / "study.json").read_text())["cost"]
    assert [(row["fit_cpu_seconds"], row["fit_peak_bytes"]) for row in cost] == [(None, None)] * len(cost)
    assert all(row["fit_seconds"] >= 0 for row in cost)


def test_a_study_that_asks_for_evidence_collects_it_when_all_is_done(study_of, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "prognos.study.run.collect_evidence", lambda folder, cohorts: asked.append(((folder / "comparison.csv").is_file(), list(cohorts)))
    )
    study_of(study={"evidence": True})
    assert asked == [(True, ["small"])]


def test_a_study_that_does_not_ask_collects_none(study_of, monkeypatch):
    monkeypatch.setattr("prognos.study.run.collect_evidence", lambda *_: pytest.fail("evidence was collected"))
    study_of()


def test_predictions_have_the_promised_columns_and_every_patient_once_a_model(study_of, cohort):
    table = study_of().predictions()
    columns = ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id", "time", "event", "risk", "threshold"]
    assert list(table.columns) == columns
    for _, part in table.groupby("model"):
        assert sorted(part["patient_id"]) == sorted(cohort.patients)
    assert set(table["variant"]) == {"base"}
    assert set(table["missing"]) == {"none"}


def test_survival_has_the_same_keys_and_the_common_horizons(study_of, cohort):
    table = study_of().survival()
    assert list(table.columns) == ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id", "horizon", "survival"]
    fold = table[(table["model"] == "snn") & (table["fold"] == 0)]
    other = table[(table["model"] == "null") & (table["fold"] == 0)]
    assert sorted(fold["horizon"].unique()) == sorted(other["horizon"].unique())
    train, _ = parts_of(cohort, cohort.folds, 0)
    assert sorted(fold["horizon"].unique()) == horizons_of(train).tolist()


def test_horizons_are_fifty_points_of_the_training_event_times_and_three_years(cohort):
    train, _ = parts_of(cohort, cohort.folds, 0)
    events = train.time[train.event]
    horizons = horizons_of(train)
    assert set(FIXED_HORIZONS) <= set(horizons)
    own = np.array([horizon for horizon in horizons if horizon not in FIXED_HORIZONS])
    assert len(own) == 50
    assert np.allclose([own.min(), own.max()], np.percentile(events, [5, 95]), atol=1e-3)


def test_only_training_patients_go_into_fit(study_of, stub_fit, cohort):
    study_of(models=["snn"])
    for call, fold in zip(stub_fit.calls, (0, 1), strict=True):
        assert set(call.cohort.patients) == set(cohort.folds.index[cohort.folds != fold])


def test_predictions_are_of_patients_that_the_model_never_saw(study_of, stub_fit):
    table = study_of(models=["snn"]).predictions()
    for call, fold in zip(stub_fit.calls, (0, 1), strict=True):
        assert not set(call.cohort.patients) & set(table[table["fold"] == fold]["patient_id"])


def test_a_run_interrupted_anywhere_and_resumed_gives_the_same_bytes(study_of, stub_fit, tmp_path):
    stub_fit.classes = {"snn": ("a", "b")}
    study_of(models=["null", "snn", "late-fusion"], out="whole")
    names = ("predictions.csv", "survival.csv.gz", "subtypes.csv", "metrics.csv", "comparison.csv")
    whole = {name: (tmp_path / "whole" / name).read_bytes() for name in names}
    stub_fit.failing = {"abmil": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        study_of(models=["null", "snn", "late-fusion"], out="cut")
    stub_fit.failing, stub_fit.calls = {}, []
    study_of(models=["null", "snn", "late-fusion"], out="cut", resume=True)
    assert [call.model for call in stub_fit.calls] == ["abmil", "abmil", "late-fusion", "late-fusion"]
    assert {name: (tmp_path / "cut" / name).read_bytes() for name in whole} == whole


def test_a_finished_run_resumed_fits_nothing(study_of, stub_fit):
    study_of()
    stub_fit.calls = []
    study_of(resume=True)
    assert stub_fit.calls == []


def test_a_folder_that_is_not_empty_is_refused_without_resume(study_of):
    study_of()
    with pytest.raises(RunError, match=r"run is not empty: give another --out, or --resume"):
        study_of()


def test_a_run_that_another_process_works_on_is_refused_and_left_as_it_is(study_of, stub_fit):
    folder = study_of().folder
    (folder / "models/small/snn/seed-1/fold-0/done.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    stub_fit.calls = []
    with files.locked(folder), pytest.raises(files.InUseError, match=rf"is writing in {folder}: wait until it is done"):
        study_of(resume=True)
    assert stub_fit.calls == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }
    study_of(resume=True)
    assert len(stub_fit.calls) == 1


def test_a_folder_with_nothing_but_an_old_lock_is_empty(study_of, tmp_path):
    files.write_text(tmp_path / "run" / ".lock", "1")
    assert (study_of().folder / "predictions.csv").is_file()


def test_a_folder_that_holds_something_else_is_refused_with_resume(study_of, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="holds no run to resume"):
        study_of(resume=True)


def test_a_changed_recipe_is_refused_with_the_key(study_of):
    study_of(training={"epochs": 3})
    with pytest.raises(RunError, match=r"1 keys differ \(training\.epochs was 3 and is 4\)"):
        study_of(training={"epochs": 4}, resume=True)


def test_the_number_of_workers_may_change(study_of):
    study_of(study={"workers": 1})
    assert study_of(study={"workers": 2}, resume=True).folder.is_dir()


def test_a_changed_cohort_file_is_refused_by_name(study_of, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "clinical.csv").write_text("patient_id\n1\n")
    study_of()
    (tmp_path / "small" / "clinical.csv").write_text("patient_id\n2\n")
    with pytest.raises(RunError, match=r"1 files changed since .*\(small/clinical\.csv\)"):
        study_of(resume=True)


def test_the_recipe_of_a_run_reads_back_as_what_was_run(study_of):
    study = study_of(training={"epochs": 3}, study={"seeds": [1, 2]})
    recipe = read_recipe(study.folder / "recipe.toml")
    assert recipe.training == {"epochs": 3}
    assert recipe.study.seeds == (1, 2)


def test_made_folds_are_kept_and_a_resumed_run_uses_them(study_of, build, tmp_path):
    loose = build(folds=False, n_patients=30)
    study = study_of(own=loose, study={"n_folds": 3})
    splits = pd.read_csv(study.folder / "splits.csv")
    assert list(splits.columns) == ["patient_id", "fold"]
    assert set(splits["fold"]) == {0, 1, 2}
    swapped = splits.assign(fold=2 - splits["fold"])
    swapped.to_csv(study.folder / "splits.csv", index=False)
    study_of(own=loose, study={"n_folds": 3}, resume=True)
    assert pd.read_csv(study.folder / "splits.csv").equals(swapped)


def test_inner_selection_fits_for_the_epochs_that_an_inner_part_chose(study_of, stub_fit, cohort):
    study = study_of(models=["snn"], study={"selection": "inner"})
    trial, final = stub_fit.calls[:2]
    test_patients = set(cohort.folds.index[cohort.folds == 0])
    inner = set(trial.cohort.patients) | set(trial.options.validation.patients)
    assert inner == set(final.cohort.patients)
    assert not inner & test_patients
    assert not set(trial.cohort.patients) & set(trial.options.validation.patients)
    # the stub's validation concordances are .5, .7, .7, .6: two epochs are the fewest with the best
    assert final.training["stop_after"] == 2
    assert study.facts()["selection"] == "inner"


def test_oracle_selection_is_stamped(study_of, stub_fit, cohort):
    facts = study_of(models=["snn"], study={"selection": "oracle"}).facts()
    assert set(stub_fit.calls[0].options.validation.patients) == set(cohort.folds.index[cohort.folds == 0])
    assert facts["selection"] == "oracle"
    assert "snn: its epoch was chosen on the fold that is reported (oracle); its numbers are too good" in facts["warnings"]


def test_the_selection_stands_in_every_row_of_metrics_and_comparison_by_model(study_of):
    models = ["null", "snn", "late-fusion", "tta-released"]
    study = study_of(models=models, study={"selection": "inner"})
    expected = {"null": "last", "snn": "inner", "late-fusion": "inner", "tta-released": "oracle"}
    for table in (study.metrics(), study.comparison()):
        assert table.columns[-1] == "selection"
        assert dict(zip(table["model"], table["selection"], strict=True)) == expected
        assert len(table[["model", "selection"]].drop_duplicates()) == len(models)


def test_late_fusion_of_oracle_parts_is_oracle_too(study_of):
    study = study_of(models=["late-fusion"], study={"selection": "oracle"})
    assert set(study.comparison()["selection"]) == {"oracle"}
    warning = "late-fusion: the epochs of its parts were chosen on the fold that is reported (oracle); its numbers are too good"
    assert warning in study.facts()["warnings"]


def test_a_selection_that_was_made_is_not_made_again(study_of, stub_fit):
    study_of(models=["snn"], study={"selection": "inner"})
    folder = study_of(models=["snn"], study={"selection": "inner"}, resume=True).folder / "models/small/snn/seed-1/fold-0"
    (folder / "done.json").unlink()
    stub_fit.calls = []
    study_of(models=["snn"], study={"selection": "inner"}, resume=True)
    assert [call.options.validation for call in stub_fit.calls] == [None]


@pytest.mark.parametrize(
    ("values", "epochs"),
    [([0.5, 0.7, 0.6], 2), ([0.7, 0.7], 1), ([np.nan, 0.4], 2), ([np.nan, np.nan], None)],
)
def test_the_best_epoch_is_the_first_of_the_best(values, epochs):
    assert best_epoch(pd.DataFrame({"epoch": range(len(values)), "validation_concordance": values})) == epochs


def test_the_best_epoch_is_counted_within_the_stage_that_was_watched():
    log = pd.DataFrame({"stage": ["warm-up", "main", "main"], "epoch": [0, 0, 1], "validation_concordance": [np.nan, 0.6, 0.7]})
    assert best_epoch(log) == 2


def test_a_model_without_epochs_has_no_best_one():
    assert best_epoch(pd.DataFrame()) is None


def test_prototypes_that_have_fallen_together_are_counted_and_said(study_of, monkeypatch):
    uses = iter([{"effective": 1.1, "largest": 0.97}, {"effective": 3.5, "largest": 0.4}])
    monkeypatch.setattr(StubModel, "prototype_banks", lambda self: {"histology": None})
    monkeypatch.setattr("prognos.study.fold.prototype_use", lambda *given: {"histology": {"prototypes": 4, **next(uses)}})
    facts = study_of(models=["snn"]).facts()
    (row,) = facts["prototypes"]
    assert row == {
        "model": "snn",
        "variant": "base",
        "cohort": "small",
        "modality": "histology",
        "fits": 2,
        "prototypes": 4,
        "effective": 2.3,
        "largest": 0.685,
        "collapsed": 1,
    }
    told = "one prototype takes 95% of the tokens of histology or more first: they tell hardly a token from another"
    assert f"small: in 1 of 2 fits of snn {told}" in facts["warnings"]


def test_the_canary_stands_beside_the_result_with_permuted_labels(study_of, cohort):
    table = study_of(models=["snn"], study={"canary": True}).predictions()
    base, bird = (table[table["variant"] == variant].set_index("patient_id") for variant in ("base", "canary"))
    assert sorted(base["time"]) == sorted(bird["time"])
    assert not base["time"].equals(bird["time"].reindex(base.index))


def test_missing_patterns_are_predicted_by_the_same_model(study_of, stub_fit):
    table = study_of(models=["tta"], study={"missing": ["none", "omics", "omics=0.5"]}).predictions()
    assert len(stub_fit.calls) == 2
    risks = table.pivot(index="patient_id", columns="missing", values="risk")
    # the stub's risk falls by one for each modality that is taken
    assert np.allclose(risks["none"] - risks["omics"], 1)
    taken = (risks["none"] - risks["omics=0.5"]).round(9)
    expected = {patient: float(patient != "p00" and runtime.uniform("missing", 1, patient, "omics") < 0.5) for patient in risks.index}
    assert taken.to_dict() == expected


def test_a_fold_whose_training_part_lacks_a_modality_is_said_and_the_study_goes_on(study_of, stub_fit):
    stub_fit.failing = {"snn": MissingModality("no training patient has omics")}
    study = study_of(models=["null", "snn"])
    assert set(study.predictions()["model"]) == {"null"}
    reasons = [row["reason"] for row in study.facts()["not_applicable"]]
    assert reasons == [f"seed 1, fold {fold}: no training patient has omics" for fold in (0, 1)]


def test_a_study_in_which_nothing_can_be_fitted_says_so(study_of, stub_fit):
    stub_fit.failing = {"snn": MissingModality("no training patient has omics")}
    with pytest.raises(ValueError, match="no model of this study could be fitted on any fold"):
        study_of(models=["snn"])


def test_a_study_that_no_cohort_can_feed_leaves_no_folder(study_of, build, tmp_path):
    with pytest.raises(ValueError, match=r"no model of this study can be fed \(abmil on small: it reads histology"):
        study_of(models=["abmil"], own=build(slides=False))
    assert not (tmp_path / "run").exists()


def test_a_failing_job_names_itself(study_of, stub_fit):
    stub_fit.failing = {"snn": ValueError("0 events")}
    with pytest.raises(ValueError, match=r"^snn on small, seed 1, fold 0: 0 events$"):
        study_of()


def test_the_cohort_file_tells_who_is_in(study_of):
    facts = json.loads((study_of().folder / "cohort.json").read_text())["small"]
    # 20 patients, event where the number is no multiple of 3: 0, 3 ... 18 are 7 censored; p00 has no slide, p01 no omics
    assert (facts["kept"], facts["events"], facts["patients_in_table"]) == (20, 13, 20)
    assert facts["modalities"] == {"clinical": 20, "histology": 19, "omics": 19}
    assert facts["gene_sets"] == {"hallmark": {"sets": 1, "genes_found": 2, "genes": 2}}
    assert facts["patches"] == {"min": 7, "median": 7.0, "max": 7}
    assert [row["patients"] for row in facts["split_card"]] == [10, 10]
    assert facts["split_source"] == "given"
    assert 0 < facts["detectable_difference"] < 1


def test_provenance_tells_versions_host_and_seeds(study_of):
    record = json.loads((study_of().folder / "provenance.json").read_text())
    assert {"prognos", "torch", "python"} <= set(record["versions"])
    assert record["host"]["threads"] == 1
    assert record["seeds"] == [1]
    assert record["started"] <= record["finished"]


def test_a_run_leaves_the_threads_of_its_process_as_they_were(study_of):
    torch.set_num_threads(2)
    try:
        study_of()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_study_tables_keep_names_as_text(study_of):
    study = Study.open(study_of().folder)
    assert set(study.comparison()["model"]) == {"null", "snn"}
    assert set(study.metrics()["missing"]) == {"none"}


def test_a_folder_without_a_finished_study_does_not_open(tmp_path):
    with pytest.raises(ValueError, match="holds no finished study"):
        Study.open(tmp_path)


def test_a_run_without_a_place_gets_name_and_date():
    assert re.fullmatch(r"runs/blca-\d{8}-\d{6}", default_folder("blca").as_posix())


def test_the_clock_expects_of_a_job_what_its_like_took(cohort):
    recipe = make_recipe({"cohort": {"path": "/x/small"}, "study": {"models": ["null", "snn"]}})
    plan = make_plan(recipe, {"small": cohort}, {"small": cohort.folds})
    null_0, _, snn_0, _ = plan.jobs
    told = []
    clock = Clock(plan.jobs, {null_0: 2.0}, 1, told.append)
    clock.finished(snn_0, 10.0)
    # done: 2 + 10 of an expected 2 + 2 + 10 + 10 seconds; left: one null and one snn
    assert told[-1].share == pytest.approx(12 / 24)
    assert told[-1].seconds_left == pytest.approx(12 / 1)
    assert (told[-1].done, told[-1].total) == (2, 4)


def test_a_model_of_which_nothing_is_known_is_expected_to_take_as_long_as_the_slowest(cohort):
    recipe = make_recipe({"cohort": {"path": "/x/small"}, "study": {"models": ["null", "snn", "abmil"]}})
    plan = make_plan(recipe, {"small": cohort}, {"small": cohort.folds})
    first = {job.model: job for job in reversed(plan.jobs)}
    told = []
    Clock(plan.jobs, {first["null"]: 2.0}, 1, told.append).finished(first["snn"], 10.0)
    assert told[-1].seconds_left == pytest.approx(2 + 10 + 2 * 10)


def test_the_memory_estimate_grows_with_what_a_batch_holds(cohort):
    small = make_recipe({"cohort": {"path": "/x/small"}, "tokens": {"n_patches": 2}, "study": {"models": ["abmil"]}})
    large = make_recipe({"cohort": {"path": "/x/small"}, "training": {"batch_size": 6400}, "study": {"models": ["abmil"]}})
    first, second = (make_plan(recipe, {"small": cohort}, {"small": cohort.folds}).jobs[0] for recipe in (small, large))
    assert 0 < bytes_of(first, cohort) < bytes_of(second, cohort)


def test_patients_with_nothing_that_a_model_reads_are_said(study_of):
    study = study_of(models=("snn",), study={"missing": ["none", "histology=1;omics=1"]})
    warnings = json.loads((study.folder / "study.json").read_text())["warnings"]
    assert not any("snn: " in text and "have none of what is read" in text for text in warnings)
    study = study_of(models=("snn",), fit=WithoutInput(), out="again")
    warnings = json.loads((study.folder / "study.json").read_text())["warnings"]
    assert any(text.startswith("small: snn: 100% of the tested patients have none of what is read") for text in warnings)


def test_few_of_many_patients_are_not_said_to_be_none():
    assert [share_in_words(count, 1000) for count in (0, 1, 5, 6, 1000)] == ["0%", "less than 1%", "less than 1%", "1%", "100%"]


def test_models_of_which_as_many_patients_have_nothing_are_said_together(study_of):
    study = study_of(models=("snn", "tta"), study={"missing": ["none", "omics"]}, fit=WithoutInput())
    warnings = json.loads((study.folder / "study.json").read_text())["warnings"]
    together = [text for text in warnings if "have none of what is read" in text]
    assert [text.partition(": 100%")[0] for text in together] == ["small: snn, tta", "small: tta without omics"]


def test_predictions_that_rest_on_an_unfinished_iteration_are_counted(study_of, cohort):
    study = study_of(models=("snn",), study={"missing": ["none", "omics=0.5"]}, fit=NotConverged())
    counted = [text for text in study.facts()["warnings"] if "did not converge" in text]
    # one patient of each of the two folds, by each pattern
    said = "an iteration inside the model did not converge for 2 of 20 predictions; they rest on what it had reached"
    assert counted == [f"small: snn: {said}", f"small: snn without omics=0.5: {said}"]


class Spoilt(StubFit):
    """Something is wrong with its predictions."""

    def __call__(self, *args, **settings):
        fitted = super().__call__(*args, **settings)
        answer = fitted.predict

        def predict(*asked, **how):
            found = answer(*asked, **how)
            self.spoil(found)
            return found

        object.__setattr__(fitted, "predict", predict)
        return fitted


class WithoutInput(Spoilt):
    """Its patients have nothing to go by."""

    def spoil(self, found):
        found.without_input[:] = True


class NotConverged(Spoilt):
    """The first patient of each fold takes more iterations than there are."""

    def spoil(self, found):
        found.not_converged[0] = True
