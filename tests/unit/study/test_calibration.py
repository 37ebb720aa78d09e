"""The tables of a run on calibration, decisions and competing events."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from prognos.metrics import CLINICAL_HORIZONS, calibration_index, distribution_calibration, net_benefit, survival_reached
from prognos.study.calibration import CALIBRATION, DISTRIBUTION_CALIBRATION, NET_BENEFIT, calibration_tables
from prognos.study.evaluate import evaluate
from prognos.study.plan import CANARY

HORIZONS = np.array([200.0, 365.0, 1095.0, 1825.0])
N = 120


def outcomes(longest=3000.0):
    generator = np.random.default_rng(4)
    log_hazard = generator.normal(size=N)
    event_time, censoring = generator.exponential(1200, size=N) / np.exp(log_hazard), generator.uniform(300, longest, size=N)
    return log_hazard, np.minimum(event_time, censoring), event_time <= censoring


def study(seeds=(1,), models=("snn",), variant="base", longest=3000.0):
    """Predictions and curves of two folds; each seed's curves are those of another strength."""
    log_hazard, time, event = outcomes(longest)
    patients = pd.DataFrame({"patient_id": [f"p{i:03d}" for i in range(N)], "fold": np.arange(N) % 2, "time": time, "event": event})
    predictions, survival = [], []
    for model in models:
        for seed in seeds:
            key = {"model": model, "variant": variant, "cohort": "c", "missing": "none", "seed": seed}
            predictions.append(patients.assign(**key, risk=log_hazard))
            curves = np.exp(-np.outer(np.exp(seed * log_hazard), HORIZONS / 1200))
            long = patients.loc[patients.index.repeat(len(HORIZONS)), ["patient_id", "fold"]].assign(**key)
            survival.append(long.assign(horizon=np.tile(HORIZONS, N), survival=curves.ravel()))
    return pd.concat(predictions), pd.concat(survival)


def test_the_patients_of_all_folds_are_judged_together():
    tables = calibration_tables(*study(), replicates=0)
    log_hazard, time, event = outcomes()
    curves = np.exp(-np.outer(np.exp(log_hazard), HORIZONS / 1200))
    rows = tables[CALIBRATION].set_index("horizon")
    for place, horizon in enumerate(CLINICAL_HORIZONS, start=1):
        expected = calibration_index(curves[:, place], time, event, horizon)
        assert rows.loc[horizon, "ici"] == pytest.approx(expected.ici)
        assert rows.loc[horizon, "e90"] == pytest.approx(expected.quantile(0.9))
        assert rows.loc[horizon, "predicted"] == pytest.approx(1 - curves[:, place].mean())
    spread = distribution_calibration(*survival_reached(curves, time, event, HORIZONS))
    assert tables[DISTRIBUTION_CALIBRATION].share.tolist() == pytest.approx(spread.shares.tolist())
    assert tables[DISTRIBUTION_CALIBRATION].p.unique().tolist() == pytest.approx([spread.p])


def test_the_index_has_an_interval_over_resampled_patients_and_none_without_replicates():
    rows = calibration_tables(*study(), replicates=20)[CALIBRATION].set_index("horizon")
    assert (rows.ici_low <= rows.ici).all()
    assert (rows.ici <= rows.ici_high).all()
    assert (rows.ici_low < rows.ici_high).all()
    assert calibration_tables(*study(), replicates=0)[CALIBRATION].ici_low.isna().all()


def test_net_benefit_is_the_mean_of_the_seeds_and_calibration_keeps_them_apart():
    tables = calibration_tables(*study(seeds=(1, 2)), replicates=0)
    log_hazard, time, event = outcomes()
    each = [net_benefit(np.exp(-np.exp(seed * log_hazard) * 365 / 1200), time, event, 365.0, np.array([0.2, 0.4])).model for seed in (1, 2)]
    table = tables[NET_BENEFIT].set_index(["horizon", "threshold"]).net_benefit
    assert [table[365.0, 0.2], table[365.0, 0.4]] == pytest.approx(np.mean(each, axis=0).tolist())
    assert tables[CALIBRATION].groupby("seed").ici.first().nunique() == 2


def test_where_the_follow_up_does_not_carry_the_reason_stands_in_the_row():
    tables = calibration_tables(*study(longest=1000.0), replicates=0)
    rows = tables[CALIBRATION].set_index("horizon")
    assert rows.loc[365.0, "reason"] == ""
    assert "0 of 120 patients are under observation at 1825" in rows.loc[1825.0, "reason"]
    assert np.isnan(rows.loc[1825.0, "ici"])
    assert tables[NET_BENEFIT].horizon.unique().tolist() == [365.0]


def test_curves_that_end_early_are_not_stretched():
    predictions, survival = study()
    tables = calibration_tables(predictions, survival[survival.horizon < 1500], replicates=0)
    reason = tables[CALIBRATION].set_index("horizon").loc[1825.0, "reason"]
    assert reason == "the curves of 120 of 120 patients end before 1825 days: predict survival so far."


def test_canaries_and_models_without_curves_have_no_row():
    assert calibration_tables(*study(variant=CANARY), replicates=0) == {}
    predictions, survival = study(models=("snn", "null"))
    tables = calibration_tables(predictions, survival[survival.model == "snn"], replicates=0)
    assert set(tables[CALIBRATION].model) == {"snn"}


def test_few_patients_have_no_test_of_their_curves_and_the_reason():
    predictions, survival = study()
    few = predictions[predictions.patient_id < "p040"]
    table = calibration_tables(few, survival[survival.patient_id < "p040"], replicates=0)[DISTRIBUTION_CALIBRATION]
    assert len(table) == 1
    assert "40 patients with" in table.reason[0]


def test_the_order_of_the_rows_changes_nothing():
    predictions, survival = study()
    shuffled = calibration_tables(predictions, survival.sample(frac=1.0, random_state=1), replicates=3)
    pd.testing.assert_frame_equal(shuffled[CALIBRATION], calibration_tables(predictions, survival, replicates=3)[CALIBRATION])


def test_a_run_keeps_who_had_a_competing_event(study_of, cohort):
    died = np.arange(len(cohort)) % 2 == 0
    clinical = cohort.clinical.assign(os_time=cohort.time, os_event=died.astype(int))
    folder = study_of(own=dataclasses.replace(cohort, endpoint="dss", clinical=clinical)).folder
    table = pd.read_csv(folder / "competing.csv").set_index("patient_id")
    assert table.competing.to_dict() == dict(zip(cohort.patients, (died & ~cohort.event).astype(int), strict=True))
    assert set(table.cohort) == {"small"}
    assert (folder / "calibration.csv").is_file()


def test_a_run_of_overall_survival_has_no_competing_events(study_of):
    assert not (study_of().folder / "competing.csv").exists()


def test_predictions_of_others_are_judged_too(tmp_path):
    predictions, survival = study()
    predictions.to_csv(tmp_path / "theirs.csv", index=False)
    survival.to_csv(tmp_path / "curves.csv", index=False)
    evaluate(tmp_path / "theirs.csv", survival=tmp_path / "curves.csv", out=tmp_path / "out", replicates=0)
    table = pd.read_csv(tmp_path / "out" / "calibration.csv")
    assert table.ici.tolist() == pytest.approx(calibration_tables(predictions, survival, replicates=0)[CALIBRATION].ici.tolist())
