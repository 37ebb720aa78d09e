"""What a file says of its resolution is believed where it can be true."""

import pytest

from prognos.slides.resolution import Statement, stated_resolution


def mpp(x, y=None):
    return {"openslide.mpp-x": str(x), "openslide.mpp-y": str(x if y is None else y)}


def test_a_plausible_resolution_is_believed():
    assert stated_resolution(mpp(0.2525)) == Statement(0.2525)


def test_pixels_that_are_nearly_square_have_their_geometric_mean():
    assert stated_resolution(mpp(0.250, 0.256)).mpp == pytest.approx((0.250 * 0.256) ** 0.5)


def test_pixels_that_are_not_square_are_not_believed():
    assert stated_resolution(mpp(0.25, 0.5)) == Statement(remark="it says pixels of 0.25 x 0.5 microns, which are not square")


@pytest.mark.parametrize("dpi", [72, 96, 300])
def test_the_defaults_of_image_programs_are_not_believed(dpi):
    said = stated_resolution(mpp(25_400 / dpi))
    assert said.mpp is None
    assert said.remark.endswith("microns a pixel, which no scanner writes")


@pytest.mark.parametrize("text", ["", "unknown", "0", "nan", "inf", "-1"])
def test_what_is_no_positive_number_says_nothing(text):
    assert stated_resolution(mpp(text)) == Statement()


def test_the_power_of_an_objective_is_no_resolution():
    assert stated_resolution({"openslide.objective-power": "20"}) == Statement(remark="it only names its objective, 20x")


@pytest.mark.parametrize(("unit", "size"), [("", "0.5"), (' PhysicalSize{}Unit="µm"', "0.5"), (' PhysicalSize{}Unit="nm"', "500")])
def test_an_ome_header_is_read_with_its_unit(unit, size):
    axes = " ".join(f'PhysicalSize{axis}="{size}"{unit.format(axis)}' for axis in "XY")
    assert stated_resolution({"openslide.comment": f"<OME><Pixels {axes}/></OME>"}).mpp == pytest.approx(0.5)


def test_an_ome_header_in_a_unit_without_meaning_says_nothing():
    axes = 'PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"'
    assert stated_resolution({"openslide.comment": f"<OME><Pixels {axes}/></OME>"}) == Statement()
