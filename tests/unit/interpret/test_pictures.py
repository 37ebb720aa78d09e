import json

import numpy as np
import pytest
from PIL import Image
from tests.unit.interpret.conftest import ATTENTION, patient, places

from prognos.interpret.colours import ClassColours, amount_colours, rgb
from prognos.interpret.cut_outs import PIXELS, contact_sheet, cut_out, top_patches
from prognos.interpret.drawings import Drawing, draw_slide, range_of, raw_shares, slug
from prognos.interpret.pictures import GROUND, INK, Legend, class_legend, ground_of, overlaid, percent, round_length, sheet, wrapped
from prognos.interpret.raster import canvas_of
from prognos.slides.reading import Slide


def drawing(maps, thumbnail=None, mpp=0.5):
    return Drawing(maps, maps.slides[0], "abmil", thumbnail, (60, 40), mpp)


def test_patches_lie_over_the_slide_at_their_places_and_let_it_through():
    thumbnail = np.full((40, 60, 3), 100, dtype=np.uint8)
    canvas = canvas_of(places([[20, 10]]))
    found = overlaid(ground_of(thumbnail, canvas, 60), canvas, np.array([[200, 0, 0]], dtype=np.uint8), opacity=0.5)
    assert found.size == (60, 40)
    assert found.getpixel((5, 5)) == (100, 100, 100)
    assert found.getpixel((25, 15)) == pytest.approx((150, 50, 50), abs=1)


def test_without_a_slide_file_the_ground_is_plain_and_has_the_slides_shape():
    ground = ground_of(None, canvas_of(places([[0, 0]], extent=(600, 400))), 300)
    assert ground.size == (300, 200)
    assert ground.getpixel((299, 199)) == GROUND


def test_a_scale_bar_is_drawn_where_the_resolution_is_known_and_only_there():
    picture, legend = Image.new("RGB", (800, 400), GROUND), Legend("what", ("0", "1"))
    with_bar, without = sheet(picture, "title", legend, microns_a_pixel=1.0), sheet(picture, "title", legend)
    assert with_bar.size == without.size
    new = (np.asarray(with_bar) == INK).all(axis=2) & (np.asarray(with_bar) != np.asarray(without)).any(axis=2)
    assert new.sum(axis=1).max() == 100 + 1  # 100 microns are the largest round length below a fifth of 800; both ends are drawn


ROUND = [(999.0, 500, "500 microns"), (2000.0, 2000, "2 mm"), (4.9, 2, "2 microns"), (49.0, 20, "20 microns")]


@pytest.mark.parametrize(("microns", "length", "name"), ROUND)
def test_scale_bars_have_round_lengths(microns, length, name):
    assert round_length(microns) == (length, name)


def test_long_titles_are_wrapped_and_a_long_word_stands_alone():
    assert wrapped("one two three", 20, 80) == ["one two", "three"]
    assert wrapped("a " + "w" * 60, 20, 80) == ["a", "w" * 60]


def test_a_small_share_is_not_called_nothing():
    assert [percent(share) for share in (0.0, 0.001, 0.25)] == ["0%", "under 1%", "25%"]


def test_the_legend_of_classes_names_the_shown_ones_and_counts_the_others():
    colours = ClassColours.of([np.repeat(np.arange(9), np.arange(1, 10))], 10)
    classes = class_legend([f"prototype {k}" for k in range(1, 11)], colours, "meaning").classes
    assert classes[0] == ("prototype 9 (20%)", colours.of_class(8))
    assert classes[-1][0] == "3 others (7%)"  # 1 + 2 of 45 patches, and a class without any


def test_raw_scales_begin_at_zero_or_below_and_are_the_same_on_all_slides(two_slides):
    assert range_of(two_slides, "attention") == (0.0, pytest.approx(0.4))
    assert raw_shares(two_slides, two_slides.slides[1], "attention") == pytest.approx([0.75, 0.0])
    below = patient([ATTENTION], [[-1.0, 1.0]])
    assert raw_shares(below, below.slides[0], "attention").tolist() == [0.0, 1.0]


