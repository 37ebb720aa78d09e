import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prognos.metrics import logrank
from prognos.study.evaluate import evaluate
from prognos.study.given import PredictionsError, read_predictions, read_subtypes, read_survival

PREDICTIONS = ["model", "variant", "cohort", "seed", "fold", "missing", "patient_id", "time", "event", "risk", "threshold"]


def table_of(n_patients: int = 60, n_folds: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    risk = generator.normal(size=n_patients)
    time = generator.exponential(1000 * 2.0**-risk).round(2) + 1
    event = (generator.random(n_patients) < 0.6).astype(int)
    ids = [f"{number:03d}" for number in range(n_patients)]
    return pd.DataFrame({"patient_id": ids, "fold": np.arange(n_patients) % n_folds, "time": time, "event": event, "risk": risk})


def written(folder: Path, table: pd.DataFrame, name: str = "tool.csv") -> Path:
    table.to_csv(folder / name, index=False)
    return folder / name


def test_any_table_with_four_columns_is_scored(tmp_path):
    evaluation = evaluate(written(tmp_path, table_of().drop(columns="fold")), None, replicates=20)
    line = evaluation.comparison.set_index("metric").loc["concordance"]
    assert line["model"] == "tool"  # the name of the file
    assert 0.6 < line["mean"] < 0.9
    assert evaluation.comparison.set_index("metric").loc["concordance_ipcw", ["mean"]].isna().all()
    assert any("one fold only for tool: metrics that need the censoring of a training part" in note for note in evaluation.notes)


def test_the_files_of_a_run_are_written(tmp_path):
    table = table_of()
    both = pd.concat([table.assign(model="clinical"), table.assign(model="null", risk=-table["risk"])])
    evaluation = evaluate(written(tmp_path, both), tmp_path / "out", replicates=20)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = ("predictions", "metrics", "comparison", "folds", "groups", "curves", "tests", "incremental")
    assert names == {f"{n}.csv" for n in tables} | {"evaluation.json"}
    for name in ("metrics", "comparison"):  # how somebody else's epochs were chosen is not known
        assert "selection" not in pd.read_csv(tmp_path / "out" / f"{name}.csv").columns
    again = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"patient_id": str}, keep_default_na=False)
    assert list(again.columns) == PREDICTIONS
    assert again["patient_id"][7] == "007"
    assert again["model"].unique().tolist() == ["clinical", "null"]  # "null" is a name, not a missing value
    assert evaluation.comparison.set_index(["model", "metric"]).loc[("null", "concordance"), "difference_high"] < 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["reference"] == "clinical"
    assert record["notes"] == list(evaluation.notes)


def test_what_is_written_can_be_evaluated_again(tmp_path):
    first = evaluate(written(tmp_path, table_of()), tmp_path / "out", replicates=20)
    second = evaluate(tmp_path / "out" / "predictions.csv", None, replicates=20)
    pd.testing.assert_frame_equal(first.comparison, second.comparison)


def test_several_files_are_several_models(tmp_path):
    table = table_of()
    paths = [written(tmp_path, table, "one.csv"), written(tmp_path, table.assign(risk=-table["risk"]), "two.csv.gz")]
    with gzip.open(paths[1]) as file:
        assert file.readline().startswith(b"patient_id")
    evaluation = evaluate(paths, None, reference="one", replicates=20)
    assert set(evaluation.comparison["model"]) == {"one", "two"}
    assert evaluation.comparison.set_index(["model", "metric"]).loc[("two", "concordance"), "difference"] < 0


def test_months_become_days(tmp_path):
    table = table_of().assign(time=lambda t: t["time"] / 30.4375)
    in_months = evaluate(written(tmp_path, table), None, time_unit="months", replicates=0)
    in_days = evaluate(written(tmp_path, table_of(), "days.csv"), None, replicates=0)
    assert in_months.folds["tau"].to_numpy() == pytest.approx(in_days.folds["tau"].to_numpy())
    assert in_months.predictions["time"].to_numpy() == pytest.approx(in_days.predictions["time"].to_numpy())
    assert in_months.warnings == ()


@pytest.mark.parametrize(
    ("scale", "unit", "question"),
    [
        (1 / 30.4375, "days", r"the longest time is 1.* days: are these months\? Say so with --time-unit"),
        (1 / 365.25, "days", r"are these months or years\?"),
        (1.0, "months", r"are these days\?"),
        (1.0, "years", r"are these days\?"),
        (1e4, "days", r"are these another unit\?"),
    ],
)
def test_an_implausible_unit_of_time_is_questioned_not_changed(tmp_path, scale, unit, question):
    table = table_of().assign(time=lambda t: t["time"] * scale)
    evaluation = evaluate(written(tmp_path, table), None, time_unit=unit, replicates=0)
    assert len(evaluation.warnings) == 1
    assert re.search(question, evaluation.warnings[0])


