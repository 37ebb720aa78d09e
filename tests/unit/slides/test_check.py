"""What will fail is said, all of it, before anything is computed."""

import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.unit.slides.made_slides import made_slide, tissue_pixels

from prognos.slides import check
from prognos.slides.check import SlideSource, find_slides, problems, read_manifest

SMALL = (512, 512)


@pytest.fixture
def folder(tmp_path):
    """Two slides, one of them in a folder of its own."""
    place = tmp_path / "slides"
    (place / "deeper").mkdir(parents=True)
    made_slide(place / "a.tiff", SMALL, levels=1)
    made_slide(place / "deeper" / "b.tiff", SMALL, levels=1, seed=1)
    return place


def reasons(folder, manifest=None, mpp=None, **options):
    return {problem.slide_id: problem.reason for problem in problems(find_slides([folder], manifest, mpp=mpp), manifest, **options)}


def manifest(tmp_path, text):
    path = tmp_path / "slides.csv"
    path.write_text(text, encoding="utf-8")
    return path


# Which slides there are


def test_folders_are_searched_and_files_are_taken(folder, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "core.png")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "a.tiff", folder / ".hidden" / "c.tiff")
    (folder / "notes.txt").write_text("")
    found = find_slides([tmp_path / "core.png", folder, folder / "a.tiff"])
    assert [source.slide_id for source in found] == ["core", "a", "b"]


def test_plain_images_count_only_where_no_slide_lies(folder, tmp_path):
    for place in (folder, folder / "deeper" / "previews", tmp_path / "cores"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(place / "picture.png")
    assert [source.path.name for source in find_slides([folder])] == ["a.tiff", "b.tiff"]
    assert [source.path.name for source in find_slides([tmp_path / "cores"])] == ["picture.png"]


def test_the_manifest_says_the_resolution_of_its_slides_and_mpp_that_of_the_others(folder):
    found = find_slides([folder], {"a": 0.25, "b": None}, mpp=0.5)
    assert [(source.slide_id, source.mpp, source.mpp_source) for source in found] == [("a", 0.25, "slides.csv"), ("b", 0.5, "--mpp")]
    with found[0].open() as slide:
        assert slide.resolution.mpp == 0.25


def test_a_source_that_is_not_there_or_holds_no_slide_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"absent: there is no such file or folder; correct the path"):
        find_slides([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"empty: no slide is in there; files are looked for that end in .svs, .+, others have to be named"
    ):
        find_slides([tmp_path / "empty"])


# The manifest


def test_a_manifest_names_slides_with_or_without_suffix(tmp_path):
    path = manifest(tmp_path, "slide_id,patient_id,mpp\nTCGA-XX.1.svs,TCGA-XX,0.25\n002,TCGA-XX,\n")
    assert read_manifest(path) == {"TCGA-XX.1": 0.25, "002": None}
    assert read_manifest(manifest(tmp_path, "slide_id\na\n")) == {"a": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"slides.csv: cannot be read as CSV \(.+\); correct the path or export it again"),
        ("slide,mpp\na,1\n", r"slides.csv: there is no column slide_id \(columns: slide, mpp\); rename the one with the slides"),
        ("slide_id\na\na.svs\nb\n", r"slides.csv: 1 slides are listed more than once \(a\); keep one row a slide"),
        (
            "slide_id,mpp\na,20x\nb,0\nc,inf\nd,-1\ne,0.5\n",
            r"slides.csv, column mpp: 4 cells are no microns a pixel \('20x' of a, '0' of b, 'inf' of c and 1 more\); correct them",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read_manifest(manifest(tmp_path, text))
    with pytest.raises(ValueError, match=r"absent.csv: cannot be read as CSV"):
        read_manifest(tmp_path / "absent.csv")


# What will fail


def test_slides_that_are_right_have_no_problem(folder):
    assert problems(find_slides([folder]), {"a": None, "b": None}) == []


def test_every_slide_that_will_fail_is_listed_with_its_reason(folder):
    (folder / "c-empty.svs").write_bytes(b"")
    (folder / "d-text.svs").write_bytes(b"no slide")
    made_slide(folder / "e-bare.tiff", SMALL, levels=1, mpp=None, seed=2)
    made_slide(folder / "f-coarse.tiff", SMALL, levels=1, mpp=2.0, seed=3)
    assert reasons(folder) == {
        "c-empty": "c-empty.svs: the file is empty; copy it again.",
        "d-text": "d-text.svs: OpenSlide knows no slide format that this file has (8 bytes); copy it again if it was cut, "
        "or convert it to a pyramidal TIFF.",
        "e-bare": "e-bare.tiff: the file does not say how many microns a pixel is; give --mpp X, "
        "or add the slide to slides.csv with a column mpp.",
        "f-coarse": "f-coarse.tiff: has 2 microns a pixel (said by the file), so that patches of 0.5 would be blown up 4 times; "
        "ask for patches of 2 microns a pixel or more, or correct the resolution in slides.csv.",
    }
    assert set(reasons(folder, mpp=0.5, patch_mpp=2.0)) == {"c-empty", "d-text"}


def test_a_slide_that_was_cut_is_noticed_by_where_its_headers_place_the_tiles(folder):
    path = made_slide(folder / "cut.tiff", pixels=tissue_pixels(1024, 1024), levels=1)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 1])
    (said,) = reasons(folder).values()
    assert said == f"cut.tiff: its headers speak of {size:,} bytes, but it has {size - 1:,}; the file was cut: copy it again."


