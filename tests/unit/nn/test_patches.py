"""A large patient is encoded in chunks that give the same tokens and gradients."""

import torch

from prognos.nn import patches as patches_module
from prognos.nn.patches import PatchEncoder, by_patient


def test_chunks_give_the_same_tokens_and_gradients(monkeypatch):
    torch.manual_seed(0)
    encoder = PatchEncoder(5, 4, activation=torch.nn.LeakyReLU(0.1), dropout=0.0)
    rows, found = torch.randn(23, 5), []
    for chunk in (4, 100):
        monkeypatch.setattr(patches_module, "CHUNK", chunk)
        encoder.zero_grad()
        tokens = encoder(rows)
        tokens.square().sum().backward()
        with torch.no_grad():
            assert torch.allclose(encoder(rows), tokens, atol=1e-6)
        found.append((tokens.detach(), encoder.linear.weight.grad.clone()))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


def test_half_precision_rows_become_single_precision_tokens():
    encoder = PatchEncoder(5, 4, activation=torch.nn.ReLU(), dropout=0.0)
    assert encoder(torch.randn(3, 5).half()).dtype == torch.float32


def test_no_patch_gives_no_token():
    encoder = PatchEncoder(5, 4, activation=torch.nn.ReLU(), dropout=0.0)
    assert encoder(torch.zeros(0, 5)).shape == (0, 4)


def test_patients_computed_together_get_the_tokens_of_each_alone(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(patches_module, "PACK", 6)
    monkeypatch.setattr(patches_module, "CHUNK", 8)
    encoder = PatchEncoder(5, 4, activation=torch.nn.ReLU(), dropout=0.0)
    patients = [torch.randn(n, 5) for n in (2, 3, 0, 7, 20, 1)]
    calls: list[int] = []

    def counted(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return encoder(rows)

    with torch.no_grad():
        found = by_patient(counted, patients)
        assert [len(x) for x in found] == [2, 3, 0, 7, 20, 1]
        assert all(torch.allclose(a, encoder(b), atol=1e-6) for a, b in zip(found, patients, strict=True))
    assert calls == [5, 7, 8, 8, 4, 1]
