"""Sampling and training of the latent diffusion at the paper's size, beside the matrix-multiplication floor.

    python benchmarks/sampling.py [--repeats 5] [--profile]

One thread, process CPU time, medians; what is compared is measured in turn. The floor is the counted multiply-adds over the
matrix-product rate that is measured in the same run on the product that dominates. Two forms of the denoiser: "prefix", where
z_t alone looks at time and condition, and "joint", where all tokens look at all. The plain form of each computes every token
in every layer, draw by draw and patient by patient, and lets the library take the steps.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention

from prognos.nn.diffusion import Denoiser, DenoiserLayer, ddim_scheduler, noise_share
from prognos.nn.generators import Diffusion

D, LAYERS, HEADS, HIDDEN, TOKENS = 256, 4, 8, 1024, 4
STEPS, DRAWS, REPEATS, BATCH = 50, 5, 5, 32
WHO_LOOKS = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)  # z_t, time, condition, prior


def multiply_adds(form: str) -> float:
    """Multiply-adds of one vector through the denoiser: of the whole transformer, or of what is needed of it.

    In the form "prefix" the layers of condition and prior are shared by all steps and draws; those of the time by all patients, and
    are left out.
    """
    attention = 2 * TOKENS * D
    whole = 4 * D * D + 2 * D * HIDDEN + attention  # a token through a layer
    if form == "plain":
        return LAYERS * TOKENS * whole + (2 + 2 + TOKENS - 2) * D * D  # z_t, condition; time twice; every token is read
    if form == "prefix":
        return LAYERS * whole + 2 * D * D + 2 * LAYERS * whole / (STEPS * DRAWS)
    opening = TOKENS * whole - 3 * (TOKENS - 1) * D * D
    last = (3 * TOKENS + 1) * D * D + attention + 2 * D * HIDDEN
    return opening + (LAYERS - 2) * TOKENS * whole + last + 2 * D * D


def plain_layer(layer: DenoiserLayer, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """A pre-norm transformer layer as it is usually written."""
    parts = layer.query_key_value(layer.norm_attention(tokens)).chunk(3, dim=-1)
    heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts]
    tokens = tokens + layer.mix(scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2))
    return tokens + layer.narrow(gelu(layer.widen(layer.norm_feed(tokens))))


def plain_noise(denoiser: Denoiser, noisy: Tensor, step: int, condition: Tensor, prior: Tensor) -> Tensor:
    """The noise from all tokens in all layers."""
    at = torch.full((len(noisy),), step)
    angles = at[:, None] * denoiser.frequencies
    time_token = denoiser.embed_time(torch.cat([angles.sin(), angles.cos()], dim=-1))
    tokens = torch.stack([denoiser.embed_noisy(noisy), time_token, denoiser.embed_condition(condition), prior.expand_as(noisy)], dim=1)
    for layer in denoiser.layers:
        assert isinstance(layer, DenoiserLayer)
        tokens = plain_layer(layer, tokens, None if denoiser.joint else WHO_LOOKS)
    return noise_share(at) * noisy + denoiser.read(denoiser.norm(tokens))[:, 0]


@torch.no_grad()
def plain_sample(model: Diffusion, condition: Tensor, prior: Tensor, noise: Tensor) -> Tensor:
    """The same samples, one draw of one patient after the other."""
    denoiser, scheduler, samples = model.average.network, ddim_scheduler(len(model.times)), torch.empty_like(noise)
    for draw in range(noise.shape[0]):
        for patient in range(noise.shape[1]):
            noisy, given = noise[draw, patient : patient + 1], model.standard_condition(condition[patient : patient + 1])
            for step in model.times:
                predicted = plain_noise(denoiser, noisy, step, given, prior)
                noisy = scheduler.step(predicted, step, noisy, eta=0.0).prev_sample
            samples[draw, patient] = model.from_standard(noisy)[0]
    return samples


def cpu(function: Callable[[], object]) -> float:
    """Process CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def row(name: str, seconds: float, floor: float, note: str = "") -> None:
    """One line of the table."""
    print(f"{name:<44}{1000 * seconds:9.1f} ms{1000 * floor:9.1f} ms{seconds / floor:8.2f}   {note}")


