"""Dropout drops the share it says, keeps the mean, and hands back the matching gradient."""

import pytest
import torch

from prognos.nn.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_the_share_that_is_dropped_is_the_one_asked_for(share):
    torch.manual_seed(0)
    out = Dropout(share)(torch.ones(400, 500))
    standard_error = (share * (1 - share) / 200_000) ** 0.5
    assert float((out == 0).float().mean()) == pytest.approx(share, abs=5 * standard_error)
    assert float(out.mean()) == pytest.approx(1.0, abs=5 * standard_error / (1 - share))


def test_neighbouring_entries_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(100_000)) == 0).float() - 0.5
    for lag in (1, 2, 3, 4):
        assert abs(float((dropped[lag:] * dropped[:-lag]).mean()) * 4) < 5 / 100_000**0.5


def test_the_gradient_passes_where_the_value_passed():
    torch.manual_seed(0)
    x = torch.randn(7, 3, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert torch.equal(x.grad == 0, out.detach() == 0)
    assert torch.allclose(x.grad[x.grad != 0], torch.tensor(1 / 0.7), atol=1e-4)


def test_outside_training_values_are_as_they_are():
    x = torch.randn(5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_same_seed_drops_the_same():
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(Dropout(0.4)(torch.ones(11)))
    assert torch.equal(*outs)
