"""From slides to feature files: the same bytes whatever happens on the way, and a failed slide is a row."""

import math
import multiprocessing
import os
import re
import shutil
import signal
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.unit.slides.made_slides import made_slide
from tests.unit.slides.networks_of_tests import stub
from torch import nn

from prognos.cohort.features import LEVEL0, read_features
from prognos.files import OutputError, locked, write_json
from prognos.slides.ahead import SPARE, batches_ahead
from prognos.slides.check import Problem, SlideSource
from prognos.slides.encoders import EncoderError
from prognos.slides.prepare import NO_TISSUE, Settings, prepared_ahead
from prognos.slides.process import Progress, process, process_slide
from prognos.slides.reading import Slide, SlideError
from prognos.slides.status import WORK, read_status

SETTINGS = Settings(patch_size=64, batch_size=8)
N_PATCHES = 16 * 12  # the tissue of the made slide, 1024 x 768 pixels, in squares of 64


def sources(*paths, mpp=None):
    return [SlideSource(path, mpp) for path in paths]


def feature_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


@pytest.fixture(scope="module")
def encoder():
    return stub()


@pytest.fixture(scope="module")
def undisturbed(slide_file, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    (row,) = process(sources(slide_file), encoder, SETTINGS, out)
    return out, row


def test_a_slide_becomes_a_feature_file_that_the_cohort_reader_takes(undisturbed, slide_file):
    out, row = undisturbed
    read = read_features(out / "made.h5")
    assert (row.status, row.reason, row.patches) == ("done", "", len(read.values))
    assert N_PATCHES * 0.9 <= len(read.values) <= N_PATCHES * 1.3
    assert (read.values.shape[1], read.values.dtype, read.units) == (8, np.float16, LEVEL0)
    said = read.attributes
    assert (said["patch_size"], said["patch_level"], said["patch_size_level0"], said["overlap"]) == (64, 0, 64, 0)
    assert (said["level0_width"], said["level0_height"]) == (2048, 1536)
    assert (said["level0_magnification"], said["target_magnification"]) == (20, 20)
    assert (said["name"], said["encoder"], said["mpp_source"], said["precision"]) == ("made", row.encoder, "file", "float32")
    assert said["mpp"] == pytest.approx(0.5)
    assert "torch" in said["versions"]


def test_features_are_those_of_the_patches_at_their_coordinates(undisturbed, slide_file, encoder):
    read = read_features(undisturbed[0] / "made.h5")
    with Slide.open(slide_file) as slide:
        batch = np.stack([slide.region(x, y, 64, encoder.patch_size) for x, y in read.coords[8:16].tolist()])
    assert np.array_equal(encoder(batch).astype(np.float16), read.values[8:16])


def test_the_outline_of_the_tissue_and_the_table_are_beside_the_features(undisturbed, slide_file):
    out, _ = undisturbed
    assert sorted(path.name for path in (out / "tissue").iterdir()) == ["made.geojson", "made.png"]
    (row,) = read_status(out).to_dict("records")
    assert (row["slide_id"], row["file"], row["status"], row["mpp_source"]) == ("made", str(slide_file.resolve()), "done", "file")
    assert float(row["seconds"]) >= 0
    assert not list((out / WORK).rglob("*.part"))


def test_another_folder_and_other_threads_give_the_same_bytes(undisturbed, slide_file, encoder, tmp_path):
    process(sources(slide_file), encoder, Settings(patch_size=64, batch_size=8, readers=5), tmp_path)
    assert feature_bytes(tmp_path) == feature_bytes(undisturbed[0])


def run_until_killed(slide, out):
    process(sources(slide), stub("slow"), SETTINGS, out)


def bytes_of_batches(part):
    return len(part.read_bytes().partition(b"\n")[2]) if part.exists() else -1


def test_a_run_that_is_killed_anywhere_goes_on_and_ends_in_the_same_bytes(slide_file, tmp_path):
    slow = stub("slow")
    process(sources(slide_file), slow, SETTINGS, tmp_path / "whole")
    wanted = feature_bytes(tmp_path / "whole")
    n_patches = len(read_features(tmp_path / "whole" / "made.h5").values)
    out, stopped_at = tmp_path / "killed", []
    for least in sorted(np.random.default_rng(0).uniform(0, n_patches * 8 * 2, 6)):  # bytes of finished batches
        child = multiprocessing.get_context("fork").Process(target=run_until_killed, args=(slide_file, out))
        child.start()
        part = out / WORK / "made" / "features.part"
        while child.is_alive() and bytes_of_batches(part) < least:
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        stopped_at.append(bytes_of_batches(part))
        assert not list(out.glob("*.h5"))
    assert stopped_at == sorted(stopped_at)
    assert len(set(stopped_at)) > 3
    (row,) = process(sources(slide_file), slow, SETTINGS, out)
    assert row.status == "done"
    assert feature_bytes(out) == wanted
    assert not part.exists()


class Stops(nn.Module):
    """Counts batches and is interrupted at one of them."""

    def __init__(self, network, at):
        super().__init__()
        self.network, self.at, self.n_batches = network, at, 0

    def forward(self, images):
        self.n_batches += 1
        if self.n_batches == self.at:
            raise KeyboardInterrupt
        return self.network(images)


def test_finished_batches_are_not_computed_again(slide_file, encoder, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        process(sources(slide_file), replace(encoder, network=Stops(encoder.network, at=5)), SETTINGS, tmp_path)
    rest = Stops(encoder.network, at=-1)
    (row,) = process(sources(slide_file), replace(encoder, network=rest), SETTINGS, tmp_path)
    assert rest.n_batches == math.ceil(row.patches / SETTINGS.batch_size) - 4
    assert feature_bytes(tmp_path) == feature_bytes(undisturbed[0])


def test_a_slide_that_is_done_is_not_opened_again(slide_file, encoder, undisturbed, monkeypatch):
    out, row = undisturbed
    monkeypatch.setattr(Slide, "open", None)
    (again,) = process(sources(slide_file), encoder, SETTINGS, out)
    assert (again.status, again.patches, again.mpp_source) == ("done", row.patches, "file")
    assert read_status(out)["seconds"].tolist() == [str(row.seconds)]


def test_features_that_were_made_otherwise_are_left_alone_and_told(slide_file, encoder, undisturbed):
    out, _ = undisturbed
    before = feature_bytes(out)
    row = process_slide(SlideSource(slide_file), encoder, replace(SETTINGS, patch_size=128), out)
    assert row.status == "failed"
    assert row.reason == "made.h5 is there and was made otherwise (patch_size 64, now 128): choose another --out, or remove the file"
    assert feature_bytes(out) == before


def test_a_resolution_that_was_corrected_since_is_told(encoder, tmp_path):
    bare = made_slide(tmp_path / "made.tiff", mpp=None)
    process(sources(bare, mpp=0.5), encoder, SETTINGS, tmp_path)
    row = process_slide(SlideSource(bare, 0.25), encoder, SETTINGS, tmp_path)
    assert row.reason.startswith("made.h5 is there and was made otherwise (mpp 0.5, now 0.25)")
    assert process_slide(SlideSource(bare), encoder, SETTINGS, tmp_path).status == "done"


def test_a_part_of_other_settings_is_not_gone_on_with(slide_file, encoder, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        process(sources(slide_file), replace(encoder, network=Stops(encoder.network, 5)), replace(SETTINGS, batch_size=4), tmp_path)
    process(sources(slide_file), encoder, SETTINGS, tmp_path)
    assert feature_bytes(tmp_path) == feature_bytes(undisturbed[0])


def test_broken_slides_are_rows_and_the_others_are_done(slide_file, encoder, tmp_path):
    whole = slide_file.read_bytes()
    (tmp_path / "empty.tiff").touch()
    (tmp_path / "truncated.tiff").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.svs").write_text("this is not a slide")
    bare = made_slide(tmp_path / "bare.tiff", mpp=None)
    files = [tmp_path / "absent.tiff", bare, tmp_path / "empty.tiff", slide_file, tmp_path / "text.svs", tmp_path / "truncated.tiff"]
    rows = process(sources(*files), encoder, SETTINGS, tmp_path / "out")
    assert [row.status for row in rows] == ["failed", "failed", "failed", "done", "failed", "failed"]
    assert all(path.name in row.reason for path, row in zip(files, rows, strict=True) if row.status == "failed")
    assert "give --mpp X" in rows[1].reason
    assert list(feature_bytes(tmp_path / "out")) == ["made.h5"]
    assert read_status(tmp_path / "out")["status"].tolist().count("failed") == 5


def test_slides_that_the_check_refused_are_rows_and_are_not_tried(slide_file, encoder, tmp_path):
    refused = [Problem("lost", None, "lost: no such file was found"), Problem("made", slide_file, "made.tiff: the file was cut")]
    rows = process(sources(slide_file), encoder, SETTINGS, tmp_path, refused=refused)
    assert [(row.slide_id, row.status, row.reason) for row in rows] == [
        ("lost", "failed", "lost: no such file was found"),
        ("made", "failed", "made.tiff: the file was cut"),
    ]
    process(sources(slide_file), encoder, SETTINGS, tmp_path, refused=refused[:1])
    assert read_status(tmp_path)[["slide_id", "status"]].to_numpy().tolist() == [["lost", "failed"], ["made", "done"]]
    found = shutil.copy(slide_file, tmp_path / "lost.tiff")
    process(sources(found), encoder, SETTINGS, tmp_path)
    assert read_status(tmp_path)[["slide_id", "status"]].to_numpy().tolist() == [["lost", "done"], ["made", "done"]]


def test_a_resolution_that_is_given_makes_a_bare_slide_the_same_patches(encoder, tmp_path, undisturbed):
    bare = made_slide(tmp_path / "made.tiff", mpp=None)
    (row,) = process(sources(bare, mpp=0.5), encoder, SETTINGS, tmp_path / "out")
    assert (row.status, row.mpp, row.mpp_source) == ("done", 0.5, "--mpp")
    assert np.array_equal(read_features(tmp_path / "out" / "made.h5").values, read_features(undisturbed[0] / "made.h5").values)


def test_a_slide_without_tissue_has_a_file_without_a_patch_and_says_so(encoder, tmp_path):
    (row,) = process(sources(made_slide(tmp_path / "glass.tiff", tissue=[])), encoder, SETTINGS, tmp_path / "out")
    assert (row.status, row.patches, row.reason) == ("done", 0, NO_TISSUE)
    assert read_features(tmp_path / "out" / "glass.h5").values.shape == (0, 8)
    (again,) = process(sources(tmp_path / "glass.tiff"), encoder, SETTINGS, tmp_path / "out")
    assert (again.patches, again.reason) == (0, NO_TISSUE)


def test_a_slide_of_one_pixel_does_not_stop_the_others(encoder, tmp_path, slide_file):
    Image.new("RGB", (1, 1), (200, 100, 150)).save(tmp_path / "dot.png")
    rows = process(sources(tmp_path / "dot.png", slide_file, mpp=0.5), encoder, SETTINGS, tmp_path / "out")
    assert (rows[0].patches or 0, rows[1].status) == (0, "done")


def test_an_outline_of_the_user_takes_the_place_of_the_tissue(encoder, tmp_path, slide_file):
    corners = [[512, 384], [768, 384], [768, 640], [512, 640], [512, 384]]
    shape = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]}, "properties": {}}
    write_json(tmp_path / "outlines" / "made.geojson", {"type": "FeatureCollection", "features": [shape]})
    (row,) = process(sources(slide_file), encoder, replace(SETTINGS, outlines=tmp_path / "outlines"), tmp_path / "out")
    read = read_features(tmp_path / "out" / "made.h5")
    assert row.patches == len(read.coords) == 16
    assert read.attributes["tissue"] == "made.geojson"
    assert (read.coords.min(axis=0).tolist(), read.coords.max(axis=0).tolist()) == ([512, 384], [704, 576])


