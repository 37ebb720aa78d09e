"""Tissue goes to QuPath and comes back, and a user's drawing takes its place."""

import json

import numpy as np
import pytest
from PIL import Image

from prognos.slides.outlines import save_tissue, tissue_from_geojson
from prognos.slides.reading import Slide, SlideError
from prognos.slides.tissue import Tissue, find_tissue

SQUARE = [[160, 160], [480, 160], [480, 480], [160, 480], [160, 160]]
HOLE = [[240, 240], [320, 240], [320, 320], [240, 320], [240, 240]]


@pytest.fixture
def slide(slide_file):
    """Mask pixels of this slide are 16 pixels wide."""
    with Slide.open(slide_file) as opened:
        yield opened


def drawn(folder, content):
    path = folder / "made.geojson"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def polygon(*rings, kind=None):
    properties = {"classification": {"name": kind}} if kind else {}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": list(rings)}, "properties": properties}


def test_tissue_that_is_saved_is_read_back_as_it_was(slide, tmp_path):
    found = find_tissue(slide)
    pen, blurred = np.zeros_like(found.mask), np.zeros_like(found.mask)
    pen[3:9, 4:12] = True
    blurred[30:60, 40:50] = True
    save_tissue(Tissue(found.mask, found.downsample, pen, blurred), slide, tmp_path)
    back = tissue_from_geojson(tmp_path / "made.geojson", slide)
    assert np.array_equal(back.mask, found.mask)
    assert np.array_equal(back.pen, pen)
    assert np.array_equal(back.blurred, blurred)
    assert back.downsample == found.downsample
    assert back.source == "made.geojson"


def test_outlines_are_named_and_coloured_annotations_in_level0_pixels(slide, tmp_path):
    mask = np.zeros((96, 128), dtype=bool)
    mask[10:20, 30:50] = True
    save_tissue(Tissue(mask, 16.0, np.zeros_like(mask), np.zeros_like(mask)), slide, tmp_path)
    (feature,) = json.loads((tmp_path / "made.geojson").read_text())["features"]
    assert feature["properties"] == {
        "objectType": "annotation",
        "name": "Tissue 1",
        "classification": {"name": "Tissue", "color": [46, 139, 87]},
    }
    (ring,) = feature["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    assert np.min(ring, axis=0).tolist() == [30 * 16, 10 * 16]
    assert np.max(ring, axis=0).tolist() == [50 * 16, 20 * 16]


def test_the_picture_is_the_thumbnail_with_the_outline(slide, tmp_path):
    tissue = find_tissue(slide)
    save_tissue(tissue, slide, tmp_path)
    with Image.open(tmp_path / "made.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (96, 128, 3)
    assert (pixels == (46, 139, 87)).all(axis=2).sum() > 2 * (64 + 48) * 0.8
    assert np.array_equal(pixels[0, 0], slide.thumbnail(128)[0, 0])


def test_the_same_tissue_gives_the_same_bytes(slide, tmp_path):
    tissue = find_tissue(slide)
    for folder in ("a", "b"):
        save_tissue(tissue, slide, tmp_path / folder)
    for name in ("made.geojson", "made.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_slide_without_tissue_has_an_empty_collection(slide, tmp_path):
    nothing = np.zeros((96, 128), dtype=bool)
    save_tissue(Tissue(nothing, 16.0, nothing, nothing), slide, tmp_path)
    assert (tmp_path / "made.geojson").read_text() == '{"type":"FeatureCollection","features":[]}\n'
    assert not tissue_from_geojson(tmp_path / "made.geojson", slide).mask.any()


def test_a_drawing_with_a_hole_is_read(slide, tmp_path):
    tissue = tissue_from_geojson(drawn(tmp_path, {"type": "FeatureCollection", "features": [polygon(SQUARE, HOLE)]}), slide)
    expected = np.zeros((96, 128), dtype=bool)
    expected[10:30, 10:30] = True
    expected[15:20, 15:20] = False
    assert np.array_equal(tissue.mask, expected)
    assert not tissue.pen.any()


@pytest.mark.parametrize(
    "content",
    [
        [polygon(SQUARE, kind="Tumor")],
        polygon(SQUARE),
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[x, y] for x, y in HOLE]]]},
        {"type": "Polygon", "coordinates": [SQUARE[:-1]]},
        {"type": "Polygon", "coordinates": [[[x, y, 0] for x, y in SQUARE]]},
    ],
    ids=["list", "feature", "multipolygon", "not closed", "with z"],
)
def test_other_forms_of_geojson_are_read(slide, tmp_path, content):
    assert tissue_from_geojson(drawn(tmp_path, content), slide).mask.sum() == 20 * 20


def test_areas_of_the_class_pen_are_cut_out(slide, tmp_path):
    tissue = tissue_from_geojson(drawn(tmp_path, [polygon(SQUARE), polygon(HOLE, kind="Pen")]), slide)
    assert tissue.mask.sum() == 20 * 20 - 5 * 5
    assert tissue.pen.sum() == 5 * 5


def test_a_drawing_that_encloses_nothing_is_refused(slide, tmp_path):
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": SQUARE}}
    with pytest.raises(SlideError, match=r"made.geojson, feature 2: a LineString encloses nothing; keep Polygon and MultiPolygon only"):
        tissue_from_geojson(drawn(tmp_path, [polygon(SQUARE), line]), slide)
    with pytest.raises(SlideError, match=r"made.geojson, feature 1: a missing geometry encloses nothing"):
        tissue_from_geojson(drawn(tmp_path, [{"type": "Feature", "geometry": None}]), slide)


@pytest.mark.parametrize("rings", [[SQUARE[:2]], [[1, 2, 3]], "text", [[["a", "b"]] * 4], [[[0, float("nan")]] * 4], [[[1]] * 4]])
def test_coordinates_that_are_no_rings_are_refused(slide, tmp_path, rings):
    content = {"type": "Polygon", "coordinates": rings}
    with pytest.raises(SlideError, match=r"made.geojson, feature 1: its coordinates are no rings of at least three x, y; export it again"):
        tissue_from_geojson(drawn(tmp_path, content), slide)


def test_a_drawing_beside_the_slide_is_refused(slide, tmp_path):
    far = [[x + 100_000, y] for x, y in SQUARE]
    said = r"made.geojson: none of its 1 polygons lies on made \(2048 x 1536 pixels\); coordinates are pixels of level 0: export them"
    with pytest.raises(SlideError, match=said):
        tissue_from_geojson(drawn(tmp_path, [polygon(far)]), slide)


def test_a_file_that_is_no_geojson_is_refused(slide, tmp_path):
    with pytest.raises(SlideError, match=r"absent.geojson: there is no such file in .*; correct the path"):
        tissue_from_geojson(tmp_path / "absent.geojson", slide)
    (tmp_path / "text.geojson").write_text("{")
    with pytest.raises(SlideError, match=r"text.geojson: cannot be read as GeoJSON \(.+\); export it again"):
        tissue_from_geojson(tmp_path / "text.geojson", slide)
    with pytest.raises(SlideError, match=r"made.geojson: is JSON but no GeoJSON FeatureCollection; export annotations as GeoJSON"):
        tissue_from_geojson(drawn(tmp_path, [1, 2]), slide)
