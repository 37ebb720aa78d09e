"""How far a study is, how long it will take, and how much memory it may need: said beforehand and on the way."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prognos.cohort import Cohort
from prognos.study.plan import Job

PROCESS_BYTES = 450_000_000
"""A worker with torch and the package loaded."""
BATCHES_HELD = 3
"""A batch in training, the next one being read, and the pages of the store that both came from; float16."""
TOKEN_BYTES = 10_000
"""What the gradient of the token stage keeps of one patch; the widest model here, ABMIL, was measured at 9,600."""


@dataclass(frozen=True)
class StudyProgress:
    """Where a run stands.

    Args:
        done: jobs that are finished, those of an earlier session included.
        total: jobs of the plan.
        share: of all the work, by the time that jobs like these took.
        seconds_left: None as long as nothing is known.
        running: names of the jobs under way.
    """

    done: int
    total: int
    share: float
    seconds_left: float | None
    running: tuple[str, ...]


class Clock:
    """Turns finished jobs and shares of running ones into a `StudyProgress`."""

    def __init__(self, jobs: Sequence[Job], seconds: Mapping[Job, float], workers: int, tell: Callable[[StudyProgress], None] | None):
        self._jobs, self._workers, self._tell = tuple(jobs), workers, tell
        self._seconds = {job.folder: spent for job, spent in seconds.items()}
        self._running: dict[Job, tuple[float, float]] = {}

    def running(self, job: Job, share: float) -> None:
        """A job says how far it is."""
        now = time.monotonic()
        begun = self._running[job][0] if job in self._running else now
        self._running = {**self._running, job: (begun, share)}
        self._say(now)

    def finished(self, job: Job, seconds: float) -> None:
        """A job is done."""
        self._running = {other: state for other, state in self._running.items() if other != job}
        self._seconds[job.folder] = seconds
        self._say(time.monotonic())

    def _say(self, now: float) -> None:
        if self._tell is None:
            return
        expected = self._expected(now)
        left = [job for job in self._jobs if job.folder not in self._seconds]
        spent = sum(self._seconds.values()) + sum(expected[job.folder] * share for job, (_, share) in self._running.items())
        total = spent + sum(expected[job.folder] * (1 - self._running[job][1] if job in self._running else 1.0) for job in left)
        known = bool(self._seconds) or any(share > 0.02 for _, share in self._running.values())
        self._tell(
            StudyProgress(
                done=len(self._seconds),
                total=len(self._jobs),
                share=spent / total if total else 1.0,
                seconds_left=(total - spent) / min(self._workers, max(1, len(left))) if known else None,
                running=tuple(str(job) for job in self._running),
            )
        )

    def _expected(self, now: float) -> dict[object, float]:
        """Seconds of every job: as those of the same model in the same cohort took, else as the slowest of the others."""
        seen: dict[tuple[str, str], list[float]] = {}
        for job in self._jobs:
            if job.folder in self._seconds:
                seen.setdefault((job.cohort, job.model), []).append(self._seconds[job.folder])
        for job, (begun, share) in self._running.items():
            if share > 0.02 and (job.cohort, job.model) not in seen:
                seen[job.cohort, job.model] = [(now - begun) / share]
        slowest = float(max(np.mean(values) for values in seen.values())) if seen else 1.0
        return {job.folder: float(np.mean(seen.get((job.cohort, job.model), [slowest]))) for job in self._jobs}


def bytes_of(job: Job, cohort: Cohort) -> int:
    """An estimate of the memory of one job: the process, the tables, a batch of patches and what its gradient keeps."""
    tables = sum(int(table.memory_usage(index=False).sum()) for table in cohort.tables.values())
    batch = int(job.training.get("batch_size", 32)) * int(job.training.get("accumulate", 1))
    sizes = cohort.slides.groupby("patient_id")["n_patches"].sum().to_numpy() if len(cohort.slides) else np.zeros(1)
    in_training = np.minimum(sizes, int(job.inputs.get("n_patches", 4096))).mean() * batch
    kept = in_training * (BATCHES_HELD * 2 * cohort.d_patch + TOKEN_BYTES)
    predicted = float(sizes.max()) * (BATCHES_HELD * 2 * cohort.d_patch + TOKEN_BYTES / 2)
    return int(PROCESS_BYTES + 3 * tables + max(kept, predicted))
