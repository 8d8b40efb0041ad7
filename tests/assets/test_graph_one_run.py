"""One run from the upload to subtitles, where the tenant's policy approves the layout."""

from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest

from captionacc_dagster.assets.layout import _finish
from captionacc_dagster.constants import LOCAL_TENANT_ID
from tests.clip_fixtures import Clip
from tests.line_fixtures import CONFIDENCE, Line
from tests.run_results import checks, failure, materialized


def context() -> SimpleNamespace:
    run = SimpleNamespace(run_id="this run", parent_run_id="parent", root_run_id="root", asset_selection=None)
    return SimpleNamespace(run=run, selected_asset_keys={dg.AssetKey("layout_approval")})


LAYOUT = ["full_frames", "layout_db", "raw_ocr_db"]
CAPTIONS = ["caption_frame_extents_db", "caption_ocr", "captions_db", "cropped_chunks", "subtitles"]


def test_one_run_makes_everything(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    result = line.run("video", video_id)
    assert result.success, failure(result)
    assert materialized(result) == sorted([*LAYOUT, "layout_approval", *CAPTIONS])
    assert len(checks(result)) == 10 and all(checks(result).values())
    row = line.row(video_id)
    assert (row.layout.status, row.layout_approved_by) == ("done", "auto")
    assert (row.boundaries.status, row.text.status) == ("annotate", "annotate")
    assert (row.boundaries.last_run_id, row.text.last_run_id) == (result.run_id, result.run_id)
    assert (row.boundaries.run_id, row.boundaries.attempts, row.text_caption_count) == (None, 1, 3)
    assert line.catalog.pending_layout_approvals() == []
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("layout_approval")
    ]
    materialization = event.step_materialization_data.materialization
    assert materialization.metadata["approved_by"].value == "auto"
    assert materialization.tags["dagster/data_version"] == "crop-1"


def test_a_layout_that_needs_a_person_ends_the_run(line: Line, clip: Clip):
    line.catalog.set_auto_approve(LOCAL_TENANT_ID, 0.999)
    video_id = line.upload(clip.path).video_id
    result = line.run("video", video_id)
    assert result.success, failure(result)
    assert materialized(result) == LAYOUT
    row = line.row(video_id)
    assert (row.layout.status, row.boundaries.status, row.boundaries.run_id) == ("annotate", "wait", None)
    assert sorted(checks(result)) == [
        "boxes_match_ocr",
        "every_frame_present",
        "every_frame_read",
        "script_can_be_read",
    ]
    # Whoever approves it gets another run.
    line.catalog.approve_layout(video_id, "ann")
    assert [found.video_id for found in line.catalog.pending_layout_approvals()] == [video_id]


@pytest.mark.parametrize("selected", [["layout_db"], ["layout_db", "layout_approval"]])
def test_a_run_without_crops_does_not_go_on(line: Line, laid_out, selected: list[str]):
    line.catalog.set_auto_approve(LOCAL_TENANT_ID, CONFIDENCE)
    result = line.run("video", laid_out.video_id, *selected)
    assert result.success, failure(result)
    assert materialized(result) == ["layout_db"]
    assert line.row(laid_out.video_id).boundaries.run_id is None


@pytest.mark.parametrize(
    "status, run_id, goes_on",
    [
        ("wait", "this run", True),
        # A sensor has claimed the approval, or another run works on it.
        ("wait", None, False),
        ("wait", "another run", False),
        # A person materializes everything again.
        ("annotate", None, True),
        ("done", None, True),
        ("error", None, True),
    ],
)
def test_a_run_goes_on_unless_another_one_does(laid_out, status: str, run_id: str | None, goes_on: bool):
    row = replace(laid_out, boundaries=replace(laid_out.boundaries, status=status, run_id=run_id))
    asked = []
    catalog = SimpleNamespace(finish_layout=lambda *args, **options: asked.append(options) or row)
    approval = _finish(context(), catalog, row, outcome=None)
    assert asked == [{"goes_on": True, "former_run_id": None}]
    assert (approval is not None) == goes_on


@pytest.mark.parametrize(
    "owner, former", [("parent", "parent"), ("root", "root"), ("another", None), (None, None)]
)
def test_a_retry_takes_over_from_the_run_that_it_retries(laid_out, owner: str | None, former: str | None):
    row = replace(laid_out, boundaries=replace(laid_out.boundaries, run_id=owner))
    asked = []
    catalog = SimpleNamespace(finish_layout=lambda *args, **options: asked.append(options) or row)
    _finish(context(), catalog, row, outcome=None)
    assert [options["former_run_id"] for options in asked] == [former]
