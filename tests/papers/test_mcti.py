"""MCTI as docs/papers/mcti.md describes it: who is seen, what is exchanged, what is learnt."""

import math

import pytest
import torch

from prognos.models import MODELS
from prognos.models.mcti import MCTI, MCTIConfig, labelled_loss
from prognos.nn.mcti import Streams, top_patches
from prognos.nn.patches import spread_patches
from prognos.types import Bag, InputShape, Progress, Survival, Tokens

CLASSES = ("left", "middle", "right")
N_PATCHES = (6, 5, 6, 2)
PROGRESS = Progress(0, 1, 0, 1)
SURVIVAL = Survival(
    torch.tensor([5.0, 2.0, 9.0, 4.0], dtype=torch.float64), torch.tensor([True, True, False, True]), torch.tensor([0, 2, -1, 1])
)


def tiny(classes: tuple[str, ...] = CLASSES, **settings) -> MCTI:
    torch.manual_seed(0)
    config = MCTIConfig(**{"d_model": 8, "heads": 2, "n_top": 3, "n_groups": 2, "n_task_tokens": 2, "dropout": 0.0, **settings})
    model = MCTI(config, InputShape(4, (2, 3), 5, subtypes=classes)).double()
    model.head.learn_marginal(SURVIVAL)
    if hasattr(model, "map_head"):
        model.map_head.learn_marginal(SURVIVAL)
    return model.eval()


def bag(omics: str = "genes") -> Bag:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(6) < torch.tensor(N_PATCHES)[:, None]
    rows = torch.randn(4, 6, 4, generator=generator, dtype=torch.float64) * mask[:, :, None]
    shape = (4, 1, 5) if omics == "genes" else (4, 2, 3)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    present = torch.ones(shape[:2], dtype=torch.bool)
    return Bag(("a", "b", "c", "d"), {"histology": Tokens(rows, mask), "omics": Tokens(values, present)})


# Which patches


@torch.no_grad()
def test_patches_are_chosen_by_the_map_of_the_predicted_class():
    model, whole = tiny(), bag()
    evidence = model(whole).evidence
    for i in range(4):
        attention, logits = evidence["attention"][i], evidence["map_logits"][i]
        assert attention.sum(dim=0).tolist() == pytest.approx([1.0] * 3)
        assert evidence["chosen"][i].tolist() == top_patches(attention[:, int(logits.argmax())], 3).tolist()
    assert [len(places) for places in evidence["chosen"]] == [3, 3, 3, 2]


@torch.no_grad()
def test_the_map_of_the_label_can_choose_in_training_and_never_in_prediction(monkeypatch):
    model, whole = tiny(training_map="label"), bag()
    asked = []
    monkeypatch.setattr(
        "prognos.models.mcti.top_patches", lambda attention, count: asked.append(attention) or top_patches(attention, count)
    )
    model.losses(whole, SURVIVAL, PROGRESS)
    mapped = model._mapped(whole)
    for i, label in enumerate(SURVIVAL.subtype.tolist()):
        own = label if label >= 0 else int(mapped[i].logits.argmax())
        assert torch.equal(asked[i], mapped[i].attention[:, own])
    asked.clear()
    model(whole, PROGRESS)
    assert all(torch.equal(asked[i], mapped[i].attention[:, int(mapped[i].logits.argmax())]) for i in range(4))


@torch.no_grad()
def test_without_maps_patches_are_spread_evenly():
    chosen = tiny(patches="spread")(bag()).evidence["chosen"]
    assert [places.tolist() for places in chosen] == [spread_patches(n, 3).tolist() for n in N_PATCHES]


@torch.no_grad()
def test_a_patch_that_is_not_kept_matters_through_the_maps_alone():
    """It changes which class is predicted, or nothing: here it is far from being kept."""
    model, whole = tiny(), bag()
    before = model(whole)
    left = next(j for j in range(6) if j not in before.evidence["chosen"][0].tolist())
    whole["histology"].values[0, left] *= 1.001
    after = model(whole)
    assert torch.equal(before.evidence["chosen"][0], after.evidence["chosen"][0])
    assert torch.allclose(before.risk, after.risk, atol=1e-12)


