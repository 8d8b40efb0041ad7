"""Captions of two sides, grouped by the time that they share."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.comparison.captions import Kind, group_captions, readable
from captionacc_dagster.comparison.figures import caption_figures
from captionacc_dagster.comparison.sides import SideCaption


def said(start: float, end: float, text: str | None = "Good evening.", **other) -> SideCaption:
    """Return a caption with times in seconds."""
    return SideCaption(round(start * 1000), round(end * 1000), text, **other)


def kinds(old: list[SideCaption], new: list[SideCaption]) -> list[Kind]:
    return [group.kind for group in group_captions(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        # The predecessor's times are those of frames, ten a second.
        (said(1.0, 2.6), said(0.92, 2.56), Kind.SAME),
        (said(1.0, 2.6), said(0.84, 2.6), Kind.TIMES),
        (said(1.0, 2.6), said(1.0, 2.8), Kind.TIMES),
        (said(1.0, 2.6, "Step 1"), said(1.0, 2.6, "Step 2"), Kind.TEXT),
        (said(1.0, 2.6, "Step 1"), said(1.5, 2.6, "Step 2"), Kind.TIMES_AND_TEXT),
        # Line breaks, spaces and quotes differ between engines.
        (said(1.0, 2.6, "It’s late –\nlet us go"), said(1.0, 2.6, "It's late - let us go "), Kind.SAME),
        (said(1.0, 2.6, "us"), said(1.0, 2.6, "US"), Kind.TEXT),
        # Captions that nobody has read have times only.
        (said(1.0, 2.6, None), said(1.0, 2.6, "Read."), Kind.SAME),
        (said(1.0, 2.6, None), said(1.0, 3.6, "Read."), Kind.TIMES),
    ],
)
def test_one_caption_on_each_side(old: SideCaption, new: SideCaption, kind: Kind):
    assert kinds([old], [new]) == [kind]


def test_a_caption_that_one_side_lacks():
    assert kinds([said(1, 2)], []) == [Kind.LOST]
    assert kinds([], [said(1, 2)]) == [Kind.ADDED]
    assert kinds([said(1, 2)], [said(2, 3)]) == [Kind.LOST, Kind.ADDED]
    # A tenth of the second one is no reason to compare them.
    assert kinds([said(1, 2.1)], [said(2, 3)]) == [Kind.LOST, Kind.ADDED]


def test_a_divided_caption_and_joined_ones():
    whole, parts = said(1, 5, "One two"), [said(1, 3, "One"), said(3, 5, "two")]
    (divided,) = group_captions([whole], parts)
    (joined,) = group_captions(parts, [whole])
    assert (divided.kind, joined.kind) == (Kind.DIVIDED, Kind.JOINED)
    assert divided.same_text and divided.same_times and joined.same_text
    assert kinds([said(1, 3), said(3, 5)], [said(1, 2), said(2, 4.2), said(4.2, 5)]) == [Kind.REGROUPED]


def test_neighbours_whose_border_moved_stay_two_pairs():
    old = [said(0, 2, "Step 1"), said(2, 4, "Step 2")]
    new = [said(0, 2.3, "Step 1"), said(2.3, 4, "Step 2")]
    assert kinds(old, new) == [Kind.TIMES, Kind.TIMES]


def test_zones_are_apart_and_a_file_gets_them_from_the_texts():
    above, below = said(1, 3, "Above", zone=1), said(1, 3, "Below", zone=0)
    assert kinds([below], [above, below]) == [Kind.SAME, Kind.ADDED]
    file = [said(1, 3, "Below", zone=None), said(1, 3, "Above", zone=None)]
    groups = group_captions(file, [above, below])
    assert [(group.kind, group.old_text) for group in groups] == [(Kind.SAME, "Below"), (Kind.SAME, "Above")]


def test_a_removal_by_a_person_is_kept_if_nothing_is_shown():
    removed = said(1, 3, "", has_persons_text=True)
    (kept,) = group_captions([removed], [])
    assert (kept.kind, kept.lost_edits) == (Kind.SAME, ())
    (lost,) = group_captions([removed], [said(1, 3, "Credits")])
    assert lost.kind is Kind.TEXT and lost.lost_edits == (removed,)


def test_peoples_work_has_to_be_the_same_in_every_character():
    edited = said(1, 3, "It’s mine.", has_persons_text=True)
    (other,) = group_captions([edited], [said(1, 3, "It's mine.")])
    assert other.kind is Kind.SAME and other.lost_edits == (edited,)
    (moved,) = group_captions([edited], [replace(edited, start=2000)])
    assert moved.lost_edits == (), "only its text is a person's"
    confirmed = replace(edited, has_persons_times=True)
    (late,) = group_captions([confirmed], [replace(confirmed, start=2000)])
    assert late.lost_edits == (confirmed,)
    (unmarked,) = group_captions([replace(edited, marks=("text_unclear",))], [edited])
    assert len(unmarked.lost_edits) == 1
    (gone,) = group_captions([confirmed], [])
    assert gone.lost_edits == (confirmed,)


def test_readable_keeps_what_viewers_see():
    assert readable(" “A–B…”\n") == '"A-B..."'
    assert readable("e\N{COMBINING ACUTE ACCENT}") == "é"
    assert readable("你，好") == "你，好"


SOME = st.lists(
    st.builds(
        lambda start, length, text, zone: said(start / 10, (start + length) / 10, text, zone=zone),
        st.integers(0, 60),
        st.integers(1, 20),
        st.sampled_from(["One", "Two", "", None]),
        st.sampled_from([0, 0, 1, None]),
    ),
    max_size=8,
)


@given(SOME, SOME)
def test_each_caption_is_in_one_group(old: list[SideCaption], new: list[SideCaption]):
    groups = group_captions(old, new)
    for side, captions in (("old", old), ("new", new)):
        found = [caption for group in groups for caption in getattr(group, side)]
        assert sorted(map(str, (replace(c, zone=None) for c in found))) == sorted(
            map(str, (replace(c, zone=None) for c in captions))
        )
    figures = caption_figures(groups)
    assert (figures.old_captions, figures.new_captions) == (len(old), len(new))
    assert figures.pairs_with_times <= figures.pairs and figures.same_texts <= figures.texts


@given(SOME)
def test_a_side_agrees_with_itself(captions: list[SideCaption]):
    """Captions that overlap in one zone may form groups, but nothing of them is missing or changed."""
    figures = caption_figures(group_captions(captions, captions))
    assert (figures.lost, figures.added, figures.lost_edits, figures.text_edits) == (0, 0, 0, 0)
    assert figures.pairs_with_times == figures.pairs and figures.same_texts == figures.texts


@given(SOME, SOME)
def test_the_sides_are_treated_alike(old: list[SideCaption], new: list[SideCaption]):
    other = {
        Kind.LOST: Kind.ADDED,
        Kind.ADDED: Kind.LOST,
        Kind.DIVIDED: Kind.JOINED,
        Kind.JOINED: Kind.DIVIDED,
    }
    there, back = kinds(old, new), kinds(new, old)
    assert sorted(other.get(kind, kind) for kind in there) == sorted(back)
