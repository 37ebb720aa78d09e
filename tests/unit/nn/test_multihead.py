"""Attention head by head; few queries in another order; the class token's row alone."""

import math

import pytest
import torch

from prognos.nn import multihead as multihead_module
from prognos.nn.multihead import ClassPool, MultiHeadAttention, unprojected_is_cheaper

D, HEADS = 24, 4


def _attention(dtype=torch.float64):
    torch.manual_seed(0)
    return MultiHeadAttention(D, HEADS).to(dtype)


def _normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_hand(attention, queries, context, allowed=None):
    """Eq. 7 of MUST for each head, one query after the other; and the heads' mean attention."""
    allowed = torch.ones(len(queries), len(context), dtype=torch.bool) if allowed is None else allowed
    width, found, mean = D // HEADS, torch.zeros(len(queries), D, dtype=queries.dtype), torch.zeros(len(queries), len(context))
    query, key, value = attention.query(queries), attention.key(context), attention.value(context)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(queries)):
            keys = allowed[i].nonzero().flatten()
            if len(keys):
                weights = torch.softmax(key[keys, part] @ query[i, part] / math.sqrt(width), dim=0)
                found[i, part] = weights @ value[keys, part]
                mean[i, keys] += (weights / HEADS).detach().float()
    return attention.output(found), mean


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 50), (3, 50), (16, 40), (17, 40), (40, 6)])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_equation_7_head_by_head(queries, keys, masked):
    attention, asking, context = _attention(), _normal(queries, D), _normal(keys, D, seed=1)
    allowed = _normal(queries, keys, seed=2) > 0 if masked else None
    if masked:
        allowed[0] = False  # nothing to look at
    expected, mean = by_hand(attention, asking, context, allowed)
    assert torch.allclose(attention(asking, context, allowed), expected, atol=1e-12)
    assert torch.allclose(attention.attention(asking, context, allowed).float(), mean, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [True, False])
def test_few_queries_in_either_order_give_the_same_with_their_gradients(monkeypatch, dtype, masked):
    attention, asking, context = _attention(dtype), _normal(2, 3, D, dtype=dtype), _normal(2, 300, D, seed=1, dtype=dtype)
    allowed = _normal(2, 3, 300, seed=2) > 0 if masked else None
    leaves = [asking.requires_grad_(), context.requires_grad_(), *attention.parameters()]
    results = []
    for few in (0, 16):
        monkeypatch.setattr(multihead_module, "FEW", few)
        outcome = attention(asking, context, allowed)
        results.append([outcome, *torch.autograd.grad(outcome.square().sum(), leaves)])
    for projected, unprojected in zip(*results, strict=True):
        tolerance = (1e-5 if dtype == torch.float32 else 1e-12) * max(1, float(projected.detach().abs().max()))
        assert torch.allclose(projected, unprojected, rtol=0, atol=tolerance)


def test_the_order_with_fewer_multiply_adds_is_taken():
    assert unprojected_is_cheaper(1, 50_000, 256, 8)
    assert unprojected_is_cheaper(6, 50_000, 256, 8)
    assert not unprojected_is_cheaper(6, 6, 256, 8)  # as many queries as keys
    assert not unprojected_is_cheaper(17, 50_000, 256, 8)  # not few
    assert not unprojected_is_cheaper(16, 50_000, 64, 8)  # per key: 2 * 8 * 16 * 64 against 2 * 64 * 64 + 2 * 16 * 64


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_any_number_of_sets_is_each_set(shape):
    attention, asking, context = _attention(), _normal(*shape, 2, D), _normal(*shape, 9, D, seed=1)
    allowed = _normal(*shape, 2, 9, seed=2) > 0
    together, weights = attention(asking, context, allowed), attention.attention(asking, context, allowed)
    for i in [tuple(place) for place in torch.ones(shape).nonzero().tolist()]:
        expected, mean = by_hand(attention, asking[i], context[i], allowed[i])
        assert torch.allclose(together[i], expected, atol=1e-12)
        assert torch.allclose(weights[i].float(), mean, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 6, 200])
def test_the_class_row_alone_is_the_class_row_of_self_attention(n):
    torch.manual_seed(0)
    pool, tokens = ClassPool(D, HEADS).double(), _normal(n, D)
    together = torch.cat([pool.class_token[None], tokens])
    whole, mean = by_hand(pool.look, pool.norm(together), pool.norm(together))
    assert torch.allclose(pool(tokens), pool.final(together + whole)[0], atol=1e-12)
    assert torch.allclose(pool.attention(tokens).float(), mean[0, 1:], atol=1e-6)


def test_a_token_that_is_not_allowed_is_as_if_it_were_not_there():
    pool, tokens = ClassPool(D, HEADS, final_norm=False).double(), _normal(2, 7, D)
    allowed = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    assert torch.allclose(pool(tokens, allowed)[1], pool(tokens[1, :4]), atol=1e-12)
    assert torch.allclose(pool(tokens, allowed)[0], pool(tokens)[0], atol=1e-12)
    assert torch.allclose(pool.attention(tokens, allowed)[1, :4], pool.attention(tokens[1, :4]), atol=1e-12)
    assert (pool.attention(tokens, allowed)[1, 4:] == 0).all()
    assert not pool.attention(tokens).requires_grad


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    attention = MultiHeadAttention(D, HEADS, dropout=0.5)
    tokens = _normal(5, D, dtype=torch.float32)
    assert (attention(tokens, tokens) == 0).any()
    assert not (attention.eval()(tokens, tokens) == 0).any()


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a width of 24 cannot be shared by 5 heads: choose a d_model that is a multiple of heads"):
        MultiHeadAttention(D, 5)