def test_features_beyond_float16_are_refused_and_float32_takes_them(slide_file, tmp_path):
    (row,) = process(sources(slide_file), stub("huge"), SETTINGS, tmp_path / "half")
    assert row.status == "failed"
    assert re.search(
        r"made: the features of \d of 8 patches of a batch are no float16; the largest is .*: use --stored float32", row.reason
    )
    (row,) = process(sources(slide_file), stub("huge"), replace(SETTINGS, stored="float32"), tmp_path / "full")
    assert row.status == "done"


def test_features_that_are_no_numbers_are_refused(slide_file, tmp_path):
    (row,) = process(sources(slide_file), stub("broken"), SETTINGS, tmp_path)
    assert "the features of 8 of 8 patches of a batch are no numbers; use --precision float32, or look at the weights" in row.reason


def test_settings_that_cannot_be_are_refused(slide_file, encoder, tmp_path):
    with pytest.raises(ValueError, match="a batch cannot hold 0 patches; choose at least 1"):
        Settings(batch_size=0)
    with pytest.raises(ValueError, match="features cannot be stored as 'int8'; choose float16 or float32"):
        Settings(stored="int8")
    with pytest.raises(ValueError, match=r"absent: there is no such folder; give the one that holds SLIDE_ID.geojson"):
        Settings(outlines=tmp_path / "absent")
    with pytest.raises(ValueError, match="an overlap of 64 pixels leaves no step"):
        process(sources(slide_file), encoder, replace(SETTINGS, overlap=64), tmp_path)


