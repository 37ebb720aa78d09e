"""The denoiser is a whole transformer, computed once where it can be; the sampler is Eq. 21 and the library's."""

import math
import subprocess
import sys

import pytest
import torch

from prognos.nn.diffusion import Denoiser, add_noise, alphas, ddim_sample, ddim_scheduler, noise_share, sampling_times


def _alphas_by_hand() -> list[float]:
    """prod_i (1 - beta_i) with beta linear from 1e-4 to 0.02, in double precision."""
    product, products = 1.0, []
    for index in range(1000):
        product *= 1.0 - (1e-4 + (0.02 - 1e-4) * index / 999)
        products.append(product)
    return products


def test_the_alphas_are_products_of_a_linear_schedule():
    assert alphas().tolist() == pytest.approx(_alphas_by_hand(), rel=1e-4)


def test_eq_17_step_by_step_has_the_mean_and_variance_of_one_jump():
    mean, variance = 1.0, 0.0
    for index in range(300):
        beta = 1e-4 + (0.02 - 1e-4) * index / 999
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    share, one, none = noise_share(torch.tensor([299])), torch.ones(1, 1), torch.zeros(1, 1)
    assert float(add_noise(one, none, share)) == pytest.approx(mean, rel=1e-4)
    assert float(add_noise(none, one, share)) ** 2 == pytest.approx(variance, rel=1e-4)


def test_the_sampler_starts_at_pure_noise_and_takes_even_steps():
    assert sampling_times(50) == tuple(999 - 20 * step for step in range(50))
    assert alphas()[999] < 1e-4


@pytest.mark.parametrize("steps", [0, 3, 1001])
def test_steps_that_cannot_be_even_are_refused(steps):
    with pytest.raises(ValueError, match=rf"{steps} sampling steps cannot be spaced evenly over 1000; choose a divisor"):
        sampling_times(steps)


def _some_noise(noisy: torch.Tensor, time: int) -> torch.Tensor:
    """Any smooth prediction that depends on z and t."""
    return torch.tanh(0.7 * noisy + time / 1000)


def test_eq_21_as_printed_is_the_sampler():
    alpha = _alphas_by_hand()
    start = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noisy, times = start, sampling_times(50)
    for time, following in zip(times, (*times[1:], None), strict=True):
        noise = _some_noise(noisy, time)
        clean = (noisy - math.sqrt(1 - alpha[time]) * noise) / math.sqrt(alpha[time])
        after = 1.0 if following is None else alpha[following]
        noisy = math.sqrt(after) * clean + math.sqrt(1 - after) * noise
    sampled = ddim_sample(lambda z, step: _some_noise(z, times[step]), start, 50)
    assert torch.allclose(sampled, noisy, rtol=1e-3, atol=1e-3 * float(noisy.abs().max()))


@pytest.mark.parametrize("steps", [1, 10, 50])
def test_the_sampler_is_the_librarys_steps_one_after_the_other(steps):
    start = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noisy, scheduler = start, ddim_scheduler(steps)
    for time in scheduler.timesteps:
        noisy = scheduler.step(_some_noise(noisy, int(time)), int(time), noisy, eta=0.0).prev_sample
    times = sampling_times(steps)
    assert torch.allclose(ddim_sample(lambda z, step: _some_noise(z, times[step]), start, steps), noisy, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("steps", "tolerance"), [(50, 0.06), (1000, 0.005)])
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (3.0, 0.5), (-7.0, 2.0)])
def test_an_exact_gaussian_denoiser_gives_back_mean_and_standard_deviation(mean, sd, steps, tolerance):
    """z_t of N(m, s^2) data is N(sqrt(a) m, a s^2 + 1 - a), so E[epsilon | z] = sqrt(1 - a) (z - sqrt(a) m) / (a s^2 + 1 - a).

    What is left at T, sqrt(a_T) m, is not in the noise the sampler starts with; it moves the mean by s sqrt(a_T) m.
    """
    alpha, times = alphas().double(), sampling_times(steps)

    def exact(noisy: torch.Tensor, step: int) -> torch.Tensor:
        a = alpha[times[step]]
        return (1 - a).sqrt() * (noisy - a.sqrt() * mean) / (a * sd**2 + 1 - a)

    quantiles = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    start = torch.special.ndtri(quantiles)
    start = start / start.std(correction=0)  # standard normal to the last digit: only the sampler can be wrong
    samples = ddim_sample(exact, start, steps)
    missed = sd * math.sqrt(alpha[999]) * mean
    assert float(samples.mean()) == pytest.approx(mean - missed, abs=tolerance * sd)
    assert float(samples.std(correction=0)) == pytest.approx(sd, rel=tolerance)


