"""MMP as printed: a few prototypes and pathways look at each other by one softmax, or meet in a plan."""

import math

import pytest
import torch

from prognos.models import entry_of
from tests.papers.comparison_by_hand import group_token, linear, made, mixture_by_hand, patients, softmax, weighted

CENTRES = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def with_centres(**settings):
    """The model on three prototypes."""
    model = made("mmp", n_prototypes=3, d_code=4, **settings)
    model.mixture.prototypes.copy_(CENTRES)
    return model


def tokens_by_hand(model, bag, i, n):
    """Three prototypes, two pathways, each with its code."""
    weight, mean, variance, _ = mixture_by_hand(bag["histology"].values[i, :n], CENTRES, 1.0, 1.0)
    kinds = [linear(model.kinds, row) for row in torch.cat([weight[:, None], mean, variance], dim=1)]
    pathways = [group_token(model.pathways, c, bag["omics"].values[i, c]) for c in range(2)]
    return [torch.cat([token, code]) for token, code in zip(kinds + pathways, model.codes, strict=True)]


def closed_by_hand(model, attended):
    """Each token through its own network, and the norm."""
    norm, first, _, _, second = model.networks
    found = []
    for place, token in enumerate(attended):
        hidden = torch.nn.functional.gelu(norm(token) @ first.weight[place] + first.bias[place])
        found.append(model.norm(hidden @ second.weight[place] + second.bias[place]))
    return found


def attended_by_hand(model, tokens, may):
    """One head of attention among the places that each token may look at; the attended tokens and the weights."""
    query, key, value = ([linear(model.attention.query_key_value, t)[part : part + 6] for t in tokens] for part in (0, 6, 12))
    weights = [softmax([float(query[j] @ key[k]) / math.sqrt(6) for k in may(j)]) for j in range(len(tokens))]
    return [weighted(weights[j], [value[k] for k in may(j)]) for j in range(len(tokens))], weights


@torch.no_grad()
def test_all_tokens_look_at_all_and_each_has_a_network_of_its_own():
    model, bag = with_centres(), patients()
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        attended, weights = attended_by_hand(model, tokens_by_hand(model, bag, i, n), lambda _: range(5))
        assert torch.allclose(prediction.evidence["attention"][i], torch.tensor(weights, dtype=torch.float64))
        closed = closed_by_hand(model, attended)
        means = torch.cat([sum(closed[:3]) / 3, sum(closed[3:]) / 2])
        assert float(prediction.risk[i]) == pytest.approx(float(model.head(means[None]).risk[0]), rel=1e-6)


@torch.no_grad()
def test_prototypes_are_not_softmaxed_twice():
    model = with_centres()
    model.attention.query_key_value.weight *= 20  # attention far from uniform
    rows = model(patients()).evidence["attention"][0, :3]
    twice = torch.softmax(rows, dim=1)
    assert float(twice.max()) <= math.e / (math.e + 4)  # as uniform as a second softmax leaves any row of five
    assert float(rows.max()) > 0.9


@torch.no_grad()
def test_the_second_softmax_of_the_published_code_is_an_option():
    model, bag = with_centres(softmax="twice"), patients()
    evidence = model(bag).evidence
    for i, n in enumerate((5, 3)):
        tokens = tokens_by_hand(model, bag, i, n)
        query, key = ([linear(model.attention.query_key_value, t)[part : part + 6] for t in tokens] for part in (0, 6))
        scores = [[float(q @ k) / math.sqrt(6) for k in key] for q in query]
        rows = [softmax([*own[:3], *softmax(own[3:])]) for own in scores[:3]] + [softmax(own) for own in scores[3:]]
        assert torch.allclose(evidence["attention"][i], torch.tensor(rows, dtype=torch.float64))
    assert model.config.as_released == ("softmax = twice",)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["attention", "transport"])
def test_nobody_looks_at_an_absent_modality_whose_mean_is_zero(fusion):
    model, bag, seen = with_centres(fusion=fusion), patients(), {}
    model.head.register_forward_pre_hook(lambda module, given: seen.update(means=given[0]))
    looked = model(bag.without("histology")).evidence["attention"]
    assert not bool(looked[:, :3].any())
    assert not bool(looked[:, :, :3].any())
    assert not bool(seen["means"][:, :6].any())
    assert bool(seen["means"][:, 6:].any())


@torch.no_grad()
def test_in_a_plan_each_token_becomes_the_mean_of_the_others_and_then_looks_at_its_own_modality():
    model, bag = with_centres(fusion="transport"), patients()
    prediction = model(bag)
    for i, n in enumerate((5, 3)):
        tokens, plan = tokens_by_hand(model, bag, i, n), prediction.evidence["plan"][i]
        exchanged = [weighted([float(q / sum(row)) for q in row], tokens[3:]) for row in plan]
        exchanged += [weighted([float(q / sum(column)) for q in column], tokens[:3]) for column in plan.T]
        attended, weights = attended_by_hand(model, exchanged, lambda j: range(3) if j < 3 else range(3, 5))
        assert prediction.evidence["attention"][i, 4, 3:].tolist() == pytest.approx(weights[4])
        closed = closed_by_hand(model, attended)
        means = torch.cat([sum(closed[:3]) / 3, sum(closed[3:]) / 2])
        assert float(prediction.risk[i]) == pytest.approx(float(model.head(means[None]).risk[0]), rel=1e-5)


@torch.no_grad()
def test_how_much_pathways_are_looked_at_is_a_mean_over_the_tokens_that_there_are():
    model, bag = with_centres(), patients()
    prediction = model(bag.without("histology"))
    looked = model.pathway_attention(bag, prediction)
    assert looked[0].tolist() == pytest.approx(prediction.evidence["attention"][0, 3:, 3:].mean(dim=0).tolist())
    assert float(looked[0].sum()) == pytest.approx(1.0)


def test_the_published_recipe_has_steps_of_64_patients_for_50_epochs():
    training = entry_of("mmp-paper").training
    assert (training["batch_size"], training["epochs"], training["learning_rate"]) == (64, 50, 1e-4)
