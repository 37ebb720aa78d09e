import re

import numpy as np
import pandas as pd
import pytest

from prognos.metrics import METRICS, balanced_accuracy, concordance, concordance_ipcw, one_vs_rest_auc, tau_rule
from prognos.study.comparison import assess, compare, corrected_resampled_t, fold_metrics, verdicts, within_noise

COMPARISON = [
    "model",
    "variant",
    "cohort",
    "missing",
    "metric",
    "mean",
    "sd",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
]


def predictions_of(models: dict[str, float], *, n_patients: int = 200, n_folds: int = 4, seeds: tuple[int, ...] = (1, 2)) -> pd.DataFrame:
    """Each model's risk is the true log-hazard times its strength, plus noise of its own."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=n_patients)
    died, censored = generator.exponential(1500 * 4.0**-truth), generator.exponential(4000, n_patients)
    patients = pd.DataFrame(
        {
            "patient_id": [f"P{number:03d}" for number in range(n_patients)],
            "fold": np.arange(n_patients) % n_folds,
            "time": np.minimum(died, censored),
            "event": died <= censored,
        }
    )
    parts = [
        patients.assign(model=model, seed=seed, risk=strength * truth + generator.normal(size=n_patients))
        for model, strength in models.items()
        for seed in seeds
    ]
    return pd.concat(parts, ignore_index=True).assign(variant="base", cohort="simulated", missing="none")


def curves_of(predictions: pd.DataFrame) -> pd.DataFrame:
    horizons = np.array([200.0, 365.0, 700.0, 1095.0, 1500.0, 1825.0])
    long = predictions.loc[predictions.index.repeat(len(horizons))].assign(horizon=np.tile(horizons, len(predictions)))
    return long.assign(survival=np.exp(-(2.0 ** long["risk"].to_numpy()) * long["horizon"].to_numpy() / 1500))


KINDS = ("lobular", "ductal", "other")


def subtypes_of(predictions: pd.DataFrame, strengths: dict[str, float]) -> pd.DataFrame:
    """Probabilities of three subtypes, as far as a model named in `strengths` can tell them; the last patient's is not known."""
    patients = predictions["patient_id"].unique()
    observed = dict(zip(patients, np.resize(KINDS, len(patients)), strict=True)) | {patients[-1]: ""}
    generator = np.random.default_rng(1)
    rows = predictions[predictions["model"].isin(strengths)]
    own = rows["patient_id"].map(observed).to_numpy()[:, None] == np.array(KINDS)
    scores = np.exp(rows["model"].map(strengths).to_numpy()[:, None] * own + generator.normal(size=own.shape))
    long = rows.loc[rows.index.repeat(3), ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id"]]
    probability = (scores / scores.sum(axis=1, keepdims=True)).round(6).reshape(-1)
    labels = long["patient_id"].map(observed)
    return long.assign(**{"subtype": labels, "class": np.tile(KINDS, len(rows)), "probability": probability})


SUBTYPE_METRICS = ["subtype_auc", "subtype_balanced_accuracy"]


def row(comparison: pd.DataFrame, model: str, metric: str = "concordance") -> pd.Series:
    return comparison[(comparison["model"] == model) & (comparison["metric"] == metric)].iloc[0]


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return predictions_of({"clinical": 1.0, "strong": 3.0, "null": 0.0})


@pytest.fixture(scope="module")
def comparison(predictions: pd.DataFrame) -> pd.DataFrame:
    return compare(predictions, replicates=100, metrics=["concordance"])


def test_the_columns_are_those_of_the_files(predictions, comparison):
    assert list(comparison.columns) == COMPARISON
    assert list(fold_metrics(predictions, metrics=["concordance"]).values.columns) == [
        "model",
        "variant",
        "cohort",
        "seed",
        "fold",
        "missing",
        "metric",
        "value",
    ]


def test_the_mean_is_over_folds_of_the_mean_over_seeds_and_sd_is_over_folds(predictions, comparison):
    values = fold_metrics(predictions, metrics=["concordance"]).values
    by_fold = values[values["model"] == "strong"].groupby("fold")["value"].mean()
    line = row(comparison, "strong")
    assert line["mean"] == pytest.approx(by_fold.mean())
    assert line["sd"] == pytest.approx(by_fold.std(ddof=1))
    assert line["low"] < line["mean"] < line["high"]


def test_a_fold_is_scored_with_the_censoring_of_the_other_folds(predictions):
    part = predictions[(predictions["model"] == "strong") & (predictions["seed"] == 1)]
    test, train = part[part["fold"] == 2], part[part["fold"] != 2]
    columns = [frame[name].to_numpy() for frame in (train,) for name in ("time", "event")]
    tau = tau_rule(*columns)
    expected = concordance_ipcw(test["risk"].to_numpy(), test["time"].to_numpy(), test["event"].to_numpy(), *columns, tau=tau)
    found = fold_metrics(predictions, metrics=["concordance_ipcw"])
    values = found.values.set_index(["model", "seed", "fold"])["value"]
    assert values[("strong", 1, 2)] == pytest.approx(expected)
    assert found.folds.set_index(["model", "seed", "fold"])["tau"][("strong", 1, 2)] == pytest.approx(tau)


def test_a_given_training_part_replaces_the_other_folds(predictions):
    training = pd.DataFrame({"time": np.arange(1.0, 3001.0), "event": np.arange(3000) % 2 == 0, "fold": 0})
    found = fold_metrics(predictions, metrics=["concordance_ipcw"], training=training)
    assert found.folds.set_index("fold")["tau"][0].unique() == pytest.approx(np.quantile(training["time"], 0.8))
    assert found.folds.set_index("fold")["tau"][1].isna().all()  # no training part is given for it


def test_differences_to_the_reference_are_paired(predictions, comparison):
    line = row(comparison, "strong")
    assert line["difference"] == pytest.approx(line["mean"] - row(comparison, "clinical")["mean"])
    assert line["difference_low"] < line["difference"] < line["difference_high"]
    twin = pd.concat([predictions, predictions[predictions["model"] == "clinical"].assign(model="twin")])
    same = row(compare(twin, replicates=50, metrics=["concordance_ipcw"]), "twin", "concordance_ipcw")
    assert same["difference"] == same["difference_low"] == same["difference_high"] == 0.0


def test_the_reference_has_no_difference_to_itself(comparison):
    assert row(comparison, "clinical")[["difference", "difference_low", "difference_high"]].isna().all()


def test_verdicts_call_nothing_better_within_noise(comparison):
    said = comparison.assign(verdict=verdicts(comparison))
    assert row(said, "strong")["verdict"] == "better"
    assert row(said, "null")["verdict"] == "worse"
    assert row(said, "clinical")["verdict"] == ""
    assert within_noise(-0.01, 0.02)
    assert within_noise(np.nan, np.nan)
    assert not within_noise(0.001, 0.02)
    errors = pd.DataFrame([dict.fromkeys(COMPARISON, 0.1) | {"metric": "integrated_brier", "difference_low": 0.05}])
    assert verdicts(errors).tolist() == ["worse"]  # a larger error


def test_the_same_seed_gives_the_same_table_and_the_order_of_rows_does_not_matter(predictions, comparison):
    shuffled = predictions.sample(frac=1.0, random_state=1)
    again = compare(shuffled, replicates=100, metrics=["concordance"]).sort_values(["model", "metric"], ignore_index=True)
    pd.testing.assert_frame_equal(again, comparison.sort_values(["model", "metric"], ignore_index=True), atol=1e-12)
    assert row(compare(predictions, replicates=100, seed=5, metrics=["concordance"]), "strong")["low"] != row(comparison, "strong")["low"]


def test_without_replicates_there_are_means_and_no_intervals(predictions):
    line = row(compare(predictions, replicates=0, metrics=["concordance"]), "strong")
    assert np.isfinite(line[["mean", "sd", "difference"]].astype(float)).all()
    assert line[["low", "high", "difference_low", "difference_high"]].isna().all()


def test_curves_and_subtypes_give_every_metric_of_the_table(predictions):
    small = predictions[(predictions["seed"] == 1) & (predictions["model"] == "strong")]
    assessment = assess(small, curves_of(small), replicates=50, subtypes=subtypes_of(small, {"strong": 1.0}))
    assert set(assessment.comparison["metric"]) == set(METRICS)
    lines = assessment.comparison[assessment.comparison["metric"].isin(["integrated_brier", "scaled_brier", "calibration_365d"])]
    assert (lines["low"] <= lines["mean"]).all()
    assert (lines["mean"] <= lines["high"]).all()


def test_a_model_without_curves_is_left_out_of_brier_scores_and_it_is_said(predictions):
    small = predictions[predictions["seed"] == 1]
    assessment = assess(small, curves_of(small[small["model"] == "strong"]), replicates=0, metrics=["concordance", "integrated_brier"])
    brier = assessment.comparison[assessment.comparison["metric"] == "integrated_brier"]
    assert brier["model"].tolist() == ["strong"]
    assert "no survival curves of clinical, null: Brier scores and calibration leave them out." in assessment.notes


def test_subtypes_are_scored_within_each_fold_and_patients_without_one_are_left_out(predictions):
    subtypes = subtypes_of(predictions, {"strong": 1.0})
    found = fold_metrics(predictions, metrics=SUBTYPE_METRICS, subtypes=subtypes)
    values = found.values.set_index(["model", "seed", "fold", "metric"])["value"]
    assert set(found.values["model"]) == {"strong"}  # who predicts no subtypes has no row
    cell = subtypes[(subtypes["seed"] == 2) & (subtypes["fold"] == 3)]
    wide = cell.pivot(index="patient_id", columns="class", values="probability")[list(KINDS)]
    observed = cell.drop_duplicates("patient_id").set_index("patient_id")["subtype"].loc[wide.index]
    known = (observed != "").to_numpy()
    assert known.sum() == 49  # P199, in the last fold, has none
    label = np.array([KINDS.index(kind) for kind in observed[known]])
    assert values[("strong", 2, 3, "subtype_auc")] == one_vs_rest_auc(wide.to_numpy()[known], label)
    assert values[("strong", 2, 3, "subtype_balanced_accuracy")] == balanced_accuracy(wide.to_numpy()[known], label)
    metrics = "subtype_auc, subtype_balanced_accuracy"
    assert found.notes == (
        f"{metrics}: no subtypes are predicted by clinical, null; these metrics leave them out",
        f"simulated, {metrics}: 1 of 200 patients have no known subtype and are left out (strong)",
    )


def test_subtypes_do_not_change_the_other_numbers(predictions, comparison):
    both = compare(predictions, replicates=100, metrics=["concordance", *SUBTYPE_METRICS], subtypes=subtypes_of(predictions, {"null": 1.0}))
    pd.testing.assert_frame_equal(both[both["metric"] == "concordance"].reset_index(drop=True), comparison)


def test_differences_of_subtype_metrics_are_paired_with_a_reference_that_predicts_them(predictions):
    base = predictions[predictions["model"] == "strong"].assign(model="mcti")
    alone, both = base.assign(variant="survival-only"), base.assign(variant="no-exchange")
    others = predictions[predictions["model"] == "clinical"]
    subtypes = pd.concat([subtypes_of(base, {"mcti": 2.0}), subtypes_of(both, {"mcti": 1.0})])
    table = compare(pd.concat([others, base, alone, both]), replicates=100, reference="mcti", metrics=SUBTYPE_METRICS, subtypes=subtypes)
    assert list(zip(table["variant"], table["metric"], strict=True)) == [(v, m) for v in ("base", "no-exchange") for m in SUBTYPE_METRICS]
    lines = table.set_index(["variant", "metric"])
    for name in SUBTYPE_METRICS:
        line, reference = lines.loc[("no-exchange", name)], lines.loc[("base", name)]
        assert line["difference"] == pytest.approx(line["mean"] - reference["mean"])
        assert line["difference_low"] < line["difference"] < line["difference_high"] < 0
        assert np.isnan(reference["difference"])
    twin = pd.concat([subtypes[subtypes["variant"] == "base"], subtypes[subtypes["variant"] == "base"].assign(variant="no-exchange")])
    same = compare(pd.concat([base, both]), replicates=50, reference="mcti", metrics=SUBTYPE_METRICS, subtypes=twin)
    assert (same.loc[same["variant"] == "no-exchange", ["difference", "difference_low", "difference_high"]] == 0.0).all(axis=None)


def test_a_reference_that_predicts_no_subtypes_gives_no_differences_and_it_is_said(predictions):
    subtypes = subtypes_of(predictions, {"strong": 1.0})
    table = compare(predictions, replicates=20, metrics=["concordance", *SUBTYPE_METRICS], subtypes=subtypes)
    for name in SUBTYPE_METRICS:
        line = row(table, "strong", name)
        assert line["low"] < line["mean"] < line["high"]
        assert line[["difference", "difference_low", "difference_high"]].isna().all()
    assert np.isfinite(row(table, "strong")["difference"])
    said = "subtype_auc, subtype_balanced_accuracy: the reference clinical predicts no subtypes, so that no differences are given; "
    assert any(note.startswith(said) for note in table.attrs["notes"])


def test_classes_that_a_test_part_lacks_are_named_with_their_folds(predictions):
    base = predictions[(predictions["model"] == "strong") & (predictions["seed"] == 1)]
    subtypes = subtypes_of(base, {"strong": 1.0})
    rare = (subtypes["subtype"] == "other") & subtypes["fold"].isin([1, 2])
    subtypes = subtypes.assign(subtype=subtypes["subtype"].mask(rare, "ductal").mask(subtypes["fold"] == 0, "lobular"))
    found = fold_metrics(base, metrics=["subtype_auc"], subtypes=subtypes)
    absent = "absent from the test part: ductal in fold 0; other in folds 0, 1, 2; each fold is scored on the classes that are there"
    assert f"simulated, subtype_auc: {absent} (strong)" in found.notes
    assert any("simulated, subtype_auc: 1 of 4 folds cannot be scored (strong)." in note for note in found.notes)
    values = found.values.set_index("fold")["value"]
    assert np.isnan(values[0])
    assert np.isfinite(values[[1, 2, 3]]).all()


def test_an_unusable_fold_is_an_empty_cell_and_said_with_its_reason(predictions):
    censored = predictions.assign(event=predictions["event"] & (predictions["fold"] != 3))
    assessment = assess(censored, replicates=20, metrics=["concordance"])
    values = assessment.metrics.set_index(["model", "seed", "fold"])["value"]
    assert np.isnan(values[("strong", 1, 3)])
    assert np.isfinite(values[("strong", 1, 2)])
    assert any("simulated, concordance: 6 of 24 folds cannot be scored (clinical, strong, null)." in note for note in assessment.notes)
    assert any("0 have the event" in note for note in assessment.notes)
    assert any("mean over 3 of 4 folds, the others cannot be scored (clinical, strong, null)" in note for note in assessment.notes)
    assert np.isfinite(row(assessment.comparison, "strong")["mean"])


def test_replicates_without_a_number_are_counted_in_a_note(predictions):
    small = predictions[(predictions["seed"] == 1) & (predictions["patient_id"] < "P024")]
    rare = small.assign(event=small["patient_id"].isin(["P000", "P001", "P002", "P003"]), time=small["time"] + small["fold"])
    notes = assess(rare, replicates=100, metrics=["concordance", "auc"]).notes
    said = [note for note in notes if "bootstrap replicates" in note]
    for note, metric in zip(said, ["concordance", "auc"], strict=True):  # one sentence, however many models
        given = "(no interval is given|its interval is of the others)"
        assert re.fullmatch(rf"simulated, {metric}: \d+ of 100 bootstrap replicates cannot be scored in the worst row; {given}\.", note)


def test_a_missing_pattern_is_compared_with_the_reference_under_the_same_pattern(predictions):
    worse = predictions[predictions["model"] != "null"].assign(
        missing="omics", risk=predictions["risk"] / 2 + np.sin(predictions.index) * 2
    )
    both = pd.concat([predictions, worse])
    table = compare(both, replicates=0, metrics=["concordance"]).set_index(["model", "missing"])
    expected = table.loc[("strong", "omics"), "mean"] - table.loc[("clinical", "omics"), "mean"]
    assert table.loc[("strong", "omics"), "difference"] == pytest.approx(expected)


def test_a_reference_that_has_no_such_pattern_is_taken_with_nothing_missing_and_it_is_said(predictions):
    both = pd.concat([predictions, predictions[predictions["model"] == "strong"].assign(missing="omics")])
    table = compare(both, replicates=0, metrics=["concordance"])
    line = table.set_index(["model", "missing"]).loc[("strong", "omics")]
    assert line["difference"] == pytest.approx(row(table, "strong")["difference"])
    assert any("differences are to clinical with nothing missing, the only one there is (strong)" in n for n in table.attrs["notes"])


def test_variants_and_canaries_are_rows_of_their_own(predictions):
    canary = predictions[predictions["model"] == "strong"].assign(variant="canary")
    canary = canary.assign(risk=np.random.default_rng(3).normal(size=len(canary)))
    table = compare(pd.concat([predictions, canary]), replicates=50, metrics=["concordance"])
    lines = table[table["model"] == "strong"].set_index("variant")
    assert lines.loc["canary", "low"] < 0.5 < lines.loc["canary", "high"]
    assert lines.loc["base", "low"] > 0.6


def test_a_reference_that_is_not_there_gives_no_differences_and_says_so(predictions):
    table = compare(predictions, replicates=0, reference="tta", metrics=["concordance"])
    assert table["difference"].isna().all()
    assert any("the reference 'tta' is not among the models (clinical, strong, null)" in note for note in table.attrs["notes"])


def test_a_model_scored_on_other_patients_is_said(predictions):
    fewer = predictions[(predictions["model"] != "strong") | (predictions["patient_id"] > "P010")]
    notes = compare(fewer, replicates=20, metrics=["concordance"]).attrs["notes"]
    assert any("not scored on the same patients of each fold as clinical (strong)" in note for note in notes)


def test_the_optional_columns_have_defaults(predictions):
    bare = predictions.loc[
        (predictions["model"] == "strong") & (predictions["seed"] == 1), ["model", "patient_id", "time", "event", "risk"]
    ]
    values = fold_metrics(bare, metrics=["concordance"]).values
    expected = concordance(bare["risk"].to_numpy(), bare["time"].to_numpy(), bare["event"].to_numpy())
    assert values.to_dict("records") == [
        {"model": "strong", "variant": "base", "cohort": "cohort", "seed": 0, "fold": 0, "missing": "none"}
        | {"metric": "concordance", "value": expected}
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p.drop(columns="risk"), None, None), "predictions lack risk; they have "),
        (lambda p: (p.iloc[:0], None, None), "predictions hold no row"),
        (lambda p: (p, None, ["concordanse"]), "no metric is called 'concordanse'; did you mean 'concordance'"),
        (lambda p: (p, curves_of(p).drop(columns="horizon"), None), "survival curves lack horizon"),
        (lambda p: (p, curves_of(p).iloc[1:], None), r"1 of 50 patients of clinical, .* have no complete survival curve \(P000\)"),
        (lambda p: (p, curves_of(p).assign(seed=9), None), "the survival curves of 12 of 12 folds belong to no prediction"),
    ],
)
def test_tables_that_do_not_fit_are_refused(predictions, change, message):
    table, curves, metrics = change(predictions[predictions["seed"] == 1])
    with pytest.raises(ValueError, match=message):
        assess(table, curves, metrics=metrics, replicates=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns=["class", "subtype"]), "subtypes lack subtype, class; they have model, variant, "),
        (
            lambda s: s.iloc[1:],
            r"1 of 50 patients of strong, .* do not have a probability of each of 3 subtypes \(P000\): give every patient",
        ),
        (lambda s: s.assign(seed=9), "the subtypes of 4 of 4 folds belong to no prediction"),
        (
            lambda s: s.replace({"subtype": {"other": "odd"}}),
            r"the subtype of \d+ of 50 patients of strong, .* \('odd'\) is none of the classes",
        ),
        (
            lambda s: s.assign(subtype=np.where(np.arange(len(s)) == 0, "other", s["subtype"])),
            r"1 of 50 patients of strong, .* have several subtypes \(P000\): write the same one in all rows",
        ),
    ],
)
def test_subtypes_that_do_not_fit_are_refused(predictions, change, message):
    one = predictions[(predictions["seed"] == 1) & (predictions["model"] == "strong")]
    with pytest.raises(ValueError, match=message):
        assess(one, metrics=SUBTYPE_METRICS, replicates=0, subtypes=change(subtypes_of(one, {"strong": 1.0})))


def test_the_corrected_t_test_widens_by_the_overlap_of_training_parts():
    differences = np.array([0.01, 0.03, 0.02, 0.05, 0.04])
    found = corrected_resampled_t(differences, test_share=0.2)
    assert found.statistic == pytest.approx(0.03 / np.sqrt((1 / 5 + 1 / 4) * np.var(differences, ddof=1)))
    assert found.degrees_of_freedom == 4
    # Student with 4 degrees of freedom: P(|T| > t) = 1 - x (1 + (1 - x^2) / 2) with x = t / sqrt(t^2 + 4)
    x = found.statistic / np.sqrt(found.statistic**2 + 4)
    assert found.p_value == pytest.approx(1 - x * (1 + (1 - x**2) / 2))


@pytest.mark.parametrize(
    ("differences", "share", "message"),
    [([0.1], 0.2, "1 differences with a test share of 0.2"), ([0.1, 0.2], 1.0, "test share of 1"), ([0.1, 0.1], 0.2, "all 2 differences")],
)
def test_a_t_test_without_spread_is_refused(differences, share, message):
    with pytest.raises(ValueError, match=message):
        corrected_resampled_t(np.array(differences), test_share=share)
