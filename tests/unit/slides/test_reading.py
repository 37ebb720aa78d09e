"""A slide is read part by part, at any scale, from whatever file holds it; one that cannot be read says why."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.unit.slides.made_slides import GLASS, made_slide, slide_pixels

from prognos.slides import pyramid
from prognos.slides.reading import Slide, SlideError, slide_id_of


def ramp(width, height):
    """Red goes up and down by one a column, green by one a row."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = 255 - np.abs(np.arange(width) % 510 - 255)
    pixels[..., 1] = 255 - np.abs(np.arange(height)[:, None] % 510 - 255)
    return pixels


@pytest.fixture(scope="module")
def ramp_file(tmp_path_factory):
    return made_slide(tmp_path_factory.mktemp("ramp") / "ramp.tiff", pixels=ramp(1792, 1536), levels=2)


def means(pixels, x, y, side, n):
    """Mean of what each of n x n pixels covers, by an integral over fractions of pixels."""
    edges = np.linspace(0, side, n + 1)

    def covered(values, start):
        total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values.astype(np.float64), axis=0)])
        at = start + edges
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *[1] * (values.ndim - 1))
        high = np.minimum(low + 1, len(values))
        integral = total[low] * (1 - share) + total[high] * share
        return np.diff(integral, axis=0) / (side / n)

    return covered(covered(pixels, y).swapaxes(0, 1), x).swapaxes(0, 1)


def test_the_name_of_a_slide_is_its_file_name_without_the_suffix():
    assert slide_id_of("folder/TCGA-XX-XXXX-01Z-00-DX1.d4ff32cd.svs") == "TCGA-XX-XXXX-01Z-00-DX1.d4ff32cd"
    assert slide_id_of("core.ome.tiff") == "core"


def test_a_slide_knows_its_size_levels_and_resolution(slide_file):
    with Slide.open(slide_file) as slide:
        assert slide.slide_id == "made"
        assert slide.kind == "generic-tiff"
        assert slide.size == (2048, 1536)
        assert slide.downsamples == (1.0, 4.0)
        assert slide.resolution.mpp == pytest.approx(0.5)
        assert slide.resolution.source == "file"
        assert str(slide.known_resolution()) == "0.5 microns a pixel (said by the file)"


@pytest.mark.parametrize(("side", "pixels"), [(256, 256), (257, 256), (300, 256), (512, 256), (1000, 250), (1024, 256), (1100, 100)])
def test_each_pixel_of_a_region_is_the_mean_of_what_it_covers(ramp_file, side, pixels):
    with Slide.open(ramp_file) as slide:
        region = slide.region(517, 389, side, pixels).astype(float)
    difference = np.abs(region - means(ramp(1792, 1536), 517, 389, side, pixels))
    # A region that is shifted by one pixel is wrong by one, up on one slope and down on the next; each level rounds by a half.
    assert np.median(difference) <= 0.5
    assert np.quantile(difference, 0.99) <= 1.0
    assert difference.max() <= side / pixels  # at the tops, where a filter that is no mean rounds


def test_a_region_is_never_blown_up_from_a_coarser_level(tmp_path):
    fine = np.zeros((1024, 1024, 3), dtype=np.uint8)
    fine[:, ::2] = 200  # stripes that the second level no longer has
    with Slide.open(made_slide(tmp_path / "stripes.tiff", pixels=fine, levels=2)) as slide:
        assert set(np.unique(slide.region(0, 0, 768, 768))) == {0, 200}
        halved = slide.region(0, 0, 512, 256)
    assert np.abs(halved.astype(float) - 100).max() <= 1


def test_what_is_read_grows_with_the_result_and_not_with_the_region(slide_file, monkeypatch):
    read = []
    inner = pyramid.ScannerFile.read

    def counted(self, level, left, top, width, height):
        read.append((level, width * height))
        return inner(self, level, left, top, width, height)

    monkeypatch.setattr(pyramid.ScannerFile, "read", counted)
    with Slide.open(slide_file) as slide:
        slide.region(0, 0, 1024, 256)
        slide.region(0, 0, 256, 256)
    assert read == [(1, 256 * 256), (0, 256 * 256)]


def test_outside_the_slide_it_is_white(slide_file):
    with Slide.open(slide_file) as slide:
        corner = slide.region(-128, -128, 256, 256)
        beyond = slide.region(2048 - 128, 1536 - 128, 256, 256)
        far = slide.region(10_000, 10_000, 256, 64)
    assert (corner[:128] == 255).all()
    assert (corner[128:, 128:] == GLASS).all()
    assert (beyond[:128, :128] == GLASS).all()
    assert (beyond[128:] == 255).all()
    assert (far == 255).all()