def test_without_a_threshold_the_median_of_each_fold_divides_and_it_is_said(tmp_path):
    evaluation = evaluate(written(tmp_path, table_of()), None, replicates=0)
    medians = evaluation.predictions.groupby("fold")["risk"].median()
    assert (evaluation.predictions["threshold"] == evaluation.predictions["fold"].map(medians)).all()
    assert any("no threshold for tool: high risk is above the median risk within each fold" in note for note in evaluation.notes)
    line = evaluation.groups.iloc[0]
    assert (line["high"], line["low"]) == (30, 30)


def test_a_given_threshold_is_used_and_groups_are_tested_within_folds(tmp_path):
    table = table_of().assign(threshold=0.3)
    evaluation = evaluate(written(tmp_path, table), None, replicates=0)
    high = (table["risk"] > 0.3).to_numpy()
    expected = logrank(table["time"].to_numpy(), table["event"].to_numpy(), high, table["fold"].to_numpy())
    line = evaluation.groups.iloc[0]
    assert line["p_value"] == pytest.approx(expected.p_value)
    assert line["high"] == high.sum()
    assert line["high_events"] + line["low_events"] == table["event"].sum()
    assert not any("no threshold" in note for note in evaluation.notes)
    curves = evaluation.curves.set_index("group")
    assert curves.loc["high", "at_risk"].iloc[0] == high.sum()


def test_one_group_only_is_said_instead_of_tested(tmp_path):
    evaluation = evaluate(written(tmp_path, table_of().assign(threshold=99.0)), None, replicates=0)
    assert np.isnan(evaluation.groups.iloc[0]["p_value"])
    assert evaluation.curves["group"].unique().tolist() == ["low"]
    assert any("log-rank test of tool: all 60 patients are in one group, 'low'" in note for note in evaluation.notes)


def test_folds_that_share_patients_are_said(tmp_path):
    table = table_of()
    shared = pd.concat([table, table[table["fold"] == 0].assign(fold=1)])
    notes = evaluate(written(tmp_path, shared), None, replicates=0).notes
    assert any("folds share patients (20 rows): a fold's training part is the other folds' patients less its own" in note for note in notes)


def test_curves_of_another_tool_are_scored(tmp_path):
    table = table_of()
    horizons = np.array([200.0, 365.0, 500.0])
    long = table.loc[table.index.repeat(3), ["patient_id", "fold"]].assign(model="tool", horizon=np.tile(horizons, len(table)))
    long["survival"] = np.exp(-np.outer(2.0 ** table["risk"], horizons / 1000)).ravel()
    evaluation = evaluate(written(tmp_path, table), None, survival=written(tmp_path, long, "curves.csv.gz"), replicates=0)
    means = evaluation.comparison.set_index("metric")["mean"]
    assert 0 < means["integrated_brier"] < 0.25
    assert means["scaled_brier"] > 0


def classes_of(table: pd.DataFrame) -> pd.DataFrame:
    """The probability of "early" rises with the risk; so does who has it, but for the first patient, of whom it is not known."""
    observed = np.where(table["risk"] > 0, "early", "late")
    observed[0] = ""
    early = 1 / (1 + np.exp(-table["risk"].to_numpy()))
    long = table.loc[table.index.repeat(2), ["patient_id", "fold"]].assign(subtype=observed.repeat(2), model="tool")
    return long.assign(**{"class": ["early", "late"] * len(table), "probability": np.column_stack([early, 1 - early]).round(6).ravel()})


def test_subtypes_of_another_tool_are_scored_and_written(tmp_path):
    table = table_of()
    place = written(tmp_path, classes_of(table), "classes.csv")
    evaluation = evaluate(written(tmp_path, table), tmp_path / "out", subtypes=place, replicates=20)
    lines = evaluation.comparison.set_index("metric")
    assert (lines.loc[["subtype_auc", "subtype_balanced_accuracy"], ["low", "mean", "high"]] == 1.0).all(axis=None)
    asked = "cohort, subtype_auc, subtype_balanced_accuracy"
    assert f"{asked}: 1 of 60 patients have no known subtype and are left out (tool)" in evaluation.notes
    again = pd.read_csv(tmp_path / "out" / "subtypes.csv", dtype=str, keep_default_na=False)
    assert list(again.columns) == [*PREDICTIONS[:7], "subtype", "class", "probability"]
    assert again["patient_id"].tolist() == table["patient_id"].repeat(2).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.drop(columns=["class", "subtype"]),
            r"classes.csv has no column subtype, class \(it has patient_id, fold, model, prob",
        ),
        (lambda t: t.assign(probability="likely"), r"probability is not a number \('likely'\) for 120 of 120 rows"),
        (lambda t: pd.concat([t, t.iloc[:1]]), r"classes.csv: class of a patient appears twice in 1 of 121 rows \(000\): keep one row"),
    ],
)
def test_subtypes_with_defects_are_refused(tmp_path, change, message):
    with pytest.raises(PredictionsError, match=message):
        read_subtypes(written(tmp_path, change(classes_of(table_of())), "classes.csv"))


