"""The omics-only comparison models: dense layers, and a transformer over pathways."""

import pytest
import torch

from tests.papers.comparison_by_hand import group_token, linear, made, patients


@torch.no_grad()
def test_snn_is_two_layers_with_elu_that_begin_with_the_variance_one_over_their_inputs():
    model, bag = made("snn"), patients("genes")
    for i in range(2):
        hidden = bag["omics"].values[i, 0]
        for layer in (model.layers[0], model.layers[3]):
            hidden = linear(layer, hidden)
            hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
        assert float(model(bag).risk[i]) == pytest.approx(float(model.head(hidden[None]).risk[0]), rel=1e-6)
    wide = made("snn", d_model=200).layers[3]
    assert float(wide.weight.var()) == pytest.approx(1 / 200, rel=0.05)  # of 40,000 weights
    assert not wide.bias.any()


@torch.no_grad()
def test_mlp_is_two_rectified_layers():
    model, bag = made("mlp"), patients("genes")
    for i in range(2):
        hidden = linear(model.layers[0], bag["omics"].values[i, 0]).clamp(min=0)
        hidden = linear(model.layers[3], hidden).clamp(min=0)
        assert float(model(bag).risk[i]) == pytest.approx(float(model.head(hidden[None]).risk[0]), rel=1e-6)


@torch.no_grad()
def test_snntrans_reads_the_class_token_after_attention_over_pathways():
    model, bag = made("snntrans"), patients()
    for i in range(2):
        tokens = [model.class_token, *(group_token(model.pathways, c, bag["omics"].values[i, c]) for c in range(2))]
        embedding = model.mix(torch.stack(tokens)[None])[:, 0]
        assert float(model(bag).risk[i]) == pytest.approx(float(model.head(embedding).risk[0]), rel=1e-6)
