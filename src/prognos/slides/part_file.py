"""The finished batches of a slide that is being worked on, appended one by one, so that a run that was killed goes on inside it.

The file begins with a line that says what it is a part of. Each batch follows with a checksum; what does not fit its checksum, and
all after it, is cut off when the file is opened again. It never has the name of a feature file.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from prognos.files import ADVICE, OutputError

CHECKSUM_BYTES = 4


class PartFile:
    """Batches of features on disk, for appending and for reading back; a context manager.

    Args:
        path: the file; made when it is not there, begun anew when it is a part of something else.
        head: what it is a part of: everything that the features depend on.
        shape: patches, patches a batch, width of the features.
        dtype: how features are stored.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], shape: tuple[int, int, int], dtype: str):
        self.path = path
        self._n_patches, self._batch_size, self._d_patch = shape
        self._dtype = np.dtype(dtype)
        line = json.dumps(dict(head) | {"shape": shape, "dtype": dtype}, sort_keys=True).encode() + b"\n"
        self._begin = len(line)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "r+b" if path.is_file() else "x+b")  # noqa: SIM115  (closed by close)
            if self._file.read(self._begin) != line:
                self._file.seek(0)
                self._file.truncate()
                self._file.write(line)
            self.n_batches = self._whole_batches()
            self._file.seek(self._begin + self._offset(self.n_batches))
            self._file.truncate()
            self._file.flush()
        except OSError as error:
            raise _failed(error, path) from error

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def append(self, batch: Float[np.ndarray, "_ d_patch"]) -> None:
        """Adds the features of the next batch.

        Raises:
            OutputError: the disk is full, or anything else kept them from being written.
        """
        assert (len(batch), batch.dtype) == (self._rows(self.n_batches), self._dtype)
        content = np.ascontiguousarray(batch).tobytes()
        try:
            self._file.write(content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little"))
            self._file.flush()
        except OSError as error:
            raise _failed(error, self.path) from error
        self.n_batches += 1

    def batches(self) -> Iterator[Float[np.ndarray, "_ d_patch"]]:
        """The features of all batches that are there, in order, one at a time."""
        for number in range(self.n_batches):
            self._file.seek(self._begin + self._offset(number))
            content = self._file.read(self._rows(number) * self._row_bytes)
            yield np.frombuffer(content, dtype=self._dtype).reshape(-1, self._d_patch)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Closes the file; what was appended stays."""
        self._file.close()

    @property
    def _row_bytes(self) -> int:
        return self._d_patch * self._dtype.itemsize

    def _rows(self, number: int) -> int:
        """Patches of a batch: the last one may have fewer."""
        return max(0, min(self._batch_size, self._n_patches - number * self._batch_size))

    def _offset(self, number: int) -> int:
        """Bytes of the batches before this one."""
        rows = min(number * self._batch_size, self._n_patches)
        return rows * self._row_bytes + number * CHECKSUM_BYTES

    def _whole_batches(self) -> int:
        """How many batches from the first on are whole."""
        number = 0
        self._file.seek(self._begin)
        while rows := self._rows(number):
            content = self._file.read(rows * self._row_bytes)
            checksum = self._file.read(CHECKSUM_BYTES)
            if len(checksum) < CHECKSUM_BYTES or zlib.crc32(content) != int.from_bytes(checksum, "little"):
                break
            number += 1
        return number


def _failed(error: OSError, path: Path) -> OutputError:
    advice = ADVICE.get(error.errno or 0, "check that the folder exists and can be written, then start again")
    return OutputError(f"cannot write {path.name} in {path.parent}: {error.strerror or error}; {advice}.")
