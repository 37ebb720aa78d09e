"""A patient of 200,000 patches x 1,024 features through training and prediction: time and peak memory.

    python benchmarks/large_patient.py [--patches 200000]

Each line is a process of its own, one thread, CPU seconds; memory is peak RSS above inputs and model. Training reads *all* patches
here (a study draws 4,096 of them by default); prediction always does. Features are float16 as the store keeps them.
"""

import argparse
import os
import subprocess
import sys

WORK = [("abmil", "train"), ("abmil", "predict"), ("tta", "train"), ("tta", "predict")]


def one(name: str, what: str, n_patches: int) -> None:
    """Runs one model once and prints its line."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from prognos.runtime import apply_host_settings, prepare_environment

    prepare_environment()
    import resource
    import time

    import torch

    from prognos.models import entry_of
    from prognos.types import Bag, InputShape, Progress, Survival, Tokens

    apply_host_settings(threads=1)
    torch.manual_seed(0)
    entry = entry_of(name)
    kind = entry.load()
    model = kind(kind.Config(**entry.config), InputShape(1024, (40,) * 50))
    values = torch.empty(1, n_patches, 1024, dtype=torch.float16)
    for part in values[0].split(10_000):
        part.copy_(torch.randn(part.shape))
    omics = Tokens(torch.randn(1, 50, 40), torch.ones(1, 50, dtype=torch.bool))
    bag = Bag(("a",), {"histology": Tokens(values, torch.ones(1, n_patches, dtype=torch.bool)), "omics": omics})
    survival = Survival(torch.tensor([100.0]), torch.tensor([True]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    if what == "train":
        model.train()
        model.head.loss = lambda prediction, *_: prediction.risk.sum()  # one patient alone has no risk set: any loss will do
        sum(model.losses(bag, survival, Progress(0, 10, 0, 30)).values()).backward()
    else:
        model.eval()
        with torch.no_grad():
            assert bool(model(bag).risk.isfinite().all())
    seconds = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    print(f"{name:<8}{what:<10}{seconds:8.1f} s CPU{peak:8.2f} GB above inputs and model")


def main() -> None:
    """Prints one line a model and use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=200_000)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "USE"))
    options = parser.parse_args()
    if options.one:
        one(*options.one, options.patches)
        return
    print(f"one patient, {options.patches:,} patches x 1,024 features")
    for name, what in WORK:
        subprocess.run([sys.executable, __file__, "--patches", str(options.patches), "--one", name, what], check=True)


if __name__ == "__main__":
    main()
