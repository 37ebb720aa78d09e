"""LD-CVAE as printed: a joint latent of image and genes, a latent for each group within it, and decoded groups that ask the patches."""

import math

import pytest
import torch

from prognos.models.ld_cvae import rising
from prognos.types import Progress, Survival
from tests.papers.comparison_by_hand import linear, made, patients

LATE = Progress(step=5, steps_per_epoch=2, epoch=2, epochs=4)
EARLY = Progress(step=0, steps_per_epoch=2, epoch=0, epochs=4)
SURVIVAL = Survival(torch.tensor([50.0, 20.0]), torch.tensor([True, True]))


def latents_of(model, bag):
    """What the model encodes a bag to, without noise."""
    return model._predict(bag, None, None)[1]


@torch.no_grad()
@pytest.mark.parametrize("gone", [(), ("omics",), ("histology",), ("histology", "omics")])
def test_the_joint_latent_is_the_product_of_the_prior_and_of_what_a_patient_has(gone):
    model = made("ld-cvae")
    whole, found = latents_of(model, patients()), latents_of(model, patients().without(*gone))
    parts = [of for name, of in (("histology", whole.image), ("omics", whole.genomic)) if name not in gone]
    precision = 1 + sum((1 / of.log_variance.exp() for of in parts), torch.zeros(2, 8))
    mean = sum((of.mean / of.log_variance.exp() for of in parts), torch.zeros(2, 8)) / precision
    assert torch.allclose(found.joint.mean, mean.double())
    assert torch.allclose(found.joint.log_variance.exp(), 1 / precision.double())


@torch.no_grad()
def test_each_group_is_decoded_from_a_latent_of_its_own_beside_that_of_the_image():
    model = made("ld-cvae")
    found = latents_of(model, patients())
    first, _, second = model.decoder.decoders
    for i in range(2):
        for g in range(2):
            both = found.joint.mean[i] @ model.decoder.apart.weight[g] + model.decoder.apart.bias[g]
            beside = torch.cat([both[:8], found.image.mean[i]])
            hidden = (beside @ first.weight[g] + first.bias[g]).clamp(min=0)
            assert torch.allclose(found.decoded[i, g], hidden @ second.weight[g] + second.bias[g])


@torch.no_grad()
def test_the_image_gives_mean_and_variance_from_its_class_token():
    model, bag = made("ld-cvae"), patients()
    found = latents_of(model, bag)
    tokens = torch.stack([linear(model.patches.linear, row).clamp(min=0) for row in bag["histology"].rows(1)])
    both = linear(model.image.both, model.image.encoder.first(tokens))
    assert torch.allclose(found.image.mean[1], both[:8])
    assert torch.allclose(found.image.log_variance[1], both[8:])


@torch.no_grad()
@pytest.mark.parametrize(("progress", "asked_by"), [(EARLY, "measured"), (LATE, "decoded"), (None, "decoded")])
def test_measured_groups_ask_in_the_first_epochs_and_decoded_ones_later_and_in_prediction(progress, asked_by):
    model, bag, seen = made("ld-cvae"), patients(), {}
    model.omics.register_forward_pre_hook(lambda module, given: seen.update(groups=given[0]))
    model(bag, progress)
    assert torch.equal(seen["groups"], getattr(latents_of(model, bag), asked_by))


@torch.no_grad()
def test_decoded_groups_ask_the_patches_for_who_has_no_genes_in_the_first_epochs_too():
    model, seen = made("ld-cvae"), {}
    bag = patients().without("omics", patients=torch.tensor([True, False]))
    model.omics.register_forward_pre_hook(lambda module, given: seen.update(groups=given[0]))
    model(bag, EARLY)
    asking = seen["groups"]
    found = latents_of(model, bag)
    assert torch.equal(asking, torch.stack([found.decoded[0], found.measured[1]]))


@torch.no_grad()
def test_a_prediction_draws_nothing_and_draws_are_of_what_a_patient_lacks_only():
    model = made("ld-cvae")
    bag = patients().without("omics", patients=torch.tensor([True, False]))
    risks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        risks.append(model(bag).risk)
    assert torch.equal(*risks)
    drawn = torch.stack([one.risk for one in model.draws(bag, 3)])
    assert drawn[:, 0].unique().numel() == 3
    assert drawn[:, 1].tolist() == pytest.approx([float(risks[0][1])] * 3)
    assert torch.equal(drawn, torch.stack([one.risk for one in model.draws(bag, 3)]))


@torch.no_grad()
def test_latents_are_drawn_in_training():
    model = made("ld-cvae", dropout=0.0).train()
    assert not torch.equal(model(patients(), LATE).risk, model(patients(), LATE).risk)


@torch.no_grad()
def test_each_term_is_in_the_loss_once_and_is_what_print_says():
    model, bag = made("ld-cvae"), patients()
    terms, found = model.losses(bag, SURVIVAL, LATE), latents_of(model, bag)
    assert set(terms) == {"survival", "image", "reconstruction", "alignment", "kl"}
    assert float(terms["reconstruction"]) == pytest.approx(float((found.decoded - found.measured).square().mean()))
    of_image = model.image_head(found.image.mean)
    assert float(terms["image"]) == pytest.approx(float(model.image_head.loss(of_image, SURVIVAL)))
    image, genomic = found.image, found.genomic
    distance = (image.mean - genomic.mean).square() + (image.log_variance.exp() - genomic.log_variance.exp()).abs()
    assert float(terms["alignment"]) == pytest.approx(0.1 * float(distance.mean()))
    divergence = 0.0
    for of in (image, genomic, found.joint, found.of_groups):
        divergence += float((of.log_variance.exp() + of.mean.square() - 1 - of.log_variance).mean()) / 2
    assert float(terms["kl"]) == pytest.approx(0.1 * rising(LATE) * divergence)


def test_the_weight_of_the_divergences_rises_as_a_half_cosine_over_all_steps():
    steps = [Progress(step, 2, step // 2, 4) for step in (0, 4, 6)]
    assert [rising(one) for one in steps] == pytest.approx([0.0, 0.5, (1 + math.sqrt(0.5)) / 2])


def test_decoding_does_not_move_the_groups_that_it_is_to_hit():
    model = made("ld-cvae").train()
    model.losses(patients(), SURVIVAL, LATE)["reconstruction"].backward()
    assert all(parameter.grad is None for parameter in model.groups.parameters())
    assert bool(model.decoder.apart.weight.grad.any())


@torch.no_grad()
def test_terms_of_both_modalities_are_of_those_who_have_both():
    model = made("ld-cvae")
    bag = patients().without("omics", patients=torch.tensor([True, False]))
    terms, found = model.losses(bag, SURVIVAL, LATE), latents_of(model, bag)
    assert float(terms["reconstruction"]) == pytest.approx(float((found.decoded - found.measured)[1].square().mean()))
    alone = model.losses(patients().without("omics"), SURVIVAL, LATE)
    assert float(alone["alignment"]) == 0 == float(alone["reconstruction"])


def test_the_risk_of_a_prediction_has_a_gradient_for_the_genes():
    model, bag = made("ld-cvae"), patients()
    values = bag["omics"].values.requires_grad_()
    model(bag).risk.sum().backward()
    assert bool(values.grad.any())