def test_an_encoder_that_does_not_work_ends_the_run(slide_file, encoder, tmp_path):
    with pytest.raises(EncoderError, match="let its network pool over space"):
        process(sources(slide_file), replace(encoder, network=nn.Identity()), SETTINGS, tmp_path)


def test_a_folder_that_cannot_be_written_ends_the_run(slide_file, encoder, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="a part of this path is a file, not a folder"):
        process(sources(slide_file), encoder, SETTINGS, tmp_path / "out")


def test_a_slide_that_another_process_works_on_is_passed_over(slide_file, encoder, tmp_path):
    with locked(tmp_path / WORK / "made"):
        assert process(sources(slide_file), encoder, SETTINGS, tmp_path) == []
    assert read_status(tmp_path).empty


def test_the_next_slide_is_prepared_while_one_is_encoded_and_given_back_when_the_run_ends(encoder, tmp_path):
    files = [made_slide(tmp_path / f"s{number}.tiff", (768, 768), seed=number) for number in range(3)]
    with closing(prepared_ahead(sources(*files), encoder, SETTINGS, tmp_path)) as prepared:
        first = next(prepared)
        first.close()
    for name in ("s0", "s1", "s2"):
        with locked(tmp_path / WORK / name):
            pass  # none is held any more


def take(files, out):
    process(sources(*files), stub("slow"), SETTINGS, out)


