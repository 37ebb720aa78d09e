"""Conditional diffusion over one vector a patient: denoiser, noise schedule and DDIM sampler (MUST, Sec. 3.5 and 3.6).

Symbols: z_t `noisy`, epsilon `noise`, alpha_t (product of 1 - beta) `alphas`, cond = [c; CLS_u] `condition` and `prior`.
The schedule and the steps are those of the library diffusers, which is loaded at the first use only.

What the paper leaves open: beta runs linearly from 1e-4 to 0.02 over 1,000 steps; the order of the tokens is z_t, time,
condition, prior; the 50 steps are evenly spaced and the first is the last of training. A departure: the transformer gives
the difference to the noise that one would guess for standard normal data, which training reaches in far fewer steps.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

TRAINING_STEPS = 1000
BETA_FIRST, BETA_LAST = 1e-4, 0.02
FIRST_SCALE = 0.01  # of the last linear map before training, so that the other weights have a gradient
SLOWEST = 10_000.0  # longest wavelength of the time embedding, over 2 pi


@dataclass(frozen=True)
class Known:
    """Tokens beside that of z_t as they enter the first layer.

    Args:
        tokens: of the time, or of condition and prior.
        projected: their queries, keys and values in the first layer.
    """

    tokens: Float[Tensor, "batch known d_model"]
    projected: Float[Tensor, "batch known three_d_model"]

    def repeated(self, times: int) -> "Known":
        """All rows, that many times one after the other."""
        return Known(self.tokens.repeat(times, 1, 1), self.projected.repeat(times, 1, 1))

    def each_for(self, n: int) -> "list[Known]":
        """Every row on its own, standing for n rows."""
        tokens, projected = (part[:, None].expand(-1, n, -1, -1).unbind() for part in (self.tokens, self.projected))
        return [Known(*row) for row in zip(tokens, projected, strict=True)]


class DenoiserLayer(nn.Module):
    """Self-attention and feed-forward, each after a layer norm and beside an identity.

    Args:
        d_model: width of a token.
        heads: attention heads.
        d_hidden: width inside the feed-forward part.
    """

    def __init__(self, d_model: int, heads: int, d_hidden: int):
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.mix = nn.Linear(d_model, d_model)
        self.norm_feed = nn.LayerNorm(d_model)
        self.widen = nn.Linear(d_model, d_hidden)
        self.narrow = nn.Linear(d_hidden, d_model)

    def project(self, tokens: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch three_d_model"]:
        """Queries, keys and values of tokens."""
        return self.query_key_value(self.norm_attention(tokens))

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens d_model"],
        projected: Float[Tensor, "batch tokens three_d_model"],
        n_read: int | None = None,
    ) -> Float[Tensor, "batch read d_model"]:
        """The tokens after each has looked at all.

        Args:
            tokens: what comes in.
            projected: their queries, keys and values.
            n_read: only so many of the first tokens are computed; the others are looked at.
        """
        n, n_tokens, _ = projected.shape
        query, key, value = projected.view(n, n_tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        attended = scaled_dot_product_attention(query[:, :, :n_read], key, value).transpose(1, 2).flatten(2)
        tokens = tokens[:, :n_read] + self.mix(attended)
        return tokens + self.narrow(gelu(self.widen(self.norm_feed(tokens))))


class Denoiser(nn.Module):
    """epsilon_theta(z_t, t, cond) of Eq. 19: a transformer over the tokens z_t, time, condition and prior, read at z_t.

    Targets are standardised; were they standard normal, E[epsilon | z_t] would be sqrt(1 - alpha_t) z_t. The transformer gives
    the difference to that, and almost none before training: it begins at a sound sampler and learns what the data add.

    The last layer computes the token that is read alone, and the first layer's projections of what does not change with z_t
    are computed before: the result is that of the whole transformer.

    Args:
        d_model: width of z, of the condition and of every token.
        layers: transformer layers.
        heads: attention heads.
        d_hidden: width inside the feed-forward parts.

    Raises:
        ValueError: heads do not divide the width, or there is no layer.
    """

    frequencies: Tensor

    def __init__(self, d_model: int, *, layers: int = 4, heads: int = 8, d_hidden: int = 1024):
        super().__init__()
        if heads < 1 or d_model % heads or d_model % 2:
            raise ValueError(
                f"a denoiser of width {d_model} cannot have {heads} heads; choose an even width that is a multiple of the heads."
            )
        if layers < 2:
            raise ValueError(f"a denoiser needs at least 2 layers, got {layers}; the paper's has 4.")
        self.embed_noisy = nn.Linear(d_model, d_model)
        self.embed_time = nn.Sequential(nn.Linear(d_model, d_model), nn.SiLU(), nn.Linear(d_model, d_model))
        self.embed_condition = nn.Linear(d_model, d_model)
        self.opening = DenoiserLayer(d_model, heads, d_hidden)
        self.between = nn.ModuleList([DenoiserLayer(d_model, heads, d_hidden) for _ in range(layers - 2)])
        self.last = DenoiserLayer(d_model, heads, d_hidden)
        self.norm = nn.LayerNorm(d_model)
        self.read = nn.Linear(d_model, d_model)
        self.read.weight.data.mul_(FIRST_SCALE)
        nn.init.zeros_(self.read.bias)
        exponents = torch.arange(d_model // 2) / (d_model // 2)
        self.register_buffer("frequencies", torch.exp(-math.log(SLOWEST) * exponents), persistent=False)

    def time_tokens(self, time: Int[Tensor, " n"]) -> Known:
        """The token of each time step, from sines and cosines of it."""
        angles = time[:, None] * self.frequencies
        return self._known(self.embed_time(torch.cat([angles.sin(), angles.cos()], dim=-1))[:, None])

    def condition_tokens(self, condition: Float[Tensor, "batch d_model"], prior: Float[Tensor, " d_model"] | None) -> Known:
        """The tokens of each patient's condition and, where there is one, of the prior, the same for all patients."""
        tokens = self.embed_condition(condition)[:, None]
        if prior is not None:
            tokens = torch.cat([tokens, prior.expand(len(tokens), 1, -1)], dim=1)
        return self._known(tokens)

    def forward(
        self, noisy: Float[Tensor, "batch d_model"], time: Known, condition: Known, share: Float[Tensor, "#batch 1"]
    ) -> Float[Tensor, "batch d_model"]:
        """The noise in z_t.

        Args:
            noisy: z_t.
            time: from `time_tokens`.
            condition: from `condition_tokens`.
            share: sqrt(1 - alpha_t), from `noise_share`.
        """
        token = self.embed_noisy(noisy)[:, None]
        projected = torch.cat([self.opening.project(token), time.projected, condition.projected], dim=1)
        tokens = self.opening(torch.cat([token, time.tokens, condition.tokens], dim=1), projected)
        for layer in self.between:
            assert isinstance(layer, DenoiserLayer)
            tokens = layer(tokens, layer.project(tokens))
        tokens = self.last(tokens, self.last.project(tokens), n_read=1)
        return torch.addcmul(self.read(self.norm(tokens[:, 0])), share, noisy)

    def _known(self, tokens: Tensor) -> Known:
        return Known(tokens, self.opening.project(tokens))


