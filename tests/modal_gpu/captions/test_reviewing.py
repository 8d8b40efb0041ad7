"""What a reviewer sees of captions, their versions, and that each edit can be taken back."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.edits import Change, Wanted, apply
from modal_gpu.captions.reviewing import most_doubtful_first, review_cues
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from tests.modal_gpu.captions.test_edits import FOOTAGE, THREE, caption, cue


def seen(captions):
    """Return what a reviewer sees: times, text, standing, and whether it is reviewed."""
    return [
        (one.timed.start, one.timed.end, one.caption.best_text, one.standing, one.is_reviewed)
        for one in review_cues(captions, FOOTAGE.timeline, FOOTAGE.growing)
    ]


def review_cue(captions, number):
    return next(one for one in review_cues(captions) if one.id == number)


def edited(captions, change):
    return read_captions(write_captions(apply(captions, [change], FOOTAGE)))


class TestStandings:
    def test_captions_without_text_and_removed_ones_are_seen(self):
        unread = Caption(70, 80, 7.0, 8.0, id=4)
        gap = replace(caption(5, 9, 10, "x"), state="gap")
        removed = edited(THREE, Change((cue(THREE, 1),), ()))
        found = {one.id: one.standing for one in review_cues([*removed, unread, gap])}
        assert found == {1: "removed", 2: "shown", 3: "shown", 4: "unread", 5: "removed"}

    def test_an_unread_caption_takes_a_persons_text(self):
        unread = [*THREE, Caption(70, 80, 7.0, 8.0, id=4)]
        timed = review_cue(unread, 4).timed
        after = edited(unread, Change((timed,), (Wanted(timed.start, timed.end, "Typed."),)))
        assert seen(after)[-1] == (7000, 8000, "Typed.", "shown", True)
        assert [one.id for one in after] == [1, 2, 3, 4]

    def test_doubts_name_text_times_and_what_was_not_read(self):
        sure = replace(caption(1, 1, 2, "Sure."), ocr_confidence=0.99, confidence=0.99, pending=False)
        blurred = replace(sure, id=2, start_index=30, end_index=40, start_seconds=3.0, end_seconds=4.0)
        blurred = replace(blurred, ocr_confidence=0.4)
        loose = replace(sure, id=3, start_index=50, end_index=60, start_seconds=5.0, end_seconds=6.0)
        loose = replace(loose, confidence=0.5, pending=True)
        unread = Caption(70, 80, 7.0, 8.0, id=4, pending=False)
        captions = [sure, blurred, loose, unread]
        assert {one.id: one.doubts for one in review_cues(captions)} == {
            1: (),
            2: ("text uncertain",),
            3: ("times uncertain",),
            4: ("not read",),
        }
        assert [one.id for one in most_doubtful_first(review_cues(captions))] == [4, 2, 3, 1]
        confirmed = edited(captions, Change((cue(captions, 2),), (Wanted(3000, 4000, "Sure."),)))
        assert review_cue(confirmed, 2).doubts == ()
        reopened = Change((cue(confirmed, 2),), (Wanted(3000, 4000, "Sure.", reviewed=False),))
        assert review_cue(edited(confirmed, reopened), 2).doubts == ("text uncertain",), "its times are sure"
        assert most_doubtful_first(review_cues(confirmed))[-1].id == 2


class TestVersions:
    def test_a_version_is_the_same_for_the_same_caption_and_changes_with_what_is_seen(self):
        one = review_cue(THREE, 1)
        assert review_cue(read_captions(write_captions(THREE)), 1).version == one.version
        others = [
            replace(THREE[0], ocr_text="Other."),
            replace(THREE[0], start_seconds=0.9),
            replace(THREE[0], state="confirmed", text="One."),
        ]
        versions = {review_cue([other, *THREE[1:]], 1).version for other in others}
        assert len(versions) == 3 and one.version not in versions

    def test_a_better_confidence_is_no_other_version(self):
        better = replace(THREE[0], ocr_confidence=1.0)
        assert review_cue([better], 1).version == review_cue([THREE[0]], 1).version


TEXTS = st.sampled_from(["One.", "Two\nlines.", "三つ", "שלום"])


@st.composite
def changes(draw):
    """A change of one or two of the three captions, as a page makes it."""
    kind = draw(st.sampled_from(["text", "times", "split", "merge", "remove"]))
    number = draw(st.sampled_from([1, 2] if kind == "merge" else [1, 2, 3]))
    one = cue(THREE, number)
    text = draw(TEXTS)
    match kind:
        case "text":
            return Change((one,), (Wanted(one.start, one.end, text),))
        case "times":
            by = draw(st.integers(1, 900))
            return Change((one,), (Wanted(one.start, one.end - by, one.caption.best_text),))
        case "split":
            at = one.start + draw(st.integers(100, 900))
            return Change((one,), (Wanted(one.start, at, "a"), Wanted(at, one.end, text)))
        case "merge":
            other = cue(THREE, number + 1)
            return Change((one, other), (Wanted(one.start, other.end, text),))
    return Change((one,), ())


@given(changes())
def test_an_edit_is_taken_back_by_its_inverse(change):
    after = edited(THREE, change)
    ids = {one.id for one in after} - {one.id for one in THREE}
    places = [change.before[0].caption.id, *sorted(ids)][: max(1, len(change.after))]
    now = tuple(review_cue(after, number).timed for number in places)
    before = tuple(Wanted(c.start, c.end, c.caption.best_text, reviewed=False) for c in change.before)
    restored = edited(after, Change(now, before))
    assert [row for row in seen(restored) if row[3] != "removed"] == seen(THREE)
    assert not any(one.state == "confirmed" and one.text for one in restored if one.id in places)


def test_what_a_person_wrote_stays_when_its_review_is_taken_back():
    mine = edited(THREE, Change((cue(THREE, 1),), (Wanted(1000, 2000, "Mine."),)))
    again = edited(mine, Change((cue(mine, 1),), (Wanted(1000, 2000, "Mine.", reviewed=False),)))
    one = again[0]
    assert (one.text, one.state, one.pending, one.belongs_to_person) == ("Mine.", "predicted", True, True)
    as_read = edited(again, Change((cue(again, 1),), (Wanted(1000, 2000, "One.", reviewed=False),)))
    assert (as_read[0].text, as_read[0].belongs_to_person) == (None, False)
