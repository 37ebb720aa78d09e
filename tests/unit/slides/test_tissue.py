"""Tissue is found, glass is not, ink is left out, and blur is said."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tests.unit.slides.made_slides import GLASS, made_slide, slide_pixels, tissue_pixels

from prognos.slides.focus import is_blurred
from prognos.slides.reading import Slide
from prognos.slides.tissue import absorption, find_tissue, mask_scale, otsu, pen_marks

INKS = {"green": (40, 150, 120), "blue": (40, 60, 170), "red": (215, 45, 50), "black": (35, 33, 38)}


def overlap(mask, other):
    """Intersection over union."""
    return (mask & other).sum() / (mask | other).sum()


def test_the_tissue_of_a_slide_is_found(slide_file):
    with Slide.open(slide_file) as slide:
        tissue = find_tissue(slide)
    assert tissue.downsample == 16.0  # 8 microns of half a micron
    assert tissue.mask.shape == (96, 128)
    expected = np.zeros((96, 128), dtype=bool)
    expected[24:72, 32:96] = True
    assert overlap(tissue.mask, expected) > 0.93
    assert not tissue.pen.any()
    assert not tissue.blurred.any()
    assert str(tissue) == f"{tissue.mask.mean():.1%} tissue (found)"


@pytest.mark.parametrize("tint", [(243, 242, 244), (250, 244, 232), (225, 230, 236), (255, 255, 255)])
def test_glass_of_any_tint_holds_no_tissue(tmp_path, tint):
    noise = np.random.default_rng(0).normal(0, 3, (1024, 1024, 3))
    pixels = (np.array(tint) + noise).clip(0, 255).astype(np.uint8)
    with Slide.open(made_slide(tmp_path / "glass.tiff", pixels=pixels)) as slide:
        tissue = find_tissue(slide)
    assert not tissue.mask.any()
    assert not tissue.pen.any()


def test_dust_and_shadow_are_no_tissue(tmp_path):
    pixels = slide_pixels((2048, 1024), [(1200, 200, 1900, 800)])
    pixels[100:500, 100:700] = (150, 150, 152)
    with Slide.open(made_slide(tmp_path / "dust.tiff", pixels=pixels)) as slide:
        tissue = find_tissue(slide)
    assert not tissue.mask[:, :64].any()
    assert tissue.mask[20:40, 80:110].all()


def test_specks_are_no_tissue_and_small_holes_are_filled(tmp_path):
    pixels = slide_pixels((2048, 1536), [(512, 384, 1536, 1152), (64, 64, 160, 160)])
    pixels[700:800, 900:1000] = GLASS
    with Slide.open(made_slide(tmp_path / "specks.tiff", pixels=pixels)) as slide:
        mask = find_tissue(slide).mask
    assert not mask[:16, :16].any()
    assert mask[40:54, 52:66].all()


@pytest.mark.parametrize("ink", INKS)
def test_ink_is_noticed_on_glass_and_on_tissue_and_left_out(tmp_path, ink):
    pixels = slide_pixels((2048, 1536), [(512, 384, 1536, 1152)])
    pixels[600:900, 100:1100] = INKS[ink]
    with Slide.open(made_slide(tmp_path / "ink.tiff", pixels=pixels)) as slide:
        tissue = find_tissue(slide)
    expected = np.zeros_like(tissue.pen)
    expected[38:56, 7:68] = True
    assert overlap(tissue.pen, expected) > 0.7  # a rim of two pixels is added
    assert not (tissue.mask & tissue.pen).any()
    assert "pen marks left out" in str(tissue)


def test_stains_and_blood_are_no_ink():
    stains = [(222, 150, 190), (96, 62, 140), (150, 130, 200), (187, 69, 95), (140, 95, 60), (59, 17, 61)]
    for colour in stains:
        pixels = np.full((64, 64, 3), GLASS, dtype=np.uint8)
        pixels[16:48, 16:48] = colour
        assert not pen_marks(absorption(pixels)).any(), colour


def test_a_slide_full_of_tissue_is_tissue_everywhere(tmp_path):
    with Slide.open(made_slide(tmp_path / "full.tiff", pixels=tissue_pixels(1024, 1024))) as slide:
        assert find_tissue(slide).mask.all()


def test_a_slide_of_one_pixel_has_a_mask_of_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (222, 150, 190)).save(tmp_path / "dot.png")
    with Slide.open(tmp_path / "dot.png", mpp=0.5) as slide:
        assert find_tissue(slide).mask.tolist() == [[True]]


def test_a_mask_has_pixels_of_eight_microns_and_at_most_2048_along(tmp_path):
    with Slide.open(made_slide(tmp_path / "bare.tiff", (1000, 333), [], mpp=None)) as slide:
        assert mask_scale(slide) == (1.0, (333, 1000))
    with Slide.open(tmp_path / "bare.tiff", mpp=1.0) as slide:
        assert mask_scale(slide) == (8.0, (42, 125))
        slide.size = (100_000, 80_000)
        assert mask_scale(slide) == (100_000 / 2048, (1639, 2048))


def test_otsu_separates_two_heaps_and_gives_zero_for_one_value():
    values = np.concatenate([np.linspace(0.0, 0.1, 100), np.linspace(0.9, 1.0, 30)])
    assert 0.1 <= otsu(values[None]) <= 0.9
    assert otsu(np.full((3, 3), 0.2)) == 0.0


# Focus


def test_blur_of_one_and_a_half_microns_is_out_of_focus_and_sharp_tissue_is_not():
    sharp = tissue_pixels(256, 256)
    assert not is_blurred(sharp)
    assert not is_blurred(ndimage.gaussian_filter(sharp, (0.7, 0.7, 0)))
    assert is_blurred(ndimage.gaussian_filter(sharp.astype(float), (2, 2, 0)).astype(np.uint8))


def test_what_is_too_even_to_judge_counts_as_sharp():
    assert not is_blurred(np.full((256, 256, 3), 200, dtype=np.uint8))


def soft(pixels):
    return ndimage.gaussian_filter(pixels.astype(np.float32), (2, 2, 0)).astype(np.uint8)


def test_tissue_that_is_out_of_focus_is_said_and_kept(tmp_path):
    pixels = tissue_pixels(1024, 512)
    pixels[:, :512] = soft(pixels[:, :512])
    with Slide.open(made_slide(tmp_path / "half.tiff", pixels=pixels, mpp=1.0)) as slide:
        tissue = find_tissue(slide)
    assert tissue.mask.all()
    assert tissue.blurred[:, :64].all()
    assert not tissue.blurred[:, 64:].any()
    assert str(tissue) == "100.0% tissue (found), 50% of the tissue out of focus"


def test_focus_is_not_judged_without_a_resolution_or_with_a_coarse_one(tmp_path):
    path = made_slide(tmp_path / "soft.tiff", pixels=soft(tissue_pixels(512, 512)), mpp=None)
    for mpp, judged in ((None, False), (2.0, False), (1.0, True)):
        with Slide.open(path, mpp=mpp) as slide:
            assert find_tissue(slide).blurred.any() == judged


def test_a_large_slide_is_judged_by_larger_squares(tmp_path, monkeypatch):
    monkeypatch.setattr("prognos.slides.focus.CELL", 64.0)
    monkeypatch.setattr("prognos.slides.focus.MOST", 4)
    read = []
    with Slide.open(made_slide(tmp_path / "full.tiff", pixels=tissue_pixels(512, 512), mpp=1.0)) as slide:
        inner = slide.region
        monkeypatch.setattr(slide, "region", lambda *place: read.append(place) or inner(*place))
        find_tissue(slide)
    assert 0 < len(read) <= 4


# What scanners made


def test_the_tissue_of_the_real_slides_is_found(real_slides):
    for name, share in (("C3L-00601-26.tiff", 0.317), ("CMU-1-Small-Region.svs", 0.348)):
        with Slide.open(real_slides / name, mpp=0.5) as slide:
            tissue = find_tissue(slide)
        assert tissue.mask.mean() == pytest.approx(share, abs=0.01)  # looked at
        assert not tissue.pen.any()
        assert not tissue.blurred.any()


def test_green_ink_on_a_real_patch_is_left_out_and_blood_is_kept(real_slides):
    with Slide.open(real_slides / "patches" / "medium-nuclei-score-green-pen-level1.png", mpp=1.0) as slide:
        tissue = find_tissue(slide)
    assert tissue.pen[:20].mean() > 0.95
    assert not tissue.pen[45:, 20:].any()
    for name in ("luad-2399.png", "medium-nuclei-score-level1.png"):
        with Slide.open(real_slides / "patches" / name, mpp=1.0) as slide:
            assert not find_tissue(slide).pen.any()
