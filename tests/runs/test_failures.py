"""The sentence about a failed run: one line, with the video's name and what to do next."""

import pytest

from captionacc_dagster.costs.estimates import CostLimitError
from captionacc_dagster.resources.catalog import CatalogUnavailableError, WrongStateError
from captionacc_dagster.runs.failures import final_failure, retry, sentence
from captionacc_dagster.runs.retries import Retries
from modal_gpu.errors import CaptionAccError, DiskFullError, InvalidCropRegionError, NotAVideoError

VIDEO_ID = "edc31d52-0bd1-4c05-8113-97c434447e12"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            NotAVideoError("the file is no video"),
            "the file is no video. Upload another file, and delete this video with the job delete_video.",
        ),
        (
            InvalidCropRegionError("the region is empty."),
            "the region is empty. Approve another region with the job approve_layout.",
        ),
        (
            CatalogUnavailableError("no answer"),
            "no answer. It may pass: launch the job process_video to try once more.",
        ),
        (DiskFullError("the disk is full"), "the disk is full. Then launch the job process_video."),
        # These say themselves what to do.
        (CostLimitError("raise the limit"), "raise the limit"),
        (WrongStateError(f"video {VIDEO_ID} waits:\n  approve it"), "the video waits: approve it"),
        (CaptionAccError(), "CaptionAccError"),
    ],
)
def test_an_error_becomes_one_line_with_the_next_step(error: CaptionAccError, said: str):
    assert sentence(error, "talk.mp4", VIDEO_ID) == f"talk.mp4: {said}"
    failure = final_failure(error, "talk.mp4", VIDEO_ID)
    (shown,) = failure.user_code_process_error_infos
    assert (shown.message, shown.stack, shown.cls_name) == (f"talk.mp4: {said}", [], type(error).__name__)


@pytest.mark.parametrize("error", [CatalogUnavailableError("no answer"), DiskFullError("the disk is full")])
def test_the_next_step_repeats_what_failed(error: CaptionAccError):
    said = sentence(error, again="launch this job again")
    assert "launch this job again" in said and "process_video" not in said


def test_a_try_that_is_repeated_says_when_and_names_no_id():
    error = CatalogUnavailableError(f"video {VIDEO_ID} is locked\nby ann")
    again = retry(error, "talk.mp4", VIDEO_ID, Retries(jitter=0), 2)
    assert str(again) == "talk.mp4: the video is locked by ann (try 2 of 3; again in 10 s)"
    assert (again.max_retries, again.seconds_to_wait) == (2, 10)


def test_a_job_of_no_single_video_names_none():
    assert sentence(CaptionAccError("no video matches")) == "no video matches"
