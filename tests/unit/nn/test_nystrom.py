"""The lean attention is the one that is written down whole, value and gradient; one row of it is that row."""

import copy
import math

import pytest
import torch

from prognos.nn import nystrom
from prognos.nn.depthwise import along_sequence
from prognos.nn.nystrom import NystromAttention, NystromLayer, cheaper_exact_up_to, pseudo_inverse_product, segment_means

D, HEADS, LANDMARKS = 16, 2, 128
LENGTHS = (1, 2, 127, 128, 129, 1000, 3000)


def _tokens(n, dtype=torch.float64):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(n), dtype=dtype)


def _attention(**options):
    torch.manual_seed(0)
    attention = NystromAttention(D, heads=HEADS, landmarks=LANDMARKS, **{"exact_up_to": 0, **options}).double()
    with torch.no_grad():
        attention.query_key_value.weight.mul_(3)  # scores that differ: at the start attention is nearly uniform
    return attention


def plain(attention, tokens):
    """Everything written down, head by head, place by place: what the module says it computes."""
    n, width = len(tokens), D // HEADS
    heads = []
    for head, (query, key, value) in enumerate(
        (tokens @ weight.T for weight in attention.query_key_value.weight.view(3, HEADS, width, D)[:, head]) for head in range(HEADS)
    ):
        length = math.ceil(n / LANDMARKS)
        ends = list(range(n, 0, -length))[::-1]
        landmark_query = torch.stack([query[max(end - length, 0) : end].mean(dim=0) for end in ends])
        landmark_key = torch.stack([key[max(end - length, 0) : end].mean(dim=0) for end in ends])
        to_landmarks = (query @ landmark_key.T / math.sqrt(width)).softmax(dim=1)
        to_tokens = (landmark_query @ key.T / math.sqrt(width)).softmax(dim=1)
        between = (landmark_query @ landmark_key.T / math.sqrt(width)).softmax(dim=1)
        middle = attention.taps.shape[1] // 2
        padded = torch.cat([value.new_zeros(middle, width), value, value.new_zeros(middle, width)])
        around = sum(attention.taps[head, tap] * padded[tap : tap + n] for tap in range(attention.taps.shape[1]))
        exact = (query @ key.T / math.sqrt(width)).softmax(dim=1) if n <= LANDMARKS else None
        heads.append((value, around, to_landmarks, between, to_tokens, exact))
    largest = max(part[3].sum(dim=1).max() for part in heads) * max(part[3].sum(dim=0).max() for part in heads)
    found = []
    for value, around, to_landmarks, between, to_tokens, exact in heads:
        inverse, identity = between.T / largest, torch.eye(len(between), dtype=value.dtype)
        for _ in range(attention.iterations):
            product = between @ inverse
            inverse = inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product))) / 4
        weights = exact if n <= LANDMARKS else to_landmarks @ inverse @ to_tokens
        found.append(weights @ value + around)
    return attention.output(torch.cat(found, dim=1))


