"""``approve_layout``: its form shows what was found, and a launch approves as the command does."""

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from modal_gpu.contracts import CaptionZone, CropRegion
from tests.dagster_page import DagsterPage, LaunchError
from tests.line_fixtures import Line

JOB = "approve_layout"


def sides(crop: CropRegion) -> dict[str, float]:
    """As the form shows them."""
    return {side: round(getattr(crop, f"crop_{side}"), 4) for side in ("left", "top", "right", "bottom")}


def test_the_form_shows_the_region_that_was_found(ui: DagsterPage, waiting: VideoRow):
    assert ui.fields(JOB, waiting.partition_key) == {
        "region": sides(waiting.proposed_crop_region),
        "zones": [],
    }


def test_the_form_launched_as_it_is_approves_what_was_found_and_the_next_stage_starts(
    ui: DagsterPage, line: Line, waiting: VideoRow
):
    page = ui.launch(JOB, ui.form(JOB, waiting.partition_key), waiting.partition_key)
    assert page.status == "SUCCESS" and page.red == []
    row = line.row(waiting.video_id)
    assert (row.layout.status, row.crop_region) == ("done", waiting.proposed_crop_region)
    assert page.output["follows"] == "its captions will be made"
    (request,) = line.tick(layout_approvals).run_requests
    assert request.partition_key == waiting.partition_key


@pytest.mark.parametrize("fields", [{}, {"approved_by": "ann"}])
def test_without_regions_the_layout_is_approved_as_found(ui, line: Line, waiting: VideoRow, fields: dict):
    assert ui.act(JOB, waiting.partition_key, **fields).status == "SUCCESS"
    row = line.row(waiting.video_id)
    assert row.crop_region == waiting.proposed_crop_region
    assert row.layout_approved_by == fields.get("approved_by", "dagster")


def test_a_region_may_be_in_pixels_and_zones_get_free_numbers(ui, line: Line, waiting: VideoRow):
    width, height = waiting.width, waiting.height
    region = {"left": 0, "top": height * 0.75, "right": width, "bottom": height}
    zones = [
        {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 0.1, "language": "ko"},
        {"left": 0.0, "top": 0.2, "right": 1.0, "bottom": 0.3, "zone": 1},
    ]
    page = ui.act(JOB, waiting.partition_key, region=region, zones=zones)
    assert page.status == "SUCCESS", page.errors
    row = line.row(waiting.video_id)
    assert row.crop_region == CropRegion(0, 0.75, 1, 1)
    assert row.caption_zones == (
        CaptionZone(1, CropRegion(0, 0.2, 1, 0.3)),
        CaptionZone(2, CropRegion(0, 0, 1, 0.1), "ko"),
    )
    assert page.output["further_zones"] == 2


def test_zones_alone_keep_the_approved_region(ui, line: Line, laid_out: VideoRow):
    zone = {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 0.1}
    moved = CropRegion(0, 0.7, 1, 1)
    line.catalog.approve_layout(laid_out.video_id, "ann", moved)
    assert ui.act(JOB, laid_out.partition_key, zones=[zone]).status == "SUCCESS"
    row = line.row(laid_out.video_id)
    assert row.crop_region == moved and len(row.caption_zones) == 1


def test_one_corrected_side_leaves_the_others_exact(ui, line: Line, waiting: VideoRow):
    found = waiting.proposed_crop_region
    assert found.crop_left != round(found.crop_left, 4)
    region = {**ui.fields(JOB, waiting.partition_key)["region"], "top": 0.7}
    assert ui.act(JOB, waiting.partition_key, region=region).status == "SUCCESS"
    expected = CropRegion(found.crop_left, 0.7, found.crop_right, found.crop_bottom)
    assert line.row(waiting.video_id).crop_region == expected


def test_a_side_of_zero_pixels_is_not_the_fraction_that_the_form_rounds_to_zero(ui, line: Line, waiting):
    line.catalog.approve_layout(waiting.video_id, "ann", CropRegion(0.00002, 0.5, 1, 1))
    region = {"left": 0, "top": waiting.height * 0.75, "right": waiting.width, "bottom": waiting.height}
    page = ui.act(JOB, waiting.partition_key, region=region)
    assert page.status == "SUCCESS", page.errors
    assert line.row(waiting.video_id).crop_region == CropRegion(0, 0.75, 1, 1)


def test_the_same_approval_again_changes_nothing(ui, line: Line, laid_out: VideoRow):
    page = ui.launch(JOB, ui.form(JOB, laid_out.partition_key), laid_out.partition_key)
    assert page.status == "SUCCESS"
    assert page.output["follows"] == "these regions were approved before: nothing changes"
    assert line.row(laid_out.video_id).crop_region_version == laid_out.crop_region_version


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ({"left": 0.9, "top": 0.7, "right": 0.1, "bottom": 1.0}, "is not inside [0, 1] with left < right"),
        ({"left": 0.0, "top": 0.7, "right": 1.0, "bottom": 0.701}, "is too thin"),
    ],
)
def test_a_wrong_region_ends_the_run_in_one_sentence(ui, line, waiting: VideoRow, region: dict, says: str):
    page = ui.act(JOB, waiting.partition_key, region=region)
    assert page.failure.startswith("harbour.mp4: crop region") and says in page.failure
    assert page.failure.endswith("Approve another region with the job approve_layout.")
    assert line.row(waiting.video_id).layout.status == "annotate"


def test_a_video_without_a_layout_says_so(ui, line: Line, clip):
    row = line.upload(clip.path)
    assert ui.fields(JOB, row.partition_key) == {}
    page = ui.act(JOB, row.partition_key)
    assert page.failure.startswith("harbour.mp4: the video has no layout yet")


def test_a_field_that_is_not_in_the_form_is_refused_by_the_launchpad(ui, waiting: VideoRow):
    with pytest.raises(LaunchError, match="regio"):
        ui.act(JOB, waiting.partition_key, regio={})


def test_without_a_partition_the_run_says_what_to_choose(ui: DagsterPage, waiting: VideoRow):
    page = ui.act(JOB, None)
    assert page.failure == "No video is chosen: choose its partition in the launchpad."
