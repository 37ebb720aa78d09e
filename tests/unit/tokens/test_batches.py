"""Training steps: everyone once, events in every batch, the next batch read meanwhile."""

import threading
import time

import numpy as np
import pytest

from prognos.tokens import epoch_batches, prefetch


def events(n_patients: int, n_events: int) -> np.ndarray:
    return np.arange(n_patients) < n_events


def test_every_patient_is_in_exactly_one_batch():
    batches = epoch_batches(events(65, 9), 32, seed=1, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(65))
    assert sorted(map(len, batches)) == [21, 22, 22]  # ceil(65 / 32) batches, and no remainder of one


def test_every_batch_has_an_event_where_there_are_enough():
    event = events(694, 22)  # 22 batches of at most 32
    batches = epoch_batches(event, 32, seed=1, epoch=0)
    assert [int(event[batch].sum()) for batch in batches] == [1] * 22


def test_too_few_events_are_spread():
    event = events(100, 3)
    assert sorted(event[batch].sum() for batch in epoch_batches(event, 20, seed=1, epoch=0, min_events=2)) == [0, 0, 1, 1, 1]


def test_an_odd_cohort_in_pairs_has_one_batch_of_three():
    assert sorted(map(len, epoch_batches(events(5, 1), 2, seed=1, epoch=0))) == [2, 3]


def test_batches_of_one_are_possible():
    assert [len(batch) for batch in epoch_batches(events(3, 1), 1, seed=1, epoch=0, min_events=0)] == [1, 1, 1]


def test_a_single_patient_is_a_batch():
    assert [batch.tolist() for batch in epoch_batches(events(1, 0), 32, seed=1, epoch=0)] == [[0]]


def test_batches_depend_on_seed_and_epoch_only():
    event = events(50, 10)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(event, 8, seed=seed, epoch=epoch)]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1) != drawn(2, 1)


def test_balanced_batches_draw_each_stratum_equally_often():
    event = events(1000, 100)
    drawn = np.concatenate(epoch_batches(event, 50, seed=1, epoch=0, balance=event))
    assert len(drawn) == 1000
    assert abs(event[drawn].mean() - 0.5) < 4 * np.sqrt(0.25 / 1000)  # four standard errors


def test_no_patient_is_refused():
    with pytest.raises(ValueError, match="there is no training patient to make batches of; look at the folds"):
        epoch_batches(events(0, 0), 4, seed=1, epoch=0)


@pytest.mark.parametrize(("batch_size", "min_events"), [(0, 0), (2, 3), (2, -1)])
def test_batches_that_cannot_be_are_refused(batch_size, min_events):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size} and min_events is {min_events}: a batch holds at least 1"):
        epoch_batches(events(4, 1), batch_size, seed=1, epoch=0, min_events=min_events)


def test_prefetching_keeps_items_and_order():
    assert list(prefetch(iter(range(20)))) == list(range(20))
    assert list(prefetch([])) == []


def test_prefetching_works_ahead_in_another_thread():
    seen = []

    def made():
        for item in range(6):
            seen.append((item, threading.current_thread() is threading.main_thread()))
            yield item

    items = prefetch(made(), depth=2)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert seen[:3] == [(0, False), (1, False), (2, False)]  # two ahead of the one that was taken
    items.close()


def test_a_failure_while_prefetching_is_raised_at_its_item():
    def made():
        yield 1
        raise FloatingPointError("the second item")

    items = prefetch(made())
    assert next(items) == 1
    with pytest.raises(FloatingPointError, match="the second item"):
        next(items)


def test_leaving_early_ends_the_thread_and_the_source():
    ended = []

    def made():
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    for item in prefetch(made()):
        if item == 3:
            break
    assert ended == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
