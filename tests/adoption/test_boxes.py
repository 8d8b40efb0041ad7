"""Boxes of characters become lines, whatever the coordinates they were stored in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.adoption.boxes import (
    Convention,
    RawBox,
    characters_of,
    convention_of,
    place,
    text_lines,
)
from tests.adoption.old_databases import characters
from tests.adoption.old_layouts import stored_edges

SIZE = (1280, 720)


def raw(box: tuple[float, ...], convention: str, index: int = 0, **more) -> RawBox:
    left, bottom, right, top = stored_edges(box, convention)
    return RawBox(0, index, (left, right), (bottom, top), more.pop("text", "x"), **more)


def line_of(text: str, left: float, top: float, convention: str = "bottom-left", first: int = 0, **more):
    return [
        raw(box, convention, first + number, text=character, **more)
        for number, (character, *box) in enumerate(characters(text, left, top))
    ]


@pytest.mark.parametrize("convention", ["bottom-left", "top-left", "pixels"])
@given(left=st.floats(0, 0.9), top=st.floats(0, 0.9), width=st.floats(0.01, 0.1), height=st.floats(0.01, 0.1))
def test_a_box_is_where_it_was_in_each_convention(
    convention: Convention, left: float, top: float, width: float, height: float
):
    box = (left, top, left + width, top + height)
    found = place(raw(box, convention), convention, *SIZE)
    assert found is not None
    assert (found.left, found.top, found.right, found.bottom) == pytest.approx(
        tuple(min(1.0, side) for side in box), abs=1e-6
    )


def test_only_large_values_are_pixels():
    assert convention_of(line_of("HELLO", 0.3, 0.9, "pixels")) == "pixels"
    assert convention_of(line_of("HELLO", 0.3, 0.9)) == "bottom-left"
    assert convention_of([raw((0.9, 0.95, 1.01, 1.02), "top-left")]) == "bottom-left"
    assert convention_of([]) == "bottom-left"


def test_a_box_outside_of_the_frame_goes_unless_a_person_labelled_it():
    outside = (1.2, 0.5, 1.3, 0.6)
    assert place(raw(outside, "top-left"), "top-left", *SIZE) is None
    kept = place(raw(outside, "top-left", label="out"), "top-left", *SIZE)
    assert kept is not None
    assert kept.right == 1


@pytest.mark.parametrize("convention", ["bottom-left", "top-left", "pixels"])
def test_characters_become_lines_with_spaces_from_top_to_bottom(convention: Convention):
    boxes = [
        *line_of("NEVER MIND", 0.3, 0.9, convention),
        *line_of("12:04", 0.8, 0.05, convention, first=20),
        *line_of("NEWS", 0.1, 0.05, convention, first=40),
    ]
    lines = text_lines(characters_of(boxes, convention, *SIZE), 16 / 9)
    assert [line.text(16 / 9) for line in lines] == ["NEWS", "12:04", "NEVER MIND"]
    assert lines[2].box.top == pytest.approx(0.9)


def test_chinese_has_no_spaces_at_gaps():
    boxes = [
        raw((0.3 + 0.06 * place, 0.9, 0.33 + 0.06 * place, 0.96), "bottom-left", place, text=character)
        for place, character in enumerate("從來沒有")
    ]
    (line,) = text_lines(characters_of(boxes, "bottom-left", *SIZE), 16 / 9)
    assert line.text(16 / 9) == "從來沒有"


def test_a_line_is_divided_where_labels_differ():
    boxes = line_of("HELLO", 0.3, 0.9)
    boxes = [
        RawBox(b.frame_index, b.box_index, b.x, b.y, b.text, label="in" if b.box_index < 2 else "out")
        if b.box_index in (0, 1, 3)
        else b
        for b in boxes
    ]
    lines = text_lines(characters_of(boxes, "bottom-left", *SIZE))
    assert [(line.text(16 / 9), line.label) for line in lines] == [("HEL", "in"), ("LO", "out")]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(0, 1), st.sampled_from(["in", "out", "clear", None]), st.integers(0, 2)
        ),
        max_size=30,
    )
)
def test_each_label_is_on_a_line_that_covers_its_character(found):
    boxes = [
        RawBox(frame, number, (x, x + 0.02), (y, y + 0.05), "x", label=label)
        for number, (x, y, label, frame) in enumerate(found)
    ]
    placed = characters_of(boxes, "top-left", *SIZE)
    lines = text_lines(placed)
    assert sum(len(line.characters) for line in lines) == len(placed)
    for character in placed:
        if character.raw.label is None:
            continue
        assert any(
            line.label == character.raw.label
            and line.frame_index == character.raw.frame_index
            and line.box.intersection(character.box) == pytest.approx(character.box.area)
            for line in lines
        )
