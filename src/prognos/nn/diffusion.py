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
from itertools import pairwise
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

TRAINING_STEPS = 1000
BETA_FIRST, BETA_LAST = 1e-4, 0.02
FIRST_SCALE = 0.01  # of the last linear map before training, so that the other weights have a gradient
LOOKS = ((1, 1, 1, 1), (0, 1, 0, 0), (0, 0, 1, 1), (0, 0, 1, 1))  # the token of a row at that of a column: z_t, time, condition, prior
SLOWEST = 10_000.0  # longest wavelength of the time embedding, over 2 pi


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
        projected: Float[Tensor, "batch seen three_d_model"],
        looks: Bool[Tensor, "tokens seen"] | None = None,
    ) -> Float[Tensor, "batch tokens d_model"]:
        """The tokens after each has looked at the others.

        Args:
            tokens: those to compute.
            projected: queries, keys and values of all that there are, these first.
            looks: who looks at whom; None: all at all.
        """
        n, n_seen, _ = projected.shape
        query, key, value = projected.view(n, n_seen, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        attended = scaled_dot_product_attention(query[:, :, : tokens.shape[1]], key, value, attn_mask=looks)
        tokens = tokens + self.mix(attended.transpose(1, 2).flatten(2))
        return tokens + self.narrow(gelu(self.widen(self.norm_feed(tokens))))

    def alone(self) -> Callable[[Tensor, Tensor], Float[Tensor, "batch d_model"]]:
        """One token of each patient after it has looked at itself and at what is known already; without gradients.

        A function of the token [batch d_model] and of the queries, keys and values [batch seen 3 heads d_head] of all that there
        are, of which the first are the token's own and are written by it. What looking up modules and calling a library's
        attention costs is as much as such few numbers cost to compute: weights are looked up once, attention is products and sums.
        """
        norm_attention, project, mix = _function(self.norm_attention), _function(self.query_key_value), _function(self.mix)
        norm_feed, widen, narrow = _function(self.norm_feed), _function(self.widen), _function(self.narrow)

        def of(token: Tensor, seen: Tensor) -> Tensor:
            seen[:, 0] = project(norm_attention(token)).view_as(seen[:, 0])
            query, key, value = seen[:, :1, 0], seen[:, :, 1], seen[:, :, 2]
            looks = ((query * key).sum(dim=-1, keepdim=True) * key.shape[-1] ** -0.5).softmax(dim=1)
            token = token + mix((looks * value).sum(dim=1).flatten(1))
            return token + narrow(gelu(widen(norm_feed(token))))

        return of


def _function(part: nn.Linear | nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    """What a linear layer or a layer norm computes, without the module around it."""
    weight, bias = part.weight, part.bias
    if isinstance(part, nn.LayerNorm):
        width, eps = part.normalized_shape, part.eps
        return lambda token: layer_norm(token, width, weight, bias, eps)
    columns = weight.t()
    return lambda token: torch.addmm(bias, token, columns)


class Denoiser(nn.Module):
    """epsilon_theta(z_t, t, cond) of Eq. 19: a transformer over the tokens z_t, time, condition and prior, read at z_t.

    Targets are standardised; were they standard normal, E[epsilon | z_t] would be sqrt(1 - alpha_t) z_t. The transformer gives
    the difference to that, and almost none before training: it begins at a sound sampler and learns what the data add.

    The paper does not say who looks at whom. Here z_t looks at all, condition and prior at each other, the time at itself: what
    these are in each layer is the same in every step of a patient, or for every patient of a step, and a sampler computes it once.
    With `joint` every token looks at every other.

    Args:
        d_model: width of z, of the condition and of every token.
        layers: transformer layers.
        heads: attention heads.
        d_hidden: width inside the feed-forward parts.
        joint: whether all tokens look at all.

    Raises:
        ValueError: heads do not divide the width, the width is odd, or there is no layer.
    """

    frequencies: Tensor
    looks: Tensor

    def __init__(self, d_model: int, *, layers: int = 4, heads: int = 8, d_hidden: int = 1024, joint: bool = False):
        super().__init__()
        if heads < 1 or d_model % heads or d_model % 2:
            raise ValueError(
                f"a denoiser of width {d_model} cannot have {heads} heads; choose an even width that is a multiple of the heads."
            )
        if layers < 1:
            raise ValueError(f"a denoiser needs at least 1 layer, got {layers}; the paper's has 4.")
        self.joint = joint
        self.embed_noisy = nn.Linear(d_model, d_model)
        self.embed_time = nn.Sequential(nn.Linear(d_model, d_model), nn.SiLU(), nn.Linear(d_model, d_model))
        self.embed_condition = nn.Linear(d_model, d_model)
        self.layers = nn.ModuleList([DenoiserLayer(d_model, heads, d_hidden) for _ in range(layers)])
        self.norm = nn.LayerNorm(d_model)
        self.read = nn.Linear(d_model, d_model)
        self.read.weight.data.mul_(FIRST_SCALE)
        nn.init.zeros_(self.read.bias)
        exponents = torch.arange(d_model // 2) / (d_model // 2)
        self.register_buffer("frequencies", torch.exp(-math.log(SLOWEST) * exponents), persistent=False)
        self.register_buffer("looks", torch.tensor(LOOKS, dtype=torch.bool), persistent=False)

    def forward(
        self,
        noisy: Float[Tensor, "batch d_model"],
        time: Int[Tensor, " batch"],
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
    ) -> Float[Tensor, "batch d_model"]:
        """The noise in z_t.

        Args:
            noisy: z_t.
            time: t - 1.
            condition: c of each patient.
            prior: CLS_u, the same for all patients, or None.
        """
        tokens = torch.cat([self.embed_noisy(noisy)[:, None], self._time_tokens(time), self._condition_tokens(condition, prior)], dim=1)
        looks = None if self.joint else self.looks[: tokens.shape[1], : tokens.shape[1]]
        *layers, last = self._layers()
        for layer in layers:
            tokens = layer(tokens, layer.project(tokens), looks)
        read = last(tokens[:, :1], last.project(tokens))  # z_t looks at all; the others are not read
        return self._noise(read[:, 0], noisy, noise_share(time))

    def at_steps(
        self,
        times: Int[Tensor, " steps"],
        condition: Float[Tensor, "batch d_model"],
        prior: Float[Tensor, " d_model"] | None,
    ) -> Callable[[Float[Tensor, "batch d_model"], int], Float[Tensor, "batch d_model"]]:
        """The noise in z_t as a function of z_t and the index of the step, for patients who stay the same.

        The tokens that do not look at z_t are computed here, once for all steps. Without gradients.
        """
        if self.joint:
            return lambda noisy, step: self(noisy, times[step].expand(len(noisy)), condition, prior)
        layers, shares = self._layers(), noise_share(times)
        of_times = [of_layer.unflatten(-1, (3, layers[0].heads, -1)) for of_layer in self._seen(self._time_tokens(times))]
        seen = []  # by layer: z_t, time, condition and prior of every patient
        for of_layer in self._seen(self._condition_tokens(condition, prior)):
            known = of_layer.unflatten(-1, (3, layers[0].heads, -1))
            seen.append(torch.cat([torch.empty_like(known[:, :1]).expand(-1, 2, -1, -1, -1), known], dim=1))

        alone = [layer.alone() for layer in layers]

        def noise(noisy: Tensor, step: int) -> Tensor:
            token = self.embed_noisy(noisy)
            for layer, of_time, of_patients in zip(alone, of_times, seen, strict=True):
                of_patients[:, 1] = of_time[step, 0]
                token = layer(token, of_patients)
            return self._noise(token, noisy, shares[step : step + 1])

        return noise

    def _time_tokens(self, time: Int[Tensor, " n"]) -> Float[Tensor, "n 1 d_model"]:
        """From sines and cosines of the time."""
        angles = time[:, None] * self.frequencies
        return self.embed_time(torch.cat([angles.sin(), angles.cos()], dim=-1))[:, None]

    def _condition_tokens(self, condition: Tensor, prior: Tensor | None) -> Float[Tensor, "batch known d_model"]:
        tokens = self.embed_condition(condition)[:, None]
        return tokens if prior is None else torch.cat([tokens, prior.expand(len(tokens), 1, -1)], dim=1)

    def _seen(self, tokens: Float[Tensor, "n known d_model"]) -> list[Float[Tensor, "n known three_d_model"]]:
        """Queries, keys and values, in each layer, of tokens that look at each other only."""
        layers = self._layers()
        projected = [layers[0].project(tokens)]
        for layer, after in pairwise(layers):
            tokens = layer(tokens, projected[-1])
            projected.append(after.project(tokens))
        return projected

    def _noise(self, read: Float[Tensor, "batch d_model"], noisy: Tensor, share: Float[Tensor, "#batch 1"]) -> Tensor:
        return torch.addcmul(self.read(self.norm(read)), share, noisy)

    def _layers(self) -> tuple[DenoiserLayer, ...]:
        return tuple(cast(DenoiserLayer, layer) for layer in self.layers)


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
