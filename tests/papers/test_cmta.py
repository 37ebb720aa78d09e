"""CMTA: own vectors, translated vectors, and their distance."""

import math

import pytest
import torch

from prognos.models.cmta import Telling
from prognos.types import Progress, Survival
from tests.papers.comparison_by_hand import group_token, linear, made, patients, softmax, weighted

SURVIVAL = Survival(torch.tensor([10.0, 20.0]), torch.tensor([True, False]))
PROGRESS = Progress(step=0, steps_per_epoch=1, epoch=0, epochs=1)


def built(**settings):
    return made("cmta", **{"group_hidden": 6, "landmarks": 128, "attention_dropout": 0.0, **settings})


def attended(layer, tokens):
    """tokens + every token's look at every token by two heads, and the convolution of the values, of one layer of genes."""
    normed, of = [layer.norm(token) for token in tokens], layer.attention
    projected = [linear(of.query_key_value, token) for token in normed]
    query, key, value = ([p[part : part + 8] for p in projected] for part in (0, 8, 16))
    rows = []
    for i in range(len(tokens)):
        heads = []
        for h, at in enumerate((slice(0, 4), slice(4, 8))):
            weights = softmax([float(query[i][at] @ key[j][at]) / 2 for j in range(len(tokens))])
            around = sum(float(of.taps[h, 16 + j - i]) * value[j][at] for j in range(len(tokens)))
            heads.append(weighted(weights, [v[at] for v in value]) + around)
        rows.append(tokens[i] + linear(of.output, torch.cat(heads)))
    return rows


def genes_by_hand(encoder, tokens):
    """The class token's vector and the updated tokens."""
    rows = [encoder.class_token, *tokens]
    for layer in list(encoder.layers)[:2]:
        rows = attended(layer, rows)
    rows = [encoder.layers[2](row) for row in rows]
    return rows[0], rows[1:]


def look(attention, queries, keys):
    """One head: what each query finds among the keys, and where it looks."""
    found, looked = [], []
    for q in queries:
        query = linear(attention.query, q)
        looked.append(softmax([float(query @ linear(attention.key, k)) / math.sqrt(8) for k in keys]))
        found.append(linear(attention.output, weighted(looked[-1], [linear(attention.value, k) for k in keys])))
    return found, looked


@torch.no_grad()
def test_a_modality_is_the_mean_of_its_own_vector_and_of_the_one_made_of_what_it_found_in_the_other():
    model, bag = built(), patients()
    prediction = model(bag)
    distances = []
    for i, n in enumerate((5, 3)):
        p, patches = model.slide_encoder(
            torch.stack([linear(model.patches.linear, r).clamp(min=0) for r in bag["histology"].values[i, :n]])
        )
        g, groups = genes_by_hand(model.gene_encoder, [group_token(model.groups, k, bag["omics"].values[i, k]) for k in range(2)])
        slide_again, _ = model.slide_decoder(torch.stack(look(model.patches_look, patches, groups)[0]))
        found, looked = look(model.groups_look, groups, patches)
        genes_again, _ = genes_by_hand(model.gene_decoder, found)
        expected = model.head(model.join(torch.cat([(p + slide_again) / 2, (g + genes_again) / 2])[None])).risk[0]
        assert float(prediction.risk[i]) == pytest.approx(float(expected), rel=1e-6)
        assert prediction.evidence["attention"][i].tolist() == [pytest.approx(row, rel=1e-6) for row in looked]
        of_patches = look(model.patches_look, patches, groups)[1]
        assert prediction.evidence["group_attention"][i].tolist() == pytest.approx([sum(w) / n for w in zip(*of_patches, strict=True)])
        distances.append(float((p - slide_again).abs().mean() + (g - genes_again).abs().mean()))
    terms = built(alignment=3.0).losses(bag, SURVIVAL, PROGRESS)
    assert float(terms["alignment"]) == pytest.approx(3 * sum(distances) / 2, rel=1e-6)


def test_the_distance_moves_the_translated_vectors_and_not_the_own_ones():
    own, translated = torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    both = torch.tensor([True, False])
    Telling(own, translated, both).distance(both).backward()
    assert own.grad is None
    assert translated.grad.tolist() == [[1 / 4] * 4, [0.0] * 4]


@torch.no_grad()
def test_no_zeros_stand_beside_the_tokens_of_genes_unless_asked_for():
    bag, ours, theirs = patients(), built(), built(zeros_in_front=True)
    assert not torch.allclose(ours(bag).risk, theirs(bag).risk)
    more = built(landmarks=256)
    assert torch.allclose(ours(bag).risk, more(bag).risk)  # landmarks are of no account where there are fewer tokens


@torch.no_grad()
def test_a_patient_with_one_modality_has_its_own_vector_alone_and_no_distance():
    model, bag = built(), patients()
    genes = bag.without("histology")
    g, _ = genes_by_hand(model.gene_encoder, [group_token(model.groups, k, bag["omics"].values[0, k]) for k in range(2)])
    expected = model.head(model.join(torch.cat([torch.zeros_like(g), g])[None])).risk[0]
    assert float(model(genes).risk[0]) == pytest.approx(float(expected), rel=1e-6)
    assert float(model.losses(genes, SURVIVAL, PROGRESS)["alignment"]) == 0
