"""A fitted model on disk, and what may be asked of it."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from tests.contract.tiny_cohort import fitted_on_train, tiny_fit

from prognos import files
from prognos.training import Fitted
from prognos.training.fitted import FORMAT


@pytest.fixture
def folder(tmp_path):
    return fitted_on_train("snn").save(tmp_path / "fold-0")


def change(folder, **values):
    """Says something else in fitted.json; None takes a key out."""
    described = json.loads((folder / "fitted.json").read_text()) | values
    (folder / "fitted.json").write_text(json.dumps({key: value for key, value in described.items() if value is not None}))


# Damaged folders


def test_a_folder_without_a_fitted_model_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"is not a fitted model: it has no fitted\.json; give a fold folder of a run, or what"):
        Fitted.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "", "\x00"])
def test_text_that_is_not_json_is_said(folder, text):
    (folder / "fitted.json").write_text(text)
    with pytest.raises(ValueError, match=r"fitted\.json is not readable JSON \(.*\); fit the model again or copy it anew"):
        Fitted.load(folder)


def test_bytes_that_are_not_text_are_said(folder):
    (folder / "fitted.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"fitted\.json is not readable JSON"):
        Fitted.load(folder)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "new"}'])
def test_json_of_something_else_is_said(folder, text):
    (folder / "fitted.json").write_text(text)
    with pytest.raises(ValueError, match=r"fitted\.json is not what `fitted\.save` wrote: it lacks .* \(1[01] keys\); fit the model again"):
        Fitted.load(folder)


@pytest.mark.parametrize("key", ["inputs", "config", "weights_sha256", "threshold"])
def test_a_key_that_is_gone_is_named(folder, key):
    change(folder, **{key: None})
    with pytest.raises(ValueError, match=rf"it lacks {key} \(1 keys\)"):
        Fitted.load(folder)


def test_a_newer_format_is_refused(folder):
    change(folder, format=FORMAT + 1)
    with pytest.raises(ValueError, match=rf"has format {FORMAT + 1}, newer than {FORMAT}, which this prognos reads; update prognos"):
        Fitted.load(folder)


def test_a_model_that_this_prognos_does_not_know_is_refused(folder):
    change(folder, model="snnn")
    with pytest.raises(ValueError, match="no model is called 'snnn'; did you mean 'snn'"):
        Fitted.load(folder)


def test_weights_of_which_a_bit_has_turned_are_refused_by_their_hash(folder):
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file that fitted\.json was written with; copy the whole"):
        Fitted.load(folder)


def test_weights_that_are_gone_are_said(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file"):
        Fitted.load(folder)


def test_weights_that_are_no_tensors_are_said(folder):
    (folder / "weights.safetensors").write_bytes(b"no tensors")
    change(folder, weights_sha256=hashlib.sha256(b"no tensors").hexdigest())
    with pytest.raises(ValueError, match=r"weights\.safetensors cannot be read \(.*\); fit the model again or copy it anew"):
        Fitted.load(folder)


def test_weights_of_another_model_are_refused_even_when_their_hash_is_given(folder, tmp_path):
    other = fitted_on_train("abmil").save(tmp_path / "other")
    (folder / "weights.safetensors").write_bytes((other / "weights.safetensors").read_bytes())
    change(folder, weights_sha256=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="these weights are of another model"):
        Fitted.load(folder)


def test_a_config_of_other_sizes_is_refused(folder):
    config = json.loads((folder / "fitted.json").read_text())["config"]
    change(folder, config={**config, "d_model": 4})
    with pytest.raises(ValueError, match=r"these weights are of another model: .* has shape"):
        Fitted.load(folder)


# On disk


def test_the_description_is_written_last(folder, tmp_path, monkeypatch):
    written = []
    for name in ("write_tensors", "write_csv", "write_json"):
        original = getattr(files, name)
        monkeypatch.setattr(files, name, lambda path, *rest, original=original: written.append(path.name) or original(path, *rest))
    fitted_on_train("snn").save(tmp_path / "again")
    assert written == ["weights.safetensors", "log.csv", "fitted.json"]


def test_the_log_comes_back_digit_by_digit(folder):
    read, log = Fitted.load(folder).log, fitted_on_train("snn").log
    assert read["total"].tolist() == log["total"].tolist()
    assert read["stage"].tolist() == log["stage"].tolist()


def test_a_model_without_epochs_has_an_empty_log(tmp_path):
    assert Fitted.load(fitted_on_train("null").save(tmp_path)).log.empty


def test_a_saved_folder_can_be_moved(folder, test, tmp_path):
    moved = folder.rename(tmp_path / "elsewhere")
    assert Fitted.load(moved).predict(test).risk.tolist() == fitted_on_train("snn").predict(test).risk.tolist()


# Questions


def test_one_modality_may_be_named_alone(test):
    fitted = fitted_on_train("tta")
    assert fitted.predict(test, without="omics").risk.tolist() == fitted.predict(test, without=("omics",)).risk.tolist()
    assert fitted.predict(test, without="omics").risk.tolist() != fitted.predict(test).risk.tolist()


@pytest.mark.parametrize("asked", [{"without": "omix"}, {"without": ["omics", "omix"]}, {"absent": {"SIM-0021": ["omix"]}}])
def test_a_modality_that_does_not_exist_is_refused_with_the_nearest(test, asked):
    with pytest.raises(ValueError, match=r"without: there is no modality 'omix'; did you mean 'omics'\? Known: histology, clinical, omics"):
        fitted_on_train("abmil").predict(test, **asked)


def test_a_patient_who_is_not_there_is_refused(test):
    with pytest.raises(ValueError, match=r"1 patients are not in tiny \(nobody\)"):
        fitted_on_train("abmil").predict(test, ["nobody"])
    with pytest.raises(ValueError, match=r"absent names 1 patients who are not in tiny \(nobody\): choose among Cohort\.patients"):
        fitted_on_train("abmil").predict(test, absent={"nobody": ("omics",)})


def test_patients_for_whom_a_model_did_not_converge_are_marked(test, monkeypatch):
    fitted = fitted_on_train("abmil")
    assert not fitted.predict(test).not_converged.any()
    forward = type(fitted.model).forward
    slow = test.patients[int(np.flatnonzero(test.has("histology"))[0])]

    def unfinished(self, bag, progress=None):
        converged = torch.tensor([patient != slow for patient in bag.patients])
        return dataclasses.replace(forward(self, bag, progress), evidence={"converged": converged})

    monkeypatch.setattr(type(fitted.model), "forward", unfinished)
    marked = fitted.predict(test)
    assert [patient for patient, one in zip(marked.patients, marked.not_converged, strict=True) if one] == [slow]


def test_one_patient_may_lack_what_others_have(test):
    fitted = fitted_on_train("abmil")
    rows = np.flatnonzero(test.has("histology"))
    predictions, before = fitted.predict(test, absent={test.patients[rows[0]]: "histology"}), fitted.predict(test)
    assert predictions.without_input[rows[0]]
    assert predictions.risk[rows[0]] == fitted.threshold
    assert predictions.risk[rows[1:]] == pytest.approx(before.risk[rows[1:]], abs=1e-6)


@pytest.mark.parametrize("horizons", [[-1.0], [365.0, float("nan")], [float("inf")]])
def test_horizons_are_days(test, horizons):
    with pytest.raises(ValueError, match=r"1 of \d horizons are not days \(.*\); give finite numbers from 0"):
        fitted_on_train("abmil").predict(test, horizons=horizons)


def test_horizons_may_be_an_array_and_stay_in_their_order(test):
    fitted = fitted_on_train("clinical")
    turned = fitted.predict(test, horizons=np.array([1000.0, 10.0]))
    assert turned.horizons.tolist() == [1000.0, 10.0]
    assert (turned.survival[:, 0] <= turned.survival[:, 1]).all()
    assert fitted.predict(test).horizons.tolist() == [365.0, 1095.0, 1825.0]


def test_nobody_asked_for_is_nobody_answered(test):
    predictions = fitted_on_train("abmil").predict(test, [])
    assert predictions.patients == ()
    assert predictions.survival.shape == (0, 3)


def test_a_risk_that_is_not_finite_is_an_error_that_names_the_patients(train, test):
    fitted = tiny_fit(train, "clinical")
    with torch.no_grad():
        fitted.model.head.weight.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"clinical gives 10 of 10 patients a risk that is not finite \(SIM-0021, .* and 7 more\)"):
        fitted.predict(test)


def test_features_of_another_encoder_are_refused_at_prediction(test):
    fitted = fitted_on_train("abmil")
    other = dataclasses.replace(fitted, inputs=dataclasses.replace(fitted.inputs, encoder="uni"))
    with pytest.raises(ValueError, match=r"features of tiny are of the encoder 'simulated', those of training of 'uni': extract them"):
        other.predict(test)


def test_features_of_another_width_are_refused_at_prediction(test):
    fitted = fitted_on_train("abmil")
    other = dataclasses.replace(fitted, inputs=dataclasses.replace(fitted.inputs, d_patch=1024))
    with pytest.raises(ValueError, match=r"the patch features of tiny are 10 wide, those of training 1024: extract them with the encoder"):
        other.predict(test)


def test_a_cohort_without_a_modality_is_predicted_from_the_rest(test):
    bare = dataclasses.replace(test, slides=test.slides.iloc[:0], d_patch=0)
    fitted = fitted_on_train("tta")
    assert fitted.predict(bare).risk == pytest.approx(fitted.predict(test, without="histology").risk, abs=1e-6)


def test_predictions_carry_evidence_and_leave_gradients_to_who_asks(test):
    fitted = fitted_on_train("abmil")
    grad_before = torch.is_grad_enabled()
    for bag, prediction in fitted.predictions(test, test.patients):
        assert torch.is_grad_enabled() == grad_before
        assert not prediction.risk.requires_grad
        assert len(prediction.evidence["attention"]) == len(bag)
