"""What holds for every generator, whatever it is given."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prognos.nn.generators import latent_generator

KINDS = ["diffusion", "regressor", "mean", "zero", "nearest"]
SIZES = [0.0, 1e-30, 1.0, 1e8, 3e38]


def _learnt(kind: str, n: int, spread: float):
    torch.manual_seed(0)
    generator = latent_generator(kind, 4, layers=2, heads=2, d_hidden=8, steps=10)
    generator.learn(spread * torch.randn(n, 4), spread * torch.randn(n, 4))
    return generator


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 9),
    spread=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    condition=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from(SIZES), min_size=4, max_size=4),
)
def test_a_sample_is_finite_for_any_finite_condition(kind, n, spread, condition):
    generator = _learnt(kind, n, spread)
    sample = generator.sample(torch.tensor([condition]), torch.ones(4), torch.randn(2, 1, 4))
    assert sample.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), batch=st.integers(2, 12), draws=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_a_patient_alone_is_the_patient_in_a_batch(kind, batch, draws, seed):
    generator = _learnt(kind, 9, 1.0)
    source = torch.Generator().manual_seed(seed)
    condition, noise = torch.randn(batch, 4, generator=source), torch.randn(draws, batch, 4, generator=source)
    together = generator.sample(condition, None, noise)
    alone = generator.sample(condition[-1:], None, noise[:, -1:])
    assert torch.allclose(alone[:, 0], together[:, -1], atol=1e-5)