def test_a_slide_whose_middle_is_damaged_is_noticed(folder):
    path = made_slide(folder / "damaged.tiff", pixels=tissue_pixels(512, 512), levels=1)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    (said,) = reasons(folder).values()
    assert said.startswith("damaged.tiff: 256 x 256 pixels of level 0 at (128, 128) cannot be read")


def test_of_files_with_the_same_bytes_the_first_is_kept(folder):
    shutil.copy(folder / "a.tiff", folder / "deeper" / "copy.tiff")
    shutil.copy(folder / "a.tiff", folder / "deeper" / "a.tiff")
    found = problems(find_slides([folder]))
    assert [(problem.path.parent.name, problem.path.name) for problem in found] == [("deeper", "a.tiff"), ("deeper", "copy.tiff")]
    assert found[0].reason == f"a.tiff: has the same bytes as {folder / 'a.tiff'}; leave one of them out."
    assert found[1].reason == "copy.tiff: has the same bytes as a.tiff; leave one of them out."


def test_of_different_slides_with_one_name_none_is_kept(folder):
    made_slide(folder / "b.tif", SMALL, levels=1, seed=5)
    assert [problem.reason for problem in problems(find_slides([folder]))] == [
        "b.tif: b.tiff would have the same features file, b.h5; rename one of them.",
        "b.tiff: b.tif would have the same features file, b.h5; rename one of them.",
    ]


def test_files_of_one_dicom_series_are_one_slide(folder, monkeypatch):
    inner = SlideSource.open

    def opened(self):
        slide = inner(self)
        slide.properties = {**slide.properties, "dicom.SeriesInstanceUID": "1.2.3"}
        return slide

    monkeypatch.setattr(SlideSource, "open", opened)
    assert reasons(folder) == {"b": "b.tiff: belongs to the same DICOM series as a.tiff; name one file of each slide."}


def test_slides_of_the_manifest_without_a_file_are_listed(folder):
    found = problems(find_slides([folder]), {"a": 0.5, "lost": None})
    assert [(problem.slide_id, problem.path) for problem in found] == [("lost", None)]
    assert found[0].reason == "lost: is named in the manifest, but no such file was found; add the file or remove the row."


def test_a_plain_image_is_not_decoded_to_be_checked(tmp_path, monkeypatch):
    Image.fromarray(tissue_pixels(300, 300)).save(tmp_path / "core.png")
    monkeypatch.setattr(check.Slide, "region", lambda *_: pytest.fail("it was read"))
    assert problems([SlideSource(tmp_path / "core.png", 0.5)]) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_plain_image_that_was_cut_is_noticed(tmp_path, suffix):
    path = tmp_path / f"core{suffix}"
    Image.fromarray(np.ascontiguousarray(tissue_pixels(300, 300))).save(path)
    assert problems([SlideSource(path, 0.5)]) == []
    content = path.read_bytes()
    path.write_bytes(content[:-2000] if suffix != ".tif" else content[: len(content) - 8])
    ((said),) = [problem.reason for problem in problems([SlideSource(path, 0.5)])]
    assert said.startswith(f"core{suffix}: ")
