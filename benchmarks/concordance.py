"""Concordance, its bootstrap and the log-rank test beside lifelines: `python benchmarks/concordance.py`.

Both sides run in this process on one thread, alternated; CPU seconds of the process, the best of several rounds. Values are
asserted equal before anything is timed. The bootstrap of lifelines is a loop over the very same draws; `--full` runs all
of its replicates, otherwise a fifth is run and scaled by five.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import time
from collections.abc import Callable

import numpy as np
from lifelines.statistics import logrank_test
from lifelines.utils import concordance_index

from prognos.metrics import METRICS, HeldOutFold, concordance, logrank
from prognos.metrics.bootstrap import Resamples, draw_counts


def patients(n_patients: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risk, time in whole days and event of simulated patients, about 40% with the event."""
    generator = np.random.default_rng(seed)
    risk = np.round(generator.normal(size=n_patients), 6)  # risks closer than 1e-8 are a tie to us, not to lifelines
    died, censored = generator.exponential(1500 * 2.0**-risk), generator.exponential(1000, n_patients)
    return risk, np.ceil(np.minimum(died, censored)), died <= censored


def cpu_seconds(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The best CPU time of each side over alternated rounds; a side of less than 10 ms is repeated within a round."""
    best = dict.fromkeys(sides, np.inf)
    for _ in range(rounds):
        for side, call in sides.items():
            repeats, start = 0, time.process_time()
            while (spent := time.process_time() - start) < 0.01 or repeats == 0:
                call()
                repeats += 1
            best[side] = min(best[side], spent / repeats)
    return best


def concordance_rows(rounds: int) -> list[tuple[str, float, float]]:
    """Harrell's C for more and more patients."""
    rows = []
    for n_patients in (1_000, 10_000, 100_000):
        risk, days, event = patients(n_patients)
        assert abs(concordance(risk, days, event) - concordance_index(days, -risk, event)) < 1e-12
        sides = {
            "ours": lambda r=risk, t=days, e=event: concordance(r, t, e),
            "theirs": lambda r=risk, t=days, e=event: concordance_index(t, -r, e),
        }
        best = cpu_seconds(sides, rounds)
        rows.append((f"concordance, n = {n_patients:,}", best["ours"], best["theirs"]))
    return rows


def bootstrap_rows(rounds: int, full: bool) -> list[tuple[str, float, float]]:
    """1,000 bootstrap replicates of Harrell's C, drawing included on our side."""
    rows = []
    for n_patients in (200, 1_000):
        risk, days, event = patients(n_patients)
        counts = draw_counts(n_patients, 1000, [0])
        n_theirs = 1000 if full else 200
        drawn = [np.repeat(np.arange(n_patients), count) for count in counts[:n_theirs]]

        def ours(risk=risk, days=days, event=event, n_patients=n_patients) -> np.ndarray:
            fold = HeldOutFold(risk, days, event)
            return METRICS["concordance"].replicates(Resamples(fold, draw_counts(n_patients, 1000, [0])))

        def theirs(risk=risk, days=days, event=event, drawn=drawn) -> np.ndarray:
            return np.array([concordance_index(days[rows], -risk[rows], event[rows]) for rows in drawn])

        assert np.abs(ours()[:n_theirs] - theirs()).max() < 1e-12
        best = cpu_seconds({"ours": ours, "theirs": theirs}, rounds)
        scaled = "" if full else f" (lifelines: {n_theirs} run, x {1000 // n_theirs})"
        rows.append((f"1,000 replicates, n = {n_patients:,}{scaled}", best["ours"], best["theirs"] * 1000 / n_theirs))
    return rows


def logrank_rows(rounds: int) -> list[tuple[str, float, float]]:
    """The log-rank test of two halves by risk."""
    rows = []
    for n_patients in (1_000, 10_000):
        risk, days, event = patients(n_patients)
        high = risk > np.median(risk)

        def ours(days=days, event=event, high=high) -> float:
            return logrank(days, event, high).statistic

        def theirs(days=days, event=event, high=high) -> float:
            return logrank_test(days[high], days[~high], event[high], event[~high]).test_statistic

        assert abs(ours() / theirs() - 1) < 1e-9
        best = cpu_seconds({"ours": ours, "theirs": theirs}, rounds)
        rows.append((f"log-rank test, n = {n_patients:,}", best["ours"], best["theirs"]))
    return rows


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the best counts")
    parser.add_argument("--full", action="store_true", help="run all replicates of lifelines")
    options = parser.parse_args()
    print(f"{'CPU ms, one thread':<60} {'prognos':>10} {'lifelines':>10} {'ratio':>7}")
    for rows in (concordance_rows(options.rounds), bootstrap_rows(options.rounds, options.full), logrank_rows(options.rounds)):
        for what, ours, theirs in rows:
            print(f"{what:<60} {1e3 * ours:>10.3f} {1e3 * theirs:>10.1f} {theirs / ours:>6.0f}x")


if __name__ == "__main__":
    main()
