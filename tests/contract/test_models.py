"""What every model of the table must keep to, found by its entry in MODELS."""

import inspect
from dataclasses import replace

import pytest
import torch

from prognos.config import ConfigError, bind
from prognos.models import MODELS, entry_of
from prognos.risk import CoxHead, DiscreteHead
from prognos.types import Bag, Progress, Tokens
from tests.contract.tiny_models import HEAD, N_PATCHES, NAMES, SURVIVAL, TRAINED, Fold, bag, build, one

HISTOLOGY = [name for name in NAMES if "histology" in entry_of(name).load().needs.modalities]
PROGRESS = Progress(step=0, steps_per_epoch=2, epoch=0, epochs=3)

PARAMETERS = {
    # name: written from the formula in the comment, at d = 8, 5 genes, 8 patch features, 3 pathways padded to 3, 4 prototypes
    "null": 0,
    "clinical": 3,  # one coefficient a column
    "snn": (5 * 8 + 8) + (8 * 8 + 8) + 8,  # two layers, w
    "abmil": (8 * 8 + 8) + 2 * (8 * 8 + 8) + (8 + 1) + (8 * 8 + 8) + 8,  # projection, gate twice, score, pooled layer, w
}
PARAMETERS["late-fusion"] = PARAMETERS["snn"] + PARAMETERS["abmil"] + 1
_ENCODERS = (8 * 8 + 8) + 3 * (3 + 1) * 8
_BLOCK = 3 * 64 + 2 * (64 + 8)
_APART = 2 * (8 + _BLOCK + 3 * 16) + 2 * (64 + 8)
_FUSION = _BLOCK + 2 * 16 + 16
PARAMETERS["tta"] = _ENCODERS + 2 * 64 + 4 * 8 + 2 * 64 + _APART + _FUSION
PARAMETERS["tta-paper"] = PARAMETERS["tta"] + 4 * 2 * 64  # four more heads of W_m
PARAMETERS["tta-released"] = PARAMETERS["tta-paper"] - 2 * 64  # no U_m
_ATTENTION = 3 * 64 + (64 + 8)  # queries, keys, values; what leaves it
_NORM = 16
_POOL = 8 + _NORM + _ATTENTION + _NORM  # class token, norm, attention, norm
_CONVOLUTION = 2 * 33  # one filter a head over the values
_NYSTROM = _NORM + _ATTENTION + _CONVOLUTION
_POSITIONS = 8 * (49 + 25 + 9 + 3)
_PATCHES = (8 * 8 + 8) + (8 + 2 * _NYSTROM + _POSITIONS + _NORM) + _POOL
_GROUPS = 3 * (3 * 8 + 8 + 64 + 8) + (8 + _NORM + _ATTENTION + _NORM) + _POOL
_CROSS = 2 * _NORM + _ATTENTION + _POOL
_HEADS = (3 * 64 + 8) + (8 * 4 + 4) + (2 * 64 + 8) + (8 * 4 + 4)  # phi, phi of the warm-up
PARAMETERS["must"] = _PATCHES + _GROUPS + 2 * _CROSS + 8 * 3 + _HEADS
PARAMETERS["must-paper"] = PARAMETERS["must"] - _POOL + (8 + _NYSTROM + _NORM)  # a Nystrom layer for u_P
_MAPS = (8 * 8 + 8) + 2 * (8 * 8 + 8) + (8 * 2 + 2) + (2 * 8 + 2)  # embedding, gate twice, a score a class, a logit a class
_GENES = 5 * 8 + 5 * 8 + 8 * 8 + _NORM + (_NORM + _ATTENTION)  # shares of eight groups, weights, biases, norm, groups attend
_UPDATE = (_NORM + _ATTENTION) + _NORM + (8 * 16 + 16) + (16 * 8 + 8)  # guided attention, norm, network
_JOIN = 16 * 8 + 8
_EXCHANGE = 2 * (2 * _UPDATE + _JOIN) + 2 * (2 * _UPDATE + _JOIN) + _JOIN  # two blocks that gather, two with skips, of which one gathers
PARAMETERS["mcti"] = _MAPS + _GENES + 3 * 8 * 8 + _EXCHANGE + 2 * _NORM + (8 * 4 + 4) + (8 * 2 + 2)
PARAMETERS["mcti-paper"] = PARAMETERS["mcti"]
PARAMETERS["snn-paper"], PARAMETERS["abmil-paper"] = (PARAMETERS[name] - 8 + (8 * 4 + 4) for name in ("snn", "abmil"))
PARAMETERS["mlp"] = (5 * 8 + 8) + (8 * 8 + 8) + 8
PARAMETERS["mlp-paper"] = PARAMETERS["mlp"] - 8 + (8 * 4 + 4)
_SNNS = 3 * (3 * 8 + 8 + 64 + 8)  # two layers a group, padded to the widest
_LAYER = (_NORM + _ATTENTION) + _NORM + (8 * 16 + 16) + (16 * 8 + 8)
PARAMETERS["snntrans"] = _SNNS + 8 + 2 * _LAYER + _NORM + 8
PARAMETERS["transmil"] = (8 * 8 + 8) + (8 + 2 * _NYSTROM + _POSITIONS + _NORM) + 8
PARAMETERS["transmil-paper"] = PARAMETERS["transmil"] - 8 + (8 * 4 + 4)
_SIDE = 2 * _LAYER + _NORM + 2 * (8 * 8 + 8) + 8 + (8 * 8 + 8)  # layers, norm, gate twice, score, dense
PARAMETERS["attnmisl"] = (8 * 8 + 8) + (8 * 4 + 4) + 4 + (8 * 4 + 4) + 4  # projection, score, dense, w
PARAMETERS["attnmisl-paper"] = PARAMETERS["attnmisl"]
PARAMETERS["clam"] = (8 * 8 + 8) + 2 * (8 * 8 + 8) + 8 + 8 + 4 * (8 * 2 + 2)  # projection, gate twice, score, w, a classifier a bin
PARAMETERS["clam-paper"] = PARAMETERS["clam"] - 8 + (8 * 4 + 4)
PARAMETERS["mcat"] = (8 * 8 + 8) + _SNNS + _ATTENTION + 2 * _SIDE + (16 * 8 + 8) + (8 * 8 + 8) + 8
PARAMETERS["mcat-paper"] = PARAMETERS["mcat"] - 8 + (8 * 4 + 4)
PARAMETERS["motcat"] = PARAMETERS["mcat"] - _ATTENTION  # a plan has none
PARAMETERS["motcat-paper"] = PARAMETERS["motcat"] - 8 + (8 * 4 + 4)
_TRANSMIL = 8 + 2 * _NYSTROM + _POSITIONS + _NORM  # class token, two layers, convolutions, norm
_GENE_LAYERS = 8 + 2 * _NYSTROM + _NORM
_NARROW_SNNS = 3 * (3 * 6 + 6 + 6 * 8 + 8)  # 6 wide in between
PARAMETERS["cmta"] = (8 * 8 + 8) + _NARROW_SNNS + 2 * _TRANSMIL + 2 * _GENE_LAYERS + 2 * _ATTENTION + (16 * 8 + 8) + (8 * 8 + 8) + 8
PARAMETERS["cmta-paper"] = PARAMETERS["cmta"] - 8 + (8 * 4 + 4)
_LOCAL = 8 + 4 * 8 + 2 * _LAYER + _NORM  # class token, four places, layers, norm
PARAMETERS["hipt"] = (8 * 8 + 8) + _LOCAL + (8 * 8 + 8) + _SIDE + 8
PARAMETERS["hipt-paper"] = PARAMETERS["hipt"] - 8 + (8 * 4 + 4)
PARAMETERS["otsurv"] = (8 * 8 + 8) + 4 * 8 + 4 + 8  # projection, prototypes, a weight a prototype, w
PARAMETERS["otsurv-paper"] = PARAMETERS["otsurv"]
_HALVES = 3 * 8 * 4 + 8 + 2 * (4 * 4 + 4) + 8  # queries, keys, values of width 4; norm, network, norm
PARAMETERS["survpath"] = (8 * 8 + 8) + _SNNS + _HALVES + (8 * 2 + 2) + 2
PARAMETERS["survpath-paper"] = PARAMETERS["survpath"] - 2 + (2 * 4 + 4)

