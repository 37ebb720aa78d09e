"""Patch features are packed once and any rows of a patient are read from there."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from prognos.files import OutputError
from prognos.tokens import PatchStore
from prognos.tokens import packs as packing
from prognos.tokens import store as stores

P1 = ("A", "C")


def joined(parts, names=P1):
    return np.concatenate([parts[name] for name in names])


@pytest.fixture(params=["in memory", "packed"])
def store(request, slides, tmp_path) -> PatchStore:
    limit = {"in memory": 2**20, "packed": 0}[request.param]
    return PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=limit)


def test_a_patients_slides_follow_one_another(store, slides):
    assert store.n_patches("P1") == 6
    assert np.array_equal(store.rows("P1"), joined(slides.values).astype(np.float16))
    assert np.array_equal(store.coords("P1"), joined(slides.coords))
    assert store.slide("P1").tolist() == [k for k, name in enumerate(P1) for _ in slides.values[name]]
    assert store.d_patch == 3
    assert store.rows("P1").dtype == np.float16


@pytest.mark.parametrize("index", [[0, 3, 4, 5], [5], [], [5, 0, 4, 4]])
def test_any_rows_are_read(store, slides, index):
    index = np.array(index, dtype=np.int64)
    for patient, names in {"P1": P1, "P2": ("B",)}.items():
        chosen = np.minimum(index, store.n_patches(patient) - 1)
        assert np.array_equal(store.rows(patient, chosen), joined(slides.values, names).astype(np.float16)[chosen])
        assert np.array_equal(store.coords(patient, chosen), joined(slides.coords, names)[chosen])


def test_patches_know_their_slide(store, slides):
    first = len(slides.values[P1[0]])
    index = np.array([5, first, 0, first - 1])
    assert store.slide("P1", index).tolist() == [1, 1, 0, 0]
    assert store.slide("P2").tolist() == [0] * 5


def test_rows_are_written_where_asked(store, slides):
    out = np.zeros((2, 3), np.float16)
    assert store.rows("P2", np.array([1, 4]), out=out) is out
    assert np.array_equal(out, slides.values["B"][[1, 4]].astype(np.float16))


def test_a_patient_without_patches_has_no_rows(store):
    for patient in ("P3", "P4"):
        assert store.n_patches(patient) == 0
        assert store.rows(patient).shape == (0, 3)


def test_rows_beyond_the_last_are_refused(store):
    with pytest.raises(IndexError, match="patient P2 has 5 patches; asked for 0 to 5"):
        store.rows("P2", np.array([0, 5]))
    with pytest.raises(IndexError, match="asked for -1 to 0"):
        store.rows("P1", np.array([-1, 0]))


def test_a_store_in_another_process_reads_the_same(store, slides):
    assert np.array_equal(pickle.loads(pickle.dumps(store)).rows("P1"), joined(slides.values).astype(np.float16))


def test_a_small_cohort_writes_nothing(slides, tmp_path):
    PatchStore.open(slides.cohort(), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_packed_cohort_is_mapped_and_not_read_again(slides, tmp_path, monkeypatch):
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    monkeypatch.setattr(packing, "read_features", lambda path: pytest.fail(f"{path} was read again"))
    again = PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    assert np.array_equal(again.rows("P1"), joined(slides.values).astype(np.float16))


def test_part_of_a_packed_cohort_is_not_packed_again(slides, tmp_path):
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    before = sorted(os.listdir(tmp_path / "store"))
    part = PatchStore.open(slides.cohort().subset(["P2", "P1"]), tmp_path / "store", in_memory_below=0)
    assert sorted(os.listdir(tmp_path / "store")) == before
    assert np.array_equal(part.rows("P1"), joined(slides.values).astype(np.float16))


def test_only_what_is_new_is_packed(slides, tmp_path):
    PatchStore.open(slides.cohort().subset(["P2"]), tmp_path / "store", in_memory_below=0)
    read = []
    whole = PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0, progress=lambda done, total: read.append((done, total)))
    assert read == [(1, 3), (2, 3), (3, 3)]  # A, C and D; B was there
    assert np.array_equal(whole.rows("P2"), slides.values["B"].astype(np.float16))


@pytest.mark.parametrize("limit", [0, 2**20])
def test_a_changed_file_is_read_again(slides, tmp_path, write_slide, limit):
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=limit)
    write_slide(slides.folder, "B", slides.values["B"] + 1, slides.coords["B"], encoder="uni")
    store = PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=limit)
    assert np.array_equal(store.rows("P2"), (slides.values["B"] + 1).astype(np.float16))


@pytest.mark.parametrize("part", ["values.npy", "coords.npy", "json"])
def test_a_damaged_pack_is_not_read_and_made_again(slides, tmp_path, part):
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    (damaged,) = (tmp_path / "store").glob(f"*.{part}")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    store = PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    assert np.array_equal(store.rows("P1"), joined(slides.values).astype(np.float16))


def test_of_many_that_open_a_store_at_once_one_packs(slides, tmp_path, monkeypatch):
    written = []
    write = stores.write_pack
    monkeypatch.setattr(stores, "write_pack", lambda *arguments: written.append(1) or write(*arguments))
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0), range(4)))
    assert len(written) == 1
    for store in opened:
        assert np.array_equal(store.rows("P1"), joined(slides.values).astype(np.float16))


def test_a_pack_that_was_not_finished_leaves_nothing(slides, tmp_path, monkeypatch):
    def broken(slide):
        if slide.slide_id == "B":
            raise OSError(28, "No space left on device")
        return read(slide)

    read = packing.read_slide
    monkeypatch.setattr(packing, "read_slide", broken)
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    assert os.listdir(tmp_path / "store") == ["README.txt"]
    monkeypatch.undo()
    assert PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0).n_patches("P1") == 6


def test_what_a_killed_process_left_is_removed(slides, tmp_path):
    left = tmp_path / "store" / ".tmp-12345678-0.values.npy"
    left.parent.mkdir()
    left.write_bytes(b"half")
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)
    assert not left.exists()


def test_a_folder_that_cannot_be_written_is_said(slides, tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=0)


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert packing.cache_folder() == tmp_path / "prognos" / "store"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert packing.cache_folder() == tmp_path / ".cache" / "prognos" / "store"


@pytest.mark.parametrize("limit", [0, 2**20])
def test_the_number_of_slides_read_is_told(slides, tmp_path, limit):
    told = []
    PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=limit, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_file_without_coordinates_has_none(make_cohort, tmp_path):
    np.save(tmp_path / "A.npy", np.ones((2, 3), np.float32))
    table = pd.DataFrame({"slide_id": ["A"], "patient_id": ["P1"], "path": [str(tmp_path / "A.npy")]})
    assert np.isnan(PatchStore.open(make_cohort(table, 3)).coords("P1")).all()


def test_a_cohort_without_slides_has_an_empty_store(make_cohort):
    store = PatchStore.open(make_cohort(pd.DataFrame(columns=["slide_id", "patient_id", "path"]), 0))
    assert (store.d_patch, store.n_patches("P1")) == (0, 0)


@pytest.mark.parametrize("limit", [0, 2**20])
def test_features_that_are_not_finite_are_refused_with_slide_and_rows(slides, tmp_path, write_slide, limit):
    values = slides.values["B"].copy()
    values[[1, 3], 2] = np.nan, np.inf
    write_slide(slides.folder, "B", values, slides.coords["B"])
    with pytest.raises(ValueError, match=r"slide B: 2 of 5 patches have features that are not finite \(rows 1, 3 of .*B\.h5\): extract"):
        PatchStore.open(slides.cohort(), tmp_path / "store", in_memory_below=limit)


def test_features_beyond_float16_are_refused_with_slide_and_value(slides, tmp_path, write_slide):
    write_slide(slides.folder, "B", np.full((5, 3), 65504.0), slides.coords["B"])
    PatchStore.open(slides.cohort(), tmp_path / "store")
    write_slide(slides.folder, "B", np.full((5, 3), -70000.0), slides.coords["B"])
    with pytest.raises(ValueError, match=r"slide B: a feature of .*B\.h5 is 70000, .*float16, which ends at 65504: divide"):
        PatchStore.open(slides.cohort(), tmp_path / "store")


def test_features_of_two_widths_are_refused_with_slides(slides, tmp_path, write_slide):
    write_slide(slides.folder, "B", np.ones((5, 4)), slides.coords["B"])
    with pytest.raises(ValueError, match=r"features of 2 widths: 3 in 2 slides \(A, C\); 4 in 1 slides \(B\)\. Extract all"):
        PatchStore.open(slides.cohort(), tmp_path / "store")


def test_a_file_that_changes_while_it_is_read_is_refused(slides, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_shape", lambda path, key: (9, 3))
    with pytest.raises(ValueError, match=r"slide A: .*A\.h5 changed while it was read; start again"):
        PatchStore.open(slides.cohort(), tmp_path / "store")


def test_a_missing_file_is_said(slides, tmp_path):
    (slides.folder / "C.h5").unlink()
    with pytest.raises(ValueError, match=r"C\.h5: there is no such file"):
        PatchStore.open(slides.cohort(), tmp_path / "store")
