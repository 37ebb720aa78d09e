"""What stands in for a modality that a patient lacks: each policy by hand, and who is left alone."""

import numpy as np
import pytest
import torch
from tests.contract.tiny_cohort import tiny_cohort, tiny_fit, train_and_test

from prognos.models.contract import Needs
from prognos.models.snn import SNN
from prognos.tokens.fill import Filler, MissingRefused
from prognos.training import Fitted
from prognos.training.fitted import filler_of
from prognos.types import Bag, Tokens

MODALITIES = ("histology", "omics", "blood")


def tokens(rows: list[list[list[float]]], width: int) -> Tokens:
    """One list of rows a patient, padded; an empty list lacks the modality."""
    longest = max(1, *map(len, rows))
    values, mask = torch.zeros(len(rows), longest, width), torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, own in enumerate(rows):
        if own:
            values[i, : len(own)], mask[i, : len(own)] = torch.tensor(own), True
    return Tokens(values, mask)


def bag(**rows) -> Bag:
    """`histology`: rows of two numbers; `omics`: two groups of one number; `blood`: one row of one number; [] lacks it."""
    widths = {"histology": 2, "omics": 1, "blood": 1}
    n = len(next(iter(rows.values())))
    return Bag(tuple("abcdefghij"[:n]), {m: tokens(rows[m], widths[m]) for m in MODALITIES if m in rows})


def train() -> Bag:
    """Eight patients with blood 0 to 7 and omics ten times that; the first one's patches are two; the last lacks histology."""
    return bag(
        histology=[[[0.0, 0.0], [2.0, 4.0]], *([[float(i), float(-i)]] for i in range(1, 7)), []],
        omics=[[[10.0 * i], [1.0]] for i in range(8)],
        blood=[[[float(i)]] for i in range(8)],
    )


def learnt(policy, whole: Bag | None = None, modalities=MODALITIES) -> Filler:
    filler = Filler(policy, modalities)
    whole = whole or train()
    places = [slice(i, i + 1) for i in range(len(whole))]
    filler.learn(Bag(whole.patients[i], {m: Tokens(t.values[i], t.mask[i]) for m, t in whole.modalities.items()}) for i in places)
    return filler


def lacking(gone: str, blood: float = 3.2) -> Bag:
    """One complete patient, one who lacks a modality."""
    rows = {"histology": [[9.0, 9.0]], "omics": [[31.0], [1.0]], "blood": [[blood]]}
    return bag(**{m: [own, [] if m == gone else own] for m, own in rows.items()})


def filled(policy, gone, **named):
    return learnt(policy)(lacking(gone, **named))[gone]


# Policies


def test_mean_is_the_mean_of_the_training_patients_who_have_it():
    patches = [[1.0, 2.0]] + [[float(i), float(-i)] for i in range(1, 7)]  # the mean of each patient's patches
    found = filled("mean", "histology")
    assert found.values[1, 0].tolist() == pytest.approx([sum(row[d] for row in patches) / 7 for d in range(2)])
    assert found.mask.tolist() == [[True], [True]]
    assert filled("mean", "omics").values[1].flatten().tolist() == pytest.approx([35.0, 1.0])
    assert filled("mean", "omics").mask.tolist() == [[True, True]] * 2
    assert float(filled("mean", "blood").values[1, 0, 0]) == pytest.approx(3.5)


@pytest.mark.parametrize("gone", MODALITIES)
def test_zero_is_real_tokens_of_zeros(gone):
    found = filled("zero", gone)
    assert not bool(found.values[1].any())
    assert bool(found.mask[1].any())


def test_nearest_is_the_mean_of_the_five_whose_other_modalities_are_nearest():
    """Of blood 3.2 and omics 31 the nearest are 3, 4, 2, 5 and 1; the last one, with no histology, is not asked for it."""
    found = filled("nearest", "histology").values[1, 0].tolist()
    assert found == pytest.approx([sum((1, 2, 3, 4, 5)) / 5, -sum((1, 2, 3, 4, 5)) / 5])


