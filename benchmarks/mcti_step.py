"""One training step of MCTI beside one of TTA, at 16,384 patches x 1,024 features a patient: time and memory.

    python benchmarks/mcti_step.py [--patients 4] [--patches 16384] [--repeats 5]

The recommended presets, one thread, process CPU time, medians; each model in a process of its own, one after the other. The floor is
the product that turns a patient's features into tokens, forward and its gradient for the weights, at the matrix-product rate of the
same process. Memory is peak RSS above inputs and model.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time

os.environ["OMP_NUM_THREADS"] = "1"

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import torch

from prognos.models import entry_of
from prognos.types import Bag, InputShape, Progress, Survival, Tokens

D_PATCH, D, GENES, CLASSES = 1024, 256, 4000, ("a", "b", "c")
PATHWAYS = tuple(31 + (168 * c) // 49 for c in range(50))
MODELS = ("mcti", "tta")


def bag_of(model: str, patients: int, patches: int) -> Bag:
    """Random patches, and omics as the model reads them."""
    width = (len(PATHWAYS), max(PATHWAYS)) if model == "tta" else (1, GENES)
    omics = Tokens(torch.randn(patients, *width), torch.ones(patients, width[0], dtype=torch.bool))
    values = torch.empty(patients, patches, D_PATCH, dtype=torch.float16)
    for rows in values.view(-1, D_PATCH).split(1024):  # few at a time, so that making them is not the peak
        rows.copy_(torch.randn(rows.shape))
    histology = Tokens(values, torch.ones(patients, patches, dtype=torch.bool))
    return Bag(tuple(map(str, range(patients))), {"histology": histology, "omics": omics})


def memory() -> float:
    """Peak RSS in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def floor_of(rows: int) -> float:
    """Seconds of the products between features and tokens."""
    left, right = torch.randn(4096, D_PATCH), torch.randn(D_PATCH, D)
    times = []
    for _ in range(7):
        start = time.process_time()
        left @ right
        times.append(time.process_time() - start)
    return 2 * rows / len(left) * min(times)


def measured(model: str, patients: int, patches: int, repeats: int) -> tuple[float, float, float]:
    """Median CPU seconds of a step, its floor, and memory in GB."""
    apply_host_settings(threads=1)
    torch.manual_seed(0)
    entry = entry_of(model)
    kind = entry.load()
    network = kind(kind.Config(**entry.config), InputShape(D_PATCH, PATHWAYS, n_genes=GENES, subtypes=CLASSES)).train()
    bag = bag_of(model, patients, patches)
    survival = Survival(torch.rand(patients) * 1000, torch.rand(patients) < 0.6, torch.arange(patients) % len(CLASSES))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    floor, before, times = floor_of(patients * patches), memory(), []
    for step in range(repeats + 1):
        start = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        sum(network.losses(bag, survival, Progress(step, repeats + 1, 0, 1, "main")).values()).backward()
        optimiser.step()
        times.append(time.process_time() - start)
    return statistics.median(times[1:]), floor, memory() - before


def main() -> None:
    """Prints a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--patches", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.patients} patients x {options.patches} patches x {D_PATCH}, one thread")
    for model in MODELS:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            seconds, floor, gigabytes = process.apply(measured, (model, options.patients, options.patches, options.repeats))
        print(
            f"{model:<6} step {1e3 * seconds:7.0f} ms CPU, {seconds / floor:4.1f} of its floor, {gigabytes:.2f} GB above inputs and model"
        )


if __name__ == "__main__":
    main()
