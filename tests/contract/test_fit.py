"""What holds for every entry of MODELS from fit to prediction, on patients it has and has not seen."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from prognos.metrics import kaplan_meier
from prognos.models import MODELS, entry_of
from prognos.training import FitOptions, Fitted
from prognos.training.fold import Fold
from tests.contract.tiny_cohort import fitted_on_train, state_hash, tiny_cohort, tiny_fit, train_and_test
from tests.contract.tiny_models import NAMES, TRAINED

CLASSES = tuple({entry.path: entry.name for entry in reversed(MODELS.values())}.values())
"""One entry a class, the first: what does not depend on a preset is asked of each class once."""
HORIZONS = np.array([0.0, 1.0, 200.0, 365.0, 1095.0, 1825.0, 1e5])


def needs_of(name):
    return entry_of(name).load().needs


def held_out():
    return train_and_test(tiny_cohort())[1]


def predictions_of(name):
    return fitted_on_train(name).predict(held_out(), horizons=HORIZONS)


def has_input(name, patients):
    kinds = entry_of(name).inputs.get("omics_kinds", ())
    named = itertools.chain.from_iterable(kinds if m == "omics" and kinds else (m,) for m in needs_of(name).modalities)
    has = [patients.has(modality) for modality in named]
    return np.logical_or.reduce(has) if has else np.ones(len(patients), dtype=bool)


@pytest.mark.parametrize("name", NAMES)
def test_every_patient_gets_a_finite_risk_and_a_curve_that_falls_from_one(name):
    predictions, patients = predictions_of(name), held_out()
    assert predictions.patients == patients.patients
    assert predictions.risk.shape == (10,)
    assert predictions.survival.shape == (10, 7)
    assert np.isfinite(predictions.risk).all()
    assert (predictions.survival[:, 0] == 1).all()
    assert (np.diff(predictions.survival, axis=1) <= 1e-12).all()
    assert (predictions.survival >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_patient_without_any_input_gets_the_training_median_and_the_kaplan_meier_curve(name):
    predictions, patients, fitted = predictions_of(name), held_out(), fitted_on_train(name)
    nothing = ~has_input(name, patients)
    assert predictions.without_input.tolist() == nothing.tolist()
    if needs_of(name).modalities:
        predictions = fitted.predict(patients, without=needs_of(name).modalities, horizons=HORIZONS)
        assert predictions.without_input.all()
    assert (predictions.risk[predictions.without_input] == fitted.threshold).all()
    train, _ = train_and_test(tiny_cohort())
    fitted_on = has_input(name, train)
    curve = kaplan_meier(train.time[fitted_on], train.event[fitted_on]).at(HORIZONS)
    assert predictions.survival[predictions.without_input] == pytest.approx(np.tile(curve, (predictions.without_input.sum(), 1)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("without", [("omics",), ("histology",), ("clinical",), ("omics", "histology")], ids=lambda names: "-".join(names))
def test_any_missing_pattern_gives_finite_risks(name, without):
    predictions = fitted_on_train(name).predict(held_out(), without=without)
    assert np.isfinite(predictions.risk).all()
    assert np.isfinite(predictions.survival).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_has_and_what_each_patient_lacks_are_the_same_thing(name):
    patients, fitted = held_out(), fitted_on_train(name)
    absent = {patient: ("omics",) for patient in patients.patients}
    together, singly = fitted.predict(patients, without="omics"), fitted.predict(patients, absent=absent)
    assert together.risk.tolist() == singly.risk.tolist()
    assert together.without_input.tolist() == singly.without_input.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_patients_changes_nothing(name):
    patients, fitted = held_out(), fitted_on_train(name)
    turned = fitted.predict(patients.subset(patients.patients[::-1]), horizons=HORIZONS)
    assert turned.risk[::-1].tobytes() == predictions_of(name).risk.tobytes()
    assert turned.survival[::-1].tobytes() == predictions_of(name).survival.tobytes()


@pytest.mark.parametrize(
    ("name", "patches"),
    [*((name, None) for name in NAMES), ("abmil", 3), ("tta-paper", 3)],
    ids=lambda value: value if isinstance(value, str) else f"{value or 'all'} patches",
)
def test_a_patient_alone_gets_the_prediction_that_it_gets_among_others(name, patches):
    patients, fitted = held_out(), fitted_on_train(name)
    fitted = dataclasses.replace(fitted, training=fitted.training.model_copy(update={"evaluation_patches": patches}))
    together = fitted.predict(patients, horizons=HORIZONS)
    for row, patient in enumerate(patients.patients[:3]):
        alone = fitted.predict(patients, [patient], horizons=HORIZONS)
        assert alone.risk[0] == pytest.approx(together.risk[row], abs=1e-5)
        assert alone.survival[0] == pytest.approx(together.survival[row], abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_outcome_of_who_is_predicted_is_not_looked_at(name):
    patients = held_out()
    unknown = dataclasses.replace(patients, time=np.full(10, np.nan), event=np.zeros(10, dtype=bool))
    assert fitted_on_train(name).predict(unknown, horizons=HORIZONS).risk.tolist() == predictions_of(name).risk.tolist()


def disturbed(cohort, test):
    """The same training patients; of the others everything is different, and some of them are left out."""
    of_test = np.isin(cohort.patients, test.patients)
    clinical = cohort.clinical.copy()
    clinical.loc[of_test, "age"] = 1000.0
    tables = {name: table.copy() for name, table in cohort.tables.items()}
    for table in tables.values():
        table.loc[np.isin(table.index, test.patients)] = 77.0
    slides = cohort.slides.copy()
    slides.loc[slides["patient_id"].isin(test.patients), "path"] = slides["path"].iloc[0]
    time, event = np.where(of_test, 1.0, cohort.time), np.where(of_test, True, cohort.event)
    other = dataclasses.replace(cohort, clinical=clinical, tables=tables, slides=slides, time=time, event=event)
    return other.subset(other.patients[:25])


@pytest.mark.parametrize("name", CLASSES)
def test_no_other_patient_and_no_global_seed_can_influence_a_fit(name):
    """Rule 1: whatever befalls the test patients, the fitted state keeps its hash; and the same seed gives the same bytes."""
    train, test = train_and_test(tiny_cohort())
    torch.manual_seed(123)
    np.random.seed(123)
    again = tiny_fit(disturbed(tiny_cohort(), test).subset(train.patients), name)
    assert state_hash(again) == state_hash(fitted_on_train(name))
    pd.testing.assert_frame_equal(again.log, fitted_on_train(name).log, check_exact=True)


@pytest.mark.parametrize("name", [name for name in CLASSES if name in TRAINED])
def test_another_seed_gives_another_model(name):
    assert state_hash(tiny_fit(train_and_test(tiny_cohort())[0], name, seed=2)) != state_hash(fitted_on_train(name))


@pytest.mark.parametrize("name", CLASSES)
def test_what_was_saved_is_read_back_to_the_byte(name, tmp_path):
    fitted, patients = fitted_on_train(name), held_out()
    fitted.save(tmp_path / "first")
    read = Fitted.load(tmp_path / "first")
    assert state_hash(read) == state_hash(fitted)
    predictions = read.predict(patients, horizons=HORIZONS)
    assert predictions.risk.tobytes() == predictions_of(name).risk.tobytes()
    assert predictions.survival.tobytes() == predictions_of(name).survival.tobytes()
    assert (read.name, read.seed, read.config, read.training, read.provenance) == (
        fitted.name,
        fitted.seed,
        fitted.config,
        fitted.training,
        fitted.provenance,
    )
    read.save(tmp_path / "second")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_on_disk_is_a_pickle(name, tmp_path):
    fitted_on_train(name).save(tmp_path)
    if name in ("snn", "tta"):  # the checkpoints of all are written by the same lines
        tiny_fit(train_and_test(tiny_cohort())[0], name, options=FitOptions(folder=tmp_path))
        assert (tmp_path / "checkpoint-0.safetensors").is_file()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".csv"}
    assert {"weights.safetensors", "fitted.json", "log.csv"} <= {path.name for path in files}
    for path in files:
        assert not path.read_bytes().startswith((b"PK", b"\x80"))


@pytest.mark.parametrize(("name", "other"), [("snn", "abmil"), ("tta", "tta-paper"), ("tta-paper", "tta-released"), ("clinical", "null")])
def test_the_weights_of_another_model_are_refused(name, other, tmp_path):
    for which in (name, other):
        fitted_on_train(which).save(tmp_path / which)
    (tmp_path / name / "weights.safetensors").write_bytes((tmp_path / other / "weights.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file that fitted\.json was written with; copy the whole folder"):
        Fitted.load(tmp_path / name)


@pytest.mark.parametrize("name", [name for name in CLASSES if "histology" in needs_of(name).modalities])
def test_patches_are_joined_to_patients_by_id_and_not_by_row(name):
    """Rule 5: a shuffled slide table and shuffled omics rows give everybody what is theirs."""
    patients = held_out()
    shuffled = dataclasses.replace(
        patients,
        slides=patients.slides.iloc[::-1].reset_index(drop=True),
        tables={kind: table.iloc[::-1] for kind, table in patients.tables.items()},
    )
    with_one_slide = [p for p in patients.patients if (patients.slides["patient_id"] == p).sum() < 2]
    rows = [patients.patients.index(p) for p in with_one_slide]
    found = fitted_on_train(name).predict(shuffled, with_one_slide).risk
    assert found == pytest.approx(predictions_of(name).risk[rows], abs=1e-5)


def test_a_late_fusion_fits_its_parts_itself_and_as_they_would_be_fitted_alone():
    from prognos.training import fit

    train, _ = train_and_test(tiny_cohort())
    recipe = {"epochs": 1, "batch_size": 8, "device": "cpu"}
    fused = fit(train, "late-fusion", training=recipe)
    alone = fit(train, "snn", training=recipe)
    part = fused.model.parts["snn"]
    assert all(torch.equal(value, part.state_dict()[key]) for key, value in alone.model.state_dict().items())


@pytest.mark.parametrize("name", [name for name in NAMES if len(needs_of(name).modalities) > 1])
def test_a_missing_modality_changes_the_risk_of_those_who_have_it_only(name):
    patients, fitted = held_out(), fitted_on_train(name)
    for modality, other in itertools.permutations(needs_of(name).modalities, 2):
        changed = ~np.isclose(fitted.predict(patients, without=modality).risk, predictions_of(name).risk, rtol=0, atol=1e-5)
        both = patients.has(modality) & patients.has(other)
        assert changed[both].all()
        assert not changed[~patients.has(modality)].any()


def test_the_memory_of_training_patients_is_of_the_weights_that_were_fitted():
    fitted, train = fitted_on_train("m3care"), train_and_test(tiny_cohort())[0]
    found = fitted.model.encoders.of_training_patients(Fold(train, fitted.inputs.reader(train), torch.device("cpu"), n_patches=8))
    assert torch.allclose(fitted.model.vectors, found.values, atol=1e-6)
    assert torch.equal(fitted.model.present, found.present)
