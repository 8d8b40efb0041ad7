"""The caption band of real footage, judged by the subtitles that were burned into it."""

from pathlib import Path

import pysubs2
import pytest
from rapidfuzz import fuzz

from modal_gpu.frame_index import full_frame_indices
from modal_gpu.layout.analysis import Layout, analyze_layout
from modal_gpu.media.frames import read_full_frames
from modal_gpu.media.probe import probe
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.ocr.rapid import RapidOcrEngine

pytestmark = pytest.mark.data


def analyzed(video: Path, every: int = 1) -> tuple[Layout, list[FrameOcr]]:
    """The layout from every full frame that the pipeline takes, or from fewer, to be quicker."""
    info = probe(video)
    full_frames = read_full_frames(video, full_frame_indices(info.index_count)[::every])
    with OcrPool(RapidOcrEngine) as pool:
        frames = list(pool.map((frame.index, frame.image) for frame in full_frames))
    return analyze_layout(frames, info.width, info.height), frames


def is_caption(text: str, index: int, subtitles: pysubs2.SSAFile) -> bool:
    """Return whether the truth has this line on screen at an index, with 100 ms of tolerance."""
    milliseconds = index * 100
    return any(
        fuzz.ratio(text, line) > 70
        for event in subtitles
        if event.start - 100 <= milliseconds <= event.end + 100
        for line in event.plaintext.split("\n")
    )


def assert_right(layout: Layout, frames: list[FrameOcr], subtitles: pysubs2.SSAFile) -> None:
    """Every line judged as the truth has it, and every caption inside the crop region."""
    crop = layout.crop_region
    lines = {(frame.frame_index, i): line for frame in frames for i, line in enumerate(frame.lines)}
    for prediction in layout.predictions:
        line = lines[prediction.frame_index, prediction.box_index]
        expected = "in" if is_caption(line.text, prediction.frame_index, subtitles) else "out"
        assert prediction.label == expected, (prediction, line.text)
        if expected == "in":
            assert crop.crop_left <= line.box.left and line.box.right <= crop.crop_right
            assert crop.crop_top <= line.box.top and line.box.bottom <= crop.crop_bottom


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every", "lines", "tallest"), [("en90", 2, 2, 0.19), ("zh80", 1, 1, 0.13)])
def test_the_band_of_a_clip_holds_every_caption_and_little_else(data_dir, name, every, lines, tallest):
    layout, frames = analyzed(data_dir / "clips" / f"{name}.mp4", every=every)
    assert layout.found and layout.confidence > 0.95 and layout.line_count == lines
    assert layout.anchor_type == "center" and layout.anchor_position == pytest.approx(0.5, abs=0.01)
    assert layout.crop_region.crop_bottom - layout.crop_region.crop_top < tallest
    assert_right(layout, frames, pysubs2.load(str(data_dir / "clips" / f"{name}.srt")))


@pytest.mark.parametrize("name", ["base8.mp4", "vertical_406x720.mp4", "rotated_meta90.mp4"])
def test_eight_seconds_are_enough_for_a_band(data_dir, name):
    layout, frames = analyzed(data_dir / "odd" / name)
    assert layout.found and layout.confidence > 0.7 and layout.line_count == 2
    assert_right(layout, frames, pysubs2.load(str(data_dir / "odd" / "base8.srt")))


@pytest.mark.parametrize("name", ["all_black.mp4", "one_frame.mp4"])
def test_videos_without_captions_are_reported_as_such(data_dir, name):
    layout, _ = analyzed(data_dir / "odd" / name)
    assert not layout.found and layout.reason.startswith("No ")
