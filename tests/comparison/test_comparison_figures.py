"""The figures of a comparison and their limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.comparison.captions import group_captions
from captionacc_dagster.comparison.comparing import compare_sides, not_compared, summed
from captionacc_dagster.comparison.figures import (
    RULES,
    Figures,
    UnknownLimitError,
    caption_figures,
    chunk_figures,
    judge,
    layout_figures,
    limits_with,
    region_overlap,
    spread,
)
from captionacc_dagster.comparison.sides import Side, SideCaption, SideChunks, SideLayout
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import Label, LayoutBox
from modal_gpu.frame_index import CHUNK_MEMBERS, chunks
from modal_gpu.ocr.engine import Box

REGION = CropRegion(0.1, 0.8, 0.9, 0.95)


def said(start: float, end: float, text: str | None = "Good evening.", **other) -> SideCaption:
    return SideCaption(round(start * 1000), round(end * 1000), text, **other)


def test_the_figures_of_captions():
    old = [
        said(0, 2, "One"),
        said(2, 4, "Two"),
        said(5, 6, "Three"),
        said(8, 9, "Four", has_persons_text=True),
    ]
    new = [said(0.1, 2, "One"), said(2, 4.5, "Too"), said(8, 9, "four"), said(11, 12, "Five")]
    figures = caption_figures(group_captions(old, new))
    assert (figures.old_captions, figures.new_captions, figures.lost, figures.added) == (4, 4, 1, 1)
    assert (figures.pairs, figures.pairs_with_times) == (3, 2)
    assert (figures.texts, figures.same_texts, figures.text_edits, figures.characters) == (3, 1, 2, 10)
    assert (figures.persons_captions, figures.lost_edits) == (1, 1)
    assert figures.start_differences == (100, 0, 0) and figures.end_differences == (0, 500, 0)


def characters(*labels: Label | None) -> tuple[LayoutBox, ...]:
    """Boxes of single characters beside each other, as the predecessor has them."""
    return tuple(
        LayoutBox(100, place, Box(0.1 + place / 10, 0.85, 0.18 + place / 10, 0.9), "x", label=label)
        for place, label in enumerate(labels)
    )


def line(label: Label | None = None, right: float = 0.9) -> LayoutBox:
    return LayoutBox(100, 0, Box(0.1, 0.84, right, 0.91), "xxx", label=label)


def test_characters_are_covered_by_the_line_over_them():
    old = SideLayout(REGION, True, characters(None, None, None))
    covered = layout_figures(old, SideLayout(REGION, True, (line(),)))
    assert (covered.old_boxes, covered.uncovered_boxes) == (3, 0)
    short = layout_figures(old, SideLayout(REGION, True, (line(right=0.2),)))
    assert short.uncovered_boxes == 2
    # Frames that only one side has taken say nothing of its boxes.
    elsewhere = LayoutBox(200, 0, Box(0, 0, 1, 1), "xxx")
    assert layout_figures(old, SideLayout(REGION, True, (elsewhere,))).old_boxes == 0


def test_a_label_is_kept_if_the_line_has_it():
    old = SideLayout(REGION, True, characters("in", "out", None))
    figures = layout_figures(old, SideLayout(REGION, True, (line("in"),)))
    assert (figures.labels, figures.lost_labels) == (2, 1)
    assert layout_figures(old, SideLayout(REGION, True)).lost_labels == 2


def test_an_approved_region_has_to_be_the_same_and_approved():
    old = SideLayout(REGION, True)
    nearly = CropRegion(0.1, 0.8, 0.9, 0.951)
    assert layout_figures(old, SideLayout(nearly, True)).other_regions == 0
    assert layout_figures(old, SideLayout(REGION, False)).other_regions == 1
    assert layout_figures(old, SideLayout(CropRegion(0.1, 0.7, 0.9, 0.95), True)).other_regions == 1
    assert layout_figures(SideLayout(REGION, False), SideLayout(nearly, False)).regions == 0
    assert region_overlap(REGION, CropRegion(0, 0, 1, 0.5)) == 0


@given(st.integers(1, 3000))
def test_lost_tails_of_the_predecessor_are_no_fault_of_the_new_side(count: int):
    every = frozenset(chunks(count))
    full = frozenset(ref for ref in every if len(ref.members(count)) == CHUNK_MEMBERS)
    figures = chunk_figures(SideChunks(count, full), SideChunks(count, every))
    assert figures.missing_frames == 0
    back = chunk_figures(SideChunks(count, every), SideChunks(count, full))
    assert back.missing_frames == count - CHUNK_MEMBERS * len(full)


def test_limits_are_met_or_exceeded():
    old = [said(second, second + 0.9, f"Text {second}") for second in range(100)]
    new = [said(c.start / 1000, c.end / 1000, c.text) for c in old[:98]]
    checks = {check.rule.name: check for check in judge(caption_figures(group_captions(old, new)))}
    assert checks["lost"].is_met and checks["lost"].share == 0.02
    fewer = {c.rule.name: c for c in judge(caption_figures(group_captions(old, new[:97])))}
    assert not fewer["lost"].is_met and fewer["edits"].is_met
    assert fewer["boxes"].share is None and fewer["boxes"].is_met
    loose = judge(caption_figures(group_captions(old, new[:97])), limits_with(["lost=0.03"]))
    assert all(check.is_met for check in loose)


@pytest.mark.parametrize("wrong", ["lots=1", "lost", "lost=many", "lost=-1", "lost=nan", "=1"])
def test_a_limit_that_is_none_is_refused(wrong: str):
    with pytest.raises(UnknownLimitError, match="is no limit: give NAME=VALUE"):
        limits_with([wrong])


def test_what_a_side_lacks_is_in_the_notes():
    captions = (said(0, 1),)
    both = compare_sides("v", "talk.mp4", Side("old", captions), Side("new", captions))
    assert both.figures.uncompared == 0 and not both.differences
    none = compare_sides("v", "talk.mp4", Side("old", captions), Side("new", note="still working"))
    assert none.figures.uncompared == 1
    assert none.notes == ("only one side has captions: new has none", "new: still working")
    # Not a fault of the new side: the predecessor made no captions.
    layout = SideLayout(REGION, True)
    more = compare_sides("v", "a", Side("old", layout=layout), Side("new", captions, layout))
    assert more.figures.uncompared == 0 and more.figures.regions == 1
    assert compare_sides("v", "a", Side("old"), Side("new", captions)).figures.uncompared == 1
    gone = not_compared("v", "a", "it is not here")
    assert summed([both, gone]).videos == 2
    assert [c.rule.name for c in judge(summed([both, gone])) if not c.is_met] == ["uncompared"]


def test_figures_add_up_and_every_rule_has_them():
    one = Figures(videos=1, lost=2, start_differences=(1,))
    assert one + one == Figures(videos=2, lost=4, start_differences=(1, 1))
    assert len(judge(Figures())) == len(RULES) and all(check.is_met for check in judge(Figures()))


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_the_spread_is_of_sizes(differences: list[int]):
    median, p95, largest = spread(differences)
    assert 0 <= median <= p95 <= largest == max(map(abs, differences))
    assert p95 in map(abs, differences) or p95 == 0
    assert spread([]) == (0, 0, 0)
