"""One merged convolution is the sum of three and the tokens themselves."""

import pytest
import torch

from prognos.nn.positions import PPEG, as_square


def plain(position, tokens):
    """Three convolutions of the tokens in their square, one after the other."""
    patches = tokens[1:]
    side = int(torch.tensor(len(patches)).sqrt().ceil())
    square = torch.cat([patches, patches[: side**2 - len(patches)]]).T.reshape(1, -1, side, side)
    placed = square + position.seven(square) + position.five(square) + position.three(square)
    return torch.cat([tokens[:1], placed[0].flatten(1).T[: len(patches)]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 101])
def test_one_convolution_is_three_and_the_token_with_their_gradients(n, dtype):
    torch.manual_seed(0)
    position, tokens = PPEG(6).to(dtype), torch.randn(n + 1, 6, dtype=dtype, requires_grad=True)
    direction = torch.randn(n + 1, 6, dtype=dtype)
    outcomes = position(tokens), plain(position, tokens)
    assert torch.allclose(*outcomes, atol=1e-5 if dtype == torch.float32 else 1e-12)
    gradients = [torch.autograd.grad((outcome * direction).sum(), [tokens, *position.parameters()]) for outcome in outcomes]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_a_class_token_alone_stays_as_it_is():
    tokens = torch.randn(1, 6)
    assert torch.equal(PPEG(6)(tokens), tokens)


def test_the_first_tokens_fill_the_square():
    tokens = torch.arange(5.0)[:, None]
    assert as_square(tokens).flatten().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert as_square(tokens[:4]).flatten().tolist() == [0, 1, 2, 3]
    assert as_square(tokens[:0]).shape == (0, 1)
