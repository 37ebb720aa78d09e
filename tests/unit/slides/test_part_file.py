"""Finished batches are kept, however a run ended; nothing else is ever taken for one."""

import errno
import os

import numpy as np
import pytest

from prognos.files import OutputError
from prognos.slides.part_file import CHECKSUM_BYTES, PartFile

HEAD = {"slide": "TCGA-XX-XXXX", "encoder": "uni"}
SHAPE = (10, 4, 3)  # patches, patches a batch, width: batches of 4, 4 and 2
BATCHES = [np.arange(12, dtype=np.float16).reshape(4, 3), np.ones((4, 3), dtype=np.float16), np.full((2, 3), 7, dtype=np.float16)]
BATCH_BYTES = 4 * 3 * 2 + CHECKSUM_BYTES


def opened(folder, head=HEAD, shape=SHAPE, dtype="float16"):
    return PartFile(folder / "features.part", head, shape, dtype)


def fill(folder, n):
    with opened(folder) as part:
        for batch in BATCHES[:n]:
            part.append(batch)
    return folder / "features.part"


def test_batches_come_back_in_order(tmp_path):
    fill(tmp_path, 2)
    with opened(tmp_path) as part:
        assert part.n_batches == 2
        assert all(np.array_equal(read, written) for read, written in zip(part.batches(), BATCHES, strict=False))
        part.append(BATCHES[2])  # reading does not move the place where the next batch goes
        assert [len(batch) for batch in part.batches()] == [4, 4, 2]


@pytest.mark.parametrize("lost", [1, CHECKSUM_BYTES, CHECKSUM_BYTES + 1, BATCH_BYTES - 1])
def test_a_batch_that_was_cut_short_is_cut_off(tmp_path, lost):
    path = fill(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    with opened(tmp_path) as part:
        assert part.n_batches == 1
    assert path.read_bytes() == whole[:-BATCH_BYTES]


def test_a_batch_with_a_changed_byte_and_all_after_it_are_cut_off(tmp_path):
    path = fill(tmp_path, 3)
    content = bytearray(path.read_bytes())
    begin = content.index(b"\n") + 1
    content[begin + BATCH_BYTES] ^= 1
    path.write_bytes(content)
    with opened(tmp_path) as part:
        assert part.n_batches == 1


def test_zeros_that_a_crash_left_behind_are_no_batch(tmp_path):
    path = fill(tmp_path, 1)
    with open(path, "ab") as file:
        file.write(bytes(BATCH_BYTES - 1) + b"\1")
    with opened(tmp_path) as part:
        assert part.n_batches == 1


@pytest.mark.parametrize(
    "other", [{"head": HEAD | {"encoder": "conch"}}, {"shape": (11, 4, 3)}, {"shape": (10, 5, 3)}, {"dtype": "float32"}]
)
def test_a_part_of_something_else_is_begun_anew(tmp_path, other):
    fill(tmp_path, 2)
    with opened(tmp_path, **other) as part:
        assert part.n_batches == 0


def test_a_header_that_was_cut_short_is_begun_anew(tmp_path):
    path = fill(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:20])
    with opened(tmp_path) as part:
        assert part.n_batches == 0
        part.append(BATCHES[0])
    with opened(tmp_path) as part:
        assert part.n_batches == 1


def test_a_slide_without_a_patch_has_no_batch(tmp_path):
    with opened(tmp_path, shape=(0, 4, 3)) as part:
        assert (part.n_batches, list(part.batches())) == (0, [])


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write features.part in .*file: .*a part of this path is a file"):
        opened(tmp_path / "file")


def test_a_full_disk_is_told_while_batches_are_added(tmp_path, monkeypatch):
    with opened(tmp_path) as part:

        class Full:
            def write(self, content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def close(self):
                pass

        part._file.close()
        part._file = Full()
        with pytest.raises(OutputError, match="the disk is full; free some space"):
            part.append(BATCHES[0])
