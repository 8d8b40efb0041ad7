"""The names of videos that commands take; ``status`` and ``retry``."""

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

UNKNOWN = "11111111-1111-4111-8111-111111111111"
OF_A_VIDEO = [
    ("status",),
    ("captions",),
    ("export",),
    ("retry",),
    ("layout", "show"),
    ("layout", "approve"),
]


@pytest.mark.parametrize("command", OF_A_VIDEO, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (UNKNOWN, f"video {UNKNOWN} is not in the catalogue"),
        ("deadbeef", "no video matches 'deadbeef'; `captionacc status` lists all videos"),
    ],
    ids=["id", "prefix"],
)
def test_an_unknown_video_is_refused(captionacc: Captionacc, command, name: str, message: str):
    result = captionacc(*command, name)
    assert result.code == 1
    assert f"error: {message}" in result.text


@pytest.mark.parametrize("given", ["id", "prefix", "upper-case prefix", "partition key", "file"])
def test_a_video_is_known_by_id_prefix_or_file_name(captionacc: Captionacc, finished: VideoRow, given: str):
    video_id = finished.video_id
    name = {
        "id": video_id,
        "prefix": video_id[:8],
        "upper-case prefix": video_id[:8].upper(),
        "partition key": f"harbour.mp4~{video_id}",
        "file": "harbour.mp4",
    }[given]
    result = captionacc("captions", name)
    assert result.code == 0 and "Only the gulls are still awake." in result.text


class TestStatus:
    def test_without_videos_it_explains_how_to_begin(self, captionacc: Captionacc):
        result = captionacc("status")
        assert result.code == 0 and "captionacc ingest FILE" in result.text

    def test_all_videos_are_listed_with_their_stages(
        self, captionacc: Captionacc, line: Line, finished: VideoRow, clip: Clip
    ):
        failed = line.upload(clip.path).video_id
        line.catalog.fail_stage(failed, "layout", "run-1", "the file is not a video")
        working = line.upload(clip.path).video_id
        line.catalog.begin_stage(working, "layout", "run-2")
        result = captionacc("status")
        assert result.code == 0
        for video_id in (finished.video_id, failed, working):
            assert video_id[:8] in result.text
        for word in ("done", "ready", "error", "working", "wait"):
            assert word in result.text

    def test_one_video_is_shown_in_detail(self, captionacc: Captionacc, finished: VideoRow):
        result = captionacc("status", finished.video_id)
        assert result.code == 0
        for part in (
            finished.video_id,
            finished.tenant_id,
            "640 × 360",
            "h264",
            "8.0 s",
            "by auto",
            "version 1",
        ):
            assert part in result.text

    def test_an_error_is_shown_with_its_run(self, captionacc: Captionacc, line: Line, clip: Clip):
        video_id = line.upload(clip.path).video_id
        line.catalog.fail_stage(video_id, "layout", "run-1", "the file is cut off [moov] before its index")
        result = captionacc("status", video_id)
        assert result.code == 0
        assert "the file is cut off [moov] before its index" in result.text and "run-1" in result.text


class TestRetry:
    def test_a_failed_stage_waits_again_after_retry(self, captionacc: Captionacc, line: Line, clip: Clip):
        video_id = line.upload(clip.path).video_id
        line.catalog.fail_stage(video_id, "layout", "run-1", "no space left")
        result = captionacc("retry", video_id)
        assert result.code == 0 and "will retry layout" in result.text
        assert line.row(video_id).layout.status == "wait"

    def test_a_video_without_a_failed_stage_is_left_alone(self, captionacc, finished: VideoRow):
        result = captionacc("retry", finished.video_id)
        assert result.code == 0 and "no stage has failed" in result.text
