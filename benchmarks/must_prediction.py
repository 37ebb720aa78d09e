"""One patient of 10,000 patches x 1,536 through MUST: complete, and with omics or histology missing (50 DDIM steps x 5 draws).

    python benchmarks/must_prediction.py [--patches 10000] [--repeats 5]

One thread, process CPU time, medians. The paper gives 70 ms for a complete patient and 879 ms with a modality missing, on an NVIDIA A6000.
The floor of the complete prediction is its counted multiply-adds over the matrix-product rate measured in the same run. Memory is
peak RSS above inputs and model. Weights are random: what is timed does not depend on them.
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
from prognos.types import Bag, InputShape, Tokens

D_PATCH, D, HEADS, LANDMARKS, WIDTH, PINV = 1536, 256, 8, 128, 32, 6
GROUPS = (300, 600, 700, 500, 1200, 600)
PAPER = {"complete": 70, "without omics": 879, "without histology": 879}


def multiply_adds(n: int) -> int:
    """Of a complete prediction: products with one row a patch, and the pseudo-inverses; all else is small."""
    landmark_attention = 2 * 2 * n * LANDMARKS * D  # A1 and A3, each with its values
    pseudo_inverse = HEADS * PINV * 4 * LANDMARKS**3
    layer = n * 4 * D * D + landmark_attention + 33 * n * D
    positions = 49 * n * D
    few_read_many = n * 2 * HEADS * 6 * D  # six groups look at the patches, unprojected
    many_read_few = n * (2 * D * D + 2 * 6 * D)  # patches look at six groups: queries, output
    pools = 2 * n * 2 * HEADS * D  # class tokens over patches, unprojected
    return n * D_PATCH * D + 2 * (layer + pseudo_inverse) + positions + few_read_many + many_read_few + pools


def main() -> None:
    """Prints one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    settings = apply_host_settings(threads=1)
    torch.manual_seed(0)
    kind = entry_of("must").load()
    model = kind(kind.Config(), InputShape(D_PATCH, GROUPS)).eval()
    model.generators_learnt.fill_(True)
    patches = torch.randn(1, options.patches, D_PATCH).half()
    omics = torch.randn(1, len(GROUPS), max(GROUPS))
    ones = torch.ones
    bag = Bag(("patient",), {"histology": Tokens(patches, ones(1, options.patches).bool()), "omics": Tokens(omics, ones(1, 6).bool())})
    cases = {"complete": bag, "without omics": bag.without("omics"), "without histology": bag.without("histology")}
    left, right = torch.randn(options.patches, D), torch.randn(D, 3 * D)
    product = options.patches * D * 3 * D

    def cpu(case: Bag) -> float:
        start = time.process_time()
        with torch.no_grad():
            model(case)
        return time.process_time() - start

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases.values():
        cpu(case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {name: [] for name in cases}
    rates = []
    for _ in range(options.repeats):
        start = time.process_time()
        for _ in range(4):
            left @ right
        rates.append(4 * product / (time.process_time() - start))
        for name, case in cases.items():
            times[name].append(cpu(case))
    print(f"{options.patches} patches x {D_PATCH}, one thread, matmul {settings.matmul}, {settings.cpu}")
    for name, seconds in times.items():
        print(f"{name:<20}{1000 * statistics.median(seconds):8.0f} ms CPU   (paper, A6000: {PAPER[name]} ms)")
    floor = multiply_adds(options.patches) / statistics.median(rates)
    print(f"{'floor of complete':<20}{1000 * floor:8.0f} ms       ({2 * multiply_adds(options.patches) / 1e9:.0f} GFLOP)")
    print(f"{'peak memory':<20}{(peak - before) / 1e6:8.2f} GB above inputs and model")


if __name__ == "__main__":
    main()
