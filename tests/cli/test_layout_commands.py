"""``layout``: the zones are shown, set, added, moved, removed and approved; a bad region is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.databases.captions import read_captions, write_captions
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line


def test_it_is_shown_and_drawn(captionacc: Captionacc, finished: VideoRow, tmp_path: Path):
    picture = tmp_path / "layout.jpg"
    result = captionacc("layout", "show", finished.video_id, "--picture", picture)
    assert result.code == 0
    assert f"{finished.crop_region.crop_top:.4f}" in result.text
    assert "by auto, version 1" in result.text
    assert Image.open(picture).size[0] == 960


def test_an_unwritable_picture_is_explained_in_one_sentence(captionacc, finished: VideoRow):
    result = captionacc("layout", "show", finished.video_id, "--picture", "/nowhere/layout.jpg")
    assert result.code == 1 and "/nowhere/layout.jpg" in result.text


def test_before_the_first_run_the_message_explains_it(captionacc: Captionacc, line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    for command in ("show", "approve"):
        result = captionacc("layout", command, video_id)
        assert result.code == 1 and "has no layout yet" in result.text


def test_approving_uses_the_detected_region(captionacc, line: Line, laid_out, clip: Clip):
    line.catalog.set_auto_approve(line.tenant_id, None)
    video_id = line.upload(clip.path).video_id
    assert line.run("layout", video_id).success
    result = captionacc("layout", "approve", video_id)
    assert result.code == 0 and "Approved harbour.mp4" in result.text
    row = line.row(video_id)
    assert row.crop_region == row.proposed_crop_region
    assert row.layout_approved_by not in (None, "auto")


def test_a_custom_region_is_set(captionacc: Captionacc, line: Line, finished: VideoRow):
    result = captionacc(
        "layout", "set", finished.video_id, "--left", 0.1, "--top", 0.7, "--right", 0.9, "--bottom", 1
    )
    assert result.code == 0
    row = line.row(finished.video_id)
    assert (row.crop_region, row.crop_region_version) == (CropRegion(0.1, 0.7, 0.9, 1.0), 2)
    assert (row.boundaries.status, row.text.status) == ("wait", "wait")


def test_a_region_is_given_and_shown_in_pixels_too(captionacc, line: Line, finished: VideoRow):
    video, sides = finished.video_id, ("--left=64", "--top=252", "--right=576", "--bottom=360")
    result = captionacc("layout", "set", video, *sides)
    assert result.code == 0 and "top 0.7000" in result.text and "(pixels 64,252,576,360)" in result.text
    assert line.row(video).crop_region == CropRegion(0.1, 0.7, 0.9, 1.0)
    zone = ("--left=64", "--top=0", "--right=576", "--bottom=36")
    assert "Zone 1: left 0.1000, top 0.0000" in captionacc("layout", "add-zone", video, *zone).text
    assert captionacc("layout", "move-zone", video, 1, "--left=0", *zone[1:]).code == 0
    assert "zone 1 left 0.0000, top 0.0000, right 0.9000" in captionacc("status", video).text
    shown = captionacc("layout", "show", video).text
    assert "top 0.7000 (pixel 252)" in shown and "(pixels 0,0,576,36)" in shown


@pytest.mark.parametrize(
    ("left", "top", "right", "bottom", "error"),
    [
        (0.1, 0.7, 1.2, 1, "give fractions from 0 to 1, or whole pixels"),
        (10, 200, 700, 300, "outside of the frame of 640 × 360 pixels"),
        (500, 200, 100, 300, "left must be less than right"),
        (-0.1, 0.7, 0.9, 1, "-0.1 is not in the range 0<=x<=65536"),
        (0.9, 0.7, 0.1, 1, "is not inside"),
        (0.1, 0.7, 0.9, 0.7, "is not inside"),
        ("nan", 0, 1, 1, "nan"),
    ],
)
def test_a_bad_region_is_refused_with_its_values(
    captionacc: Captionacc, line: Line, finished: VideoRow, left, top, right, bottom, error
):
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    arguments = [part for side, value in sides.items() for part in (f"--{side}={value}",)]
    result = captionacc("layout", "set", finished.video_id, *arguments)
    assert error in result.text
    assert result.code == (1 if "640 × 360" in error else 2)
    if error == "is not inside":
        assert all(f"{side}={float(value)}" in result.text for side, value in sides.items())
    assert line.row(finished.video_id).crop_region == finished.crop_region


def test_zones_are_added_moved_removed_and_shown(captionacc: Captionacc, line: Line, finished: VideoRow):
    def sides(*values: float) -> list[str]:
        names = ("left", "top", "right", "bottom")
        return [f"--{name}={value}" for name, value in zip(names, values, strict=True)]

    video, top = finished.video_id, CropRegion(0.1, 0.05, 0.9, 0.2)
    added = captionacc("layout", "add-zone", video, *sides(0.1, 0.05, 0.9, 0.2), "--language", "pt-BR")
    assert added.code == 0 and "Zone 1: left 0.1000, top 0.0500" in added.text
    assert captionacc("layout", "add-zone", video, *sides(0, 0.4, 1, 0.5)).code == 0
    row = line.row(video)
    assert row.caption_zones == (CaptionZone(1, top, "pt-BR"), CaptionZone(2, CropRegion(0, 0.4, 1, 0.5)))
    assert (row.crop_region, row.crop_region_version) == (finished.crop_region, 3)
    assert (row.boundaries.status, row.text.status) == ("wait", "wait")

    # Zone 0 moves alone, and a zone keeps its language and its number.
    assert captionacc("layout", "set", video, *sides(0.1, 0.7, 0.9, 1)).code == 0
    assert captionacc("layout", "move-zone", video, 1, *sides(0.1, 0.1, 0.9, 0.2)).code == 0
    moved = line.row(video).caption_zones[0]
    assert (moved.crop_region.crop_top, moved.language) == (0.1, "pt-BR")
    shown = captionacc("layout", "show", video).text
    assert "zone 1" in shown and "language pt-BR" in shown and "zone 2" in shown
    assert captionacc("layout", "remove-zone", video, 1).code == 0
    assert [zone.zone_index for zone in line.row(video).caption_zones] == [2]


def test_the_number_of_a_removed_zone_stays_with_its_captions(
    captionacc: Captionacc, line: Line, finished: VideoRow
):
    """A person's captions of the removed zone would otherwise be moved into the new one."""
    key = line.keys(finished.video_id).captions_db
    first, *others = read_captions(line.store.get(key))
    kept = replace(first, zone=1, state="confirmed", text="Mine.")
    line.store.put(key, write_captions([kept, *others]))
    sides = ("--left=0", "--top=0", "--right=1", "--bottom=0.1")
    assert captionacc("layout", "add-zone", finished.video_id, *sides).code == 0
    assert [zone.zone_index for zone in line.row(finished.video_id).caption_zones] == [2]


def test_a_zone_that_is_not_there_is_named_with_those_that_are(captionacc, line, finished: VideoRow):
    for command in (("remove-zone",), ("move-zone", "--left=0", "--top=0", "--right=1", "--bottom=0.1")):
        result = captionacc("layout", command[0], finished.video_id, 3, *command[1:])
        assert result.code == 1 and "has no zone 3" in result.text and "it has none" in result.text
    bad = captionacc(
        *("layout", "add-zone", finished.video_id, "--left=0", "--top=0", "--right=1", "--bottom=0.1"),
        "--language=English, please",
    )
    assert bad.code == 2 and "language" in bad.text
    assert line.row(finished.video_id).caption_zones == ()


def test_a_side_that_is_not_a_number_is_a_usage_error(captionacc, finished: VideoRow):
    result = captionacc("layout", "set", finished.video_id, "--left=a", "--top=0", "--right=1", "--bottom=1")
    assert result.code == 2 and "'a' is not a valid float" in result.text
