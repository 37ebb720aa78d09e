from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from prognos import predict as prediction
from prognos.cohort import Cohort, CohortError
from prognos.predict.answer import About, Answer
from prognos.study.evaluate import evaluate
from prognos.study.given import PredictionsError

CLINICAL = """patient_id,age,os_time,os_event,dss_time
a,50,100,1,5
b,60,0,1,5
c,70,300,,5
d,80,,0,5
e,40,500,0,5
"""


@pytest.fixture
def cohort(tmp_path):
    """Five patients read as new ones, of whom two have a usable outcome; given splits name one of them only."""
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "clinical.csv").write_text(CLINICAL)
    (folder / "splits.csv").write_text("patient_id,fold\na,0\n")
    return Cohort.read(folder, outcome=False)


def test_patients_without_a_time_above_0_or_an_event_are_without_outcome(cohort):
    known = prediction.known_outcome(cohort, "os")
    assert known.table.to_dict("index") == {"a": {"time": 100.0, "event": 1}, "e": {"time": 500.0, "event": 0}}
    assert known.without == ("b", "c", "d")


def test_an_endpoint_that_is_not_there_is_refused(cohort):
    with pytest.raises(CohortError, match=r"there is no endpoint 'pfi'"):
        prediction.known_outcome(cohort, "pfi")
    with pytest.raises(CohortError, match=r"endpoint 'dss' needs a column 'dss_event'"):
        prediction.known_outcome(cohort, "dss")


def test_cells_that_are_no_outcome_are_refused(tmp_path):
    (tmp_path / "clinical.csv").write_text("patient_id,age,os_time,os_event\na,50,100,2\nb,50,100,1\n")
    with pytest.raises(CohortError, match=r"1 events are not 0, 1 or empty"):
        prediction.known_outcome(Cohort.read(tmp_path, outcome=False), "os")


def test_a_cohort_of_whom_nothing_is_known_has_nothing_to_score(tmp_path):
    (tmp_path / "clinical.csv").write_text("patient_id,age,os_time,os_event\na,50,0,1\nb,50,100,\n")
    with pytest.raises(ValueError, match=r"no patient of .* has a time above 0 and an event of os: there is nothing to score"):
        prediction.known_outcome(Cohort.read(tmp_path, outcome=False), "os")


def answered(n=60):
    """An answer for patients whose risk orders their times, some of whom lack something."""
    patients = [f"p{row:02d}" for row in range(n)]
    risk = np.linspace(2.0, -2.0, n)
    table = pd.DataFrame({"patient_id": patients, "risk": risk, "low": np.nan, "high": np.nan, "group": "low"})
    table = table.assign(missing=["omics" if row % 2 else "" for row in range(n)], filled_by="", percentile=np.nan, unusual="")
    horizons = np.array([0.0, 200.0, 400.0])
    curves = np.exp(-np.exp(risk)[:, None] * horizons / 1000)
    keys = {"patient_id": np.repeat(patients, 3), "horizon": np.tile(horizons, n)}
    survival = pd.DataFrame({**keys, "survival": curves.reshape(-1), "low": np.nan, "high": np.nan})
    about = About("snn@narrow", "old", "os")
    known = prediction.Known("os", pd.DataFrame({"time": 10.0 + 10 * np.arange(n), "event": np.arange(n) % 3 > 0}, index=patients), ())
    return Answer(table, survival, 1, threshold=0.5, about=about), known


def test_predictions_with_an_outcome_are_scored_by_evaluate_with_the_threshold_and_the_curves(tmp_path):
    answer, known = answered()
    written = prediction.write(answer, tmp_path, known=known, cohort="elsewhere")
    found = evaluate(written[0], None, survival=written[1], replicates=0)
    assert found.predictions["threshold"].unique().tolist() == [0.5]
    assert found.predictions[["model", "variant", "cohort"]].drop_duplicates().values.tolist() == [["snn", "narrow", "elsewhere"]]
    values = found.metrics.set_index("metric")["value"]
    assert values["concordance"] == 1.0  # risks fall as times rise
    assert 0 < values["integrated_brier"] < 0.25
    # 60 risks from 2 to -2 in steps of 4/59: those above 0.5 are the first 23
    assert found.groups[["high", "low"]].to_numpy().tolist() == [[23, 37]]


def test_the_curves_of_several_bundles_are_scored_together(tmp_path):
    answer, known = answered()
    first = prediction.write(answer, tmp_path / "first", known=known, cohort="elsewhere")
    other = replace(answer, about=replace(answer.about, label="abmil"))
    second = prediction.write(other, tmp_path / "second", known=known, cohort="elsewhere")
    found = evaluate([first[0], second[0]], None, survival=[first[1], second[1]], replicates=0)
    scored = found.metrics[found.metrics["metric"] == "integrated_brier"]
    assert scored["model"].tolist() == ["snn", "abmil"]
    with pytest.raises(PredictionsError, match="horizon of a patient appears twice"):
        evaluate(first[0], None, survival=[first[1], first[1]], replicates=0)


def test_what_each_patient_lacked_does_not_divide_those_who_are_scored_together(tmp_path):
    answer, known = answered()
    written = prediction.write(answer, tmp_path, known=known, cohort="elsewhere")
    found = evaluate(written[0], None, replicates=0)
    assert found.metrics["missing"].unique().tolist() == ["none"]
    assert any("no model was trained on these patients" in note for note in found.notes)
    assert not any("one fold only" in note for note in found.notes)
