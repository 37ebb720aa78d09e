"""Patches are squares of a stated size in microns, side by side, on tissue."""

import numpy as np
import pytest

from prognos.slides.grid import grid_of, level0_scale
from prognos.slides.reading import Slide, SlideError
from prognos.slides.tissue import Tissue


@pytest.fixture
def slide(slide_file):
    """2048 x 1536 pixels of half a micron; its masks have pixels of 16 x 16."""
    with Slide.open(slide_file) as opened:
        yield opened


def tissue_in(left, top, right, bottom, shape=(96, 128), downsample=16.0):
    """Tissue in a box of mask pixels."""
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    nothing = np.zeros_like(mask)
    return Tissue(mask, downsample, nothing, nothing)


def test_patches_lie_side_by_side_from_the_corner_of_the_slide(slide):
    grid = grid_of(slide, tissue_in(0, 0, 128, 96))
    assert len(grid) == 8 * 6
    assert grid.coords.dtype == np.int64
    assert grid.coords[:9].tolist() == [[256 * column, 0] for column in range(8)] + [[0, 256]]
    assert (grid.patch_size, grid.patch_size_level0, grid.mpp, grid.overlap, grid.least_tissue) == (256, 256, 0.5, 0, 0.5)


def test_a_patch_is_as_wide_as_asked_in_microns(slide):
    grid = grid_of(slide, tissue_in(0, 0, 128, 96), patch_size=224, mpp=1.0)  # 224 microns
    assert grid.patch_size_level0 == 448
    assert len(grid) == (2048 // 448) * (1536 // 448)


def test_no_patch_reaches_over_the_edge(slide):
    grid = grid_of(slide, tissue_in(0, 0, 128, 96), patch_size=300)
    assert (grid.coords + 300 <= [2048, 1536]).all()
    assert len(grid) == 6 * 5


def test_neighbours_share_the_overlap(slide):
    grid = grid_of(slide, tissue_in(0, 0, 128, 96), overlap=64)
    assert np.unique(np.diff(np.unique(grid.coords[:, 0]))).tolist() == [192]


@pytest.mark.parametrize(("least", "count"), [(0.0, 4), (0.25, 4), (0.26, 3), (0.5, 3), (0.51, 1), (1.0, 1)])
def test_a_patch_needs_the_stated_share_of_tissue(slide, least, count):
    # A box of 24 x 24 mask pixels from the corner: patches of 16 x 16 hold all, a half, a half and a quarter of it.
    assert len(grid_of(slide, tissue_in(0, 0, 24, 24), least_tissue=least)) == count


def test_the_share_of_tissue_counts_parts_of_mask_pixels(slide):
    # Patches of 248 pixels are 15.5 mask pixels wide: the first holds 10 of them, the second none.
    tissue = tissue_in(0, 0, 10, 96)
    share = 10 / 15.5
    assert len(grid_of(slide, tissue, patch_size=248, least_tissue=share - 1e-6)) == 1536 // 248
    assert len(grid_of(slide, tissue, patch_size=248, least_tissue=share + 1e-6)) == 0


def test_the_shares_of_a_ragged_mask_are_those_of_a_count(slide):
    mask = np.random.default_rng(0).random((96, 128)) < 0.5
    nothing = np.zeros_like(mask)
    grid = grid_of(slide, Tissue(mask, 16.0, nothing, nothing), patch_size=40, least_tissue=0.6)
    fine = np.kron(mask, np.ones((16, 16)))
    expected = [
        [x, y] for y in range(0, 1536 - 39, 40) for x in range(0, 2048 - 39, 40) if fine[y : y + 40, x : x + 40].mean() >= 0.6 - 1e-9
    ]
    assert grid.coords.tolist() == expected


def test_a_slide_without_tissue_has_no_patch(slide):
    for least in (0.0, 0.5):
        grid = grid_of(slide, tissue_in(0, 0, 0, 0), least_tissue=least)
        assert grid.coords.shape == (0, 2)


def test_a_slide_smaller_than_a_patch_has_none(slide):
    assert len(grid_of(slide, tissue_in(0, 0, 128, 96), patch_size=4096)) == 0


@pytest.mark.parametrize(
    ("slide_mpp", "scale"), [(0.5, 1.0), (0.499, 1.0), (0.2525, 2.0), (0.2465, 2.0), (0.51, 1.0), (0.23, 0.5 / 0.23), (0.54, 0.5 / 0.54)]
)
def test_whole_pixels_are_taken_where_resolutions_nearly_fit(slide_mpp, scale):
    assert level0_scale(slide_mpp, 0.5) == pytest.approx(scale)


def test_many_patches_are_placed_at_once(slide, monkeypatch):
    monkeypatch.setattr(slide, "size", (128_000, 102_400))
    grid = grid_of(slide, tissue_in(0, 0, 128, 102, shape=(102, 128), downsample=1000.0), least_tissue=0.1)
    assert len(grid) == 500 * 399


def test_a_slide_that_is_coarser_than_what_is_asked_is_refused(slide_file):
    with Slide.open(slide_file, mpp=1.0, mpp_source="slides.csv") as slide:
        said = (
            r"made.tiff: has 1 microns a pixel \(from slides.csv\), so that patches of 0.5 would be blown up 2 times; "
            r"ask for patches of 1 microns a pixel or more, or correct the resolution in slides.csv"
        )
        with pytest.raises(SlideError, match=said):
            grid_of(slide, tissue_in(0, 0, 128, 96))
    with Slide.open(slide_file, mpp=0.55, mpp_source="slides.csv") as slide:
        assert grid_of(slide, tissue_in(0, 0, 128, 96)).patch_size_level0 == 233


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch_size": 0}, "a patch cannot be 0 pixels wide; choose at least 1, such as 256"),
        ({"mpp": 0.0}, "patches cannot have 0.0 microns a pixel; choose a positive number, such as 0.5 for 20x"),
        ({"overlap": 256}, "an overlap of 256 pixels leaves no step for patches of 256; choose 0 to 255"),
        ({"least_tissue": 1.5}, "a share of tissue of 1.5 is none; choose a number from 0 to 1"),
    ],
)
def test_an_option_out_of_its_range_is_refused(slide, options, said):
    with pytest.raises(ValueError, match=said):
        grid_of(slide, tissue_in(0, 0, 128, 96), **options)