def test_a_thumbnail_is_the_whole_slide_and_never_enlarged(slide_file):
    with Slide.open(slide_file) as slide:
        small = slide.thumbnail(256)
        whole = slide.thumbnail(100_000)
    assert small.shape == (192, 256, 3)
    assert whole.shape == (1536, 2048, 3)
    expected = slide_pixels((2048, 1536), [(512, 384, 1536, 1152)]).astype(float).reshape(192, 8, 256, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 1.5


def test_a_thumbnail_is_read_once_and_is_the_callers_to_draw_on(slide_file, monkeypatch):
    with Slide.open(slide_file) as slide:
        first = slide.thumbnail(256)
        kept = first.copy()
        first[:] = 0
        monkeypatch.setattr(pyramid.ScannerFile, "read", lambda *_: pytest.fail("it was read again"))
        assert np.array_equal(slide.thumbnail(256), kept)


def test_the_last_row_of_a_thumbnail_may_reach_over_the_edge(tmp_path):
    with Slide.open(made_slide(tmp_path / "odd.tiff", (1000, 333), [], levels=1)) as slide:
        assert slide.thumbnail(100).shape == (34, 100, 3)  # 33.3 rows of ten pixels
        assert slide.thumbnail(100)[-1, 0].tolist() == pytest.approx([0.3 * glass + 0.7 * 255 for glass in GLASS], abs=1)


def test_a_large_level_is_read_block_by_block_without_seams(ramp_file, monkeypatch):
    largest = []
    inner = pyramid.ScannerFile.read

    def counted(self, level, left, top, width, height):
        largest.append(width * height)
        return inner(self, level, left, top, width, height)

    with Slide.open(ramp_file) as slide:
        at_once = slide.thumbnail(1000)
    with Slide.open(ramp_file) as slide:
        monkeypatch.setattr("prognos.slides.reading.BLOCK", 128)
        monkeypatch.setattr(pyramid.ScannerFile, "read", counted)
        in_blocks = slide.thumbnail(1000)
    assert np.abs(at_once.astype(int) - in_blocks).max() <= 1
    assert len(largest) > 100
    assert max(largest) <= (128 + 2 * 2 + 2) ** 2  # a margin of two pixels (1.792 rounded up) and one that is cut, on each side


def test_several_threads_read_the_same_as_one(slide_file):
    corners = [(x, y) for y in range(0, 1536, 192) for x in range(0, 2048, 256)]
    with Slide.open(slide_file) as slide:
        alone = [slide.region(x, y, 300, 256) for x, y in corners]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda corner: slide.region(*corner, 300, 256), corners))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


# Plain images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_a_plain_image_is_a_slide_too(tmp_path, suffix):
    pixels = ramp(400, 300)
    Image.fromarray(pixels).save(tmp_path / f"core{suffix}", **({"quality": 95, "subsampling": 0} if suffix == ".jpg" else {}))
    with Slide.open(tmp_path / f"core{suffix}", mpp=0.5) as slide:
        assert slide.size == (400, 300)
        assert slide.downsamples == (1.0,)
        region = slide.region(10, 20, 128, 64).astype(float)
        assert np.abs(region - means(pixels, 10, 20, 128, 64)).max() <= (3 if suffix == ".jpg" else 1)
        assert (slide.region(-64, 200, 128, 128)[:, :64] == 255).all()
        assert (slide.region(500, 500, 10, 10) == 255).all()


def test_a_plain_image_is_decoded_once_however_many_threads_read(tmp_path, monkeypatch):
    Image.fromarray(ramp(400, 300)).save(tmp_path / "core.png")
    decoded = []
    inner = pyramid._on_white
    monkeypatch.setattr(pyramid, "_on_white", lambda image: decoded.append(threading.get_ident()) or inner(image))
    with Slide.open(tmp_path / "core.png", mpp=0.5) as slide, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda x: slide.region(x, 0, 64, 64), range(20)))
        slide.thumbnail()
    assert len(decoded) == 1


def test_what_is_transparent_stands_in_front_of_white(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:4] = (200, 100, 150, 255)
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    with Slide.open(tmp_path / "cut.png", mpp=0.5) as slide:
        assert slide.region(0, 0, 8, 8)[:, 0].tolist() == [[200, 100, 150]] * 4 + [[255, 255, 255]] * 4


def test_an_image_of_one_pixel_is_read(tmp_path):
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "dot.png")
    with Slide.open(tmp_path / "dot.png", mpp=0.5) as slide:
        assert slide.thumbnail().tolist() == [[[10, 20, 30]]]
        assert slide.region(0, 0, 1, 4).shape == (4, 4, 3)


def test_an_image_too_large_to_hold_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "huge.png")
    monkeypatch.setattr(pyramid, "MOST_PLAIN_PIXELS", 1000)
    said = r"huge.png: 40 x 30 pixels without levels would have to be held in memory whole \(at most 1,000 are\); convert it to"
    with pytest.raises(SlideError, match=said):
        Slide.open(tmp_path / "huge.png")


