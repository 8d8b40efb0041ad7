"""Merging of extents into captions: people's captions are kept, predicted ones follow the new extents."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modal_gpu.captions.merging import boundary_seconds, captions_from_extents, merge_extents
from modal_gpu.databases.captions import OcrOutcome, read_captions, store_ocr, write_captions
from modal_gpu.extents.decoder import Extent

COUNT, DURATION = 200, 20.0


@st.composite
def extents(draw):
    position, found = 0, []
    for _ in range(draw(st.integers(0, 8))):
        start = position + draw(st.integers(0, 8))
        position = start + draw(st.integers(1, 12))
        found.append(Extent(start, position, draw(st.floats(0, 1))))
    return found


PERSONAL = st.sampled_from(
    [
        {},
        {},
        {"state": "confirmed"},
        {"state": "gap"},
        {"state": "issue"},
        {"text": "mine"},
        {"text": ""},
        {"text_status": "valid_caption"},
        {"text_notes": "look"},
    ]
)


@st.composite
def stored_captions(draw):
    captions = captions_from_extents(draw(extents()), COUNT, DURATION)
    captions = [replace(c, **draw(PERSONAL)) for c in captions]
    captions = read_captions(write_captions(captions))
    return store_ocr(captions, [OcrOutcome(c.id, f"text {c.id}", 0.9) for c in captions])


def ranges(captions):
    return [(caption.start_index, caption.end_index) for caption in captions]


def test_boundaries_lie_in_the_middle_of_what_is_possible_and_inside_the_video():
    assert boundary_seconds(0, 100, 10.0) == 0
    assert boundary_seconds(12, 100, 10.0) == 1.15
    assert boundary_seconds(100, 100, 9.97) == 9.97
    assert boundary_seconds(99, 100, 9.8) == 9.8


@settings(max_examples=60, deadline=None)
@given(stored_captions(), extents())
def test_a_rerun_keeps_peoples_captions_and_covers_the_new_extents_around_them(existing, new):
    merged = merge_extents(existing, new, COUNT, DURATION)
    personal = [c for c in existing if c.belongs_to_person]
    assert [c for c in merged if c.belongs_to_person] == personal
    # Sorted, disjoint, unique ids.
    edges = [edge for c in merged for edge in (c.start_index, c.end_index)]
    assert edges == sorted(edges)
    ids = [c.id for c in merged if c.id]
    assert len(ids) == len(set(ids))
    # A frame is in a predicted caption exactly if no person's caption has it, and an extent has it of
    # which no person's caption covers half.
    taken = {i for c in personal for i in range(c.start_index, c.end_index)}
    theirs = [set(range(c.start_index, c.end_index)) for c in personal if c.state != "gap"]
    open_ranges = [set(range(e.start, e.end)) for e in new]
    open_ranges = [r for r in open_ranges if not any(2 * len(r & t) >= len(r) for t in theirs)]
    wanted = set().union(*open_ranges) - taken
    assert {i for c in merged if not c.belongs_to_person for i in range(c.start_index, c.end_index)} == wanted
    # An unchanged range keeps its OCR result; a changed one is read again.
    before = {(c.start_index, c.end_index): c for c in existing if not c.belongs_to_person}
    for caption in merged:
        if caption.belongs_to_person:
            continue
        old = before.get((caption.start_index, caption.end_index))
        if old:
            # How sure its extents are is what the new run says.
            assert replace(caption, confidence=old.confidence, pending=old.pending) == old
        else:
            assert caption.ocr_status == "queued" and caption.ocr_text is None
            assert caption.image_needs_regen == bool(caption.id)
    # It can be stored, and a second run with the same extents changes nothing.
    stored = read_captions(write_captions(merged))
    assert merge_extents(stored, new, COUNT, DURATION) == stored


def test_a_rerun_with_the_same_extents_changes_nothing():
    first = [Extent(2, 9, 0.9), Extent(9, 20, 0.8)]
    stored = read_captions(write_captions(captions_from_extents(first, COUNT, DURATION)))
    stored = store_ocr(stored, [OcrOutcome(c.id, "x", 0.5) for c in stored])
    assert merge_extents(stored, first, COUNT, DURATION) == stored


def test_captions_begin_and_end_when_the_source_frames_change():
    changes = np.full(COUNT - 1, np.nan)
    changes[[1, 8, 19]] = 0.16, 0.88, 19.999
    found = captions_from_extents([Extent(2, 9, 0.9), Extent(9, 20, 0.8)], COUNT, DURATION, changes)
    assert [(c.start_seconds, c.end_seconds) for c in found] == [(0.16, 0.88), (0.88, 19.999)]
    changes[[1, 19]] = np.nan
    found = captions_from_extents([Extent(2, 9, 0.9), Extent(9, 20, 0.8)], COUNT, DURATION, changes)
    assert [(c.start_seconds, c.end_seconds) for c in found] == [(0.15, 0.88), (0.88, 1.95)]
    # A caption from the beginning to the end of the video, and one whose times would cross.
    changes[[4, 5]] = 0.6, 0.5
    assert captions_from_extents([Extent(0, COUNT, 1)], COUNT, DURATION, changes)[0].end_seconds == DURATION
    found = captions_from_extents([Extent(5, 6, 1)], COUNT, DURATION, changes)
    assert [(c.start_seconds, c.end_seconds) for c in found] == [(0.45, 0.55)]


def test_a_rerun_gives_predicted_captions_new_times_and_leaves_those_of_people():
    extents = [Extent(2, 9, 0.9), Extent(9, 20, 0.8), Extent(30, 60, 0.7)]
    stored = read_captions(write_captions(captions_from_extents(extents, COUNT, DURATION)))
    stored = store_ocr(stored, [OcrOutcome(c.id, "x", 0.5) for c in stored])
    stored[1] = replace(stored[1], text="mine", start_index=9, end_index=34, end_seconds=3.4)
    changes = np.full(COUNT - 1, np.nan)
    changes[[1, 8, 19, 29, 59]] = 0.16, 0.88, 1.96, 2.96, 6.0
    merged = merge_extents(stored, extents, COUNT, DURATION, changes)
    assert merged[0] == replace(stored[0], start_seconds=0.16, end_seconds=0.88)
    assert merged[1] == stored[1]
    # Cut down to what the person's caption leaves: only its own end is where the picture changes.
    assert (merged[2].start_index, merged[2].start_seconds, merged[2].end_seconds) == (34, 3.35, 6.0)


def test_a_length_from_elsewhere_takes_no_caption_away():
    """A row that knows 8 s of a video of 16 s: captions in the second half keep their times."""
    found = [Extent(20, 40, 0.9), Extent(100, 120, 0.9), Extent(150, 160, 0.9)]
    captions = captions_from_extents(found, 160, 8.0)
    assert [caption.start_seconds for caption in captions] == pytest.approx([1.95, 9.95, 14.95])
    assert [caption.end_seconds for caption in captions] == pytest.approx([3.95, 11.95, 15.9])
