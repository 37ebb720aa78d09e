"""What training patients are taken not to have, and intervals of what is missing in prediction."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from tests.contract.tiny_cohort import fitted_on_train, tiny_cohort, tiny_fit, train_and_test

from prognos import runtime
from prognos.cohort import Cohort
from prognos.config import ConfigError
from prognos.models.contract import Needs
from prognos.training import Fitted
from prognos.training.fit import _lacking
from prognos.training.recipe import TrainingConfig

BOTH = Needs(("histology", "omics"))


@cache
def complete() -> Cohort:
    """Three hundred patients who all have clinical data, omics and histology."""
    patients = pd.Index([f"P{i:03d}" for i in range(300)], name="patient_id")
    rna = pd.DataFrame({"A": np.arange(300.0), "B": np.arange(300.0) ** 2}, index=patients)
    return Cohort(
        name="bare",
        endpoint="os",
        clinical=pd.DataFrame({"age": 60.0}, index=patients),
        time=np.arange(1.0, 301.0),
        event=np.ones(300, dtype=bool),
        slides=pd.DataFrame({"slide_id": patients, "patient_id": patients, "path": "x.h5"}),
        tables={"rna": rna},
        omics_kinds=("rna",),
        gene_sets={},
        folds=None,
        exclusions=(),
        notes=(),
        d_patch=4,
        subtype=None,
    )


def left(missing: str, seed: int = 1, needs: Needs = BOTH) -> Cohort:
    """The cohort as a fit gets to see it."""
    return _lacking(complete(), TrainingConfig(missing=missing), needs, seed)


# Who lacks what


def test_none_leaves_the_cohort_itself():
    assert left("none") is complete()


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_the_rate_is_the_one_that_is_asked_for_and_the_draw_is_that_of_the_study(rate):
    gone = ~left(f"omics={rate}").has("omics")
    expected = [runtime.uniform("missing", 1, patient, "omics") < rate for patient in complete().patients]
    assert gone.tolist() == expected
    assert gone.mean() == pytest.approx(rate, abs=3 * np.sqrt(rate * (1 - rate) / 300))
    assert left(f"omics={rate}").has("histology").all()


def test_outcomes_and_patients_stay():
    lacking = left("omics=0.5;histology=0.5")
    assert lacking.patients == complete().patients
    assert lacking.time.tolist() == complete().time.tolist()


def test_another_seed_takes_from_others_and_the_same_from_the_same():
    first, again, other = (left("omics=0.5", seed=seed).has("omics").tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_who_would_lose_everything_keeps_one():
    lacking = left("omics=1;histology=1")
    has = np.stack([lacking.has("omics"), lacking.has("histology")])
    assert (has.sum(axis=0) == 1).all()
    assert 0 < has[0].mean() < 1


def test_what_a_model_does_not_read_does_not_count_as_something_that_is_left():
    lacking = left("omics=1;histology=1", needs=Needs(("omics",)))
    assert lacking.has("omics").all()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("omix=0.2", r"training\.missing = 'omix=0\.2': there is no modality 'omix'; did you mean 'omics'\?"),
        ("omics=1.5", r"training\.missing = 'omics=1\.5': the rate of omics is '1\.5'; write a number from 0 to 1"),
        ("omics=shuffled", r"training\.missing = 'omics=shuffled': modalities are shuffled in prediction only; set study\.missing to it"),
        ("omics;omics", r"training\.missing = 'omics;omics' names omics twice"),
    ],
)
def test_a_pattern_that_cannot_be_names_the_key(missing, message):
    with pytest.raises(ConfigError, match=message):
        left(missing)


# What is learnt from the rest


def test_scalers_are_learnt_without_what_was_taken():
    train, _ = train_and_test(tiny_cohort())
    fitted = tiny_fit(train, "must", seed=4, config={"generator": "mean"}, training={"missing": "omics=0.4", "epochs": 1})
    rna = train.tables["rna"]
    other = dict(zip(train.patients, train.has("histology"), strict=True))
    kept = [p for p in rna.index if not other[p] or runtime.uniform("missing", 4, p, "omics") >= 0.4]
    genes = {place: gene for place, (kind, gene) in enumerate(fitted.inputs.omics.schema.features) if kind == "rna"}
    centre = fitted.inputs.omics.centre[list(genes)]
    assert len(kept) < len(rna)
    assert centre == pytest.approx(rna.loc[kept].median()[list(genes.values())].to_numpy())
    assert centre != pytest.approx(rna.median()[list(genes.values())].to_numpy())


# Intervals


@cache
def with_generators() -> Fitted:
    return fitted_on_train("must")


def held_out() -> Cohort:
    return train_and_test(tiny_cohort())[1]


def test_who_lacks_something_gets_an_interval_and_who_is_complete_none():
    test, fitted = held_out(), with_generators()
    whole = test.has("omics") & test.has("histology")
    found = fitted.predict(test, draws=20)
    assert 0 < whole.sum() < len(whole)
    for values in (found.low, found.high, found.survival_low, found.survival_high):
        assert np.isnan(values[whole]).all()
        assert np.isfinite(values[~whole]).all()
    assert (found.low[~whole] < found.high[~whole]).all()
    assert (found.survival_low[~whole] <= found.survival_high[~whole]).all()


def test_without_omics_everyone_with_a_slide_has_an_interval_and_who_has_nothing_has_none():
    test, fitted = held_out(), with_generators()
    found = fitted.predict(test, without="omics", draws=20)
    has = test.has("histology")
    assert found.without_input.tolist() == (~has).tolist()
    assert (found.low[has] <= found.high[has]).all()
    assert np.isnan(found.low[~has]).all()
    assert np.isnan(found.survival_high[~has]).all()


def test_the_interval_is_the_percentiles_of_single_draws():
    test, fitted = held_out(), with_generators()
    patient = test.patients[int(np.argmax(test.has("histology")))]
    found = fitted.predict(test, [patient], without="omics", draws=20)
    ((bag, _),) = fitted.predictions(test, [patient], without="omics")
    risks = [float(prediction.risk.detach()) for prediction in fitted.model.draws(bag, 20)]
    assert [found.low[0], found.high[0]] == pytest.approx(np.percentile(risks, [5, 95]).tolist(), rel=1e-6)


def test_the_point_does_not_depend_on_the_draws_of_the_interval():
    test, fitted = held_out(), with_generators()
    points = [fitted.predict(test, without="omics", draws=draws) for draws in (0, 3, 20)]
    assert points[0].risk.tolist() == points[1].risk.tolist() == points[2].risk.tolist()
    assert points[0].survival.tolist() == points[2].survival.tolist()
    assert np.isnan(points[0].low).all()


def test_the_same_numbers_after_save_and_load_and_for_one_patient_alone(tmp_path):
    test, fitted = held_out(), with_generators()
    first = fitted.predict(test, without="omics", draws=20)
    read = Fitted.load(fitted.save(tmp_path)).predict(test, without="omics", draws=20)
    for name in ("risk", "low", "high", "survival_low", "survival_high"):
        assert getattr(read, name).tobytes() == getattr(first, name).tobytes()
    for row in np.flatnonzero(test.has("histology"))[:2]:
        alone = fitted.predict(test, [test.patients[row]], without="omics", draws=20)
        for name in ("risk", "low", "high"):
            assert getattr(alone, name)[0] == pytest.approx(getattr(first, name)[row], abs=1e-5)


@pytest.mark.parametrize("name", ["snn", "tta"])
def test_models_that_draw_nothing_have_no_interval(name):
    assert np.isnan(fitted_on_train(name).predict(held_out(), without="histology", draws=20).low).all()


def test_a_patient_whom_a_filler_completed_has_no_interval():
    """The point rests on the stand-in; draws of a generator that it never saw would lie beside it."""
    train, test = train_and_test(tiny_cohort())
    fitted = tiny_fit(train, "must", config={"generator_steps": 1}, training={"epochs": 1}, inputs={"fill": "mean"})
    found = fitted.predict(test, without="omics", draws=20)
    assert np.isfinite(found.risk).all()
    assert np.isnan(found.low).all()