def test_grey_values_of_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SlideError, match=r"deep.png: pixels are of mode I;16, not 8-bit colours; export it as 8-bit RGB"):
        Slide.open(tmp_path / "deep.png")


# Files that are broken


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path):
    with pytest.raises(SlideError, match=r"absent.svs: there is no such file in .*; correct the path"):
        Slide.open(tmp_path / "absent.svs")
    (tmp_path / "empty.svs").write_bytes(b"")
    with pytest.raises(SlideError, match=r"empty.svs: the file is empty; copy it again"):
        Slide.open(tmp_path / "empty.svs")


def test_a_file_of_no_slide_format_is_named_with_its_size(tmp_path):
    (tmp_path / "text.svs").write_bytes(b"not a slide")
    with pytest.raises(SlideError, match=r"text.svs: OpenSlide knows no slide format that this file has \(11 bytes\); copy it again"):
        Slide.open(tmp_path / "text.svs")


@pytest.mark.parametrize("name", ["text.png", "text.jpg", "text.bmp", "text.tif"])
def test_a_plain_image_that_is_none_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(SlideError, match=rf"{name}: cannot be read as \.\w+ \(12 bytes; .+\); copy it again or leave it out"):
        Slide.open(tmp_path / name)


def test_a_damaged_slide_that_its_format_knows_is_named(tmp_path):
    path = made_slide(tmp_path / "made.tiff", levels=1)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    with Slide.open(path) as slide, pytest.raises(SlideError, match=r"made.tiff: 256 x 256 pixels of level 0 at \(0, 0\) cannot be read"):
        slide.region(0, 0, 256, 256)


def test_a_plain_image_that_was_cut_is_named(tmp_path):
    Image.fromarray(slide_pixels((300, 300), [(0, 0, 300, 300)])).save(tmp_path / "cut.png")
    path = tmp_path / "cut.png"
    path.write_bytes(path.read_bytes()[:5000])
    with Slide.open(path, mpp=0.5) as slide, pytest.raises(SlideError, match=r"cut.png: cannot be decoded \(.+\); the file is damaged"):
        slide.region(0, 0, 100, 100)


# Resolution


def test_a_slide_without_a_resolution_is_refused_and_told_to_name_one(tmp_path):
    with Slide.open(made_slide(tmp_path / "bare.tiff", (256, 256), [], mpp=None)) as slide:
        assert slide.resolution is None
        said = (
            r"bare.tiff: the file does not say how many microns a pixel is; give --mpp X, or add the slide to slides.csv with a column mpp"
        )
        with pytest.raises(SlideError, match=said):
            slide.known_resolution()


def test_the_manifest_goes_before_the_file_and_the_file_before_what_is_assumed(slide_file, tmp_path):
    with Slide.open(slide_file, mpp=0.25, mpp_source="slides.csv") as slide:
        assert str(slide.resolution) == "0.25 microns a pixel (from slides.csv)"
    with Slide.open(slide_file, mpp=0.25) as slide:
        assert slide.resolution.mpp == pytest.approx(0.5)
    with Slide.open(made_slide(tmp_path / "bare.tiff", (256, 256), [], mpp=None), mpp=0.25) as slide:
        assert str(slide.resolution) == "0.25 microns a pixel (assumed, by --mpp)"


@pytest.mark.parametrize("mpp", [0.0, -0.5, float("nan"), float("inf")])
def test_a_resolution_that_is_no_positive_number_is_refused(slide_file, mpp):
    with pytest.raises(ValueError, match=r"microns a pixel \(--mpp\) is no resolution; give a positive number, such as 0.25 for 40x"):
        Slide.open(slide_file, mpp=mpp)


def test_the_dots_per_inch_of_an_image_program_are_not_believed(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "screen.png", dpi=(96, 96))
    with Slide.open(tmp_path / "screen.png") as slide:
        assert slide.resolution is None
        with pytest.raises(SlideError, match=r"\(it says 264.\d+ microns a pixel, which no scanner writes\); give --mpp X"):
            slide.known_resolution()


def test_the_dots_per_inch_of_a_scan_are_believed(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "scan.png", dpi=(50_800, 50_800))
    with Slide.open(tmp_path / "scan.png") as slide:
        assert slide.resolution.mpp == pytest.approx(0.5, rel=1e-3)


def test_the_real_slides_are_read(real_slides):
    with Slide.open(real_slides / "CMU-1-Small-Region.svs") as slide:
        assert (slide.kind, slide.size, slide.resolution.mpp) == ("aperio", (2220, 2967), 0.499)
        assert slide.region(0, 0, 512, 256).std() > 5
    with Slide.open(real_slides / "C3L-00601-26.tiff") as slide:
        assert (slide.size, slide.resolution) == ((5477, 5154), None)
        assert slide.region(2000, 2000, 1024, 256).std() > 5
