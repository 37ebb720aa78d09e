"""What spreads jobs over processes: one `map`, so that another engine can take its place.

A task is any picklable value with a `str` that names it. A function is called as `function(task, shared, report)`: `shared`
is what every task needs and is sent to a process once; `report(share)` says how much of the task is done. Results are what
the function returns, in the order in which tasks end; whatever is large, a task leaves in files.

Processes are spawned, never forked (torch and HDF5 do not survive a fork), run one thread each, and end when the process
that started them ends, however it ended: a run that was killed and is resumed never meets its own leftovers.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

from prognos import runtime

Report = Callable[[float], None]
TaskFunction = Callable[[Any, Any, Report], Any]
Watch = Callable[[int, float], None]
Map = Callable[..., Iterator[tuple[int, Any]]]
"""`map(function, tasks, watch=None)`: calls the function for every task, yields (index, result) as tasks end."""

_POLL_SECONDS = 0.2


class TaskError(RuntimeError):
    """A task failed through no fault of the user's; the message names it."""


@contextmanager
def engine(workers: int, shared: Any = None) -> Iterator[Map]:
    """A `map` over this many processes; with one worker, over this process.

    Args:
        workers: processes, at least 1.
        shared: what every task needs; pickled once a process.

    Raises:
        ValueError: a task raised one (a user's fault): the same message, behind the name of the task.
        TaskError: a task failed otherwise, or its process died.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers cannot do anything; use 1 or more.")
    if workers == 1:
        with _one_thread():
            yield _serial(shared)
        return
    runtime.prepare_environment()
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(shared, reports))
    try:
        yield _spread(pool, reports)
        pool.shutdown(wait=True)
    except BaseException:
        # An interrupt or a failed task: what runs is not waited for, its checkpoint stays.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        reports.close()
        reports.cancel_join_thread()


def default_workers(n_tasks: int, bytes_per_task: int = 0) -> int:
    """Processes for this many tasks: physical cores, as many as memory holds, 1 where a GPU is shared."""
    if runtime.device("auto") != "cpu":
        return 1
    memory = runtime.available_memory()
    fits = int(0.8 * memory // bytes_per_task) if memory and bytes_per_task else n_tasks
    return max(1, min(n_tasks, runtime.usable_cores(), fits))


def _serial(shared: Any) -> Map:
    def serial_map(function: TaskFunction, tasks: Sequence[Any], watch: Watch | None = None) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):

            def report(share: float, index: int = index) -> None:
                if watch is not None:
                    watch(index, share)

            try:
                result = function(task, shared, report)
            except Exception as error:
                raise _named(task, error) from error
            yield index, result

    return serial_map


def _spread(pool: ProcessPoolExecutor, reports: Any) -> Map:
    def spread_map(function: TaskFunction, tasks: Sequence[Any], watch: Watch | None = None) -> Iterator[tuple[int, Any]]:
        with uninterrupted():
            pending: dict[Future[Any], int] = {pool.submit(_call, function, index, task): index for index, task in enumerate(tasks)}
        while pending:
            done, _ = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not reports.empty():
                index, share = reports.get()
                if watch is not None:
                    watch(index, share)
            for future in done:
                index = pending.pop(future)
                error = future.exception()
                if error is not None:
                    raise _named(tasks[index], error) from error
                yield index, future.result()

    return spread_map


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds an interrupt back until the block is done: a process that is being started would die of it with a traceback."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield  # interrupts go elsewhere, or nowhere, as with a shell's background jobs
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _named(task: Any, error: BaseException) -> Exception:
    if isinstance(error, ValueError):
        return ValueError(f"{task}: {error}")
    if isinstance(error, BrokenProcessPool):
        return TaskError(
            f"a worker process died while {task} or one beside it ran, as happens when memory runs out; "
            "use fewer workers (--set study.workers=1) or fewer patches (--set tokens.n_patches=1024), then --resume."
        )
    return TaskError(f"{task} failed: {type(error).__name__}: {error}")


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_worker: dict[str, Any] = {}


def _begin_worker(shared: Any, reports: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts all; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runtime.apply_host_settings(threads=1)
    _worker.update(shared=shared, reports=reports)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    connection.wait([parent.sentinel])
    os._exit(1)


def _call(function: TaskFunction, index: int, task: Any) -> Any:
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _POLL_SECONDS:
            last = now
            _worker["reports"].put((index, share))

    return function(task, _worker["shared"], report)
