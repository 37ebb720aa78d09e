"""Sampling and training of the latent diffusion at the paper's size, beside the matrix-multiplication floor.

    python benchmarks/sampling.py [--draws 5] [--steps 50] [--batch 32] [--repeats 5] [--profile]

One thread, process CPU time, medians; what is compared is measured in turn. The floor is the counted multiply-adds over the
matrix-product rate that is measured in the same run on the product that dominates. The plain form computes every token in
every layer, draw by draw and patient by patient, and lets the library take the steps.
"""

import argparse
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


def multiply_adds(lean: bool) -> int:
    """Multiply-adds of one vector through the denoiser: of the whole transformer, or of the rows and projections that are needed."""
    attention = 2 * TOKENS * TOKENS * D
    whole = TOKENS * (4 * D * D + 2 * D * HIDDEN) + attention
    if not lean:
        return LAYERS * whole + (2 + 2 + TOKENS - 2) * D * D  # z_t, condition; time twice; every token is read
    opening = whole - 3 * (TOKENS - 1) * D * D
    last = (3 * TOKENS + 1) * D * D + 2 * TOKENS * D + 2 * D * HIDDEN
    return opening + (LAYERS - 2) * whole + last + 2 * D * D


def plain_layer(layer: DenoiserLayer, tokens: Tensor) -> Tensor:
    """A pre-norm transformer layer as it is usually written."""
    parts = layer.query_key_value(layer.norm_attention(tokens)).chunk(3, dim=-1)
    heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts]
    tokens = tokens + layer.mix(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return tokens + layer.narrow(gelu(layer.widen(layer.norm_feed(tokens))))


def plain_noise(denoiser: Denoiser, noisy: Tensor, step: int, condition: Tensor, prior: Tensor) -> Tensor:
    """The noise from all tokens in all layers."""
    at = torch.full((len(noisy),), step)
    angles = at[:, None] * denoiser.frequencies
    time_token = denoiser.embed_time(torch.cat([angles.sin(), angles.cos()], dim=-1))
    tokens = torch.stack([denoiser.embed_noisy(noisy), time_token, denoiser.embed_condition(condition), prior.expand_as(noisy)], dim=1)
    for layer in (denoiser.opening, *denoiser.between, denoiser.last):
        tokens = plain_layer(layer, tokens)
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


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    settings = apply_host_settings(threads=1)
    torch.manual_seed(0)
    model = Diffusion(D, layers=LAYERS, heads=HEADS, d_hidden=HIDDEN, steps=options.steps)
    target, condition, prior = torch.randn(700, D), torch.randn(700, D), torch.randn(D)
    model.learn(target, condition)
    noise = torch.randn(options.draws, options.batch, D)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        rows = torch.randint(len(target), (batch,))
        model.loss(target[rows], condition[rows], prior).backward()
        optimiser.step()
        model.after_step()

    def sample(batch: int) -> Tensor:
        return model.sample(condition[:batch], prior, noise[:, :batch])

    left, right = torch.randn(options.draws * options.batch * TOKENS, D), torch.randn(D, HIDDEN)
    measured = {
        "alone": lambda: sample(1),
        "batch": lambda: sample(options.batch),
        "plain": lambda: plain_sample(model, condition[:1], prior, noise[:, :1]),
        "train 32": lambda: step(32),
        "train 256": lambda: step(256),
        "product": lambda: [left @ right for _ in range(20)],
    }
    for function in measured.values():
        function()
    difference = (sample(1) - plain_sample(model, condition[:1], prior, noise[:, :1])).abs().max() / sample(1).abs().max()
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.repeats):
        for name, function in measured.items():
            times[name].append(cpu(function))
    median = {name: statistics.median(values) for name, values in times.items()}
    rate = 20 * left.numel() * HIDDEN / median["product"]
    lean, whole = (options.steps * options.draws * multiply_adds(form) / rate for form in (True, False))
    train = 3 * multiply_adds(True) / rate
    print(f"{options.steps} steps x {options.draws} draws, {sum(w.numel() for w in model.parameters())} weights, matmul {settings.matmul}")
    work = f"a patient's samples {2 * lean * rate / 1e9:.1f} GFLOP, plain {2 * whole * rate / 1e9:.1f}"
    print(f"matrix products {2 * rate / 1e9:.0f} GFLOP/s; {work}")
    print(f"{'CPU time':<44}{'':>12}{'floor':>12}{'ratio':>8}")
    row("one patient, plain, draw by draw", median["plain"], whole)
    row("one patient, draws together", median["alone"], lean, f"{median['plain'] / median['alone']:.1f} times faster")
    each = median["batch"] / options.batch
    row(f"a patient in a batch of {options.batch}", each, lean, f"{median['plain'] / each:.1f} times faster")
    for batch in (32, 256):
        seconds = median[f"train {batch}"]
        row(f"training step, batch {batch}", seconds, batch * train, f"{1 / seconds:.1f} steps/s, {batch / seconds:.0f} samples/s")
    print(f"largest difference of plain and lean, relative: {float(difference):.1e}")
    if options.profile:
        for name in ("alone", "batch", "train 256"):
            with torch.profiler.profile() as profile:
                measured[name]()
            print(name, profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


if __name__ == "__main__":
    main()
