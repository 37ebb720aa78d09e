"""Which patients make a training step, and reading the next ones while the model works."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int, Shaped

Item = TypeVar("Item")
_END = object()


def epoch_batches(
    event: Bool[np.ndarray, " patients"],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    min_events: int = 1,
    balance: Shaped[np.ndarray, " patients"] | None = None,
) -> list[Int[np.ndarray, " batch"]]:
    """The batches of one epoch, as places of patients; the same for the same seed and epoch.

    There are ceil(patients / batch_size) batches whose sizes differ by at most one, so none is dropped and none is a remainder.
    Events are dealt first: every batch gets `min_events` of them where there are enough, and otherwise none has two more
    than another; all else is random. Without `balance` each patient is in exactly one batch.

    Args:
        event: True where the event was observed.
        batch_size: largest batch; one patient more where a batch of a single patient would be left (a batch size of 2 and an odd
            number of patients), since a Cox loss compares patients. 1 gives batches of one.
        seed: of the run.
        epoch: index of the epoch.
        min_events: events that each batch should have; 0 for losses of single patients.
        balance: the stratum of each patient (time bin and event of MCAT's recipe). As many patients as there are
            are then drawn with replacement, each stratum being equally likely.

    Raises:
        ValueError: no patient, or a batch size or number of events that cannot be.
    """
    n_patients = len(event)
    if n_patients == 0:
        raise ValueError("there is no training patient to make batches of; look at the folds.")
    if batch_size < 1 or not 0 <= min_events <= batch_size:
        raise ValueError(
            f"batch_size is {batch_size} and min_events is {min_events}: a batch holds at least 1 patient, "
            "and between 0 and batch_size events."
        )
    generator = np.random.default_rng((seed, epoch))
    drawn = np.arange(n_patients) if balance is None else _balanced(balance, generator)
    n_batches = -(-n_patients // batch_size)
    if batch_size > 1 and n_patients > 1:
        n_batches = min(n_batches, n_patients // 2)
    sizes = np.full(n_batches, n_patients // n_batches)
    sizes[: n_patients % n_batches] += 1

    events = generator.permutation(drawn[event[drawn]])
    n_dealt = min(len(events), min_events * n_batches)
    batches: list[list[int]] = [[] for _ in range(n_batches)]
    for place, patient in enumerate(events[:n_dealt]):
        batches[place % n_batches].append(int(patient))
    rest = generator.permutation(np.concatenate([events[n_dealt:], drawn[~event[drawn]]]))
    ends = np.cumsum(sizes - [len(batch) for batch in batches])  # never negative: both deal the larger share to the first batches
    filled = np.split(rest, ends[:-1])
    order = generator.permutation(n_batches)
    return [generator.permutation(np.concatenate([np.array(batches[place], dtype=rest.dtype), filled[place]])) for place in order]


def _balanced(balance: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Places drawn with replacement, every stratum equally likely."""
    _, stratum, size = np.unique(balance, return_inverse=True, return_counts=True)
    weight = 1 / size[stratum]
    return generator.choice(len(balance), size=len(balance), replace=True, p=weight / weight.sum())


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, made by one other thread up to `depth` ahead.

    What fails there is raised here, at the item that failed. When the loop is left early, the item in the making is finished
    and no other is begun.
    """
    iterator = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = deque(thread.submit(next, iterator, _END) for _ in range(max(1, depth)))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, iterator, _END))
            yield item  # type: ignore[misc]
    finally:
        thread.shutdown(wait=True, cancel_futures=True)
        if isinstance(iterator, Generator):
            iterator.close()
