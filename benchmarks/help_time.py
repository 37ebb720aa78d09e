"""How long `prognos --help` takes, beside an empty Python process of the same environment.

.venv/bin/python benchmarks/help_time.py
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 0.3
"""Seconds that the help may take."""


def measure(command: list[str], repeats: int) -> tuple[float, float]:
    """Median wall and median CPU seconds of a command."""
    walls, processors = [], []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls), statistics.median(processors)


def main() -> int:
    """Print both medians; 1 when the help's CPU time is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    command = Path(sys.executable).with_name("prognos")
    measure([str(command), "--help"], 2)
    empty, empty_cpu = measure([sys.executable, "-c", "pass"], repeats)
    helped, helped_cpu = measure([str(command), "--help"], repeats)
    print(f"python -c pass   median {empty:.3f} s wall, {empty_cpu:.3f} s CPU")
    print(f"prognos --help   median {helped:.3f} s wall, {helped_cpu:.3f} s CPU (limit {LIMIT} s; {repeats} runs)")
    return int(helped_cpu > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