def test_names_of_folds_may_be_text(tmp_path):
    table = table_of().assign(fold=lambda t: "fold-" + t["fold"].astype(str))
    assert set(evaluate(written(tmp_path, table), None, replicates=0).metrics["fold"]) == {"fold-0", "fold-1", "fold-2"}


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    table = table_of().astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of().drop(columns=["risk", "event"]), r"tool.csv has no column event, risk \(it has patient_id, fold, time\)"),
        (table_of().iloc[:0], "tool.csv has a header but no row"),
        (changed("risk", 3, ""), r"tool.csv: risk is not a number \(empty\) for 1 of 60 rows \(003\)"),
        (changed("risk", 3, "nan"), r"risk is not a number \('nan'\) for 1 of 60 rows \(003\)"),
        (changed("risk", 3, "high"), r"risk is not a number \('high'\) for 1 of 60 rows \(003\)"),
        (changed("time", 3, "-5"), r"time is negative for 1 of 60 rows \(003\)"),
        (changed("time", 3, ""), r"time is not a number \(empty\) for 1 of 60 rows \(003\)"),
        (changed("event", 3, "2"), r"event is '2' for 1 of 60 rows \(003\): code 1 for an observed event"),
        (changed("event", 3, ""), r"event is '' for 1 of 60 rows"),
        (changed("patient_id", 3, ""), "patient_id is empty in 1 of 60 rows"),
        (table_of().assign(threshold="x"), r"threshold is not a number \('x'\) for 60 of 60 rows \(000, 001, 002 and 57 more\)"),
        (
            pd.concat([table_of(), table_of().iloc[:1]]),
            r"a patient appears twice .* 1 of 61 rows \(000\), first in tool, cohort, seed 0, fold 0",
        ),
        (pd.concat([table_of(), table_of().iloc[:1].assign(fold=1, time=5.0)]), r"time or event of the same patient differs .* \(000\)"),
    ],
)
def test_defects_are_refused_with_the_file_the_column_and_the_patients(tmp_path, table, message):
    with pytest.raises(PredictionsError, match=message):
        evaluate(written(tmp_path, table), None)


def test_all_defects_are_listed_at_once(tmp_path):
    table = changed("risk", 3, "").astype({"event": object})
    table.loc[4, "event"] = 7
    with pytest.raises(PredictionsError, match="3 defects:") as error:
        read_predictions([written(tmp_path, table), tmp_path / "absent.csv"])
    assert len(error.value.defects) == 3
    assert "there is no file" in error.value.defects[2]


def test_files_that_are_no_csv_are_refused(tmp_path):
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(PredictionsError, match="2 defects:") as error:
        read_predictions([tmp_path / "broken.csv.gz", tmp_path / "empty.csv"])
    assert all("cannot be read as CSV" in defect for defect in error.value.defects)


def test_no_file_an_unknown_unit_and_an_unknown_reference_are_refused(tmp_path):
    with pytest.raises(PredictionsError, match="no file of predictions is named"):
        evaluate([], None)
    with pytest.raises(ValueError, match="time unit 'weeks' is unknown: choose one of days, months, years"):
        evaluate(written(tmp_path, table_of()), None, time_unit="weeks")
    with pytest.raises(ValueError, match="the reference 'tta' is not among the models: tool"):
        evaluate(written(tmp_path, table_of()), None, reference="tta")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,horizon\n1,365\n", "has no column survival"),
        ("patient_id,horizon,survival\n1,365,x\n", "survival is not a number"),
        ("patient_id,horizon,survival\n1,365,.5\n1,365,.4\n", r"horizon of a patient appears twice in 1 of 2 rows \(1\): keep one row"),
    ],
)
def test_curves_with_defects_are_refused(tmp_path, text, message):
    (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(PredictionsError, match=message):
        read_survival(tmp_path / "curves.csv")


def test_events_may_be_words_and_the_canary_has_labels_of_its_own(tmp_path):
    table = table_of()
    words = table.assign(event=table["event"].map({0: "False", 1: "True"}), variant="base")
    canary = words.assign(variant="canary", time=words["time"].to_numpy()[::-1], event=words["event"].to_numpy()[::-1])
    read = read_predictions(written(tmp_path, pd.concat([words, canary])))
    assert read["event"].dtype == bool
    assert read["event"].sum() == 2 * table["event"].sum()
