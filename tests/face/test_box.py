"""Boxes of faces: sizes, and which pixels they touch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.face.box import (
    box_around,
    box_centre,
    box_size,
    intersection_over_union,
    longer_side,
    pixels_in_box,
    span_size,
    transformed_box,
)

BOX = np.array([10.0, 20, 40, 30])


def test_size_and_centre_of_one_box_and_of_many():
    assert box_size(BOX).tolist() == [30, 10]
    assert box_centre(BOX).tolist() == [25, 25]
    assert longer_side(BOX) == 30
    many = np.stack([BOX, BOX + 1])
    assert box_size(many).tolist() == [[30, 10]] * 2
    assert box_centre(many).tolist() == [[25, 25], [26, 26]]


def test_box_and_size_of_points():
    points = np.array([[3.0, 1], [1, 5], [2, 2]])
    assert box_around(points).tolist() == [1, 1, 3, 5]
    assert span_size(points) == pytest.approx(8**0.5)
    assert span_size(np.zeros((3, 2))) > 0


def test_a_turned_box_is_held_by_a_larger_one():
    quarter_turn = np.array([[0.0, -1, 100], [1, 0, 0]])
    assert transformed_box(quarter_turn, (10, 20, 40, 30)).tolist() == [70, 10, 80, 40]


@given(
    corner=st.tuples(st.integers(-400, 400), st.integers(-400, 400)),  # eighths of a pixel
    size=st.tuples(st.integers(0, 480), st.integers(0, 480)),
    margin=st.integers(0, 3),
)
def test_the_pixels_of_a_box_are_those_within_the_margin_of_it(corner, size, margin):
    width, height = 40, 30
    box = np.array([*corner, corner[0] + size[0], corner[1] + size[1]]) / 8
    columns, rows = np.arange(width), np.arange(height)
    # A pixel centre counts if it lies less than one pixel beyond an edge, and the margin more.
    columns = columns[(columns > box[0] - margin - 1) & (columns < box[2] + margin + 1)]
    rows = rows[(rows > box[1] - margin - 1) & (rows < box[3] + margin + 1)]
    found = pixels_in_box(box, (height, width, 3), margin)
    if not len(columns) or not len(rows):
        assert found is None
    else:
        assert found == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def test_boxes_share_none_part_or_all_of_their_area():
    box = np.array([0.0, 0.0, 4.0, 2.0])
    assert intersection_over_union(box, box) == 1
    assert intersection_over_union(box, box + 4) == 0
    assert intersection_over_union(box, np.array([2.0, 0.0, 6.0, 2.0])) == pytest.approx(1 / 3)
