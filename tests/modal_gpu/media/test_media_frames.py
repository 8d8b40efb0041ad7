"""The source frame of an index: chosen by presentation time, by both readers, for any container."""

import tracemalloc
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stamped_clips import Clip, decode_everything, every, packet_positions, read_stamp

from modal_gpu.contracts import CropRegion
from modal_gpu.media import seeking
from modal_gpu.media.decoding import PresentedFrame, frames_with_indices, presented_frames
from modal_gpu.media.frames import CroppedFrame, DecodeReport, read_cropped_frames, read_full_frames
from modal_gpu.media.probe import VideoInfo, probe

BOTTOM = CropRegion(0, 0.5, 1, 1)
MILLISECOND = Fraction(1, 1000)
B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "24"}

JITTERED = [
    Fraction(value, 1000) for value in np.cumsum([23, 17, 90, 4, 210, 33, 150, 40, 61, 380] * 6).tolist()
]

CLIPS = {
    "25 fps": Clip(every(25, 60)),
    "29.97 fps": Clip(every(Fraction(30000, 1001), 70)),
    "60 fps": Clip(every(60, 130)),
    "2 fps": Clip(every(2, 9)),
    "one frame": Clip(every(25, 1)),
    "B-frames": Clip(every(25, 120), options=B_FRAMES),
    "B-frames, Matroska": Clip(every(25, 120), suffix=".mkv", options=B_FRAMES, time_base=MILLISECOND),
    "open GOP": Clip(every(25, 150), options=B_FRAMES | {"x264-params": "open-gop=1:keyint=25"}),
    "intra refresh": Clip(every(25, 150), options={"x264-params": "intra-refresh=1:keyint=30"}),
    "variable frame rate, MP4": Clip(JITTERED, options=B_FRAMES),
    "variable frame rate, Matroska": Clip(JITTERED, suffix=".mkv", options=B_FRAMES, time_base=MILLISECOND),
    "starts at 3.5 s, Matroska": Clip(every(25, 60, Fraction(7, 2)), suffix=".mkv", time_base=MILLISECOND),
    "starts at 1.234 s, MP4": Clip(every(25, 60, Fraction(1234, 1000)), options=B_FRAMES),
    "MPEG-TS": Clip(every(25, 100), suffix=".ts", options=B_FRAMES),
    "AVI": Clip(every(25, 60), suffix=".avi", codec="mpeg4", options={"g": "12"}, time_base=Fraction(1, 25)),
    "AVI, B-frames": Clip(
        every(25, 60), suffix=".avi", codec="mpeg4", options={"g": "12", "bf": "2"}, time_base=Fraction(1, 25)
    ),
    "MPEG-PS": Clip(
        every(25, 60), suffix=".mpg", codec="mpeg2video", options={"bf": "2"}, time_base=Fraction(1, 25)
    ),
    "HEVC, open GOP": Clip(
        every(25, 60),
        codec="libx265",
        options={"preset": "ultrafast", "x265-params": "log-level=none:keyint=20:open-gop=1:bframes=3"},
    ),
    "VP9": Clip(
        every(25, 60),
        suffix=".webm",
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8", "g": "20"},
        time_base=MILLISECOND,
    ),
    "fragmented MP4": Clip(
        every(25, 100), options=B_FRAMES, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "without an edit list": Clip(every(25, 60), options=B_FRAMES, container_options={"use_editlist": "0"}),
    "QuickTime": Clip(every(25, 100), suffix=".mov", options=B_FRAMES),
    "rotated by 90": Clip(every(25, 30), rotation=90),
    "rotated by 180": Clip(every(25, 30), rotation=180),
    "rotated by 270": Clip(every(25, 30), rotation=270),
    "odd sizes": Clip(every(25, 30), size=(321, 97), pixel_format="yuv444p"),
    "odd sizes, rotated": Clip(every(25, 30), size=(321, 97), pixel_format="yuv444p", rotation=90),
    "10 bit": Clip(every(25, 30), pixel_format="yuv420p10le"),
    "4:2:2": Clip(every(25, 30), pixel_format="yuv422p"),
    "full range": Clip(every(25, 30), pixel_format="yuvj420p", full_range=True),
    "anamorphic": Clip(every(25, 30), sample_aspect=Fraction(64, 45)),
}


@dataclass
class Made:
    clip: Clip
    path: Path

    @cached_property
    def info(self) -> VideoInfo:
        return probe(self.path)

    @cached_property
    def report(self) -> DecodeReport:
        return DecodeReport()

    @cached_property
    def cropped(self) -> list[CroppedFrame]:
        return list(read_cropped_frames(self.path, BOTTOM, self.report))

    @cached_property
    def stamps(self) -> list[int]:
        return [read_stamp(frame.luma) for frame in self.cropped]


@pytest.fixture(scope="module", params=CLIPS.values(), ids=CLIPS.keys())
def made(request, tmp_path_factory) -> Made:
    return Made(request.param, request.param.write(tmp_path_factory.mktemp("clip")))


def test_each_index_is_the_last_frame_presented_at_or_before_its_moment(made):
    times, info = made.clip.times, made.info
    assert [frame.index for frame in made.cropped] == list(range(info.index_count))
    assert made.stamps == [made.clip.expected(index) for index in range(info.index_count)]
    assert made.report.describe() == ""
    assert made.report.decoded_frames == len(times)
    # The last frame's own duration is the container's guess.
    assert 0 <= info.duration - (times[-1] - times[0]) <= Fraction(1, 2)


def test_the_brute_force_oracle_agrees(made):
    shown = decode_everything(made.path)
    for index, stamp in enumerate(made.stamps):
        assert stamp == max((time, number) for time, number in shown if time <= Fraction(index, 10))[1]


@pytest.mark.parametrize("step", [1, 9])
def test_full_frames_are_the_same_frames_as_the_crops(made, step):
    wanted = list(range(0, made.info.index_count, step))
    full = list(read_full_frames(made.path, wanted, info=made.info))
    assert [frame.index for frame in full] == wanted
    for frame in full:
        assert frame.image.shape == (made.info.height, made.info.width, 3)
        assert read_stamp(frame.image) == made.stamps[frame.index]
        assert frame.seconds == made.cropped[frame.index].seconds


def test_any_single_full_frame_can_be_asked_for(made):
    count = made.info.index_count
    for index in {count - 1, count // 2, count // 3}:
        (frame,) = read_full_frames(made.path, [index], info=made.info)
        assert read_stamp(frame.image) == made.clip.expected(index)


def test_every_source_frame_can_be_looked_at_in_order(made):
    upright = made.info.orientation.apply
    frames = presented_frames(made.path, info=made.info)
    seen = [(shown.seconds, read_stamp(upright(shown.frame.to_ndarray(format="gray8")))) for shown in frames]
    times = made.clip.times
    assert [number for _, number in seen] == list(range(len(times)))
    for (seconds, _), time in zip(seen, times, strict=True):
        assert abs(seconds - (time - times[0])) <= MILLISECOND


def test_the_dark_band_of_rotated_clips_is_at_the_top(tmp_path):
    for rotation in (0, 90, 180, 270):
        path = Clip(every(25, 2), rotation=rotation).write(tmp_path)
        info = probe(path)
        assert (info.width, info.height, info.rotation) == (320, 96, rotation)
        (full,) = read_full_frames(path, [0])
        top = next(read_cropped_frames(path, CropRegion(0, 0, 1, 0.25)))
        assert full.image[:20].mean() < 40 < full.image[28:].mean()
        assert top.luma.shape == (24, 320)
        assert top.luma.mean() < 50


def test_a_crop_has_the_pixels_of_the_upright_frame(made):
    region = CropRegion(0.21, 0.4, 0.83, 0.95)
    left, top, right, bottom = region.pixels(made.info.width, made.info.height)
    (full,) = read_full_frames(made.path, [0], info=made.info)
    crop = next(read_cropped_frames(made.path, region, info=made.info))
    assert crop.luma.shape == (bottom - top, right - left)
    assert crop.rgb().shape == (bottom - top, right - left, 3)
    difference = crop.rgb().astype(int) - full.image[top:bottom, left:right]
    assert abs(difference).mean() < 2.5


def test_full_range_sources_come_out_in_limited_range(tmp_path):
    path = Clip(every(25, 3), pixel_format="yuvj420p", full_range=True).write(tmp_path)
    limited = Clip(every(25, 3), suffix=".mkv", time_base=MILLISECOND).write(tmp_path)
    full, reference = (
        next(read_cropped_frames(source, CropRegion(0, 0, 1, 1))) for source in (path, limited)
    )
    assert abs(full.luma.astype(int) - reference.luma).mean() < 1.5
    assert abs(full.rgb().astype(int) - reference.rgb()).mean() < 2


def test_anamorphic_video_gets_square_pixels(tmp_path):
    path = Clip(every(25, 3), sample_aspect=Fraction(64, 45)).write(tmp_path)
    assert (probe(path).width, probe(path).height) == (455, 96)
    tall = Clip(every(25, 3), sample_aspect=Fraction(45, 64)).write(tmp_path)
    assert (probe(tall).width, probe(tall).height) == (320, 137)


def test_only_the_group_of_pictures_of_a_wanted_frame_is_decoded(tmp_path):
    options = {"preset": "ultrafast", "g": "25", "sc_threshold": "0"}
    for suffix in (".mp4", ".mkv"):
        path = Clip(every(25, 500), suffix=suffix, options=options, time_base=MILLISECOND).write(tmp_path)
        report = DecodeReport()
        frames = list(read_full_frames(path, [51, 105, 106, 155], report))
        assert [read_stamp(frame.image) for frame in frames] == [127, 262, 265, 387]
        assert report.decoded_frames <= (127 % 25 + 1) + (265 % 25 + 1) + (387 % 25 + 1)


def test_frames_on_the_way_to_a_wanted_one_do_not_pile_up(tmp_path, monkeypatch):
    """A group of pictures of 4K frames would fill the memory."""
    path = Clip(every(25, 500), options={"preset": "ultrafast", "bf": "3", "g": "500"}).write(tmp_path)
    held = []
    decode = seeking._SeekingDecoder._decode

    def counting(self, packet):
        decode(self, packet)
        held.append(len(self._frames))

    monkeypatch.setattr(seeking._SeekingDecoder, "_decode", counting)
    monkeypatch.setattr(seeking, "_MAX_QUEUED", 50)
    stamps = [read_stamp(frame.image) for frame in read_full_frames(path, [70, 75, 180])]
    assert stamps == [175, 187, 450]
    assert max(held) < 12


def test_frames_that_no_other_needs_are_not_decoded_on_the_way(tmp_path):
    options = {"preset": "veryfast", "bf": "3", "g": "250", "b_strategy": "0", "sc_threshold": "0"}
    path = Clip(every(25, 200), options=options).write(tmp_path)
    report = DecodeReport()
    (frame,) = read_full_frames(path, [75], report)
    assert read_stamp(frame.image) == 187
    assert report.decoded_frames < 187 * 0.7


def test_full_frames_past_the_end_repeat_the_last_one(tmp_path):
    path = Clip(every(25, 20)).write(tmp_path)
    assert [read_stamp(frame.image) for frame in read_full_frames(path, [0, 7, 8, 5000])] == [0, 17, 19, 19]


@pytest.mark.parametrize("indices", [[3, 2], [1, 1], [-1, 4]])
def test_full_frame_indices_that_do_not_ascend_are_refused(tmp_path, indices):
    path = Clip(every(25, 20)).write(tmp_path)
    with pytest.raises(ValueError, match="ascend"):
        list(read_full_frames(path, indices))


def test_a_frame_shown_for_several_indices_is_converted_once(tmp_path):
    frames = list(read_cropped_frames(Clip(every(2, 4)).write(tmp_path), BOTTOM))
    assert frames[0].yuv is frames[4].yuv and frames[5].yuv is not frames[4].yuv
    with pytest.raises(ValueError, match="read-only"):
        frames[0].yuv[0, 0] = 1


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path):
    path = Clip(every(25, 1000), options={"preset": "ultrafast", "g": "25"}).write(tmp_path)
    tracemalloc.start()
    for _ in read_cropped_frames(path, BOTTOM):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000  # 400 crops would be 9 MB


def test_undecodable_packets_in_the_middle_are_counted_and_do_not_move_indices(tmp_path):
    clip = Clip(every(10, 60), options={"preset": "ultrafast", "g": "1"})
    path = clip.write(tmp_path)
    _wipe(path, range(20, 26))
    report = DecodeReport()
    stamps = [read_stamp(frame.luma) for frame in read_cropped_frames(path, BOTTOM, report)]
    assert stamps == [19 if 20 <= index < 26 else index for index in range(60)]
    assert report.corrupt_packets == 6
    assert report.describe() == "6 damaged packets could not be decoded"
    full = [read_stamp(frame.image) for frame in read_full_frames(path, range(60))]
    assert full == stamps


def test_the_first_good_frame_replaces_earlier_bad_ones(tmp_path):
    path = Clip(every(10, 30), options={"preset": "ultrafast", "g": "1"}).write(tmp_path)
    _wipe(path, range(0, 4))
    stamps = [read_stamp(frame.luma) for frame in read_cropped_frames(path, BOTTOM)]
    assert stamps == [max(4, index) for index in range(30)]
    assert [read_stamp(frame.image) for frame in read_full_frames(path, range(30))] == stamps


def test_a_damaged_end_repeats_the_last_good_frame(tmp_path):
    path = Clip(every(10, 30), options={"preset": "ultrafast", "g": "1"}).write(tmp_path)
    _wipe(path, range(25, 30))
    stamps = [read_stamp(frame.luma) for frame in read_cropped_frames(path, BOTTOM)]
    assert stamps == [min(24, index) for index in range(30)]


def test_a_truncated_file_ends_with_its_bytes_and_is_reported(tmp_path):
    for suffix in (".mkv", ".ts"):
        path = Clip(every(25, 200), suffix=suffix, options=B_FRAMES, time_base=MILLISECOND).write(tmp_path)
        whole = probe(path).index_count
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        info, report = probe(path), DecodeReport()
        frames = list(read_cropped_frames(path, BOTTOM, report))
        assert whole * 0.3 < info.index_count == len(frames) < whole * 0.7
        if suffix == ".mkv":
            assert info.ended_early and report.ended_early
            assert report.describe().startswith("the file ends early, after ")


def _wipe(path: Path, packets: range) -> None:
    data = bytearray(path.read_bytes())
    positions = packet_positions(path)
    for number in packets:
        start, size = positions[number]
        data[start : start + size] = bytes(size)
    path.write_bytes(data)


times = st.lists(st.integers(1, 700), max_size=40).map(lambda gaps: np.cumsum([0, *gaps]).tolist())


@given(times, st.integers(1, 200))
def test_index_ranges_cover_every_index_once_and_follow_the_definition(milliseconds, index_count):
    shown = [Fraction(value, 1000) for value in milliseconds]
    frames = [PresentedFrame(seconds, Fraction(1, 25), None) for seconds in shown]
    pairs = list(frames_with_indices(frames, index_count))
    assert [frame for frame, _ in pairs] == frames
    assert [index for _, covered in pairs for index in covered] == list(range(index_count))
    for frame, covered in pairs:
        for index in covered:
            assert frame.seconds == max(seconds for seconds in shown if seconds <= Fraction(index, 10))