# What the streams hold, and their way


@torch.no_grad()
def test_each_stream_holds_its_task_tokens_the_kept_patches_and_the_groups_of_genes():
    model, whole = tiny(), bag()
    chosen = model(whole).evidence["chosen"]
    seen = 0
    for places, streams in model._streams(whole, chosen):
        for row, i in enumerate(places):
            patches = model.maps.encode(whole["histology"].values[i][chosen[i]])
            genes = model.genes(whole["omics"].values[i])[0]
            for task, stream in zip(model.task_tokens, streams, strict=True):
                assert torch.allclose(stream[row], torch.cat([task, patches, genes]), atol=1e-12)
            seen += 1
    assert seen == 4


@torch.no_grad()
@pytest.mark.parametrize("orientation", ["figure", "released"])
def test_the_shared_stream_of_each_encoding_block_comes_back_in_the_decoding_block_across(orientation):
    model = tiny(orientation=orientation, blocks=3)
    streams = Streams(*torch.randn(3, 1, 5, 8, dtype=torch.float64))
    found = model._exchanged(streams)
    one, two, three = model.encoder
    first = one(streams)
    second = two(first)
    third = three(second)
    expected = model.decoder[2](model.decoder[1](model.decoder[0](third, third.shared), second.shared), first.shared)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert {block.from_shared for block in model.encoder} == {orientation == "released"}
    assert {block.from_shared for block in model.decoder} == {orientation == "figure"}


@torch.no_grad()
def test_heads_read_the_mean_of_their_streams_tokens():
    model, whole = tiny(), bag()
    prediction = model(whole)
    for places, streams in model._streams(whole, prediction.evidence["chosen"]):
        decoded = model._exchanged(streams)
        survival = model.head(model.norms["survival"](decoded.survival.mean(dim=1)))
        subtype = model.subtype_head(model.norms["subtype"](decoded.subtype.mean(dim=1)))
        assert torch.allclose(prediction.risk[places], survival.risk, atol=1e-10)
        assert torch.allclose(prediction.subtype_logits[places], subtype, atol=1e-10)


# Losses


@torch.no_grad()
def test_the_loss_weighs_survival_subtype_and_maps():
    weights = {"survival_weight": 0.3, "subtype_weight": 0.6, "map_weight": 0.9}
    model, whole = tiny(**weights), bag()
    terms, prediction = model.losses(whole, SURVIVAL, PROGRESS), model(whole)
    assert set(terms) == {"survival", "subtype", "map"}
    assert float(terms["survival"]) == pytest.approx(0.3 * float(model.head.loss(prediction, SURVIVAL)))
    for term, logits, weight in (("subtype", prediction.subtype_logits, 0.6), ("map", prediction.evidence["map_logits"], 0.9)):
        by_hand = [-float(logits[i].log_softmax(dim=0)[label]) for i, label in enumerate(SURVIVAL.subtype.tolist()) if label >= 0]
        assert float(terms[term]) == pytest.approx(weight * sum(by_hand) / 3)


def test_patients_without_a_label_have_no_part_in_the_subtype_terms():
    logits = torch.randn(3, 4, requires_grad=True)
    labelled_loss(logits, torch.tensor([1, -1, 2])).backward()
    assert not bool(logits.grad[1].any())
    assert bool(logits.grad[0].any() & logits.grad[2].any())
    nobody = torch.randn(2, 4, requires_grad=True)
    loss = labelled_loss(nobody, torch.tensor([-1, -1]))
    loss.backward()
    assert (float(loss.detach()), bool(nobody.grad.any())) == (0.0, False)


