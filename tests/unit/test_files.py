"""What we write is there whole or not at all, and depends on content only."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from prognos import files


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".tmp-")]


def fail_with(number: int):
    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return fail


def test_text_is_written_and_folders_are_made(tmp_path):
    path = files.write_text(tmp_path / "a" / "b" / "note.txt", "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert leftovers(path.parent) == []


def test_the_same_table_gives_the_same_bytes(tmp_path):
    frame = pd.DataFrame({"patient_id": ["007", "008"], "risk": [0.1 + 0.2, np.nan]})
    first = files.write_csv(tmp_path / "first.csv.gz", frame).read_bytes()
    second = files.write_csv(tmp_path / "second.csv.gz", frame).read_bytes()
    assert first == second
    assert first[4:8] == b"\0\0\0\0"  # the time stamp of a gzip header
    assert gzip.decompress(first) == b"patient_id,risk\n007,0.30000000000000004\n008,\n"


def test_floats_read_back_as_the_same_numbers(tmp_path):
    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-500, 500).clip(-300, 300)
    path = files.write_csv(tmp_path / "numbers.csv", pd.DataFrame({"value": values}))
    read = pd.read_csv(path, float_precision="round_trip")
    assert np.array_equal(read["value"].to_numpy(), values)


def test_an_index_is_written_only_when_it_has_a_name(tmp_path):
    frame = pd.DataFrame({"fold": [0]}, index=pd.Index(["007"], name="patient_id"))
    assert files.write_csv(tmp_path / "named.csv", frame).read_text() == "patient_id,fold\n007,0\n"
    assert files.write_csv(tmp_path / "plain.csv", frame.reset_index(drop=True)).read_text() == "fold\n0\n"


def test_json_takes_numpy_and_refuses_what_it_does_not_have(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"n": np.int64(3), "cuts": np.array([0.5, 1.5]), "at": Path("x") / "y"})
    assert json.loads(path.read_text()) == {"n": 3, "cuts": [0.5, 1.5], "at": str(Path("x") / "y")}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "b.json", {"risk": float("nan")})
    with pytest.raises(TypeError, match="a set has no JSON form; convert it to numbers, text, lists or dictionaries"):
        files.write_json(tmp_path / "c.json", {"names": {"a"}})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json"]


def test_tensors_come_back(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    path = files.write_tensors(tmp_path / "weights.safetensors", {"weight": weight.T, "bias": torch.zeros(2, requires_grad=True)})
    assert torch.equal(load_file(path)["weight"], weight.T)


def test_a_failed_block_leaves_the_old_file_alone(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")

    def write_half():
        with files.writing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_half()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_the_temporary_file_ends_like_the_final_one(tmp_path):
    with files.writing(tmp_path / "rows.npy") as temporary:
        np.save(temporary, np.arange(3))
        assert temporary.parent == tmp_path
    assert np.load(tmp_path / "rows.npy").tolist() == [0, 1, 2]


def test_a_full_disk_is_said_and_the_old_file_stays(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(files.os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(files.OutputError, match=r"cannot write a\.txt in .*: No space left on device; the disk is full; free some space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_up_while_a_block_writes_is_said(tmp_path):
    def write_half():
        with files.writing(tmp_path / "store.bin") as temporary:
            temporary.write_bytes(b"half")
            fail_with(errno.ENOSPC)()

    with pytest.raises(files.OutputError, match="the disk is full"):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EDQUOT, "your quota on this disk is used up"),
        (errno.EACCES, "you may not write there; choose another folder with --out"),
        (errno.EROFS, "this disk is mounted read-only; choose another folder with --out"),
        (errno.EIO, "the disk reports an input/output error"),
        (errno.EBUSY, "check that the folder exists and can be written"),
    ],
)
def test_each_failure_comes_with_its_advice(tmp_path, monkeypatch, number, advice):
    monkeypatch.setattr(files.os, "replace", fail_with(number))
    with pytest.raises(files.OutputError, match=advice):
        files.write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path):
    files.write_text(tmp_path / "taken", "")
    with pytest.raises(files.OutputError, match="a part of this path is a file, not a folder"):
        files.write_text(tmp_path / "taken" / "a.txt", "new")


def test_a_folder_in_the_place_of_the_file_is_said(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(files.OutputError, match=r"cannot write a\.txt in .*a folder of this name is in the way"):
        files.write_text(tmp_path / "a.txt", "new")


def test_a_folder_that_is_read_only_is_said(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere (root)")
        with pytest.raises(files.OutputError, match="you may not write there"):
            files.write_text(folder / "a.txt", "new")
    finally:
        folder.chmod(0o700)


def test_a_file_missing_elsewhere_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.writing(tmp_path / "a.txt"):
        (tmp_path / "source" / "absent.csv").read_text()
    assert not isinstance(caught.value, files.OutputError)


def test_an_output_error_is_the_users_to_solve():
    assert issubclass(files.OutputError, OSError)
    assert issubclass(files.OutputError, ValueError)


def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")
    program = """
        import importlib.util, os, signal, sys
        spec = importlib.util.spec_from_file_location("files", sys.argv[1])
        files = importlib.util.module_from_spec(spec); spec.loader.exec_module(files)
        with files.writing(sys.argv[2]) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), files.__file__, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


# One writer a folder

HOLDER = """
import sys, time
from prognos import files
with files.locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_locked_folder_is_refused_to_others_until_its_process_dies(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        said = rf"another process \({holder.pid}\) is writing in {tmp_path}: wait .* or end it .*--resume.*, or choose another folder"
        with pytest.raises(files.InUseError, match=said), files.locked(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with files.locked(tmp_path):
        assert (tmp_path / files.LOCK).read_text() == str(os.getpid())


def test_a_lock_ends_with_its_block_even_when_that_fails(tmp_path):
    with pytest.raises(RuntimeError, match="in the middle"), files.locked(tmp_path):
        raise RuntimeError("in the middle")
    with files.locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_in_cannot_be_locked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(files.OutputError, match=r"cannot write \.lock in .*choose another name"), files.locked(tmp_path / "file"):
        pass


def test_a_disk_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files.fcntl, "flock", fail_with(errno.ENOLCK))
    with files.locked(tmp_path):
        pass
    assert f"{tmp_path} cannot be locked" in caplog.text
    monkeypatch.setattr(files.fcntl, "flock", fail_with(errno.EIO))
    with pytest.raises(files.OutputError, match="input/output error"), files.locked(tmp_path):
        pass
