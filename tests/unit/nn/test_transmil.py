"""The encoder is its four parts; the global vector alone is the same; activations computed again change nothing."""

import pytest
import torch

from prognos.nn import transmil
from prognos.nn.transmil import TransMILEncoder


def _encoder():
    torch.manual_seed(0)
    return TransMILEncoder(16, heads=4, landmarks=8).double()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 50])
def test_the_encoder_is_its_parts_and_the_global_vector_the_class_tokens(n):
    encoder, tokens = _encoder(), torch.randn(n, 16, dtype=torch.float64)
    with_class = torch.cat([encoder.class_token[None], tokens])
    expected = encoder.norm(encoder.after(encoder.position(encoder.before(with_class))))
    vector, updated = encoder(tokens)
    assert torch.allclose(vector, expected[0], atol=1e-12)
    assert torch.allclose(updated, expected[1:], atol=1e-12)
    assert torch.allclose(encoder.first(tokens), expected[0], atol=1e-12)


@pytest.mark.parametrize("only_first", [True, False])
def test_a_large_patient_is_computed_again_in_the_backward_pass_to_the_same_gradients(monkeypatch, only_first):
    encoder, tokens = _encoder(), torch.randn(60, 16, dtype=torch.float64, requires_grad=True)
    gradients = []
    for large in (1000, 10):
        monkeypatch.setattr(transmil, "LARGE", large)
        outcome = encoder.first(tokens) if only_first else torch.cat([part.flatten() for part in encoder(tokens)])
        gradients.append(torch.autograd.grad(outcome.square().sum(), [tokens, *encoder.parameters()]))
    for at_once, again in zip(*gradients, strict=True):
        assert torch.allclose(at_once, again, atol=1e-12)


def test_every_parameter_has_a_gradient_from_the_global_vector_alone():
    encoder = _encoder()
    encoder.first(torch.randn(30, 16, dtype=torch.float64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
