"""Several devices: the same files as one, progress as one, and an end for all."""

import shutil

import pytest
from tests.unit.slides.networks_of_tests import stub

from prognos.slides.check import Problem, SlideSource
from prognos.slides.devices import divided, process_on
from prognos.slides.encoders import EncoderError
from prognos.slides.prepare import Settings
from prognos.slides.process import process

SETTINGS = Settings(patch_size=64, batch_size=8)


@pytest.fixture
def three(slide_file, tmp_path):
    """Three slides; the second is another file of the same pixels."""
    paths = [tmp_path / f"{name}.tif" for name in ("c", "a", "b")]
    for path in paths:
        shutil.copy(slide_file, path)
    return [SlideSource(path, None) for path in paths]


def slow():
    return stub("slow")


def feature_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def test_two_devices_write_what_one_writes(three, tmp_path):
    one = process(three, stub(), SETTINGS, tmp_path / "one")
    two = process_on(three, [stub(), stub()], SETTINGS, tmp_path / "two")
    assert feature_bytes(tmp_path / "one") == feature_bytes(tmp_path / "two")
    assert [(row.slide_id, row.status, row.patches) for row in one] == [(row.slide_id, row.status, row.patches) for row in two]
    assert len(list((tmp_path / "two").glob("*.h5"))) == 3


def test_what_is_refused_is_a_row_once(three, tmp_path):
    refused = Problem("a", three[1].path, "it has no resolution")
    rows = process_on(three, [stub(), stub()], SETTINGS, tmp_path / "out", refused=[refused])
    assert [(row.slide_id, row.status) for row in rows] == [("a", "failed"), ("c", "done"), ("b", "done")]


def test_progress_counts_all_devices(three, tmp_path):
    seen = []
    process_on(three, [stub(), stub()], SETTINGS, tmp_path / "out", show=seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].share) == (3, 3, 1.0)
    assert [progress.share for progress in seen] == sorted(progress.share for progress in seen)


def test_slides_are_divided_by_the_size_of_their_files(tmp_path):
    sizes = {"a": 5, "b": 4, "c": 3, "d": 2}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    shares = divided([SlideSource(tmp_path / name, None) for name in sizes], 2)
    assert [[source.path.name for source in share] for share in shares] == [["a", "d"], ["b", "c"]]


def test_an_encoder_that_fails_ends_the_work_on_every_device(three, tmp_path):
    def fails(patches):
        raise EncoderError("no memory is left on the device")

    broken = stub()
    object.__setattr__(broken, "network", fails)
    with pytest.raises(EncoderError, match="no memory is left"):
        process_on(three, [slow(), broken], SETTINGS, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.h5"))) < 2
