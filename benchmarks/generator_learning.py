"""What more training of the latent diffusion gives, and whether tokens that look at z_t give more: held-out loss by optimiser steps.

    python benchmarks/generator_learning.py [--patients 300] [--steps 8000] [--seeds 3] [--d-model 64]

Planted conditional distribution: 64 numbers whose mean is a curved function of eight directions of the condition, with a spread that
depends on it and two modes; trained on as many patients as a training fold has, watched on 400 others. At each mark, of the averaged
weights: the loss on training patients and on others (Eq. 19), how much of the variance of the true conditional mean the mean of 20
draws explains, and how much nearer to a training target draws lie than other patients do (below 1: learnt by heart).
"""

import argparse
import os
import statistics

os.environ["OMP_NUM_THREADS"] = "1"

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import torch
from torch import Tensor

from prognos.nn.generators import Diffusion

DIRECTIONS, OTHERS, BATCH, RATE, DRAWS, WATCHED = 8, 400, 128, 1e-3, 20, 10
MARKS = (250, 500, 1000, 2000, 4000, 8000, 16000)


class Planted:
    """Targets given conditions, with a known mean.

    Args:
        d_model: width of both.
    """

    def __init__(self, d_model: int):
        random = torch.Generator().manual_seed(99)
        self.look = torch.randn(d_model, DIRECTIONS, generator=random) / d_model**0.5
        self.curved, self.squared, self.spread = (torch.randn(DIRECTIONS, d_model, generator=random) / DIRECTIONS**0.5 for _ in range(3))
        self.apart = 0.7 * torch.randn(d_model, generator=random)

    def draw(self, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Targets, conditions and the true means of the targets."""
        random = torch.Generator().manual_seed(seed)
        condition = torch.randn(n, len(self.look), generator=random)
        seen = condition @ self.look
        centre = torch.tanh(seen @ self.curved) + 0.5 * seen.square() @ self.squared
        sd = 0.3 + 0.5 * torch.sigmoid(seen @ self.spread)
        share = torch.sigmoid(2 * seen[:, :1])
        mode = 2 * (torch.rand(n, 1, generator=random) < share).float() - 1
        target = centre + mode * self.apart + sd * torch.randn(n, len(self.look), generator=random)
        return target, condition, centre + (2 * share - 1) * self.apart


def nearest(rows: Tensor, to: Tensor) -> float:
    """Median distance to the nearest of some rows."""
    return float(torch.cdist(rows, to).amin(dim=1).median())


def main() -> None:
    """Prints a line a mark and form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--forms", default="prefix,joint")
    options = parser.parse_args()
    apply_host_settings(threads=1)
    planted = Planted(options.d_model)
    others, asked, means = planted.draw(OTHERS, 10_000)
    print(f"{options.patients} patients, width {options.d_model}, batch {BATCH}, rate {RATE}, {options.seeds} seeds: means")
    print(f"{'form':<8}{'steps':>7}{'trained on':>12}{'others':>9}{'explained':>11}{'nearness':>10}")
    for form in options.forms.split(","):
        found: dict[int, list[tuple[float, ...]]] = {}
        for seed in range(options.seeds):
            target, condition, _ = planted.draw(options.patients, seed)
            torch.manual_seed(seed)
            model = Diffusion(options.d_model, layers=2, heads=4, d_hidden=2 * options.d_model, steps=50, joint=form == "joint")
            model.learn(target, condition)
            optimiser = torch.optim.AdamW(model.network.parameters(), lr=RATE)
            for step in range(1, options.steps + 1):
                rows = torch.randint(options.patients, (BATCH,))
                optimiser.zero_grad(set_to_none=True)
                model.loss(target[rows], condition[rows], None).backward()
                optimiser.step()
                model.after_step()
                if step not in MARKS:
                    continue
                model.eval()
                with torch.no_grad(), torch.random.fork_rng():
                    torch.manual_seed(5)
                    losses = [
                        statistics.mean(float(model.loss(t, c, None)) for _ in range(WATCHED))
                        for t, c in ((target, condition), (others, asked))
                    ]
                    drawn = model.sample(asked, None, torch.randn(DRAWS, OTHERS, options.d_model))
                explained = 1 - float((drawn.mean(dim=0) - means).square().mean() / (means - means.mean(dim=0)).square().mean())
                model.train()
                found.setdefault(step, []).append((*losses, explained, nearest(drawn[0], target) / nearest(others, target)))
        for step, rows_of in found.items():
            train, held, explained, near = (statistics.mean(column) for column in zip(*rows_of, strict=True))
            print(f"{form:<8}{step:>7}{train:>12.4f}{held:>9.4f}{explained:>11.3f}{near:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