@torch.no_grad()
@pytest.mark.parametrize("gone", ["histology", "omics"])
def test_a_patient_who_lacks_a_modality_has_no_tokens_of_it(gone):
    model, whole = tiny(), bag().without(gone, patients=torch.tensor([True, False, False, False]))
    prediction = model(whole)
    assert bool(prediction.risk.isfinite().all())
    sizes = {i: streams.survival.shape[1] for places, streams in model._streams(whole, prediction.evidence["chosen"]) for i in places}
    assert sizes[0] == 2 + (0 if gone == "histology" else 3) + (0 if gone == "omics" else 2)
    terms = model.losses(whole, SURVIVAL, PROGRESS)
    assert all(bool(term.isfinite()) for term in terms.values())
    if gone == "histology":
        labels = SURVIVAL.subtype.clone()
        labels[0] = -1
        assert float(terms["map"]) == pytest.approx(float(labelled_loss(prediction.evidence["map_logits"], labels)))


# Without classes, and one task alone


@torch.no_grad()
def test_without_classes_there_is_one_map_trained_by_the_survival_of_what_it_gathers():
    model, whole = tiny(classes=()), bag()
    terms, mapped = model.losses(whole, SURVIVAL, PROGRESS), model._mapped(whole)
    assert set(terms) == {"survival", "map"}
    assert mapped[0].attention.shape == (6, 1)
    gathered = torch.stack([one.pooled[0] for one in mapped])
    assert float(terms["map"]) == pytest.approx(float(model.map_head.loss(model.map_head(gathered), SURVIVAL)))
    assert model(whole).subtype_logits is None
    nobody = model.losses(whole.without("histology"), SURVIVAL, PROGRESS)
    assert float(nobody["map"]) == 0


def test_a_weight_of_zero_leaves_a_task_out():
    assert not MCTI.needs_of(MCTIConfig(subtype_weight=0)).subtype
    assert MCTI.needs_of(MCTIConfig()).subtype
    alone = tiny(survival_weight=0)(bag())
    assert alone.risk.detach().diff().abs().max() < 1e-12
    assert alone.subtype_logits is not None


@torch.no_grad()
def test_one_modality_alone_is_enough():
    genes = tiny(modalities=("omics",))
    only = Bag(("a", "b", "c", "d"), {"omics": bag()["omics"]})
    prediction = genes(only)
    assert prediction.evidence == {}
    assert prediction.subtype_logits.shape == (4, 3)
    assert set(genes.losses(only, SURVIVAL, PROGRESS)) == {"survival", "subtype"}
    patches = tiny(modalities=("histology",))
    assert patches.gene_groups() is None
    assert bool(patches(Bag(("a", "b", "c", "d"), {"histology": bag()["histology"]})).risk.isfinite().all())


# Groups of genes


@torch.no_grad()
def test_learnt_groups_can_be_read_out_and_given_ones_are_gene_sets():
    model = tiny()
    assert model.gene_groups().shape == (5, 2)
    assert model.gene_groups().sum(dim=1).tolist() == pytest.approx([1.0] * 5)
    fixed = tiny(grouping="fixed")
    assert fixed.gene_groups() is None
    assert (fixed.needs.omics, fixed.needs.gene_set) == ("pathways", "functional")
    assert bool(fixed(bag("pathways")).risk.isfinite().all())


def test_the_plan_passes_no_gradient_and_everything_else_does():
    model = tiny().train()
    sum(model.losses(bag(), SURVIVAL, PROGRESS).values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


def test_the_paper_preset_follows_what_is_known():
    entry = MODELS["mcti-paper"]
    config = MCTIConfig(**entry.config)
    assert (config.d_model, config.n_top, config.n_groups, config.n_task_tokens, config.blocks) == (256, 256, 8, 8, 2)
    assert (config.survival, config.n_bins, config.survival_weight, config.subtype_weight) == ("discrete", 4, 1.0, 1.0)
    assert entry.training["batch_size"] * entry.training["accumulate"] == 32
    assert (entry.training["epochs"], entry.training["learning_rate"]) == (20, 2e-4)
    assert math.isclose(config.epsilon, 0.1)