def test_each_dimension_counts_in_its_standard_deviation():
    """By days alone, patient 7 would be farthest of all from blood 0; histology, in its own unit, says otherwise."""
    rows = [[[float(i % 2), 0.0]] for i in range(8)]
    whole = bag(histology=rows, omics=[[[float(i)], [0.0]] for i in range(8)], blood=[[[1000.0 * (i % 2)]] for i in range(8)])
    filler = learnt("nearest", whole)
    found = filler(bag(histology=[[[1.0, 0.0]]], omics=[[]], blood=[[[1000.0]]]))["omics"]
    assert float(found.values[0, 0, 0]) == pytest.approx((1 + 3 + 5 + 7 + 0) / 5, abs=1.3)  # the four odd ones, and one of the others
    assert float(found.values[0, 1, 0]) == 0


def test_fewer_training_patients_than_neighbours_are_all_taken():
    whole = bag(histology=[[[1.0, 1.0]], [[3.0, 5.0]], []], omics=[[[1.0], [1.0]]] * 3, blood=[[[1.0]], [[2.0]], [[3.0]]])
    found = learnt("nearest", whole)(lacking("histology"))["histology"].values[1, 0].tolist()
    assert found == pytest.approx([2.0, 3.0])


def test_nearest_looks_at_what_a_patient_has_whoever_else_is_there():
    """Lacking two of three, the third decides; a batch in which others have more changes nothing."""
    filler = learnt("nearest")
    alone = filler(bag(histology=[[]], omics=[[]], blood=[[[0.1]]]))
    among = filler(bag(histology=[[[1.0, 1.0]], []], omics=[[[5.0], [1.0]], []], blood=[[[6.0]], [[0.1]]]))
    assert float(alone["omics"].values[0, 0, 0]) == pytest.approx(20.0)  # of patients 0 to 4
    assert torch.equal(alone["omics"].values[0], among["omics"].values[1])
    assert torch.equal(alone["histology"].values[0, 0], among["histology"].values[1, 0])


def test_a_training_patient_who_lacks_what_the_other_has_comes_last():
    whole = train()
    whole = whole.without("blood", patients=torch.tensor([i in (3, 4) for i in range(8)]))
    found = learnt("nearest", whole)(lacking("histology"))["histology"].values[1, 0].tolist()
    rest = [[1.0, 2.0], [1.0, -1.0], [2.0, -2.0], [5.0, -5.0], [6.0, -6.0]]  # 0, 1, 2, 5, 6
    assert found == pytest.approx([sum(row[d] for row in rest) / 5 for d in range(2)])


def test_refuse_names_who_lacks_what():
    whole = train().without("omics", patients=torch.tensor([i != 0 for i in range(8)]))
    message = (
        r"7 patients have no omics \(b, c, d and 4 more\), which this model cannot do without, and its policy is to refuse them: "
        r"leave them out, or fit it with inputs\.fill = mean, zero or nearest"
    )
    with pytest.raises(MissingRefused, match=message):
        learnt("refuse", modalities=("omics", "blood"))(whole)
    complete = lacking("nothing")
    assert torch.equal(learnt("refuse")(complete)["omics"].values, complete["omics"].values)


# Who is left alone


@pytest.mark.parametrize("policy", ["mean", "zero", "nearest", "refuse"])
def test_who_has_nothing_at_all_is_left_as_is(policy):
    empty = bag(histology=[[]], omics=[[]], blood=[[]])
    found = learnt(policy)(empty)
    assert not any(bool(found[m].mask.any()) for m in MODALITIES)


@pytest.mark.parametrize("policy", ["mean", "zero", "nearest"])
@pytest.mark.parametrize("gone", MODALITIES)
def test_who_has_everything_keeps_it(policy, gone):
    before = lacking(gone)
    after = learnt(policy)(before)
    for m in MODALITIES:
        n = before[m].values.shape[1]
        assert torch.equal(after[m].values[0, :n], before[m].values[0])
        assert int(after[m].mask[0].sum()) == int(before[m].mask[0].sum())
    assert all(bool(after[m].present.all()) for m in MODALITIES)
    assert not bool(before[gone].present.all())  # what was given is not written to