class Measured:
    """One form of the denoiser with what is timed of it.

    Args:
        joint: whether all tokens look at each other.
    """

    def __init__(self, joint: bool):
        torch.manual_seed(0)
        self.model = Diffusion(D, layers=LAYERS, heads=HEADS, d_hidden=HIDDEN, steps=STEPS, joint=joint)
        self.target, self.condition, self.prior = torch.randn(700, D), torch.randn(700, D), torch.randn(D)
        self.model.learn(self.target, self.condition)
        self.noise = torch.randn(DRAWS, BATCH, D)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def step(self, batch: int) -> None:
        """One of training."""
        self.optimiser.zero_grad(set_to_none=True)
        rows = torch.randint(len(self.target), (batch,))
        self.model.loss(self.target[rows], self.condition[rows], self.prior).backward()
        self.optimiser.step()
        self.model.after_step()

    def sample(self, batch: int) -> Tensor:
        """All draws of so many patients."""
        return self.model.sample(self.condition[:batch], self.prior, self.noise[:, :batch])

    def plain(self) -> Tensor:
        """The draws of one patient."""
        return plain_sample(self.model, self.condition[:1], self.prior, self.noise[:, :1])

    def difference(self) -> float:
        """The largest of plain and lean samples, relative."""
        ours = self.sample(1)
        return float((ours - self.plain()).abs().max() / ours.abs().max())


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    settings = apply_host_settings(threads=1)
    forms = {"prefix": Measured(joint=False), "joint": Measured(joint=True)}
    left, right = torch.randn(DRAWS * BATCH, D), torch.randn(D, HIDDEN)
    measured: dict[tuple[str, str], Callable[[], object]] = {("", "product"): lambda: [left @ right for _ in range(80)]}
    for name, form in forms.items():
        measured[name, "alone"] = functools.partial(form.sample, 1)
        measured[name, "batch"] = functools.partial(form.sample, BATCH)
        measured[name, "plain"] = form.plain
        measured[name, "train 32"] = functools.partial(form.step, 32)
        measured[name, "train 256"] = functools.partial(form.step, 256)
    for function in measured.values():
        function()
    differences = {name: form.difference() for name, form in forms.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in measured}
    for _ in range(options.repeats):
        for key, function in measured.items():
            times[key].append(cpu(function))
    median = {key: statistics.median(values) for key, values in times.items()}
    rate = 80 * left.numel() * HIDDEN / median["", "product"]
    weights = sum(w.numel() for w in forms["joint"].model.network.parameters())
    print(f"{STEPS} steps x {DRAWS} draws, {weights} weights, matmul {settings.matmul}")
    print(f"matrix products {2 * rate / 1e9:.0f} GFLOP/s")
    print(f"{'CPU time':<44}{'':>12}{'floor':>12}{'ratio':>8}")
    for name in forms:
        lean, whole = (STEPS * DRAWS * multiply_adds(form) / rate for form in (name, "plain"))
        plain, each = median[name, "plain"], median[name, "batch"] / BATCH
        row(f"{name}: one patient, plain, draw by draw", plain, whole)
        row("one patient, draws together", median[name, "alone"], lean, f"{plain / median[name, 'alone']:.1f} times faster")
        row(f"a patient in a batch of {BATCH}", each, lean, f"{plain / each:.1f} times faster")
        for batch in (32, 256):
            seconds = median[name, f"train {batch}"]
            floor = 3 * batch * multiply_adds("joint") / rate
            row(f"training step, batch {batch}", seconds, floor, f"{1 / seconds:.1f} steps/s, {batch / seconds:.0f} samples/s")
        print(f"largest difference of plain and lean, relative: {differences[name]:.1e}")
    if options.profile:
        for key in (("prefix", "alone"), ("prefix", "batch"), ("prefix", "train 256")):
            with torch.profiler.profile() as profile:
                measured[key]()
            print(*key, profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


if __name__ == "__main__":
    main()
