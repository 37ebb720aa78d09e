"""How often a 95% interval of the mean concordance holds 0.5 when there is nothing to find: cross-validated, and on patients apart.

    python benchmarks/interval_coverage.py [--cohorts 400] [--patients 240] [--columns 50]

Noise: columns and times of a cohort have nothing to do with each other. The model is the first gradient step of Cox's loss from
zero, a weighted sum of the training patients' columns, whose true concordance is 0.5 wherever it was trained. "cross-validated"
trains it on four folds and asks the fifth, as a study does; "apart" asks the same folds of models trained on four fifths of
another cohort each. Both get the interval of prognos: 1,000 replicates of the patients within folds, models held fixed.
"""

import argparse
import statistics
from dataclasses import dataclass

import numpy as np

from prognos.metrics import HeldOutFold
from prognos.metrics.bootstrap import Resamples, concordance_replicates, draw_counts, interval, mean_over_folds
from prognos.metrics.concordance import concordance

FOLDS, REPLICATES, NULL = 5, 1000, 0.5


@dataclass(frozen=True)
class Noise:
    """Columns, times and events of a cohort, none of which knows of another."""

    columns: np.ndarray
    time: np.ndarray
    event: np.ndarray

    @classmethod
    def drawn(cls, random: np.random.Generator, patients: int, columns: int) -> "Noise":
        """Standard normal columns, exponential times, about half of them censored."""
        event_time, censored = random.exponential(1000.0, patients), random.exponential(1000.0, patients)
        return cls(random.standard_normal((patients, columns)), 1 + np.minimum(event_time, censored), event_time <= censored)

    def direction(self, train: np.ndarray) -> np.ndarray:
        """The columns' sum with the martingale residuals of no model: minus the gradient of Cox's loss at zero."""
        time, event = self.time[train], self.event[train]
        at_risk = (time[None] >= time[:, None]).sum(axis=1)
        hazard = ((time[None] <= time[:, None]) * (event / at_risk)[None]).sum(axis=1)
        return (event - hazard) @ self.columns[train]


def estimate(asked: Noise, directions: list[np.ndarray], fold: np.ndarray, seed: int) -> tuple[float, bool, float]:
    """The mean concordance over folds, whether its interval holds 0.5, and half the interval's width."""
    values, replicates = [], []
    for number, direction in enumerate(directions):
        test = fold == number
        part = HeldOutFold(asked.columns[test] @ direction, asked.time[test], asked.event[test])
        values.append(concordance(part.risk, part.time, part.event))
        replicates.append([concordance_replicates(Resamples(part, draw_counts(int(test.sum()), REPLICATES, [seed, number])))])
    found = interval(mean_over_folds(replicates))
    assert found.low is not None
    assert found.high is not None
    return statistics.mean(values), found.low <= NULL <= found.high, (found.high - found.low) / 2


def main() -> None:
    """Prints one line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--columns", type=int, default=50)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, bool, float]]] = {"cross-validated": [], "apart": []}
    for seed in range(options.cohorts):
        random = np.random.default_rng(seed)
        cohort, *others = (Noise.drawn(random, options.patients, options.columns) for _ in range(1 + FOLDS))
        fold = random.permutation(options.patients) % FOLDS
        ways = {
            "cross-validated": [cohort.direction(fold != number) for number in range(FOLDS)],
            "apart": [other.direction(fold != number) for number, other in enumerate(others)],
        }
        for way, directions in ways.items():
            found[way].append(estimate(cohort, directions, fold, seed))
    print(f"{options.cohorts} noise cohorts of {options.patients} patients x {options.columns} columns, {FOLDS} folds")
    for way, rows in found.items():
        means, holds, half = (np.array(column) for column in zip(*rows, strict=True))
        spread = means.std(ddof=1)
        print(
            f"{way:<16} mean {means.mean():.3f}, sd {spread:.4f}, half width / 1.96 {half.mean() / 1.96:.4f} (ratio "
            f"{spread * 1.96 / half.mean():.2f}); {holds.mean():.1%} of the intervals hold 0.5"
        )


if __name__ == "__main__":
    main()
