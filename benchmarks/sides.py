"""Sides of a benchmark that have a process each, so that the settings of one do not reach the other, and take turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


class Side:
    """A script started as `python SCRIPT --side NAME ...` that answers a question a line; one thread.

    Args:
        script: the benchmark's own file, which then calls `answer_each`.
        name: of the side.
        arguments: further words of the command.
    """

    def __init__(self, script: str, name: str, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, script, "--side", name, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **THREADS})

    def ask(self, question: Any) -> Any:
        """Its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Let the process end by itself."""
        self._process.communicate()


def apply_settings(stock: bool) -> None:
    """One thread; torch as it comes, or the settings that prognos applies. Call it before anything imports torch."""
    if not stock:
        from prognos import runtime

        runtime.prepare_environment()
    import torch

    torch.set_num_threads(1)
    if not stock:
        runtime.apply_host_settings(threads=1)


def answer_each(answer: Callable[[Any], Any]) -> None:
    """In a side's process: answer the questions of the other until it has no more."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
