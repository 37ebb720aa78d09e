"""Feature files are read by every reader, hold large chunks and are the same bytes for the same patches."""

import tracemalloc

import h5py
import numpy as np
import pytest

from prognos.cohort.features import LEVEL0, feature_shape, read_features
from prognos.slides.feature_file import CHUNK_BYTES, FeatureFacts, differences, facts_in, write_features

FACTS = FeatureFacts(
    {"patch_size": 256, "patch_size_level0": 512, "mpp": 0.25, "mpp_source": "file", "name": "TCGA-XX-XXXX"},
    {"encoder": "uni", "weights": "0123", "name": "TCGA-XX-XXXX"},
)


def places(n):
    return np.stack([np.arange(n) * 512, np.full(n, 1024)], axis=1).astype(np.int64)


def write(path, n=10, d_patch=4, stored="float16", batch=3):
    values = np.random.default_rng(0).standard_normal((n, d_patch)).astype(stored)
    blocks = (values[start : start + batch] for start in range(0, n, batch))
    write_features(path, blocks, places(n), (d_patch, stored), FACTS)
    return values


@pytest.mark.parametrize("stored", ["float16", "float32"])
def test_what_is_written_is_read_by_the_reader_of_cohorts(tmp_path, stored):
    values = write(tmp_path / "a.h5", stored=stored)
    read = read_features(tmp_path / "a.h5")
    assert read.values.dtype == np.dtype(stored)
    assert np.array_equal(read.values, values)
    assert np.array_equal(read.coords, places(10))
    assert read.coords.dtype == np.int64
    assert read.units == LEVEL0
    assert (read.attributes["encoder"], read.attributes["patch_size_level0"], read.attributes["mpp"]) == ("uni", 512, 0.25)


def test_the_same_patches_give_the_same_bytes_however_they_come(tmp_path):
    write(tmp_path / "a.h5", n=1000, batch=3)
    write(tmp_path / "b.h5", n=1000, batch=999)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_chunk_holds_a_mebibyte_and_not_a_patch(tmp_path):
    write(tmp_path / "a.h5", n=1500, d_patch=1024, batch=500)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["features"].chunks == (CHUNK_BYTES // 2048, 1024)
        assert file["coords"].chunks == (1500, 2)


def test_a_slide_without_a_patch_has_a_file_with_no_rows_and_its_width(tmp_path):
    write(tmp_path / "a.h5", n=0, d_patch=1280)
    assert feature_shape(tmp_path / "a.h5") == (0, 1280)
    assert read_features(tmp_path / "a.h5").coords.shape == (0, 2)


def test_a_file_that_is_not_finished_is_not_there(tmp_path):
    def blocks():
        yield np.zeros((3, 4), dtype=np.float16)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(tmp_path / "a.h5", blocks(), places(10), (4, "float16"), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_file_says_how_it_was_made_and_how_that_differs(tmp_path):
    write(tmp_path / "a.h5", n=10)
    said = facts_in(tmp_path / "a.h5")
    assert (said["patches"], said["encoder"], said["patch_size"]) == (10, "uni", 256)
    assert differences(said, {"encoder": "uni", "patch_size": 256}) == []
    assert differences(said, {"encoder": "conch", "patch_size": 256, "overlap": 0}) == ["encoder uni, now conch", "overlap unknown, now 0"]


def test_a_file_of_another_tool_or_a_broken_one_does_not_say_how_it_was_made(tmp_path):
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((2, 4)), np.zeros((2, 2))
    (tmp_path / "broken.h5").write_bytes(b"half")
    assert differences(facts_in(tmp_path / "theirs.h5"), {"encoder": "uni"}) == ["it does not say how"]
    assert facts_in(tmp_path / "broken.h5") == {}
    assert differences({}, {"encoder": "uni"}) == ["it does not say how"]


def test_two_hundred_thousand_patches_are_written_in_little_memory(tmp_path):
    n, d_patch = 200_000, 64
    tracemalloc.start()
    blocks = (np.full((min(512, n - start), d_patch), start % 1000, dtype=np.float16) for start in range(0, n, 512))
    write_features(tmp_path / "a.h5", blocks, places(n), (d_patch, "float16"), FACTS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert feature_shape(tmp_path / "a.h5") == (n, d_patch)
    assert peak < 2 * n * 2 * 8 + 2**21  # coordinates, made of two columns; the features are 25 MB