PARAMETERS["panther"] = 4 * (1 + 2 * 8)  # w on pi, mu and Sigma of each prototype
PARAMETERS["panther-paper"] = PARAMETERS["panther"]
_WIDTH = (8 + 4) // 2  # a token and its code, halved
_NETWORKS = (4 + 3) * 2 * (_WIDTH**2 + _WIDTH)  # a network for each prototype and pathway
PARAMETERS["mmp"] = (17 * 8 + 8) + _SNNS + (4 + 3) * 4 + 3 * 12 * _WIDTH + _NETWORKS + 2 * _WIDTH + 2 * _WIDTH  # ..., norm, w
PARAMETERS["mmp-paper"] = PARAMETERS["mmp"]
_TO_TOKENS = (6 * 6 + 6) + (6 * 8 + 8)
_ENCODED = (8 * 6 + 6) + 3 * (3 * 6 + 6 + 36 + 6) + 2 * _TO_TOKENS
_MIXED = (_NORM + _ATTENTION) + _NORM + (8 * 6 + 6) + (6 * 8 + 8) + _NORM
PARAMETERS["pibd"] = _ENCODED + 2 * 8 * 16 + _MIXED + 2 * 4 * (8 * 8 + 8) + (24 * 8 + 8) + 8  # ..., proxies, ..., estimators, join, w
PARAMETERS["pibd-paper"] = PARAMETERS["pibd"] - 8 + (8 * 4 + 4)
_IMAGE = (8 + 2 * _NYSTROM + _POSITIONS + _NORM) + (8 * 16 + 16)
_GENOMIC = 2 * 8 + _LAYER + _NORM + 2 * (8 * 8 + 8)
_DECODER = 3 * ((8 * 16 + 16) + (16 * 16 + 16) + (16 * 8 + 8))  # a latent and a decoder a group
PARAMETERS["ld-cvae"] = PARAMETERS["mcat"] + _IMAGE + _GENOMIC + _DECODER + 8  # the image has a head of its own
PARAMETERS["ld-cvae-paper"] = PARAMETERS["ld-cvae"] + 2 * (8 * 4 + 4 - 8)
_VECTORS = PARAMETERS["abmil"] - 1 - 8 + PARAMETERS["snn"] - 8  # no bias of the score, no w
_NETWORK = 2 * (8 * 8 + 8)
PARAMETERS["shaspec"] = _VECTORS + 3 * _NETWORK + 2 * (16 * 8 + 8) + (8 * 2 + 2) + 8  # encoders, composition and join, domain, w
PARAMETERS["shaspec-paper"] = PARAMETERS["shaspec"] - 8 + (8 * 4 + 4)
PARAMETERS["smil"] = _VECTORS + 2 * (8 * 3 + 3) + 2 * _NETWORK + (16 * 8 + 8) + 3 * 8  # weights of centres, noise twice, fusion, w thrice
PARAMETERS["smil-paper"] = PARAMETERS["smil"] + 3 * (8 * 4 + 4 - 8)
_GATHERING = _NETWORK + 2 * (8 + 1)  # two convolutions, two weights
_WIDE_LAYER = (_NORM + _ATTENTION) + _NORM + (8 * 32 + 32) + (32 * 8 + 8)
PARAMETERS["m3care"] = _VECTORS + 2 * _NETWORK + 2 + 1 + 2 * _GATHERING + 2 * 8 + _WIDE_LAYER + (16 * 8 + 8) + 8
PARAMETERS["m3care-paper"] = PARAMETERS["m3care"] - 8 + (8 * 4 + 4)


