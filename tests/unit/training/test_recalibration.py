"""Recalibration: curves from held-out risks, learnt on inner parts, kept with the model, never of the order of risks."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from tests.contract.tiny_cohort import tiny_cohort, tiny_fit, train_and_test

from prognos.cohort import Cohort
from prognos.cohort.simulate import Truth, simulate
from prognos.metrics import kaplan_meier
from prognos.training import FitOptions, Fitted, fit
from prognos.training import inner_recalibration as module
from prognos.training.recalibration import Recalibration

INNER = {"recalibration": "inner"}
HORIZONS = [30.0, 365.0, 1095.0]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Cohort:
    """120 patients whose genes say something of their hazard."""
    truth = Truth(shared=1.0, censoring=0.3)
    return Cohort.read(
        simulate(tmp_path_factory.mktemp("cohort") / "c", truth, n_patients=120, n_sites=6, d_patch=10, patches=(5, 5), seed=2)
    )


def overfitted(cohort: Cohort, **options) -> Fitted:
    """An SNN that has learnt its training patients by heart."""
    training = {"epochs": 60, "learning_rate": 1e-2, "weight_decay": 0.0, "device": "cpu", **options}
    return fit(cohort, "snn", training=training)


def parts_of(cohort: Cohort) -> tuple[Cohort, Cohort]:
    return cohort.subset(cohort.patients[:90]), cohort.subset(cohort.patients[90:])


def squared_distance(fitted: Fitted, test: Cohort) -> float:
    """Mean squared distance of survival at each day up to the last from what happened, of patients whose state is known."""
    days = np.quantile(test.time, [0.25, 0.5, 0.75])
    curves = fitted.predict(test, horizons=days).survival
    known = test.event[:, None] | (test.time[:, None] > days)
    return float(((curves - (test.time[:, None] > days)) ** 2)[known].mean())


def planted(spread, n=3000, seed=1):
    """Log hazards with this standard deviation, and censored times of a baseline hazard of 1 in 1000 days."""
    generator = np.random.default_rng(seed)
    log_hazard = spread * generator.normal(size=n)
    event_time = 1000 * generator.exponential(size=n) / np.exp(log_hazard)
    censoring = generator.exponential(1500, size=n)
    return log_hazard, np.minimum(event_time, censoring), event_time <= censoring


def test_a_risk_that_is_three_times_too_wide_has_a_slope_of_a_third_and_curves_that_are_right():
    log_hazard, time, event = planted(0.5)
    learnt = Recalibration.learn(3 * log_hazard, time, event)
    assert learnt.slope == pytest.approx(1 / 3, abs=0.04)  # three standard errors, 1 / (1.5 sqrt(events)) with about 1,700 events
    days = np.array([200.0, 1000.0])
    for r, curve in zip((-0.5, 0.0, 0.5), learnt.curves(3 * np.array([-0.5, 0.0, 0.5]), days), strict=True):
        assert curve == pytest.approx(np.exp(-days / 1000 * np.exp(r)), abs=0.03)


def test_the_curves_are_those_of_a_cox_model_by_hand():
    learnt = Recalibration(slope=2.0, times=(100.0, 300.0), hazard=(0.1, 0.4), patients=20, events=12)
    curves = learnt.curves(np.array([0.0, np.log(3) / 2]), np.array([99.0, 100.0, 299.0, 300.0, 9000.0]))
    assert curves[0].tolist() == pytest.approx([1.0, np.exp(-0.1), np.exp(-0.1), np.exp(-0.4), np.exp(-0.4)])
    assert curves[1].tolist() == pytest.approx([1.0, np.exp(-0.3), np.exp(-0.3), np.exp(-1.2), np.exp(-1.2)])


def test_a_model_that_is_the_wrong_way_round_is_not_turned_and_everybody_has_the_kaplan_meier_curve():
    log_hazard, time, event = planted(0.5, n=400)
    learnt = Recalibration.learn(-log_hazard, time, event)
    assert learnt.slope == 0.0
    days = np.array([100.0, 700.0])
    expected = kaplan_meier(time, event).at(days)
    assert learnt.curves(np.array([-4.0, 4.0]), days).tolist() == [pytest.approx(expected), pytest.approx(expected)]


def test_with_fewer_than_ten_events_no_slope_is_learnt():
    time = np.arange(1.0, 31.0)
    assert Recalibration.learn(-time, time, time <= 9).slope == 0.0
    with pytest.raises(ValueError, match=r"Cox's likelihood of 30 patients with 10 events has no maximum"):
        Recalibration.learn(-time, time, time <= 10)  # the risk puts all events in order


def test_state_brings_back_what_was_learnt():
    learnt = Recalibration(slope=2.0, times=(100.0, 300.0), hazard=(0.1, 0.4), patients=20, events=12)
    assert Recalibration.from_state(json.loads(json.dumps(learnt.state()))) == learnt


def test_nothing_is_recalibrated_unless_asked(train):
    fitted = tiny_fit(train, "snn")
    assert fitted.training.recalibration == "none"
    assert fitted.recalibration is None


@pytest.mark.slow
def test_a_model_that_is_too_sure_is_mended(simulated):
    train, test = parts_of(simulated)
    plain, mended = overfitted(train), overfitted(train, **INNER)
    assert 0.0 < mended.recalibration.slope < 0.8
    assert squared_distance(mended, test) < squared_distance(plain, test) - 0.02
    before, after = plain.predict(test), mended.predict(test)
    assert np.array_equal(before.risk, after.risk)
    assert (np.diff(after.survival, axis=1) <= 0).all()


@pytest.mark.parametrize("name", ["null", "clinical", "snn", pytest.param("late-fusion", marks=pytest.mark.slow)])
def test_curves_of_every_kind_of_model_are_recalibrated_and_risks_are_not(train, test, name):
    plain, mended = tiny_fit(train, name), tiny_fit(train, name, training=INNER)
    before, after = plain.predict(test, horizons=HORIZONS), mended.predict(test, horizons=HORIZONS)
    assert np.array_equal(before.risk, after.risk)
    with_input = ~after.without_input
    expected = mended.recalibration.curves(after.risk[with_input] - mended.threshold, np.array(HORIZONS))
    assert after.survival[with_input] == pytest.approx(expected)
    assert np.allclose(after.survival[with_input], before.survival[with_input]) == (name == "null")  # which is Kaplan-Meier already
    assert np.array_equal(after.survival[~with_input], before.survival[~with_input])


def test_it_is_learnt_from_the_training_patients_alone(train, test):
    whole = tiny_cohort()
    changed = dataclasses.replace(whole, time=whole.time.copy(), event=whole.event.copy())
    changed.time[20:] *= 7.0
    changed.event[20:] = ~changed.event[20:]
    other = train_and_test(changed)[0]
    assert tiny_fit(other, "snn", training=INNER).recalibration == tiny_fit(train, "snn", training=INNER).recalibration


def test_held_out_patients_are_predicted_by_models_that_never_saw_them(train, monkeypatch):
    seen = []
    risks = module._risks

    def watched(inner, held_out):
        seen.append((inner, held_out))
        return risks(inner, held_out)

    monkeypatch.setattr(module, "_risks", watched)
    fitted = tiny_fit(train, "null", training=INNER)
    assert len(seen) == 3
    assert sorted(patient for _, held_out in seen for patient in held_out.patients) == sorted(train.patients)
    for inner, held_out in seen:
        assert inner.provenance["patients"] == len(train.patients) - len(held_out.patients)
        assert inner.recalibration is None
    assert fitted.recalibration.events == train.event.sum()


def test_sites_are_kept_apart_where_there_are_enough(simulated, tmp_path):
    train, _ = parts_of(simulated)
    fit(train, "null", training=INNER, options=FitOptions(folder=tmp_path))
    part = pd.read_csv(tmp_path / "recalibration" / "parts.csv", dtype=str).set_index("patient_id")["fold"].loc[list(train.patients)]
    assert pd.DataFrame({"site": train.sites, "part": part.to_numpy()}).groupby("site").part.nunique().max() == 1


def test_it_travels_with_the_model(train, test, tmp_path):
    fitted = tiny_fit(train, "snn", training=INNER)
    loaded = Fitted.load(fitted.save(tmp_path))
    assert loaded.recalibration == fitted.recalibration
    assert json.loads((tmp_path / "fitted.json").read_text())["recalibration"]["slope"] == fitted.recalibration.slope
    assert np.array_equal(loaded.predict(test).survival, fitted.predict(test).survival)


def test_a_fit_that_was_killed_among_its_inner_fits_gives_the_same_bytes(train, tmp_path, monkeypatch):
    through = tiny_fit(train, "snn", training=INNER, options=FitOptions(folder=tmp_path / "work-1")).save(tmp_path / "through")
    risks, calls = module._risks, []

    def killed(inner, held_out):
        calls.append(held_out)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return risks(inner, held_out)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_risks", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny_fit(train, "snn", training=INNER, options=FitOptions(folder=tmp_path / "work-2"))
    resumed = tiny_fit(train, "snn", training=INNER, options=FitOptions(folder=tmp_path / "work-2")).save(tmp_path / "resumed")
    for name in ("fitted.json", "weights.safetensors", "log.csv"):
        assert (resumed / name).read_bytes() == (through / name).read_bytes()


def test_too_few_events_for_inner_parts_are_refused(train):
    few = dataclasses.replace(train, event=np.arange(len(train.patients)) == 0)
    with pytest.raises(ValueError, match="20 patients with 1 events cannot fill 3 parts"):
        tiny_fit(few, "null", training=INNER)
