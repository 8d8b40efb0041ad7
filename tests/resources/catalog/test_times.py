"""The times that the catalogue keeps with a video, on both transports."""

import pytest

from captionacc_dagster.resources.catalog import InvalidArgumentError, WrongStateError
from modal_gpu.timeline import Timeline

LATE = Timeline.from_rows([(0, 1.5, True), (130, 7199.04, False)])


def test_a_new_video_has_no_offset(videos):
    assert videos.uploaded().timeline == Timeline()


def test_times_are_kept_with_the_video_by_the_stage_that_read_it(catalog, videos):
    video_id = videos.uploaded().video_id
    catalog.begin_stage(video_id, "layout", "run")
    row = catalog.record_times(
        video_id, "layout", "run", frame_count=250, duration_seconds=24.96, timeline=LATE
    )
    assert row == catalog.get_video(video_id)
    assert (row.frame_count, row.duration_seconds, row.timeline) == (250, 24.96, LATE)
    assert row.timeline.start_offset_seconds == 1.5


def test_a_run_that_does_not_work_on_the_stage_records_nothing(catalog, videos):
    row = videos.cropping()
    with pytest.raises(WrongStateError, match="run crop-run does"):
        catalog.record_times(
            row.video_id, "boundaries", "other", frame_count=5, duration_seconds=0.5, timeline=LATE
        )
    assert catalog.get_video(row.video_id).timeline == row.timeline


@pytest.mark.parametrize(("frame_count", "seconds"), [(0, 1.0), (5, -1.0), (5, 1e8)])
def test_a_length_that_no_video_has_is_refused(catalog, videos, frame_count, seconds):
    video_id = videos.cropping().video_id
    with pytest.raises(InvalidArgumentError):
        catalog.record_times(
            video_id,
            "boundaries",
            "crop-run",
            frame_count=frame_count,
            duration_seconds=seconds,
            timeline=LATE,
        )
