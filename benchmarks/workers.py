"""How two cores are best used: the same study by two workers of one thread each, and by one worker of two threads.

    python benchmarks/workers.py [--patients 120] [--patches 1024] [--epochs 4] [--rounds 5]

TTA and ABMIL on the five folds of a simulated cohort, ten jobs that both ways do with the same function. Wall time, since waiting is
the point: alternated, each run in a process of its own that is held to two cores, medians over the rounds; the start of the workers
counts, reading and packing the cohort do not. The machine must have nothing else to do. A study's jobs always have one thread (the
same sums in the same order wherever they run); two threads are driven here below the engine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CORES = 2
D_PATCH = 1024
MODELS = ("tta", "abmil")
WAYS = {"2 workers x 1 thread": (2, 1), "1 worker x 2 threads": (1, 2)}


def study(cohort: Path, out: Path, patches: int, epochs: int) -> tuple[tuple[Any, ...], Any]:
    """The jobs of the study and what they share."""
    from prognos.cohort import Cohort
    from prognos.cohort.folds import make_folds
    from prognos.config import make_recipe
    from prognos.study.fold import Shared
    from prognos.study.plan import make_plan
    from prognos.tokens.store import PatchStore
    from prognos.training import Fitted, fit

    recipe = make_recipe(
        {
            "cohort": {"path": str(cohort)},
            "tokens": {"n_patches": patches, "store": str(cohort.parent / "store")},
            "training": {"epochs": epochs, "device": "cpu"},
            "study": {"models": list(MODELS)},
        }
    )
    read = Cohort.read(cohort)
    PatchStore.open(read, recipe.tokens.store)  # packed before the clock runs, not by whoever comes first
    folds = {read.name: make_folds(read, recipe.study.n_folds).fold}
    plan = make_plan(recipe, {read.name: read}, folds)
    return plan.jobs, Shared(out, {read.name: read}, folds, fit, Fitted.load)


def one(cohort: Path, way: str, patches: int, epochs: int) -> None:
    """Does the whole study one way and prints its seconds."""
    from prognos.runtime import apply_host_settings, prepare_environment

    prepare_environment()
    from prognos.study.engine import engine
    from prognos.study.fold import run_job

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    workers, threads = WAYS[way]
    apply_host_settings(threads=threads)
    with tempfile.TemporaryDirectory() as out:
        jobs, shared = study(cohort, Path(out), patches, epochs)
        start = time.perf_counter()
        if workers > 1:
            with engine(workers, shared) as spread:
                done = len(list(spread(run_job, jobs)))
        else:
            done = len([run_job(job, shared, lambda share: None) for job in jobs])
        seconds = time.perf_counter() - start
    assert done == len(jobs), "every job was done"
    print(seconds)


def main() -> None:
    """Prints one line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("COHORT", "WAY"))
    options = parser.parse_args()
    if options.one:
        one(Path(options.one[0]), options.one[1], options.patches, options.epochs)
        return
    import prognos

    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}  # numpy's own; the products that count are torch's
    settings = ["--patches", str(options.patches), "--epochs", str(options.epochs)]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        size = (max(5, options.patches // 2), max(5, options.patches))  # of a slide
        truth = prognos.Truth.demo()
        cohort = prognos.simulate(Path(folder) / "sim", truth, n_patients=options.patients, d_patch=D_PATCH, patches=size, seed=1)
        for number in range(options.rounds):
            for way in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
                call = [sys.executable, __file__, *settings, "--one", str(cohort), way]
                told = subprocess.run(call, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
                seconds[way].append(float(told.split()[-1]))
    print(f"{' and '.join(MODELS)}, {options.patients} patients x {options.patches} patches x {D_PATCH}, 5 folds, {options.epochs} epochs")
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    for way, times in seconds.items():
        print(f"{way:<22}{medians[way]:8.1f} s (from {min(times):.1f} to {max(times):.1f})")
    first, second = medians.values()
    print(f"two workers are {second / first:.2f} times as fast as one worker with two threads")


if __name__ == "__main__":
    main()
