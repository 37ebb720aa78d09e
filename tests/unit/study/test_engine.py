import importlib
import operator
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from prognos import runtime
from prognos.study.engine import TaskError, default_workers, engine, uninterrupted

TASKS = """
import os, time
def describe(task, shared, report):
    import torch
    report(1.0)
    return task, shared, torch.get_num_threads(), os.getpid()
def die(task, shared, report):
    os._exit(9)
def sleep(task, shared, report):
    open(shared, "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Functions in a module that spawned processes can import."""
    (tmp_path / "spread_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spread_tasks", raising=False)
    return importlib.import_module("spread_tasks")


def add(task, shared, report):
    report(0.5)
    return task + shared


def test_one_worker_maps_in_order_in_this_process():
    with engine(1, shared=10) as serial:
        assert list(serial(add, [1, 2])) == [(0, 11), (1, 12)]
        assert list(serial(lambda task, shared, report: os.getpid(), ["here"])) == [(0, os.getpid())]


def test_one_worker_runs_one_thread_and_puts_threads_back():
    torch.set_num_threads(2)
    try:
        with engine(1) as serial:
            assert list(serial(lambda task, shared, report: torch.get_num_threads(), ["t"])) == [(0, 1)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_how_far_a_task_is_reaches_the_watcher():
    seen = []
    with engine(1, shared=0) as serial:
        list(serial(add, [1], lambda index, share: seen.append((index, share))))
    assert seen == [(0, 0.5)]


def test_a_failing_task_names_itself_and_stays_a_value_error():
    def fail(task, shared, report):
        raise ValueError("no events in the training part")

    with pytest.raises(ValueError, match=r"^tta fold 3: no events in the training part$"), engine(1) as serial:
        list(serial(fail, ["tta fold 3"]))


def test_a_failure_of_ours_names_the_task_and_the_kind():
    def fail(task, shared, report):
        return operator.truediv(1, 0)

    with pytest.raises(TaskError, match=r"^tta fold 3 failed: ZeroDivisionError: division by zero$"), engine(1) as serial:
        list(serial(fail, ["tta fold 3"]))


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="0 workers cannot do anything"), engine(0):
        pass


def test_workers_are_bounded_by_tasks_cores_and_memory(monkeypatch):
    monkeypatch.setattr(runtime, "device", lambda name: "cpu")
    monkeypatch.setattr(runtime, "usable_cores", lambda: 8)
    monkeypatch.setattr(runtime, "available_memory", lambda: 10_000)
    assert default_workers(3) == 3
    assert default_workers(100) == 8
    # 0.8 of 10,000 bytes holds four tasks of 2,000
    assert default_workers(100, 2_000) == 4
    assert default_workers(100, 50_000) == 1
    monkeypatch.setattr(runtime, "device", lambda name: "cuda")
    assert default_workers(100) == 1


@pytest.mark.slow
def test_processes_share_run_one_thread_and_a_dead_one_is_told(tasks):
    seen = []

    def run_then_kill():
        with engine(2, shared=10) as spread:
            results = dict(spread(tasks.describe, [1, 2, 3], lambda index, share: seen.append((index, share))))
            assert {index: result[:3] for index, result in results.items()} == {0: (1, 10, 1), 1: (2, 10, 1), 2: (3, 10, 1)}
            assert os.getpid() not in {result[3] for result in results.values()}
            list(spread(tasks.die, ["kill"]))

    with pytest.raises(TaskError, match=r"a worker process died while kill .*--resume"):
        run_then_kill()
    assert set(seen) <= {(0, 1.0), (1, 1.0), (2, 1.0)}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_when_the_run_is_interrupted_or_killed(tasks, tmp_path, how):
    script = tmp_path / "run.py"
    script.write_text(
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "import spread_tasks\n"
        "from prognos.study.engine import engine\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without one\n"
        "    with engine(2, shared=sys.argv[2]) as spread:\n"
        "        list(spread(spread_tasks.sleep, ['sleep']))\n"
    )
    note = tmp_path / "pid"
    run = subprocess.Popen([sys.executable, script, tmp_path, note], stderr=subprocess.PIPE, start_new_session=True)
    worker = int(_eventually(lambda: note.exists() and note.read_text()))
    run.send_signal(how)
    _, error = run.communicate(timeout=90)
    assert run.returncode != 0
    assert (b"KeyboardInterrupt" in error) == (how == signal.SIGINT)
    assert _eventually(lambda: not _alive(worker))


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _eventually(condition, seconds=40.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_an_interrupt_that_is_ignored_stays_ignored_while_processes_start():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background jobs
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