def test_the_list_of_models_is_complete():
    assert set(PARAMETERS) == set(MODELS)
    assert all(name == entry.name for name, entry in MODELS.items())


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NAMES])
def test_a_preset_that_differs_in_its_head_or_training_only_is_the_same_network_with_that_head(name):
    first = next(other for other in NAMES if entry_of(other).path == entry_of(name).path)
    assert {key: value for key, value in entry_of(name).config.items() if key not in HEAD} == {}
    assert shapes_without_heads(build(name)) == shapes_without_heads(build(first))


def test_who_keeps_something_of_each_training_patient_says_so():
    assert [name for name in NAMES if build(name).keeps_patients] == ["m3care"]


def shapes_without_heads(model):
    heads = tuple(f"{place}." for place, module in model.named_modules() if isinstance(module, CoxHead | DiscreteHead))
    return {key: value.shape for key, value in model.state_dict().items() if not key.startswith(heads)}


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_parameters_follows_from_the_formula(name):
    own = {n: p.numel() for n, p in build(name).named_parameters() if not n.startswith("generators.")}
    assert sum(own.values()) == PARAMETERS[name]  # generators have their formula in their own tests


@pytest.mark.parametrize("name", NAMES)
def test_forward_takes_a_bag_and_no_label(name):
    parameters = inspect.signature(entry_of(name).load().forward).parameters
    assert list(parameters) == ["self", "bag", "progress"]


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_has_a_finite_risk_a_patient(name):
    model = build(name)
    prediction = model(bag(model.needs))
    assert prediction.risk.shape == (6,)
    assert bool(prediction.risk.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_patients_one_by_one(name):
    model = build(name)
    whole = bag(model.needs)
    singly = torch.cat([model(one(whole, i)).risk for i in range(6)])
    assert torch.allclose(model(whole).risk, singly, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_the_risk(name):
    model = build(name)
    assert torch.allclose(model(bag(model.needs)).risk, model(bag(model.needs, extra_padding=100)).risk, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in HISTOLOGY if not entry_of(n).load().ordered])
def test_the_order_of_patches_does_not_change_the_risk(name):
    model = build(name)
    before = bag(model.needs)
    tokens = before["histology"]
    values = tokens.values.clone()
    for i, n in enumerate(N_PATCHES):
        values[i, :n] = values[i, :n].flip(0)
    after = Bag(before.patients, {**before.modalities, "histology": Tokens(values, tokens.mask, tokens.coords)})
    assert torch.allclose(model(before).risk, model(after).risk, atol=1e-5)


@pytest.mark.parametrize("name", HISTOLOGY)
def test_real_patches_need_not_stand_in_front(name):
    model = build(name)
    front = bag(model.needs)
    tokens = front["histology"]
    back = Tokens(tokens.values.clone(), tokens.mask.flip(1), tokens.coords.clone())
    for i, n in enumerate(N_PATCHES):
        behind = tokens.values.shape[1] - n
        back.values[i], back.coords[i] = tokens.values[i].roll(behind, dims=0), tokens.coords[i].roll(behind, dims=0)
    turned = Bag(front.patients, {**front.modalities, "histology": back})
    assert torch.allclose(model(front).risk, model(turned).risk, atol=1e-5)


@pytest.mark.parametrize("name", HISTOLOGY)
def test_half_precision_features_are_read(name):
    model = build(name)
    whole = bag(model.needs)
    tokens = whole["histology"]
    half = Bag(whole.patients, {**whole.modalities, "histology": Tokens(tokens.values.half(), tokens.mask, tokens.coords)})
    assert torch.allclose(model(whole).risk, model(half).risk, atol=2e-2)


@pytest.mark.parametrize("name", NAMES)
def test_any_missing_modality_leaves_the_risk_finite_and_others_as_they_were(name):
    model = build(name)
    whole = bag(model.needs)
    for gone in model.needs.modalities:
        patients = torch.tensor([True, False, False, True, False, False])
        risk = model(whole.without(gone, patients=patients)).risk
        assert bool(risk.isfinite().all())
        assert torch.allclose(risk[~patients], model(whole).risk[~patients], atol=1e-5)
    assert bool(model(whole.without(*model.needs.modalities)).risk.isfinite().all())


@pytest.mark.parametrize("name", TRAINED)
def test_losses_with_a_missing_modality_have_finite_gradients(name):
    model = build(name).train()
    for gone in model.needs.modalities:
        model.zero_grad()
        sum(model.losses(bag(model.needs).without(gone), SURVIVAL, PROGRESS).values()).backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_one_patient_with_one_patch_works(name):
    model = build(name)
    assert bool(model(bag(model.needs, patches=(1,))).risk.isfinite().all())


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_in_use_has_a_gradient(name):
    model = build(name).train()
    for stage in model.stages(3, 1e-3):
        model.zero_grad(set_to_none=True)
        progress = replace(PROGRESS, stage=stage.name)
        if stage.latents is None:
            terms = model.losses(bag(model.needs), SURVIVAL, progress)
        else:
            terms = model.latent_losses(model.latents(Fold(model.needs), stage), progress)
        sum(terms.values()).backward()
        trained = {n: p for n, p in model.trained_in(stage) if p.requires_grad}
        assert [n for n, p in trained.items() if p.grad is None or not bool(p.grad.any())] == []
        assert [n for n, p in model.named_parameters() if p.grad is not None and n not in trained] == []


@pytest.mark.parametrize("name", TRAINED)
def test_the_survival_loss_is_among_the_terms_and_all_are_scalars(name):
    model = build(name)
    terms = model.losses(bag(model.needs), SURVIVAL, PROGRESS)
    assert "survival" in terms
    assert all(term.shape == () for term in terms.values())


@pytest.mark.parametrize("name", [n for n in TRAINED if "survival" in entry_of(n).load().Config.model_fields])
def test_the_discrete_head_serves_every_trained_model(name):
    model = build(name, survival="discrete", n_bins=3)
    prediction = model(bag(model.needs))
    curve = model.head.survival_curve(prediction, torch.linspace(0, 100, 21))
    assert prediction.hazard_logits.shape == (6, 3)
    assert bool((curve.diff(dim=1) <= 1e-12).all())
    assert bool((curve[:, 0] == 1).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_falls_from_one_and_a_higher_risk_lies_below(name):
    model = build(name)
    model.learn(Fold(model.needs))
    whole = bag(model.needs)
    prediction = model(whole)
    model.finish(Fold(model.needs), prediction.risk.detach())
    curve = model.head.survival_curve(prediction, torch.tensor([0.0, 15.0, 25.0, 60.0, 1000.0]))
    assert curve.shape == (6, 5)
    assert bool((curve[:, 0] == 1).all())
    assert bool((curve.diff(dim=1) <= 0).all())
    if not isinstance(model.head, DiscreteHead):  # whose curves may cross
        order = prediction.risk.argsort()
        assert bool((curve[order, 3].diff() <= 1e-12).all())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learnt_from_a_fold_is_learnt_the_same_twice(name):
    states = []
    for _ in range(2):
        model = build(name)
        model.learn(Fold(model.needs))
        model.begin_epoch(Fold(model.needs), PROGRESS)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", NAMES)
def test_evidence_does_not_depend_on_training_mode(name):
    model = build(name)
    whole = bag(model.needs)
    evaluation = set(model(whole).evidence)
    assert set(model.train()(whole, PROGRESS).evidence) == evaluation


@pytest.mark.parametrize("name", NAMES)
def test_similarities_are_cosines_of_each_patient_who_lacks_nothing(name):
    model = build(name).eval()
    whole = bag(model.needs)
    with torch.no_grad():
        found = model.similarities(model(whole))
    for pair, cosines in found.items():
        assert len(pair) == 2
        assert cosines.shape == (len(whole),)
        assert bool((cosines.abs() <= 1 + 1e-6).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_config_refuses_unknown_keys(name):
    with pytest.raises(ValueError, match="dmodel"):
        entry_of(name).load().Config(dmodel=3)


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="no model is called 'abmill'; did you mean 'abmil'"):
        entry_of("abmill")


@pytest.mark.parametrize(
    ("name", "given", "heads"),
    [
        ("hipt", {"d_model": 64}, "local_heads = 6"),
        ("hipt", {"d_model": 64, "local_heads": 4}, "global_heads = 3"),
        ("must", {"d_model": 60}, "heads = 8"),
    ],
)
def test_a_width_that_heads_cannot_share_is_refused_before_anything_is_read(name, given, heads):
    entry = MODELS[name]
    expected = (
        rf"\[model\.{name}\]: {heads} cannot share a width of d_model = {given['d_model']}: choose a \w*heads that it is a multiple of\."
    )
    with pytest.raises(ConfigError, match=expected):
        bind(entry.load().Config, {**entry.config, **given}, f"[model.{name}]")


def test_every_number_of_heads_but_those_of_tta_says_what_it_shares():
    for entry in MODELS.values():
        fields = entry.load().Config.model_fields
        told = {name for name, field in fields.items() if (field.json_schema_extra or {}).get("share") == "d_model"}
        named = {name for name in fields if name.endswith("heads")}
        assert told == (set() if "tta" in entry.load().__module__ else named)
