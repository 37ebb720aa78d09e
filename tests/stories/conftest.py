"""A small simulated cohort, and the command line as a user runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prognos.cohort.simulate import Truth, simulate

SMALL_MODEL = ("tokens.n_patches=8", "model.tta.d_model=8", "model.tta.n_prototypes=4")
QUICK = ("training.epochs=2", *SMALL_MODEL, "study.workers=1", "study.replicates=20")


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory) -> Path:
    """Sixty simulated patients with few patches."""
    return simulate(tmp_path_factory.mktemp("stories") / "sim", Truth.demo(), n_patients=60, patches=(5, 12), seed=3)


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Options that make a study small."""
    return [argument for override in QUICK for argument in ("--set", override)]


def command(*arguments) -> list[str]:
    return [sys.executable, "-c", "from prognos.cli import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PROGNOS_TYPECHECK": "0", "COLUMNS": "150"}


@pytest.fixture(scope="session")
def start():
    """Starts the command line in a process of its own, as a terminal does: an interrupt reaches it wherever the tests run."""

    def begin(*arguments) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        own = {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        return subprocess.Popen(command(*arguments), env=environment(), **own, **pipes)

    return begin


@pytest.fixture(scope="session")
def prognos(start):
    """Runs the command line to its end."""

    def call(*arguments) -> subprocess.CompletedProcess:
        process = start(*arguments)
        out, error = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    return call
