import copy
import math

import pytest
import torch

from prognos.nn.nystrom import NystromAttention

D, HEADS, LANDMARKS = 32, 4, 128
LENGTHS = (1, 2, 127, 128, 129, 1000, 3000)


def _tokens(n, dtype=torch.float64):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(n), dtype=dtype)


def _attention(**options):
    torch.manual_seed(0)
    attention = NystromAttention(D, heads=HEADS, landmarks=LANDMARKS, **options).double()
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
        heads.append((value, around, to_landmarks, between, to_tokens, (query @ key.T / math.sqrt(width)).softmax(dim=1)))
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