def test_filled_histology_keeps_half_precision_and_coordinates():
    before = lacking("histology")
    coords = torch.ones(2, 1, 2)
    half = Bag(
        before.patients, {**before.modalities, "histology": Tokens(before["histology"].values.half(), before["histology"].mask, coords)}
    )
    found = learnt("mean")(half)["histology"]
    assert found.values.dtype == torch.float16
    assert torch.equal(found.coords, coords)


def test_a_batch_in_which_nobody_has_omics_gets_all_its_groups():
    whole = bag(histology=[[[1.0, 1.0]]], omics=[[]], blood=[[[2.0]]])
    assert whole["omics"].values.shape[1] == 1
    found = learnt("mean")(whole)["omics"]
    assert found.values.shape == (1, 2, 1)
    assert bool(found.mask.all())


# With a model


@pytest.mark.parametrize(("policy", "complete", "expected"), [("model", False, None), ("model", True, "mean"), ("zero", False, "zero")])
def test_a_model_that_needs_everything_gets_the_mean_where_nothing_is_asked_for(policy, complete, expected):
    filler = filler_of(policy, Needs(("histology", "omics"), complete=complete))
    assert (filler and filler.policy) == expected


@pytest.fixture
def complete_only(monkeypatch):
    """SNN, made up to be a model that reads omics and histology and cannot do without either."""
    monkeypatch.setattr(SNN, "needs", Needs(modalities=("histology", "omics"), complete=True))


def test_a_complete_only_model_is_given_the_training_mean(complete_only):
    training, test = train_and_test(tiny_cohort())
    fitted = tiny_fit(training, "snn", training={"epochs": 1})
    assert fitted.filler.policy == "mean"
    assert fitted.provenance["patients"] == 20  # nobody is left out
    risk = fitted.predict(test, without="omics").risk[test.has("histology")]
    assert len(set(risk.tolist())) == 1  # all have the same stand-in
    reader = fitted.inputs.reader(training)
    has = [patient for patient, some in zip(training.patients, training.has("omics"), strict=True) if some]
    mean = torch.stack([reader.bag((patient,))["omics"].values[0, 0] for patient in has]).mean(dim=0)
    bag_of_mean = Bag(("x",), {"omics": Tokens(mean[None, None], torch.ones(1, 1, dtype=torch.bool))})
    assert float(fitted.model(bag_of_mean).risk.detach()) == pytest.approx(risk[0], abs=1e-5)


@pytest.mark.parametrize("policy", ["mean", "nearest"])
def test_the_stand_ins_travel_with_the_fitted_model(complete_only, tmp_path, policy):
    training, test = train_and_test(tiny_cohort())
    fitted = tiny_fit(training, "snn", training={"epochs": 1}, inputs={"fill": policy})
    read = Fitted.load(fitted.save(tmp_path))
    assert read.filler.policy == policy
    state = fitted.filler.state_dict()
    assert {name: value.tolist() for name, value in read.filler.state_dict().items()} == {
        name: value.tolist() for name, value in state.items()
    }
    assert read.predict(test, without="omics").risk.tolist() == fitted.predict(test, without="omics").risk.tolist()
    assert np.isfinite(read.predict(test).risk).all()


def test_a_refusal_reaches_whoever_fits_or_predicts(complete_only):
    training, test = train_and_test(tiny_cohort())
    with pytest.raises(MissingRefused, match=r"patients have no (omics|histology) \(SIM-.*its policy is to refuse"):
        tiny_fit(training, "snn", inputs={"fill": "refuse"})
    both = np.array(training.patients)[training.has("omics") & training.has("histology")]
    fitted = tiny_fit(training.subset(tuple(both)), "snn", training={"epochs": 1}, inputs={"fill": "refuse"})
    with pytest.raises(MissingRefused, match="patients have no omics"):
        fitted.predict(test, without="omics")
