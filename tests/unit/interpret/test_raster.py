import numpy as np
import openslide
import pytest
import tifffile
from tests.unit.interpret.conftest import places

from prognos.interpret.colours import ClassColours, amount_colours, rgb
from prognos.interpret.pyramid import write_pyramid
from prognos.interpret.raster import MOST_PIXELS, PIXELS_A_PATCH, Canvas, canvas_of


def by_loops(where, extent, downsample):
    """The owner of each pixel, patch by patch."""
    owner = np.full((int(np.ceil(extent[1] / downsample)), int(np.ceil(extent[0] / downsample))), -1)
    for row, (x, y) in enumerate(where.coords.tolist()):
        left, top = round(x / downsample), round(y / downsample)
        owner[top : round((y + where.side) / downsample), left : round((x + where.side) / downsample)] = row
    return owner


@pytest.mark.parametrize("side", [16, 24])
def test_each_pixel_belongs_to_the_last_patch_that_covers_it(side):
    generator = np.random.default_rng(0)
    where = places(generator.integers(0, 300, (30, 2)), side=side, extent=(400, 350))
    canvas = canvas_of(where)
    assert canvas.downsample == side / PIXELS_A_PATCH
    assert np.array_equal(canvas.owner, by_loops(where, (400, 350), canvas.downsample))


def test_a_canvas_of_many_patches_stays_small_and_its_patches_equally_large():
    columns, rows = np.meshgrid(np.arange(1000), np.arange(200))
    canvas = canvas_of(places(256 * np.stack([columns.ravel(), rows.ravel()], axis=1), side=256, extent=(256_000, 51_200)))
    assert max(canvas.size) <= MOST_PIXELS
    counts = np.bincount(canvas.owner.ravel())
    assert counts.min() == counts.max() == 9  # 3072 pixels for 1000 patches: three each way


def test_a_patch_smaller_than_a_pixel_has_one():
    canvas = canvas_of(places([[0, 0], [99_990, 0]], side=1, extent=(100_000, 10)))
    assert set(canvas.owner.ravel().tolist()) == {-1, 0, 1}


def test_patches_outside_the_slide_are_cut_off():
    canvas = canvas_of(places([[0, 0], [35, 0]], side=8, extent=(40, 8)))
    assert canvas.size == (40, 8)
    assert (canvas.owner[0] == 1).sum() == 5


def test_what_is_not_covered_is_ground():
    painted = Canvas(np.array([[0, -1]], dtype=np.int32), 1.0).painted(np.array([[1, 2, 3]], dtype=np.uint8), ground=200)
    assert painted.tolist() == [[[1, 2, 3], [200, 200, 200]]]


def test_resizing_takes_the_nearest_pixel():
    canvas = Canvas(np.array([[0, 1]], dtype=np.int32), 10.0).resized((4, 2))
    assert canvas.owner.tolist() == [[0, 0, 1, 1]] * 2
    assert canvas.downsample == 5.0


@pytest.fixture
def pyramid(tmp_path):
    """A map of 40 x 30 patches of 64 level-0 pixels, 0.5 microns each, as a file."""
    columns, rows = np.meshgrid(np.arange(40), np.arange(30))
    where = places(64 * np.stack([columns.ravel(), rows.ravel()], axis=1), side=64, extent=(2560, 1920))
    colours = amount_colours(np.linspace(0, 1, 1200))
    return write_pyramid(tmp_path / "map.tiff", canvas_of(where), colours, mpp=0.5, description="attention"), colours


def test_the_pyramid_opens_in_openslide_with_its_levels_and_resolution(pyramid):
    path, colours = pyramid
    with openslide.OpenSlide(path) as opened:
        assert opened.dimensions == (320, 240)
        assert opened.level_dimensions == ((320, 240), (160, 120))
        assert float(opened.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5 * 8, rel=1e-4)  # 8 level-0 pixels a pixel
        for level in (0, 1):
            pixel = opened.read_region((8 * 5 + 3, 8 * 7 + 3), level, (1, 1)).getpixel((0, 0))
            assert pixel[:3] == tuple(colours[7 * 40 + 5])


def test_the_pyramid_is_tiled_deflated_and_the_same_twice(pyramid, tmp_path):
    path, colours = pyramid
    with tifffile.TiffFile(path) as file:
        assert {page.compression.name for page in file.pages} == {"ADOBE_DEFLATE"}
        assert all(page.is_tiled for page in file.pages)
    columns, rows = np.meshgrid(np.arange(40), np.arange(30))
    where = places(64 * np.stack([columns.ravel(), rows.ravel()], axis=1), side=64, extent=(2560, 1920))
    again = write_pyramid(tmp_path / "again.tiff", canvas_of(where), colours, mpp=0.5, description="attention")
    assert again.read_bytes() == path.read_bytes()


def test_a_pyramid_without_a_resolution_names_none(tmp_path):
    path = write_pyramid(tmp_path / "map.tiff", canvas_of(places([[0, 0]])), np.zeros((1, 3), dtype=np.uint8))
    with openslide.OpenSlide(path) as opened:
        assert openslide.PROPERTY_NAME_MPP_X not in opened.properties


def test_amounts_grow_lighter():
    light = amount_colours(np.linspace(0, 1, 9)).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()


def test_the_classes_with_most_patches_have_colours_and_the_others_share_grey():
    assigned = np.repeat(np.arange(9), [1, 2, 9, 8, 7, 6, 5, 4, 3])
    colours = ClassColours.of([assigned[:20], assigned[20:]], 10)
    assert colours.shown == (2, 3, 4, 5, 6, 7, 8)
    assert colours.shares[-1] == pytest.approx(3 / 45)  # classes 0 and 1; class 9 has no patch
    table = colours.table(10)
    assert len({tuple(row) for row in table.tolist()}) == 8
    assert table[0].tolist() == table[1].tolist() == table[9].tolist() == list(rgb("#8c8c8c"))


def test_nothing_is_left_for_classes_without_a_patch():
    assert ClassColours.of([np.array([0, 1, 1, 2, 2, 2, 2])], 12).shares == (4 / 7, 2 / 7, 1 / 7, 0.0)
