"""Length and times follow from frames that exist, whatever headers and single time stamps say."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.subtitles import to_rows, to_srt, to_vtt
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import Caption
from modal_gpu.frame_index import CHUNK_MEMBERS, chunks
from modal_gpu.media.chunks import write_chunks
from modal_gpu.media.clock import Clock, ClockReader, Stamp, read_clock
from modal_gpu.media.frames import read_cropped_frames, read_full_frames
from modal_gpu.media.probe import probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.timeline import Timeline
from tests.modal_gpu.media.odd_clocks import MILLISECOND, audio_first, joined, later, restamped
from tests.modal_gpu.media.stamped_clips import Clip, every, read_stamp

BOTTOM = CropRegion(0, 0.5, 1, 1)
HOURS = 7200
B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "24"}

Make = Callable[[Path], Path]


def _far(number: int) -> Callable:
    def restamp(place, packet):
        if place == number:
            packet.pts += int(HOURS / packet.time_base)

    return restamp


def _b_frames(folder: Path, suffix: str) -> Path:
    return Clip(every(25, 100), suffix, options=B_FRAMES, time_base=MILLISECOND).write(folder)


#: Name: (recipe, indices, time spans, time stamps of some indices).
ODD: dict[str, tuple[Make, int, list[tuple], dict[int, int]]] = {
    "two transport streams joined": (
        lambda folder: joined(folder, every(25, 100), every(25, 80)),
        72,
        [(0, 0, True)],
        {0: 0, 39: 97, 40: 0, 71: 77},
    ),
    "three transport streams joined": (
        lambda folder: joined(folder, every(25, 50), every(25, 50), every(25, 100)),
        80,
        [(0, 0, True)],
        {19: 47, 20: 0, 39: 47, 40: 0, 79: 97},
    ),
    "the second recording's clock two hours later": (
        lambda folder: joined(folder, every(25, 100), every(25, 80, HOURS)),
        72,
        [(0, 0, True), (40, HOURS - 4, False)],
        {39: 97, 40: 0, 71: 77},
    ),
    "a clock that jumps in one transport stream": (
        lambda folder: Clip(later((100, 0), (50, HOURS)), ".ts").write(folder),
        60,
        [(0, 0, True), (40, HOURS - 4, False)],
        {39: 97, 40: 100, 59: 147},
    ),
    "two hours without a frame, MP4": (
        lambda folder: Clip(later((100, 0), (50, HOURS))).write(folder),
        70,
        [(0, 0, True), (50, HOURS - 5, True)],
        {39: 97, 49: 99, 50: 100, 69: 147},
    ),
    "two hours without a frame, B-frames, Matroska": (
        lambda folder: Clip(
            later((100, 0), (50, HOURS)), ".mkv", options=B_FRAMES, time_base=MILLISECOND
        ).write(folder),
        70,
        [(0, 0, True), (50, HOURS - 5, True)],
        {39: 97, 49: 99, 50: 100, 69: 147},
    ),
    "still pictures": (
        lambda folder: Clip([Fraction(0), Fraction(40), Fraction(45), Fraction(600)]).write(folder),
        71,
        [(0, 0, True), (10, 39, True), (70, 593, True)],
        {9: 0, 10: 1, 59: 1, 60: 2, 69: 2, 70: 3},
    ),
    "time stamps a month apart": (
        lambda folder: Clip(
            [Fraction(0), Fraction(1), Fraction(2_400_000)], ".mkv", time_base=MILLISECOND
        ).write(folder),
        21,
        [(0, 0, True), (20, 2_399_998, True)],
        {0: 0, 10: 1, 19: 1, 20: 2},
    ),
    **{
        f"one frame's time stamp is hours off, {suffix}": (
            lambda folder, suffix=suffix: restamped(
                _b_frames(folder, suffix), folder / f"odd{suffix}", _far(40)
            ),
            40,
            [(0, 0, True)],
            {0: 0, 10: 25, 20: 50, 30: 75, 39: 97},
        )
        for suffix in (".mp4", ".mkv", ".ts")
    },
}


@pytest.mark.parametrize("what", ODD)
def test_work_follows_frames_that_exist_and_both_readers_agree(tmp_path: Path, what: str):
    make, count, spans, stamps = ODD[what]
    path = make(tmp_path)
    info, report = probe(path), DecodeReport()
    assert info.index_count == count
    assert info.timeline.rows() == [
        (first, pytest.approx(offset, abs=0.05), held) for first, offset, held in spans
    ]
    cropped = list(read_cropped_frames(path, BOTTOM, report))
    assert [frame.index for frame in cropped] == list(range(count))
    assert all(frame.seconds * 10 <= frame.index + 1e-6 for frame in cropped)
    full = list(read_full_frames(path, sorted(stamps)))
    assert {index: read_stamp(cropped[index].luma) for index in stamps} == stamps
    assert {frame.index: read_stamp(frame.image) for frame in full} == stamps
    assert [frame.seconds for frame in full] == [cropped[index].seconds for index in sorted(stamps)]
    members = [index for chunk in write_chunks(iter(cropped)) for index in chunk.indices]
    assert sorted(members) == list(range(count))
    assert ("left out" in report.describe()) == (len(spans) > 1)


def test_the_parts_of_a_video_with_a_gap_are_the_whole(tmp_path: Path):
    path = Clip(later((100, 0), (100, HOURS)), options=B_FRAMES).write(tmp_path)
    whole = [read_stamp(frame.luma) for frame in read_cropped_frames(path, BOTTOM)]
    report = DecodeReport()
    part = list(read_cropped_frames(path, BOTTOM, report, first_index=70, end_index=80))
    assert [read_stamp(frame.luma) for frame in part] == whole[70:80]
    assert report.decoded_frames < 100


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_times_count_from_the_containers_start_where_audio_comes_first(tmp_path: Path, suffix: str):
    path = audio_first(Clip(every(25, 75)).write(tmp_path), tmp_path / f"late{suffix}", Fraction(3, 2))
    info = probe(path)
    assert (info.index_count, info.timeline.start_offset_seconds) == (30, pytest.approx(1.5, abs=0.022))
    # Index 10 is 1 s after the first frame, which a player shows at 1.5 s.
    caption = Caption(10, 20, 1.0, 2.0, text="Hello")
    [row] = to_rows([caption], info.timeline)
    assert (row["start_index"], row["end_index"]) == (10, 20)
    assert (row["start_seconds"], row["end_seconds"]) == pytest.approx((2.5, 3.5), abs=0.022)
    if suffix != ".ts":  # whose muxer starts audio and video 10 ms apart
        assert "00:00:02,500 --> 00:00:03,500" in to_srt([caption], info.timeline)
        assert "00:00:02.500 --> 00:00:03.500" in to_vtt([caption], info.timeline)


#: Caption (indices, seconds): the time in a player, for a video whose picture at 4 s lasts until 7,200 s.
AROUND_A_GAP = {
    "before it": ((10, 20, 1.0, 2.0), (1.0, 2.0)),
    "until the next picture comes": ((10, 50, 1.0, 4.95), (1.0, 7200.0)),
    "through it": ((10, 60, 1.0, 6.0), (1.0, 7201.0)),
    "from the next picture on": ((50, 60, 4.95, 6.0), (7200.0, 7201.0)),
    "after it": ((60, 70, 6.0, 7.0), (7201.0, 7202.0)),
}


@pytest.mark.parametrize("what", AROUND_A_GAP)
def test_captions_around_a_held_gap_are_shown_as_long_as_the_picture(what: str):
    (first, end, start_seconds, end_seconds), expected = AROUND_A_GAP[what]
    timeline = Timeline.from_rows([(0, 0.0, True), (50, 7195.0, True)])
    assert (timeline.start(start_seconds, first), timeline.end(end_seconds, end)) == pytest.approx(expected)


def test_a_caption_ends_with_its_recording_where_the_clock_jumps():
    timeline = Timeline.from_rows([(0, 0.0, True), (50, 7195.0, False)])
    assert timeline.end(4.95, 50) == pytest.approx(4.95)
    assert timeline.start(4.95, 50) == pytest.approx(7200)
    assert timeline.end(6.0, 60) == pytest.approx(7201)


def test_a_last_picture_that_stands_for_minutes_ends_when_a_player_ends():
    clock = read_clock([Stamp(0, 0, 600_000)], 0, MILLISECOND, container_start=Fraction(0), held=True)
    assert (clock.index_count, clock.timeline.rows()) == (10, [(0, 0.0, True), (10, 599.0, True)])
    assert clock.timeline.end(1.0, 10) == pytest.approx(600)


def _clock(*parts: tuple[int, int, int], held: bool = True) -> Clock:
    """Build a clock from packets in file order, each (first ms, count, ms a frame)."""
    stamps = [
        Stamp(first + number * step, first + number * step, step)
        for first, count, step in parts
        for number in range(count)
    ]
    return read_clock(stamps, parts[0][0], MILLISECOND, container_start=None, held=held)


def test_wrong_time_stamps_in_between_count_on_the_clock_that_comes_back():
    """This happens in a Matroska cluster, or in some packets of a broadcast, with a wrong clock."""
    clock = _clock((0, 100, 40), (9_000_000, 50, 40), (6000, 100, 40))
    assert clock.timeline.rows() == [(0, 0.0, True)]
    assert clock.index_count == 100
    reader = ClockReader(clock)
    stamps = [3960, 9_000_000, 9_001_960, 6000, 9960]
    assert [float(reader.seconds(pts)) for pts in stamps] == pytest.approx([3.96, 4.0, 5.96, 6.0, 9.96])


@given(
    st.lists(
        st.tuples(st.integers(0, 2**40), st.integers(1, 30), st.integers(1, 4000)), min_size=1, max_size=8
    ),
    st.booleans(),
)
def test_any_packets_give_a_clock_whose_length_their_number_bounds(parts, held):
    clock = _clock(*parts, held=held)
    frames = sum(count for _, count, _ in parts)
    assert 1 <= clock.index_count <= frames * 51 + 11 * len(clock.runs)
    spans = clock.timeline.spans
    assert spans[0].first_index == 0
    assert all(a.first_index < b.first_index for a, b in pairwise(spans))
    if clock.ascends:
        for index in range(0, clock.index_count, 7):
            assert clock.seconds(clock.pts_at(index)) <= Fraction(index, 10)
        shown = [clock.timeline.start(span.first_index / 10, span.first_index) for span in spans]
        assert shown == sorted(shown)


def test_every_chunk_of_a_joined_recording_is_complete(tmp_path: Path):
    path = joined(tmp_path, every(25, 100), every(25, 80))
    count = probe(path).index_count
    written = {chunk.ref: len(chunk.indices) for chunk in write_chunks(read_cropped_frames(path, BOTTOM))}
    assert written == {ref: len(ref.members(count)) for ref in chunks(count)}
    assert max(written.values()) <= CHUNK_MEMBERS
