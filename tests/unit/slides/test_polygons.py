"""A mask that becomes polygons and a mask again is the same mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prognos.slides.polygons import mask_of, polygons_of


def area(ring):
    x, y = ring[:-1].T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_mask_comes_back_from_its_polygons(mask):
    assert np.array_equal(mask_of(polygons_of(mask), mask.shape), mask)


def test_a_ragged_mask_with_holes_comes_back():
    mask = np.random.default_rng(0).random((150, 201)) < 0.6
    assert np.array_equal(mask_of(polygons_of(mask), mask.shape), mask)


def test_a_square_with_a_hole_has_two_rings_and_few_corners():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:18, 3:17] = True
    mask[8:12, 8:12] = False
    ((outer, hole),) = polygons_of(mask)
    assert outer.min(axis=0).tolist() == [3, 2]
    assert outer.max(axis=0).tolist() == [17, 18]
    assert len(outer) == len(hole) == 9  # a square without its corners, closed
    assert area(outer) == pytest.approx(14 * 16 - 4 / 8)
    assert np.array_equal(outer[0], outer[-1])


def test_pieces_come_from_top_to_bottom():
    mask = np.zeros((20, 20), dtype=bool)
    mask[12:15, 1:4] = mask[2:5, 10:13] = True
    assert [polygon[0].min(axis=0).tolist() for polygon in polygons_of(mask)] == [[10, 2], [1, 12]]


def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre():
    triangle = np.array([[0, 0], [4, 0], [0, 4], [0, 0]], dtype=float)
    # Centres (x + 1/2, y + 1/2) with x + y + 1 < 4; those on the long side are not within.
    expected = [[True, True, True, False], [True, True, False, False], [True, False, False, False], [False] * 4]
    assert mask_of([[triangle]], (4, 4)).tolist() == expected


def test_what_lies_outside_the_mask_is_cut():
    square = np.array([[-10, -10], [2, -10], [2, 30], [-10, 30], [-10, -10]], dtype=float)
    assert mask_of([[square]], (3, 4)).tolist() == [[True, True, False, False]] * 3


def test_polygons_that_overlap_are_joined_and_not_cut_out_of_each_other():
    square = np.array([[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], dtype=float)
    assert mask_of([[square], [square + 1]], (4, 4)).sum() == 9 + 9 - 4


def test_an_empty_mask_has_no_polygon():
    assert polygons_of(np.zeros((3, 3), dtype=bool)) == []
    assert not mask_of([], (3, 3)).any()