def _plain(denoiser: Denoiser, noisy, time, condition, prior):
    """The whole transformer on all tokens, layer by layer, with nothing known before and nothing left out."""
    angles = time[:, None] * denoiser.frequencies
    tokens = [
        denoiser.embed_noisy(noisy),
        denoiser.embed_time(torch.cat([angles.sin(), angles.cos()], 1)),
        denoiser.embed_condition(condition),
    ]
    tokens = torch.stack([*tokens, prior.expand_as(noisy)] if prior is not None else tokens, dim=1)
    looks = torch.ones(4, 4, dtype=torch.bool)
    if not denoiser.joint:  # rows look at columns: z_t, time, condition, prior
        looks = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    hidden = ~looks[: tokens.shape[1], : tokens.shape[1]]
    for layer in denoiser.layers:
        query, key, value = layer.query_key_value(layer.norm_attention(tokens)).chunk(3, -1)
        heads = []
        for q, k, v in zip(query.chunk(layer.heads, -1), key.chunk(layer.heads, -1), value.chunk(layer.heads, -1), strict=True):
            score = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf)
            heads.append(torch.softmax(score, -1) @ v)
        tokens = tokens + layer.mix(torch.cat(heads, -1))
        tokens = tokens + layer.narrow(torch.nn.functional.gelu(layer.widen(layer.norm_feed(tokens))))
    return (1 - alphas()[time][:, None]).sqrt() * noisy + denoiser.read(denoiser.norm(tokens))[:, 0]


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_lean_denoiser_is_the_whole_transformer_read_at_its_token(layers, with_prior, joint):
    torch.manual_seed(0)
    denoiser = Denoiser(16, layers=layers, heads=4, d_hidden=24, joint=joint).double()
    denoiser.read.weight.data.mul_(100)  # what the layers say shall count
    noisy, condition = torch.randn(2, 5, 16, dtype=torch.float64)
    prior = torch.randn(16, dtype=torch.float64) if with_prior else None
    time = torch.tensor([0, 999, 5, 500, 77])
    whole = _plain(denoiser, noisy, time, condition, prior)
    assert torch.allclose(denoiser(noisy, time, condition, prior), whole, atol=1e-12)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_sampler_that_knows_the_other_tokens_sees_the_same_noise_in_every_step(layers, with_prior, joint):
    torch.manual_seed(0)
    denoiser = Denoiser(16, layers=layers, heads=4, d_hidden=24, joint=joint).double()
    denoiser.read.weight.data.mul_(100)
    condition = torch.randn(5, 16, dtype=torch.float64)
    prior = torch.randn(16, dtype=torch.float64) if with_prior else None
    times = torch.tensor([999, 499, 0])
    noise = denoiser.at_steps(times, condition, prior)
    for step, time in enumerate(times):
        noisy = torch.randn(5, 16, dtype=torch.float64)
        assert torch.allclose(noise(noisy, step), _plain(denoiser, noisy, time.expand(5), condition, prior), atol=1e-12)


@pytest.mark.parametrize("joint", [True, False])
def test_every_weight_of_the_denoiser_has_a_gradient(joint):
    torch.manual_seed(0)
    denoiser = Denoiser(8, layers=2, heads=2, d_hidden=8, joint=joint)
    time = torch.tensor([3, 900])
    denoiser(torch.randn(2, 8), time, torch.randn(2, 8), torch.randn(8)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in denoiser.parameters())


def test_the_denoiser_of_the_paper_has_three_and_a_half_million_weights():
    attention = 4 * (256 * 256 + 256)
    feed_forward = 256 * 1024 + 1024 + 1024 * 256 + 256
    layer = attention + feed_forward + 2 * (256 + 256)
    around = 5 * (256 * 256 + 256) + 2 * 256  # z_t, time twice, condition, what is read; the last norm
    assert sum(weight.numel() for weight in Denoiser(256).parameters()) == 4 * layer + around == 3_488_512


def test_an_untrained_denoiser_is_nearly_that_of_standard_normal_data():
    torch.manual_seed(0)
    denoiser, time, noisy = Denoiser(8, d_hidden=8, heads=2), torch.tensor([0, 400, 999]), torch.randn(3, 8)
    best = (1 - alphas()[time][:, None]).sqrt() * noisy
    assert torch.allclose(denoiser(noisy, time, torch.randn(3, 8), None), best, atol=0.05)


@pytest.mark.parametrize(("d_model", "heads"), [(10, 4), (9, 3), (8, 0)])
def test_heads_that_do_not_divide_the_width_are_refused(d_model, heads):
    with pytest.raises(ValueError, match=f"a denoiser of width {d_model} cannot have {heads} heads; choose an even width"):
        Denoiser(d_model, heads=heads)


def test_a_denoiser_without_layers_is_refused():
    with pytest.raises(ValueError, match="a denoiser needs at least 1 layer, got 0"):
        Denoiser(8, layers=0)


def test_the_library_is_not_loaded_before_something_is_sampled():
    code = (
        "import sys, prognos, prognos.cli, prognos.nn.generators as g; g.latent_generator('diffusion', 8); "
        "assert not any(name.split('.')[0] in ('diffusers', 'huggingface_hub') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
