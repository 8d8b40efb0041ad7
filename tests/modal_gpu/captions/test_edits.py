"""People's edits: what they change, what they refuse, and that a file that was exported changes nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions import single_edits as edits
from modal_gpu.captions.edits import Change, EditError, Footage, Wanted, apply, counts
from modal_gpu.captions.growth import cues
from modal_gpu.captions.matching import match
from modal_gpu.captions.merging import merge_extents
from modal_gpu.captions.subtitle_files import read_subtitles
from modal_gpu.captions.subtitles import SubtitleFormat, encoded, shown, timed_cues
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.extents.decoder import Extent
from modal_gpu.timeline import Timeline, TimeSpan
from tests.modal_gpu.captions.test_growth import displays, states, words

FOOTAGE = Footage(600, 60.0, Timeline())
LATE = Footage(600, 60.0, Timeline((TimeSpan(0, 0.5),)))


def caption(number, start, end, text, **changes):
    return Caption(
        round(start * 10),
        round(end * 10),
        start,
        end,
        id=number,
        ocr_text=text,
        ocr_confidence=0.9,
        ocr_status="completed",
        **changes,
    )


THREE = [caption(1, 1, 2, "One."), caption(2, 2, 4, "Two and three."), caption(3, 5, 6, "Four.")]


def cue(captions, number, footage=FOOTAGE):
    return edits.find(timed_cues(captions, footage.timeline, footage.growing), number)


def texts(captions, footage=FOOTAGE):
    return [(a, b, c.best_text) for a, b, c in shown(captions, footage.timeline, footage.growing)]


def edited(captions, *changes, footage=FOOTAGE):
    """Return the captions after changes, through a file."""
    return read_captions(write_captions(apply(captions, changes, footage)))


def imported(captions, text, name="x.srt", footage=FOOTAGE):
    found = timed_cues(captions, footage.timeline, footage.growing)
    changes = match(found, read_subtitles(text.encode(), name))
    return edited(captions, *changes, footage=footage), {k: n for k, n in counts(changes).items() if n}


def srt(*rows):
    lines = [f"{k}\n{start} --> {end}\n{text}\n" for k, (start, end, text) in enumerate(rows, 1)]
    return "\n".join(lines)


class TestOne:
    def test_text_and_confirmation(self):
        changed = edited(THREE, edits.set_caption(cue(THREE, 2), "Two, three.", None, None))
        two = changed[1]
        assert (two.text, two.ocr_text, two.state, two.pending) == (
            "Two, three.",
            "Two and three.",
            "confirmed",
            False,
        )
        assert [changed[0], changed[2]] == [THREE[0], THREE[2]]
        assert not two.image_needs_regen

    def test_times_are_a_players_and_an_edge_that_stays_is_exact(self):
        moved = edited(THREE, edits.set_caption(cue(THREE, 3, LATE), None, 5750, None), footage=LATE)[2]
        assert (moved.start_seconds, moved.start_index) == (5.25, 53)
        assert (moved.end_seconds, moved.end_index) == (THREE[2].end_seconds, THREE[2].end_index)
        assert moved.image_needs_regen

    def test_confirming_twice_changes_nothing(self):
        once = edited(THREE, edits.confirm(cue(THREE, 1)))
        assert edited(once, edits.confirm(cue(once, 1))) == once
        assert once[0].text == "One." and texts(once) == texts(THREE)

    def test_no_change_keeps_the_order_of_the_file(self):
        """Otherwise an import that changes nothing would be written."""
        both = [caption(1, 1, 4, "Below."), caption(2, 1, 2, "Above.", zone=1)]
        assert apply(both, [], FOOTAGE) == edited(both) == both

    def test_an_empty_text_removes_a_caption_for_good(self):
        changed = edited(THREE, edits.set_caption(cue(THREE, 1), " ", None, None))
        assert len(texts(changed)) == 2
        again = merge_extents(changed, [Extent(10, 21, 0.9), Extent(50, 60, 0.9)], 600, 60.0)
        assert [(c.id, c.best_text) for c in again] == [(1, ""), (3, "Four.")]

    @pytest.mark.parametrize(
        ("at", "given", "expected"),
        [
            (3000, None, [(2000, 3000, "Two and"), (3000, 4000, "three.")]),
            (2500, None, [(2000, 2500, "Two"), (2500, 4000, "and three.")]),
            (2100, ("A", "B"), [(2000, 2100, "A"), (2100, 4000, "B")]),
        ],
    )
    def test_split(self, at, given, expected):
        changed = edited(THREE, edits.split(cue(THREE, 2), at, given))
        assert texts(changed)[1:3] == expected
        assert [c.id for c in changed] == [1, 2, 4, 3]

    def test_notes_on_merged_and_folded_captions_are_kept(self):
        noted = [replace(THREE[0], text_notes="who?"), replace(THREE[1], text_notes="check"), THREE[2]]
        merged = edited(noted, edits.merge([cue(noted, 1), cue(noted, 2)]))
        assert merged[0].text_notes == "who?\ncheck"
        assert edited(merged, edits.confirm(cue(merged, 1))) == merged
        first, *rest = states(*words("Good evening."))
        folded = [replace(first, text_notes="hm"), *rest]
        [one] = edited(folded, edits.confirm(cue(folded, rest[-1].id)))
        assert one.text_notes == "hm"

    def test_merge(self):
        changed = edited(THREE, edits.merge([cue(THREE, 2), cue(THREE, 1)]))
        assert texts(changed)[0] == (1000, 4000, "One.\nTwo and three.")
        assert [c.id for c in changed] == [1, 3]

    def test_shift_all(self):
        changed = edited(THREE, *(edits.shift(one, 250) for one in timed_cues(THREE)))
        assert [row[:2] for row in texts(changed)] == [(1250, 2250), (2250, 4250), (5250, 6250)]

    @pytest.mark.parametrize(
        ("start", "end", "message"),
        [
            (None, 5500, "overlaps"),
            (59_990, 60_900, None),
            (61_000, 62_000, "after the video's end, 0:01:00.000"),
            (5000, 62_000, "after the video's end"),
            (3000, 2000, "ends before it starts"),
        ],
    )
    def test_times_that_cannot_be_are_refused(self, start, end, message):
        change = edits.set_caption(cue(THREE, 2), None, start, end)
        if message is None:
            assert edited(THREE, change)[-1].end_index == 600
        else:
            with pytest.raises(EditError, match=message):
                apply(THREE, [change], FOOTAGE)

    def test_times_before_the_first_frame_are_refused(self):
        with pytest.raises(EditError, match="before the video's first frame"):
            apply(THREE, [edits.set_caption(cue(THREE, 1, LATE), None, 100, 400)], LATE)

    def test_other_refusals(self):
        with pytest.raises(EditError, match="no caption 9"):
            cue(THREE, 9)
        with pytest.raises(EditError, match="not inside"):
            edits.split(cue(THREE, 1), 2000)
        with pytest.raises(EditError, match="at least two"):
            edits.merge([cue(THREE, 1), cue(THREE, 1)])
        above = [THREE[0], replace(THREE[1], zone=1)]
        with pytest.raises(EditError, match="different zones"):
            edits.merge([cue(above, 1), cue(above, 2)])

    def test_captions_of_two_zones_may_overlap(self):
        above = [THREE[0], replace(THREE[1], zone=1)]
        changed = edited(above, edits.set_caption(cue(above, 2), None, 1000, None))
        assert texts(changed) == [(1000, 2000, "One."), (1000, 4000, "Two and three.")]


class TestGrowing:
    def test_an_edit_of_a_grown_sentence_makes_one_caption_of_its_states(self):
        grown = states(*words("Good evening and welcome"))
        changed = edited(grown, edits.set_caption(cue(grown, 2), "Good evening!", None, None))
        assert [(c.id, c.start_index, c.end_index, c.text) for c in changed] == [(4, 10, 26, "Good evening!")]

    def test_an_edit_of_one_line_leaves_those_that_roll_with_it(self):
        rolled = states("A one.", "A one.\nB two.", "B two.\nC three.", "C three.\nD four.")
        before = texts(rolled)
        changed = edited(rolled, edits.set_caption(cue(rolled, 2), "B 2!", None, None))
        assert texts(changed) == [(a, b, t.replace("B two.", "B 2!")) for a, b, t in before]
        assert [c.caption.id for c in cues(changed) if c.caption.best_text == "B 2!"] == [2]
        runs = merge_extents(changed, [Extent(c.start_index, c.end_index, 0.9) for c in rolled], 600, 60.0)
        assert (1400, 2200, "B 2!") in texts(runs)

    def test_a_row_that_shows_two_lines_needs_the_id_of_a_line(self):
        rolled = states("A one.", "A one.\nB", "A one.\nB two.", "B two.\nC three.")
        with pytest.raises(EditError, match="as several lines: name one of 1, 2"):
            cue(rolled, 3)
        assert cue(rolled, 2).caption.best_text == "B two."


class TestImport:
    def test_an_exported_file_changes_nothing(self):
        for format in ("srt", "vtt", "ass"):
            text = encoded(THREE, LATE.timeline, SubtitleFormat(format)).decode()
            changed, found = imported(THREE, text, f"x.{format}", LATE)
            assert found == {"kept": 3}
            assert texts(changed, LATE) == texts(THREE, LATE)

    def test_each_kind_of_change_is_seen(self):
        there = [
            caption(1, 1, 2, "Keep me."),
            caption(2, 2, 3, "Teh text."),
            caption(3, 3, 4, "Move me."),
            caption(4, 5, 8, "First half, second half."),
            caption(5, 9, 10, "Join"),
            caption(6, 10, 11, "us two."),
            caption(7, 12, 13, "Remove me."),
        ]
        file = srt(
            ("00:00:01,000", "00:00:02,000", "Keep me."),
            ("00:00:02,000", "00:00:03,000", "The text."),
            ("00:00:03,200", "00:00:04,300", "Move me."),
            ("00:00:05,000", "00:00:06,500", "First half,"),
            ("00:00:06,500", "00:00:08,000", "second half."),
            ("00:00:09,000", "00:00:11,000", "Join us two."),
            ("00:00:15,000", "00:00:16,000", "Brand new."),
        )
        changed, found = imported(there, file)
        assert found == {
            "kept": 1,
            "text changed": 1,
            "times moved": 1,
            "split": 1,
            "merged": 1,
            "added": 1,
            "removed": 1,
        }
        assert encoded(changed, Timeline(), SubtitleFormat.srt).decode().strip() == file.strip()
        assert all(c.belongs_to_person for c in changed)
        extents = [Extent(c.start_index, c.end_index, 0.9) for c in there]
        again = merge_extents(changed, extents, 600, 60.0)
        assert encoded(again, Timeline(), SubtitleFormat.srt).decode().strip() == file.strip()

    def test_a_file_that_was_shifted_moves_times_only(self):
        file = encoded(THREE, Timeline((TimeSpan(0, 1.3),)), SubtitleFormat.srt).decode()
        _, found = imported(THREE, file)
        assert found == {"times moved": 3}

    def test_new_overlaps_are_refused(self):
        file = srt(("00:00:01,000", "00:00:03,000", "One."), ("00:00:02,000", "00:00:04,000", "Two."))
        with pytest.raises(EditError, match=r"0:00:01.000 to 0:00:03.000 \('One.'\) overlaps 0:00:02.000"):
            imported([], file)

    def test_lines_that_roll_may_overlap_as_they_did(self):
        rolled = states("A one.", "A one.\nB two.", "B two.\nC three.", "C three.")
        text = encoded(rolled, Timeline(), SubtitleFormat.srt).decode().replace("B two.", "B 2.")
        changed, found = imported(rolled, text)
        assert found == {"kept": 2, "text changed": 1}
        assert encoded(changed, Timeline(), SubtitleFormat.srt).decode() == text

    def test_a_zone_is_kept_and_new_captions_of_ass_have_theirs(self):
        there = [caption(1, 1, 3, "Below."), caption(2, 2, 4, "Above.", zone=1)]
        text = encoded(there, Timeline(), SubtitleFormat.ass).decode()
        text += "Dialogue: 0,0:00:10.00,0:00:11.00,Zone 1,,0,0,0,,New above.\n"
        changed, found = imported(there, text, "x.ass")
        assert found == {"kept": 2, "added": 1}
        assert [(c.best_text, c.zone) for c in changed] == [("Below.", 0), ("Above.", 1), ("New above.", 1)]


TIMELINES = st.sampled_from(
    [
        Timeline(),
        Timeline((TimeSpan(0, 0.48),)),
        Timeline((TimeSpan(0, 0.2), TimeSpan(40, 7.25))),
        Timeline((TimeSpan(0, 0.0), TimeSpan(25, 3.0, held=False), TimeSpan(90, 4.5))),
    ]
)


@given(displays(), TIMELINES, st.sampled_from(["srt", "vtt", "ass"]))
def test_export_and_import_change_nothing(captions, timeline, format):
    footage = Footage(600, 60.0, timeline)
    text = encoded(captions, timeline, SubtitleFormat(format)).decode()
    changed, found = imported(captions, text, f"x.{format}", footage)
    assert set(found) == {"kept"}
    assert encoded(changed, timeline, SubtitleFormat(format)).decode() == text
    assert imported(changed, text, f"x.{format}", footage)[0] == changed


@given(TIMELINES, st.integers(0, 599))
def test_a_players_time_comes_back_to_its_index(timeline, index):
    footage = Footage(600, 60.0, timeline)
    end = min(index + 7, 600)
    there = [Caption(index, end, max(0.0, index / 10 - 0.05), end / 10 - 0.05, id=1, ocr_text="x")]
    [(a, b, _)] = texts(there, footage) or [(0, 0, None)]
    if a == b:
        return
    fresh = apply([], [Change((), (Wanted(a, b, "x"),))], footage)
    assert abs(fresh[0].start_index - index) <= 1
    [(c, d, _)] = texts(fresh, footage)
    assert (c, d) == (a, b)
