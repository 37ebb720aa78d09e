"""A training step of MUST with patients of as many patches encoded together, beside one by one: same loss, how much time?

    python benchmarks/must_step.py [--repeats 9]

Batches of 8 patients, patches of width 1,024, six groups of 200 measurements; warm-up and main stage, forward and backward. One thread,
process CPU time, medians of alternating steps, milliseconds a patient.
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = "1"

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import torch

from prognos.models import entry_of, must
from prognos.nn.must import encoded_alike
from prognos.types import Bag, InputShape, Progress, Survival, Tokens

PATIENTS, D_PATCH, GROUPS, MEASURED = 8, 1024, 6, 200
SIZES = ((64, 64), (64, 256), (128, 256), (256, 256), (256, 1024))


def one_by_one(bag: Bag, modalities: tuple[str, ...]) -> list[list[int]]:
    """Each patient alone."""
    return [[place] for group in encoded_alike(bag, modalities) for place in group]


def step(model: torch.nn.Module, bag: Bag, survival: Survival, stage: str, *, together: bool) -> tuple[float, float]:
    """CPU seconds of one step, and its loss."""
    must.encoded_alike = encoded_alike if together else one_by_one
    model.zero_grad(set_to_none=True)
    started = time.process_time()
    loss = sum(model.losses(bag, survival, Progress(0, 1, 0, 1, stage)).values())
    loss.backward()
    return time.process_time() - started, float(loss.detach())


def main() -> None:
    """Prints one line a size and stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    apply_host_settings(threads=1)
    kind = entry_of("must").load()
    print(f"{'D':>5}{'patches':>9}  {'stage':<9}{'together':>10}{'one by one':>12}{'ratio':>7}  loss apart")
    for d_model, patches in SIZES:
        torch.manual_seed(0)
        config = kind.Config(d_model=d_model, rank=d_model // 4, generator="zero", dropout=0.0, noise=0.0)
        model = kind(config, InputShape(D_PATCH, (MEASURED,) * GROUPS)).train()
        everyone = torch.ones(PATIENTS, patches, dtype=torch.bool)
        histology = Tokens(torch.randn(PATIENTS, patches, D_PATCH).half(), everyone)
        omics = Tokens(torch.randn(PATIENTS, GROUPS, MEASURED), torch.ones(PATIENTS, GROUPS, dtype=torch.bool))
        bag = Bag(tuple(f"patient {i}" for i in range(PATIENTS)), {"histology": histology, "omics": omics})
        survival = Survival(torch.rand(PATIENTS) * 1000, torch.arange(PATIENTS) % 3 > 0)
        for head in (model.head, model.warm_head):
            head.learn_marginal(survival)
        for stage in (must.WARM_UP, must.MAIN):
            taken: dict[bool, list[float]] = {True: [], False: []}
            losses: dict[bool, float] = {}
            for _ in range(options.repeats + 1):
                for together in (True, False):
                    seconds, losses[together] = step(model, bag, survival, stage, together=together)
                    taken[together].append(seconds)
            first, second = (1e3 * statistics.median(taken[together][1:]) / PATIENTS for together in (True, False))
            apart = abs(losses[True] - losses[False])
            print(f"{d_model:>5}{patches:>9}  {stage:<9}{first:>10.1f}{second:>12.1f}{second / first:>7.2f}  {apart:.0e}")


if __name__ == "__main__":
    main()
