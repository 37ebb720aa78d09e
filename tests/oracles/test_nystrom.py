"""The package nystrom-attention agrees, with the zeros in front that it adds."""

import pytest
import torch

from prognos.nn.nystrom import NystromAttention

nystrom_attention = pytest.importorskip("nystrom_attention")


@pytest.mark.parametrize("n", [128, 129, 256, 300])
def test_the_published_attention_agrees(n):
    torch.manual_seed(0)
    theirs = nystrom_attention.NystromAttention(dim=64, dim_head=16, heads=4, num_landmarks=128).double()
    ours = NystromAttention(64, heads=4, landmarks=128, zeros_in_front=True).double()
    with torch.no_grad():
        ours.query_key_value.weight.copy_(theirs.to_qkv.weight)
        ours.taps.copy_(theirs.res_conv.weight[:, 0, :, 0])
        ours.output.load_state_dict(theirs.to_out[0].state_dict())
    tokens = torch.randn(n, 64, dtype=torch.float64)
    expected = theirs(tokens[None])[0]
    assert torch.allclose(ours(tokens), expected, atol=1e-9)
    assert torch.allclose(ours.first(tokens), expected[0], atol=1e-9)
    if n % 128 == 0 and n > 128:
        without = NystromAttention(64, heads=4, landmarks=128, exact_up_to=0).double()
        without.load_state_dict(ours.state_dict())
        assert torch.allclose(without(tokens), expected, atol=1e-9)
