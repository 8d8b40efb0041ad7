"""Files that are no good videos, made here: a clear error in the row and the run, or what can be had."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from modal_gpu.contracts import ExtractRequest
from modal_gpu.errors import BadVideoError, NoFramesError, NotAVideoError, NoVideoStreamError
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.run_results import checks, failure, materialized


def text(path: Path, clip: Clip) -> None:
    path.write_text("Not a video at all.\n" * 200)


def noise(path: Path, clip: Clip) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(20_000))


def audio_only(path: Path, clip: Clip) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        for start in range(0, 44_100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44_100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def without_end(path: Path, clip: Clip) -> None:
    """The index of an MP4 stands at its end."""
    data = clip.path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])


def without_frames(path: Path, clip: Clip) -> None:
    """A Matroska file with a video track, cut before its first picture."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def one_pixel(path: Path, clip: Clip) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 1
        stream.pix_fmt = "bgr0"
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((1, 1, 3), np.uint8), "rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


Make = Callable[[Path, Clip], None]
BAD: dict[str, tuple[Make, type[BadVideoError], str]] = {
    "text": (text, NotAVideoError, "the file is not a video"),
    "noise": (noise, NotAVideoError, "the file is not a video"),
    "audio only": (audio_only, NoVideoStreamError, "only audio"),
    "cut off": (without_end, NotAVideoError, "cut off before its index"),
    "no frames": (without_frames, BadVideoError, ""),
    "one pixel": (one_pixel, BadVideoError, "1"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_an_error_in_the_row_and_publishes_nothing(
    line: Line, clip: Clip, tmp_path: Path, what: str
):
    make, kind, message = BAD[what]
    path = tmp_path / "bad.mp4"
    make(path, clip)
    video_id = line.upload(path).video_id
    result = line.run("layout", video_id)
    assert not result.success
    row = line.row(video_id)
    assert (row.layout.status, row.layout.run_id) == ("error", None)
    assert message in row.error and "\n" not in row.error and "Traceback" not in row.error
    assert failure(result).startswith(f"bad.mp4: {row.error}")
    assert row.layout.error_details["run_id"] == result.run_id
    assert materialized(result) == [] and line.stored(video_id) == {}
    # It will not pass: no second attempt.
    assert line.compute.names == ["extract"]

    keys = line.keys(video_id)
    with pytest.raises(kind):
        extract_frames_and_ocr(
            ExtractRequest(keys.tenant_id, keys.video_id, keys.video), line.store, ComputeSettings(1)
        )


def test_a_corrupt_middle_is_reported_and_the_rest_is_processed(line: Line, clip: Clip, tmp_path: Path):
    data = bytearray(clip.path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(1).bytes(6000)
    path = tmp_path / "scratched.mp4"
    path.write_bytes(data)
    video_id = line.upload(path).video_id
    assert line.run("layout", video_id).success
    row = line.row(video_id)
    assert "damaged" in row.damage or "not be decoded" in row.damage
    if row.crop_region is None:
        line.catalog.approve_layout(video_id, "ann")
    result = line.run("captions", video_id)
    assert result.success, failure(result)
    assert all(checks(result).values())
    # Its beginning is intact.
    assert "Every evening the harbour falls silent." in line.store.get(line.keys(video_id).srt).decode()


def test_no_frames_is_an_error_of_its_own(line: Line, clip: Clip, tmp_path: Path):
    path = tmp_path / "empty.mkv"
    without_frames(path, clip)
    keys = line.keys(line.upload(path).video_id)
    with pytest.raises(NoFramesError):
        extract_frames_and_ocr(
            ExtractRequest(keys.tenant_id, keys.video_id, keys.video), line.store, ComputeSettings(1)
        )
