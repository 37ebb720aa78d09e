"""The one place that writes files: a temporary name in the same folder, then a rename.

A file that we write is there whole or not at all, even when the process is killed in the middle. What is written depends on
content only: no time stamps, no host names, floats in the shortest form that reads back as the same number.
"""

import errno
import gzip
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

try:
    import fcntl
except ImportError:  # pragma: no cover  (not a POSIX system)
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("prognos")

LOCK = ".lock"
"""The file of a folder that the process holds which writes in it; an empty or old one means nothing."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)

ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or write to another disk",
    errno.EDQUOT: "your quota on this disk is used up; free some space or write elsewhere",
    errno.EACCES: "you may not write there; choose another folder with --out or ask for the right to write",
    errno.EPERM: "you may not write there; choose another folder with --out or ask for the right to write",
    errno.EROFS: "this disk is mounted read-only; choose another folder with --out",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another name with --out",
    errno.EEXIST: "a part of this path is a file, not a folder; choose another name with --out",
    errno.EISDIR: "a folder of this name is in the way; remove it or choose another name",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter one",
    errno.EIO: "the disk reports an input/output error; check it, then start again",
}


class OutputError(OSError, ValueError):
    """A file that could not be written: what, where and what to do. The file that stood there before is untouched."""


class InUseError(OutputError):
    """A folder that another process is writing in."""


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps every other process that asks for it out of a folder, until the block ends or this process does, however it ends.

    The system holds the lock, not the file: one that is left behind locks nothing. Where the system or the disk has no locks,
    the log says so and nothing is kept out.

    Raises:
        InUseError: another process is writing in the folder.
        OutputError: the folder cannot be written in.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (closing it would end the lock)
    except OSError as error:
        raise OutputError(_explanation(error, path)) from error
    with file:
        if _hold(file, path.parent):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def _hold(file: IO[str], folder: Path) -> bool:
    """Takes the lock of an open file; False where there is no such thing."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(20).strip()
        process = f"another process ({holder})" if holder.isdigit() else "another process"
        raise InUseError(
            f"{process} is writing in {folder}: wait until it is done, or end it and start again (--resume goes on with its run), "
            "or choose another folder with --out."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(_explanation(error, folder / LOCK)) from error
        log.warning("%s cannot be locked (%s): start no second run in it before this one is done.", folder, error.strerror)
        return False
    return True


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of `path`: write there, and it takes the name `path` when the block ends well.

    Missing folders are made. The temporary name ends like `path`, so that writers that look at the suffix work. When the
    block fails the temporary file is removed and `path` is as it was.

    Raises:
        OutputError: the folder is read-only, the disk is full, or anything else kept the file from being written.
    """
    final = Path(path)
    temporary = final.parent / f".tmp-{secrets.token_hex(4)}-{final.name}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _settle(temporary, final)
    except OSError as error:
        if isinstance(error, OutputError) or not _concerns(error, temporary, final):
            raise
        raise OutputError(_explanation(error, final)) from error
    finally:
        _remove(temporary)


def _settle(temporary: Path, final: Path) -> None:
    """Puts the bytes on the disk, then gives them their name, then puts the name on the disk."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _concerns(error: OSError, temporary: Path, final: Path) -> bool:
    """True unless the error names a file elsewhere, one that the block was reading."""
    if error.filename is None or not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (temporary, final) or named in (final.parent, *final.parent.parents)


def _explanation(error: OSError, final: Path) -> str:
    reason = error.strerror or str(error)
    advice = ADVICE.get(error.errno or 0, "check that the folder exists and can be written, then start again")
    return f"cannot write {final.name} in {final.parent}: {reason}; {advice}."


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # the error that brought us here is the one to report


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes bytes, gzipped (without a time stamp) when the name ends in .gz; returns the path."""
    final = Path(path)
    with writing(final) as temporary, open(temporary, "wb") as file:
        if final.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                compressed.write(content)
        else:
            file.write(content)
    return final


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Writes text as UTF-8 with line ends as given; returns the path."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Writes JSON with keys in their order, one a line; numpy numbers and arrays and paths are accepted; returns the path.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
        TypeError: a value has no JSON form.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    return write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form; convert it to numbers, text, lists or dictionaries first.")


def write_csv(path: str | os.PathLike[str], frame: pd.DataFrame) -> Path:
    """Writes a table as CSV, gzipped when the name ends in .gz; returns the path.

    Floats are written in the shortest form that reads back as the same number (read with `float_precision="round_trip"`),
    missing values as empty cells. An index is written, as the first columns, only when it has a name.
    """
    named = any(name is not None for name in frame.index.names)
    return write_text(path, frame.to_csv(index=named, lineterminator="\n"))


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Path:
    """Writes named tensors as safetensors, with texts in its header; returns the path."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_bytes(path, save(plain, metadata=dict(metadata) if metadata else None))