def alphas() -> Float[Tensor, " training_steps"]:
    """alpha_t = prod_i (1 - beta_i) of Eq. 21 for t = 1 to T, at index t - 1."""
    return torch.tensor(_schedule(1).alphas)


def noise_share(time: Int[Tensor, " n"]) -> Float[Tensor, "n 1"]:
    """sqrt(1 - alpha_t), the standard deviation of the noise in z_t; time is t - 1, from 0 to 999."""
    return (1 - alphas().to(time.device)[time][:, None]).sqrt()


def add_noise(
    clean: Float[Tensor, "batch d_model"], noise: Float[Tensor, "batch d_model"], share: Float[Tensor, "batch 1"]
) -> Float[Tensor, "batch d_model"]:
    """z_t = sqrt(alpha_t) z_0 + sqrt(1 - alpha_t) epsilon: all steps of Eq. 17 up to t at once.

    Args:
        clean: z_0.
        noise: epsilon, from N(0, I).
        share: sqrt(1 - alpha_t).
    """
    return (1 - share.square()).sqrt() * clean + share * noise


def ddim_sample(
    predict_noise: Callable[[Tensor, int], Tensor], noise: Float[Tensor, "*batch d_model"], steps: int
) -> Float[Tensor, "*batch d_model"]:
    """z_0 by Eq. 21 from z_T = noise, in evenly spaced steps from t = T; nothing is drawn (eta = 0) and nothing is clipped.

    Args:
        predict_noise: epsilon from z_t and the index of the step; what time that is says `sampling_times`.
        noise: z_T, from N(0, I).
        steps: how many, a divisor of 1,000.
    """
    noisy = noise
    for index, (keep, add) in enumerate(_schedule(steps).coefficients):
        noisy = torch.add(keep * noisy, predict_noise(noisy, index), alpha=add)
    return noisy


def sampling_times(steps: int) -> tuple[int, ...]:
    """t - 1 of each step of the sampler, from 999 downwards.

    Raises:
        ValueError: the number of steps does not divide 1,000.
    """
    if steps < 1 or TRAINING_STEPS % steps:
        raise ValueError(f"{steps} sampling steps cannot be spaced evenly over {TRAINING_STEPS}; choose a divisor, such as 20, 50 or 100.")
    return tuple(range(TRAINING_STEPS - 1, -1, -(TRAINING_STEPS // steps)))


@dataclass(frozen=True)
class _Schedule:
    """The library's schedule as numbers: alpha_t, and each sampling step z' = keep * z + add * epsilon."""

    alphas: tuple[float, ...]
    coefficients: tuple[tuple[float, float], ...]


@functools.cache
def _schedule(steps: int) -> _Schedule:
    """Numbers, not tensors: what is made in inference mode once could not be trained with later.

    A step without clipping is linear in z and epsilon. Its two factors are what the library's own step makes of (1, 0) and (0, 1).
    """
    scheduler = ddim_scheduler(steps)
    times = [int(time) for time in scheduler.timesteps]
    assert tuple(times) == sampling_times(steps), "the library spaces its steps in another way"
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    pairs = [(scheduler.step(none, t, one).prev_sample, scheduler.step(one, t, none).prev_sample) for t in times]
    return _Schedule(tuple(scheduler.alphas_cumprod.tolist()), tuple((float(keep), float(add)) for keep, add in pairs))


def ddim_scheduler(steps: int) -> Any:
    """The library's sampler, set to start at pure noise, to end at alpha = 1 and to clip nothing."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # slow to load, and most commands never sample

    scheduler = DDIMScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_schedule="linear",
        beta_start=BETA_FIRST,
        beta_end=BETA_LAST,
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        prediction_type="epsilon",
    )
    scheduler.set_timesteps(steps)
    return scheduler
