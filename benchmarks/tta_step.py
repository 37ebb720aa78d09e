"""One training step of TTA at 32 patients x 4,096 patches x 1,024 features, beside its matrix-multiplication floor.

    python benchmarks/tta_step.py [--preset tta] [--rho 0.5] [--repeats 5]

One thread, process CPU time, medians. The floor is the counted multiply-adds of the step over the matrix-product rate that is
measured in the same run, in the same process, on the product that dominates. Memory is peak RSS above inputs and model.
"""

import argparse
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

PATIENTS, PATCHES, D_PATCH, D, K = 32, 4096, 1024, 256, 32
PATHWAYS = tuple(31 + (168 * c) // 49 for c in range(50))


def multiply_adds(heads_trained: int = 1) -> float:
    """FLOP (two a multiply-add) of the products of one step, forward and backward."""
    rows, tokens = PATIENTS * PATCHES, PATIENTS * (PATCHES + len(PATHWAYS))
    project_patches = 2 * (2 * rows * D_PATCH * D)  # forward, weight gradient
    project_pathways = 2 * (2 * PATIENTS * len(PATHWAYS) * max(PATHWAYS) * D)
    shared = heads_trained * 3 * (2 * tokens * D * D)  # forward, both gradients
    logits_and_sums = 2 * 3 * (2 * tokens * D * K)
    small = 3 * (2 * PATIENTS * 4 * K * D * D * 8)
    return project_patches + project_pathways + shared + logits_and_sums + small


def cpu(function) -> float:
    """Process CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tta")
    parser.add_argument("--rho", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    settings = apply_host_settings(threads=1)
    torch.manual_seed(0)
    entry = entry_of(options.preset)
    kind = entry.load()
    config = kind.Config(**{**entry.config, "mass_base": options.rho, "mass_upper": options.rho})
    model = kind(config, InputShape(D_PATCH, PATHWAYS)).train()
    mask = torch.ones(PATIENTS, PATCHES, dtype=torch.bool)
    patches = torch.randn(PATIENTS, PATCHES, D_PATCH, dtype=torch.float32).half()
    omics = torch.randn(PATIENTS, len(PATHWAYS), max(PATHWAYS))
    bag = Bag(
        tuple(map(str, range(PATIENTS))),
        {"histology": Tokens(patches, mask), "omics": Tokens(omics, torch.ones(PATIENTS, len(PATHWAYS), dtype=torch.bool))},
    )
    survival = Survival(torch.rand(PATIENTS) * 1000, torch.rand(PATIENTS) < 0.4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        sum(model.losses(bag, survival, Progress(1, 10, 0, 30)).values()).backward()
        optimiser.step()

    left, right = torch.randn(PATCHES, D_PATCH), torch.randn(D_PATCH, D)
    product = 2 * PATCHES * D_PATCH * D
    cpu(lambda: left @ right)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu(step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times, rates = [], []
    for _ in range(options.repeats):
        rates.append(8 * product / cpu(lambda: [left @ right for _ in range(8)]))
        times.append(cpu(step))
    floor = multiply_adds() / statistics.median(rates)
    median = statistics.median(times)
    print(f"preset {options.preset}, rho {options.rho}, matmul {settings.matmul}, huge pages {settings.huge_pages}")
    print(f"{'step':<28}{median:8.2f} s CPU  (min {min(times):.2f}, max {max(times):.2f})")
    print(f"{'matrix-product rate':<28}{statistics.median(rates) / 1e9:8.0f} GFLOP/s")
    print(f"{'floor of ' + format(multiply_adds() / 1e9, '.0f') + ' GFLOP':<28}{floor:8.2f} s")
    print(f"{'step / floor':<28}{median / floor:8.2f}")
    print(f"{'peak above inputs and model':<28}{(peak - before) / 1e6:8.2f} GB")
    if options.profile:
        with torch.profiler.profile() as profile:
            step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=40))


if __name__ == "__main__":
    main()
