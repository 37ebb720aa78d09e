"""slides_status.csv holds a row a slide, whoever wrote it."""

import multiprocessing

import pytest

from prognos.files import InUseError, locked
from prognos.slides import status
from prognos.slides.status import DONE, FAILED, SlideStatus, merge_status, read_status


def row(name, state=DONE, **rest):
    return SlideStatus(slide_id=name, file=f"/slides/{name}.svs", status=state, **rest)


def add(folder, name):
    merge_status(folder, [row(name, patches=1, seconds=1.0)])


def test_rows_are_added_in_order_of_their_slides(tmp_path):
    merge_status(tmp_path, [row("b", patches=3, seconds=0.5, mpp=0.25, mpp_source="file", encoder="uni", versions="prognos 1, torch 2")])
    merge_status(tmp_path, [row("a", FAILED, reason='it is "empty", quite')])
    assert (tmp_path / "slides_status.csv").read_text() == (
        "slide_id,file,status,reason,patches,seconds,mpp,mpp_source,encoder,versions\n"
        'a,/slides/a.svs,failed,"it is ""empty"", quite",,,,,,\n'
        'b,/slides/b.svs,done,,3,0.5,0.25,file,uni,"prognos 1, torch 2"\n'
    )


def test_a_new_row_takes_the_place_of_the_old_one_of_its_file(tmp_path):
    merge_status(tmp_path, [row("a", FAILED, reason="no resolution")])
    merge_status(tmp_path, [row("a", patches=3, seconds=0.5)])
    assert read_status(tmp_path)[["slide_id", "status", "reason"]].to_numpy().tolist() == [["a", "done", ""]]


def test_a_slide_that_was_found_done_keeps_the_row_with_its_seconds(tmp_path):
    merge_status(tmp_path, [row("a", patches=3, seconds=0.5)])
    merge_status(tmp_path, [row("a", patches=3)])
    assert read_status(tmp_path)["seconds"].tolist() == ["0.5"]


def test_two_files_of_one_name_are_two_rows(tmp_path):
    twice = SlideStatus(slide_id="a", file="/others/a.tiff", status=FAILED, reason="a slide of this name is in the list already")
    merge_status(tmp_path, [row("a", patches=1, seconds=1.0), twice])
    assert read_status(tmp_path)["file"].tolist() == ["/others/a.tiff", "/slides/a.svs"]


def test_several_processes_add_to_one_table(tmp_path):
    processes = [multiprocessing.get_context("fork").Process(target=add, args=(tmp_path, f"s{number}")) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert read_status(tmp_path)["slide_id"].tolist() == [f"s{number}" for number in range(8)]


def test_a_table_that_another_process_holds_for_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "PATIENCE", 0.1)
    with locked(tmp_path / status.WORK), pytest.raises(InUseError, match="is writing in"):
        merge_status(tmp_path, [row("a")])


@pytest.mark.parametrize("content", ["slide,what\na,b\n", "", 'slide_id,file\n"a\n'])
def test_a_table_that_was_changed_by_hand_is_told_to_be_removed(tmp_path, content):
    (tmp_path / "slides_status.csv").write_text(content)
    with pytest.raises(ValueError, match=r"slides_status.csv in .* is not the table that this command wrote: remove it and start again"):
        merge_status(tmp_path, [row("a")])