def test_a_map_of_zeros_is_drawn_dark():
    nothing = patient([ATTENTION], [[0.0, 0.0]])
    assert raw_shares(nothing, nothing.slides[0], "attention").tolist() == [0.0, 0.0]


def test_a_slide_becomes_pictures_pyramids_and_geojson(two_slides, tmp_path):
    written = draw_slide(drawing(two_slides), None, tmp_path)
    names = [f"attention-{scale}{suffix}" for scale in ("percentile", "raw") for suffix in (".png", ".tiff")]
    assert sorted(path.name for path in written) == sorted([*names, "patches.geojson"])
    assert all(path.stat().st_size > 100 for path in written)


def test_a_family_has_a_map_of_classes_small_maps_and_a_pyramid_each(with_prototypes, tmp_path):
    colours = ClassColours.of([with_prototypes.slides[0].assigned], 2)
    written = {path.name for path in draw_slide(drawing(with_prototypes), colours, tmp_path)}
    assert {"prototype.png", "prototype.tiff", "prototype-1.tiff", "prototype-2.tiff"} <= written
    assert {"every-prototype-raw.png", "every-prototype-percentile.png"} <= written


def test_the_geojson_has_a_square_a_patch_with_its_numbers_and_band(two_slides, tmp_path):
    draw_slide(drawing(two_slides), None, tmp_path)
    features = json.loads((tmp_path / "patches.geojson").read_text())["features"]
    assert len(features) == 3
    assert features[1]["geometry"] == {"type": "Polygon", "coordinates": [[[10, 0], [20, 0], [20, 10], [10, 10], [10, 0]]]}
    said = features[1]["properties"]
    # 0.4 is the largest of the patient's 5 numbers: percentile 90, in the last of five bands
    assert said["measurements"] == {"attention": 0.4, "attention percentile": 90}
    assert said["classification"] == {"name": "attention 80-100%", "color": amount_colours(np.array([0.9]))[0].tolist()}
    assert said["objectType"] == "tile"


def test_the_class_in_the_geojson_is_the_prototype_with_its_colour(with_prototypes, tmp_path):
    colours = ClassColours.of([with_prototypes.slides[0].assigned], 2)
    draw_slide(drawing(with_prototypes), colours, tmp_path)
    kinds = [f["properties"]["classification"] for f in json.loads((tmp_path / "patches.geojson").read_text())["features"]]
    assert [kind["name"] for kind in kinds] == ["prototype 1"] * 3 + ["prototype 2"]
    assert tuple(kinds[3]["color"]) == rgb(colours.of_class(1))


def test_the_same_maps_give_the_same_bytes(with_prototypes, tmp_path):
    colours = ClassColours.of([with_prototypes.slides[0].assigned], 2)
    first, second = (draw_slide(drawing(with_prototypes), colours, tmp_path / name) for name in ("a", "b"))
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def test_top_patches_come_from_all_slides_the_largest_first(two_slides):
    found = top_patches(two_slides, "attention", 3)
    assert [(patch.slide, patch.row, round(patch.raw, 3)) for patch in found] == [(0, 1, 0.4), (1, 0, 0.3), (0, 2, 0.2)]


def test_a_patch_is_cut_out_where_it_lies(two_slides, slide_file):
    with Slide.open(slide_file) as opened:
        first, second, _ = top_patches(two_slides, "attention", 3)
        pixels = np.asarray(cut_out(two_slides, first, {"slide-1": opened}, pixels=10))
        assert pixels[0, :, 0].tolist() == list(range(10, 20))  # columns 10 to 19 of the slide
        assert cut_out(two_slides, second, {"slide-1": opened}) is None


def test_the_contact_sheet_has_a_cell_for_every_patch(two_slides):
    rows = [("heading", top_patches(two_slides, "attention", 5))]
    one_row, two_rows = (contact_sheet(two_slides, rows, {}, "title", columns=columns) for columns in (5, 4))
    assert one_row.width - two_rows.width == PIXELS + 10
    assert two_rows.height - one_row.height == PIXELS + 54


@pytest.mark.parametrize(("name", "part"), [("attention", "attention"), ("attention Type A/B", "attention-Type-A-B"), ("..", "map")])
def test_names_become_parts_of_file_names(name, part):
    assert slug(name) == part
