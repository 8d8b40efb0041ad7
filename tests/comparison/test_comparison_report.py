"""The report: a CSV for programs, and a page of one file that shows any text as text."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from captionacc_dagster.comparison.captions import group_captions
from captionacc_dagster.comparison.comparing import VideoComparison, compare_sides, not_compared, summed
from captionacc_dagster.comparison.figures import DEFAULT_LIMITS, judge, limits_with
from captionacc_dagster.comparison.pictures import pictures_of
from captionacc_dagster.comparison.report import pieces, to_csv, to_html
from captionacc_dagster.comparison.sides import Side, SideCaption

HOSTILE = "<script>alert('1')</script> & \"quoted\""


def said(start: int, end: int, text: str | None, **other) -> SideCaption:
    return SideCaption(start * 1000, end * 1000, text, frames=range(start * 10, end * 10), **other)


def picture(brightness: int):
    return lambda index: np.full((24, 160, 3), brightness, np.uint8)


@pytest.fixture
def comparison() -> VideoComparison:
    old = Side(
        "old",
        (
            said(1, 2, HOSTILE, id=1),
            said(3, 5, "Same", id=2),
            said(6, 8, "=1+1", id=3, has_persons_text=True),
            said(9, 10, None, id=4),
        ),
        picture=picture(40),
    )
    new = Side("new", (said(1, 2, "script", id=7), said(3, 5, "Same", id=8)), picture=picture(200))
    return compare_sides("0b0e1b2c-0000-4000-8000-000000000001", f"{HOSTILE}.mp4", old, new)


class Seen(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def page(*comparisons: VideoComparison, limits: Mapping[str, float] = DEFAULT_LIMITS) -> str:
    checks = judge(summed(comparisons), limits)
    return to_html(comparisons, checks, title=f"Comparison of {HOSTILE}", tolerance_ms=150)


def test_the_page_shows_what_differs_with_both_pictures(comparison: VideoComparison):
    seen = Seen(page(comparison))
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert len(pictures) == 2 * 3
    assert all(one["src"].startswith("data:image/webp;base64,UklGR") for one in pictures)
    assert len({one["src"] for one in pictures}) == 2
    assert [one["alt"] for one in pictures[:2]] == [
        f"{side} caption strip at 0:00:01.000" for side in ("old", "new")
    ]
    for expected in (
        "text differs",
        "only old",
        "a person's work differs",
        "not read",
        "no caption",
        "exceeded",
    ):
        assert expected in seen.text
    assert "3 of 4" not in seen.text and "50.0% (2 of 4)" in seen.text


def test_texts_and_names_are_shown_as_they_are_and_never_run(comparison: VideoComparison):
    text = page(comparison)
    seen = Seen(text)
    assert "script" not in [tag for tag, _ in seen.tags] and "<script" not in text
    assert HOSTILE in re.sub(r"\s+", " ", seen.text)
    assert f"{HOSTILE}.mp4" in seen.text


def test_the_page_needs_nothing_but_itself(comparison: VideoComparison):
    text = page(comparison)
    assert "://" not in re.sub(r"data:[^\"]*", "", text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in Seen(text).tags}
    assert "prefers-color-scheme: dark" in text


def test_a_long_page_has_fewer_pictures_and_says_what_it_leaves_out(comparison, monkeypatch):
    monkeypatch.setattr("captionacc_dagster.comparison.report.MOST_SHOWN", 2)
    monkeypatch.setattr("captionacc_dagster.comparison.report.MOST_PICTURES", 1)
    seen = Seen(page(comparison))
    assert sum(tag == "img" for tag, _ in seen.tags) == 2
    assert sum(tag == "article" for tag, _ in seen.tags) == 2
    assert "leaves out 1 differences" in seen.text


def test_where_a_level_is_missing_the_picture_is_of_another(comparison: VideoComparison):
    """The predecessor lost the last chunk of each level; here all but those of every 16th frame."""
    (found, *_) = group_captions([said(1, 4, "One")], [])
    old = Side("old", picture=lambda index: None if index % 16 else picture(40)(index))
    assert pictures_of(found, old, comparison.new)[0] == pictures_of(found, comparison.old, old)[0]
    none = Side("old", picture=lambda index: None if index % 64 else picture(40)(index))
    assert pictures_of(found, none, none) == (None, None)
    (early,) = group_captions([replace(said(1, 4, "One"), frames=range(-4, 3))], [])
    assert pictures_of(early, none, none)[0] is not None, "of frame 0"


def test_several_videos_have_a_table(comparison: VideoComparison):
    fine = replace(comparison, video_id="v2", name="fine.mp4", groups=comparison.groups[1:2])
    seen = Seen(page(comparison, fine, not_compared("v3", "gone.mp4", "it is not here")))
    assert "gone.mp4" in seen.text and "it is not here" in seen.text
    links = [attributes["href"] for tag, attributes in seen.tags if tag == "a"]
    ids = {attributes["id"] for _, attributes in seen.tags if "id" in attributes}
    assert links and {link.removeprefix("#") for link in links} <= ids


def test_a_video_is_judged_by_the_limits_that_were_given(comparison: VideoComparison):
    videos = comparison, replace(comparison, video_id="v2")
    loose = limits_with(f"{name}=9" for name in DEFAULT_LIMITS)
    assert Seen(page(*videos)).text.count("beyond") == 2
    assert Seen(page(*videos, limits=loose)).text.count("within") == 2


def test_the_table_has_a_row_for_each_difference(comparison: VideoComparison):
    rows = list(csv.DictReader(io.StringIO(to_csv([comparison]))))
    assert [(row["kind"], row["old_ids"], row["new_ids"]) for row in rows] == [
        ("text differs", "1", "7"),
        ("only old", "3", ""),
        ("only old", "4", ""),
    ]
    first, formula, _ = rows
    assert first["old_text"] == HOSTILE and first["old_start"] == "1.000"
    assert (formula["lost_edits"], formula["old_text"]) == ("1", "'=1+1"), "no formula for a spreadsheet"
    assert (first["start_difference_ms"], formula["start_difference_ms"]) == ("0", "")


def test_pieces_are_the_text_and_mark_what_the_other_lacks():
    found = pieces("Step 1, now", "Step 2, now")
    assert "".join(piece.text for piece in found) == "Step 1, now"
    assert [piece.text for piece in found if piece.is_other] == ["1"]
    assert pieces("", "x") == []
