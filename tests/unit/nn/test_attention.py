"""Pooling in chunks is pooling at once; a query that may look at nothing sees nothing."""

import pytest
import torch

from prognos.nn import attention as attention_module
from prognos.nn.attention import GatedAttention, attention_pool, masked_softmax
from prognos.nn.patches import PatchEncoder


def _blocks(dropout: float = 0.0):
    torch.manual_seed(0)
    return PatchEncoder(5, 4, activation=torch.nn.ReLU(), dropout=dropout), GatedAttention(4, 3, dropout)


@pytest.mark.parametrize("with_gradient", [True, False])
def test_pooling_in_chunks_is_pooling_at_once(monkeypatch, with_gradient):
    encode, score = _blocks()
    rows = torch.randn(23, 5)
    results, gradients = [], []
    for chunk in (4, 100):
        monkeypatch.setattr(attention_module, "CHUNK", chunk)
        encode.zero_grad()
        with torch.set_grad_enabled(with_gradient):
            pooled, attention = attention_pool(rows, encode, score)
        if with_gradient:
            pooled.sum().backward()
            gradients.append(encode.linear.weight.grad.clone())
        results.append((pooled.detach(), attention))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)
    assert float(results[0][1].sum()) == pytest.approx(1.0, abs=1e-5)
    if with_gradient:
        assert torch.allclose(*gradients, atol=1e-6)


def test_the_pooled_token_is_the_weighted_sum():
    encode, score = _blocks()
    rows = torch.randn(6, 5)
    pooled, attention = attention_pool(rows, encode, score)
    weights = torch.softmax(score(encode(rows)), dim=0)
    assert torch.allclose(attention, weights, atol=1e-6)
    assert torch.allclose(pooled, sum(weights[i] * encode(rows)[i] for i in range(6)), atol=1e-6)


def test_a_patient_without_a_patch_is_pooled_to_zeros_that_carry_a_gradient():
    encode, score = _blocks()
    pooled, attention = attention_pool(torch.zeros(0, 5), encode, score)
    assert torch.equal(pooled.detach(), torch.zeros(4))
    assert attention.shape == (0,)
    assert pooled.requires_grad


def test_scores_of_any_size_give_finite_attention():
    encode, _ = _blocks()
    pooled, attention = attention_pool(torch.randn(9, 5), encode, lambda tokens: tokens.sum(dim=1) * 1e4)
    assert bool(pooled.isfinite().all())
    assert float(attention.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_query_that_may_look_at_nothing_gets_zeros():
    allowed = torch.tensor([[[True, False], [False, False]]])
    out = masked_softmax(torch.randn(1, 2, 2), allowed)
    assert out[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]
