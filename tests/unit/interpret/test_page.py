import base64
import json
import re

import numpy as np
import pytest

from prognos.interpret import page as pages
from prognos.interpret.colours import ClassColours
from prognos.interpret.drawings import Drawing
from prognos.interpret.page import PageTexts, bfloat16, kept_maps, page
from prognos.slides.reading import Slide

TEXTS = PageTexts("abmil", [("Risk", "0.5 <high>")], ["something is missing"], [("patches.csv", "the numbers")])


def drawings(maps, thumbnail=None):
    return [Drawing(maps, slide, "abmil", thumbnail, (60, 40), 0.5) for slide in maps.slides]


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_the_page_carries_coordinates_numbers_and_percentiles(two_slides):
    slide = data_of(page(drawings(two_slides), TEXTS, None, {}, 4))["slides"][0]
    assert unpacked(slide["coords"], "<i4").tolist() == [0, 0, 10, 0, 20, 0]
    assert unpacked(slide["percentile"][0], "<u2") / 655.35 == pytest.approx([30, 90, 50], abs=0.01)
    raw = (unpacked(slide["raw"][0], "<u2").astype("<u4") << 16).view("<f4")
    assert raw == pytest.approx([0.1, 0.4, 0.2], rel=0.004)


def test_the_page_names_classes_and_assigns_patches(with_prototypes):
    colours = ClassColours.of([with_prototypes.slides[0].assigned], 2)
    data = data_of(page(drawings(with_prototypes), TEXTS, colours, {}, 4))
    assert data["classes"]["names"] == ["prototype 1", "prototype 2"]
    assert unpacked(data["slides"][0]["assigned"], "<u2").tolist() == [0, 0, 0, 1]


def test_the_page_says_what_was_predicted_what_is_missing_and_escapes_it(two_slides):
    html = page(drawings(two_slides), TEXTS, None, {}, 4)
    assert "0.5 &lt;high&gt;" in html
    assert "something is missing" in html
    assert "Patient P1" in html


def test_the_page_shows_top_patches_with_pixels_where_the_slide_is_at_hand(two_slides, slide_file):
    with Slide.open(slide_file) as opened:
        html = page(drawings(two_slides, opened.thumbnail()), TEXTS, None, {"slide-1": opened}, 5)
    strips = re.findall(r'<button type="button" class="top".*?</button>', html, re.DOTALL)
    assert [("<img" in strip) for strip in strips] == [True, False, True, True, False]  # the second slide has no file


def test_the_viewer_is_inlined_whole_and_asks_for_no_source_map(two_slides):
    html = page(drawings(two_slides), TEXTS, None, {}, 4)
    assert "openseadragon 6" in html
    assert "sourceMappingURL" not in html
    assert "default-src 'none'" in html


def test_the_same_maps_give_the_same_page(two_slides):
    first, second = (page(drawings(two_slides), TEXTS, None, {}, 4) for _ in range(2))
    assert first == second


def test_maps_that_do_not_fit_are_left_out_and_said_to_be(with_prototypes, monkeypatch):
    monkeypatch.setattr(pages, "MOST_NUMBERS", 8)  # four patches: two maps
    colours = ClassColours.of([with_prototypes.slides[0].assigned], 2)
    html = page(drawings(with_prototypes), TEXTS, colours, {}, 4)
    assert [one["name"] for one in data_of(html)["maps"]] == ["attention", "prototype 1"]
    assert "1 of 3 maps are not in this page, to keep it small; they are in the files." in html
    assert kept_maps(with_prototypes) == [0, 1]


def test_a_large_picture_is_shrunk_until_its_tiles_fit(two_slides, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    monkeypatch.setattr(pages, "MOST_TILE_BYTES", 150_000)
    html = page(drawings(two_slides, noise)[:1], TEXTS, None, {}, 4)
    slide = data_of(html)["slides"][0]
    assert sum(map(len, slide["tiles"])) <= 150_000 * 4 / 3
    assert max(slide["size"]) < 800
    assert len(slide["levels"][0]) == 1  # the coarsest level is one tile


def test_plain_tiles_are_kept_once(two_slides):
    slide = data_of(page(drawings(two_slides), TEXTS, None, {}, 4))["slides"][0]
    n_places = sum(len(row) for rows in slide["levels"] for row in rows)
    assert len(slide["tiles"]) < n_places


def test_half_of_a_float_keeps_three_digits_of_any_size():
    values = np.array([1e-30, 0.001234, 1.0, 65000.0], dtype=np.float32)
    assert (bfloat16(values).astype("<u4") << 16).view("<f4") == pytest.approx(values, rel=2**-8)
