"""A part of a video, read on its own, has exactly the frames and chunks of the full video."""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stamped_clips import Clip, every
from test_media_frames import BOTTOM, CLIPS
from test_media_odd_files import VIDEOS

from modal_gpu.contracts import CropRegion
from modal_gpu.frame_index import chunks
from modal_gpu.media.chunks import write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
from modal_gpu.media.probe import probe
from modal_gpu.media.report import DecodeReport

SMALL = (12, 60)


@lru_cache(maxsize=4)
def whole(path: Path) -> list[CroppedFrame]:
    return list(read_cropped_frames(path, BOTTOM, source_size=SMALL))


def same(frame: CroppedFrame, other: CroppedFrame, *, damaged: bool) -> bool:
    same_frames = (frame.index, frame.seconds, frame.matrix) == (other.index, other.seconds, other.matrix)
    if damaged:  # a decoder's replacement of lost pixels varies from time to time
        return same_frames
    return (
        same_frames
        and np.array_equal(frame.yuv, other.yuv)
        and [s.seconds for s in frame.source] == [s.seconds for s in other.source]
        and all(np.array_equal(a.luma, b.luma) for a, b in zip(frame.source, other.source, strict=True))
    )


def check_parts(path: Path, cuts: list[int], *, damaged: bool = False) -> None:
    frames = whole(path)
    cuts = sorted({0, *(cut for cut in cuts if cut < len(frames))})
    for start, end in zip(cuts, [*cuts[1:], None], strict=True):
        part = list(read_cropped_frames(path, BOTTOM, first_index=start, end_index=end, source_size=SMALL))
        assert [f.index for f in part] == list(range(start, len(frames) if end is None else end))
        expected = frames[start:end]
        assert all(same(a, b, damaged=damaged) for a, b in zip(part, expected, strict=True))


@pytest.fixture(scope="module", params=CLIPS.values(), ids=CLIPS.keys())
def path(request, tmp_path_factory) -> Path:
    return request.param.write(tmp_path_factory.mktemp("clip"))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 80), max_size=3))
def test_the_parts_of_a_video_are_the_whole(path: Path, cuts: list[int]):
    check_parts(path, cuts)


@pytest.mark.data
@pytest.mark.parametrize("name", VIDEOS)
def test_the_parts_of_an_unusual_video_are_the_whole(data_dir: Path, name: str):
    check_parts(data_dir / "odd" / name, [17, 40, 71], damaged="bitflips" in name)


def test_every_source_frame_is_seen_once_and_before_its_index(path: Path):
    strips = [(strip.seconds, frame.index) for frame in whole(path) for strip in frame.source]
    seconds = [at for at, _ in strips]
    assert seconds == sorted(set(seconds)) and seconds[0] == 0
    assert all(index - 1 < at * 10 <= index + 1e-6 for at, index in strips)
    assert all(frame.source[-1].seconds == frame.seconds for frame in whole(path) if frame.source)


def test_a_part_decodes_little_more_than_itself(tmp_path: Path):
    for suffix in (".mp4", ".mkv"):
        clip = Clip(
            every(25, 1000), suffix, options={"preset": "ultrafast", "g": "25"}, time_base=Fraction(1, 1000)
        )
        report = DecodeReport()
        part = list(read_cropped_frames(clip.write(tmp_path), BOTTOM, report, first_index=200, end_index=220))
        assert len(part) == 20
        assert report.decoded_frames < 50 + 25 + 30
        assert report.describe() == ""


def test_a_part_after_the_end_is_empty(tmp_path: Path):
    path = Clip(every(25, 30)).write(tmp_path)
    assert list(read_cropped_frames(path, BOTTOM, first_index=512)) == []


def test_the_chunks_of_parts_are_those_of_the_whole(tmp_path: Path):
    path = Clip(every(10, 1100), options={"preset": "ultrafast", "g": "40"}, size=(160, 48)).write(tmp_path)
    undivided = {c.ref: c.data for c in write_chunks(read_cropped_frames(path, BOTTOM))}
    assert sorted(undivided) == sorted(chunks(1100))
    divided = {}
    for start, end in [(0, 512), (512, 1024), (1024, None)]:
        part = read_cropped_frames(path, BOTTOM, first_index=start, end_index=end)
        divided |= {c.ref: c.data for c in write_chunks(part, first_index=start)}
    assert divided == undivided
    with pytest.raises(ValueError, match="500"):
        next(write_chunks([], first_index=500))


@pytest.mark.data
@pytest.mark.parametrize("name", ["base8.mp4", "hevc10bit.mp4", "anamorphic_sar.mp4", "rotated_meta90.mp4"])
def test_small_pictures_look_like_the_strips(data_dir: Path, name: str):
    path = data_dir / "odd" / name
    info, crop = probe(path), CropRegion(0.1, 0.7, 0.9, 1)
    left, top, right, bottom = crop.pixels(info.width, info.height)
    size = ((bottom - top) // 4, (right - left) // 4)
    for frame in read_cropped_frames(path, crop, source_size=size, end_index=20):
        for strip in frame.source[-1:]:
            assert strip.luma.shape == size
            coarse = (
                frame.luma[: size[0] * 4, : size[1] * 4].reshape(size[0], 4, size[1], 4).mean(axis=(1, 3))
            )
            assert abs(coarse - strip.luma).mean() < 4