def _with_gradients(function, attention, tokens, rows):
    """The outcome, and gradients of tokens and parameters for one fixed direction."""
    tokens = tokens.clone().requires_grad_()
    outcome = function(tokens)[rows]
    direction = torch.randn(outcome.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(outcome.dtype)
    gradients = torch.autograd.grad((outcome * direction).sum(), [tokens, *attention.parameters()])
    return [outcome.detach(), *gradients]


def _assert_close(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.isfinite().all()
        assert (ours - theirs).abs().max() <= tolerance * max(1, theirs.abs().max())


@pytest.mark.parametrize("n", LENGTHS)
def test_the_lean_form_is_the_plain_one_with_its_gradients(n):
    attention, tokens = _attention(), _tokens(n)
    expected = _with_gradients(lambda x: plain(attention, x), attention, tokens, slice(None))
    _assert_close(_with_gradients(attention, attention, tokens, slice(None)), expected, 1e-9)
    single = copy.deepcopy(attention).float()
    _assert_close(_with_gradients(single, single, tokens.float(), slice(None)), expected, 1e-5)


@pytest.mark.parametrize("n", LENGTHS)
def test_the_first_row_alone_is_the_first_row_with_its_gradients(n):
    attention, tokens = _attention(), _tokens(n)
    expected = _with_gradients(lambda x: plain(attention, x)[:1], attention, tokens, 0)
    _assert_close(_with_gradients(lambda x: attention.first(x)[None], attention, tokens, 0), expected, 1e-9)
    single = copy.deepcopy(attention).float()
    _assert_close(_with_gradients(lambda x: single.first(x)[None], single, tokens.float(), 0), expected, 1e-5)


@pytest.mark.parametrize("n", [1, 128, 129, 300])
def test_a_layer_adds_the_attention_of_the_normed_tokens(n):
    torch.manual_seed(0)
    layer, tokens = NystromLayer(D, heads=HEADS, landmarks=LANDMARKS).double(), _tokens(n)
    layer.attention.exact_up_to = LANDMARKS
    expected = tokens + plain(layer.attention, layer.norm(tokens))
    assert torch.allclose(layer(tokens), expected, atol=1e-10)
    assert torch.allclose(layer.first(tokens), expected[0], atol=1e-10)


def test_with_a_landmark_for_each_token_it_is_softmax_attention_and_needs_no_pseudo_inverse():
    tokens = _tokens(40)
    few, many = _attention(iterations=1), _attention(iterations=30)
    assert torch.equal(few(tokens), many(tokens))


def test_a_few_tokens_have_the_softmax_attention_that_landmarks_stand_for_and_no_pseudo_inverse(monkeypatch):
    attention = _attention(exact_up_to=None)
    most = attention.exact_up_to
    tokens = _tokens(most)
    query, key, value = (tokens @ weight.T for weight in attention.query_key_value.weight.view(3, D, D))
    heads = []
    for q, k, v in zip(query.chunk(HEADS, 1), key.chunk(HEADS, 1), value.chunk(HEADS, 1), strict=True):
        heads.append((q @ k.T / math.sqrt(D // HEADS)).softmax(dim=1) @ v)
    around = along_sequence(value, attention.taps)
    monkeypatch.setattr(nystrom, "pseudo_inverse_product", None)
    assert torch.allclose(attention(tokens), attention.output(torch.cat(heads, dim=1) + around), atol=1e-10)
    with pytest.raises(TypeError):
        attention(_tokens(most + 1))


@pytest.mark.parametrize(("d_model", "heads", "landmarks"), [(16, 2, 128), (256, 8, 128), (64, 4, 32), (512, 8, 256)])
def test_attention_is_exact_as_long_as_that_takes_fewer_multiply_adds(d_model, heads, landmarks):
    def saved(n):
        exact = sum(2 * n * n * (d_model // heads) for _ in range(heads))  # scores and their product with the values
        to_landmarks = sum(2 * 2 * n * landmarks * (d_model // heads) for _ in range(heads))  # the same, to and from landmarks
        inverse = sum(4 * landmarks**3 for _ in range(heads) for _ in range(6))
        return to_landmarks + inverse - exact

    most = cheaper_exact_up_to(d_model, heads, landmarks, 6)
    assert saved(most) >= 0 > saved(most + 1)


def test_landmarks_are_means_of_consecutive_tokens_and_the_first_takes_what_is_left():
    tokens = torch.arange(7.0)[:, None]
    assert segment_means(tokens, 3, 3).flatten().tolist() == [0, 2, 5]  # 0 | 1 2 3 | 4 5 6
    assert segment_means(tokens, 3, 4, whole_first=True).flatten().tolist() == [0, 0, 2, 5]
    assert segment_means(tokens[1:], 3, 2).flatten().tolist() == [2, 5]


def test_zeros_in_front_take_part_like_any_token():
    attention, tokens = _attention(zeros_in_front=True), _tokens(300)
    front = torch.zeros(384 - 300, D, dtype=torch.float64)  # 3 times 128
    expected = plain(attention, torch.cat([front, tokens]))[84:]
    assert torch.allclose(attention(tokens), expected, atol=1e-10)
    assert torch.allclose(attention.first(tokens), expected[0], atol=1e-10)


@pytest.mark.parametrize("iterations", [0, 1, 6])
def test_the_pseudo_inverse_is_applied_as_if_it_were_written_down(iterations):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 9, 9, generator=generator, dtype=torch.float64).softmax(dim=2)
    right = torch.randn(3, 9, 2, generator=generator, dtype=torch.float64)
    inverse = matrix.transpose(1, 2) / matrix.sum(dim=1).max()  # rows sum to 1
    identity = torch.eye(9, dtype=torch.float64)
    for _ in range(iterations):
        product = matrix @ inverse
        inverse = inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product))) / 4
    assert torch.allclose(pseudo_inverse_product(matrix, right, iterations), inverse @ right, atol=1e-12)


def test_the_pseudo_inverse_is_reached_with_enough_iterations():
    matrix = (torch.eye(6, dtype=torch.float64) * 3).softmax(dim=1)[None]
    right = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(pseudo_inverse_product(matrix, right, 6), torch.linalg.solve(matrix, right), atol=1e-9)


def test_two_hundred_thousand_tokens_give_finite_values():
    torch.manual_seed(0)
    layer = NystromLayer(8, heads=2, landmarks=16)
    tokens = torch.randn(200_000, 8)
    with torch.no_grad():
        assert layer(tokens).isfinite().all()
        assert layer.first(tokens).isfinite().all()


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="a convolution of 32 taps has no middle: choose an odd kernel"):
        NystromAttention(D, kernel=32)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a width of 30 cannot be shared by 8 heads: choose a d_model that is a multiple of heads"):
        NystromAttention(30)