def test_two_processes_share_a_folder_and_end_in_the_same_bytes(tmp_path):
    files = [made_slide(tmp_path / f"s{number}.tiff", (768, 768), seed=number) for number in range(4)]
    take(files, tmp_path / "alone")
    both = [multiprocessing.get_context("fork").Process(target=take, args=(files, tmp_path / "shared")) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
        assert child.exitcode == 0
    assert feature_bytes(tmp_path / "shared") == feature_bytes(tmp_path / "alone")
    assert read_status(tmp_path / "shared")["status"].tolist() == ["done"] * 4


def test_progress_rises_to_the_end_and_says_what_is_left(slide_file, encoder, tmp_path):
    told = []
    process(sources(slide_file), encoder, SETTINGS, tmp_path, show=told.append)
    assert [step.share for step in told] == sorted(step.share for step in told)
    assert (told[0].done, told[-1].done, told[-1].share, told[-1].total) == (0, 1, 1.0, 1)
    assert told[-1].patches == read_features(tmp_path / "made.h5").values.shape[0]
    assert (told[-1].seconds_left, Progress(0, 2, 0.25, 9, 10.0).seconds_left, Progress(0, 2, 0.0, 0, 1.0).seconds_left) == (0, 30, None)


def test_patches_are_read_ahead_in_order_and_no_more_than_a_few_batches(slide_file, monkeypatch):
    read, used, most = [], 0, 0
    coords = np.stack([np.arange(400), np.zeros(400)], axis=1).astype(np.int64)

    def region(self, x, y, side, pixels):
        read.append(x)
        return np.full((pixels, pixels, 3), x % 256, dtype=np.uint8)

    monkeypatch.setattr(Slide, "region", region)
    with Slide.open(slide_file) as slide:
        for batch in batches_ahead(slide, coords, 64, 2, batch_size=8, first=1, readers=3):
            assert batch[:, 0, 0, 0].tolist() == [(8 + 8 * used + row) % 256 for row in range(8)]
            used += 1
            most = max(most, len(read) - 8 * used)
    assert used == 49
    assert most <= 8 * (3 + SPARE)


def test_a_damaged_part_of_a_slide_is_told_after_the_batches_before_it(slide_file, monkeypatch):
    def region(self, x, y, side, pixels):
        if x == 20:
            raise SlideError("made.tiff: damaged")
        return np.zeros((pixels, pixels, 3), dtype=np.uint8)

    monkeypatch.setattr(Slide, "region", region)
    coords = np.stack([np.arange(40), np.zeros(40)], axis=1).astype(np.int64)
    with Slide.open(slide_file) as slide:
        batches = batches_ahead(slide, coords, 64, 2, batch_size=8, readers=2)
        assert [len(next(batches)) for _ in range(2)] == [8, 8]
        with pytest.raises(SlideError, match="damaged"):
            next(batches)
