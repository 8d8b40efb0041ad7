"""Decoding forward: every presented frame, in order, damage skipped and counted."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu import frame_index
from modal_gpu.byte_queue import items_within
from modal_gpu.cores import available_cores
from modal_gpu.errors import NoFramesError
from modal_gpu.media import pyav
from modal_gpu.media.clock import RESTART_SECONDS, ClockReader
from modal_gpu.media.probe import VideoInfo, frame_pts, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.source import is_cut_off, open_video

#: Containers that tell when packets are shown and where key frames are, on one clock.
_SEEKABLE_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
#: Seconds that decoding starts before a wanted frame; more where the first frame comes too late.
_LEAD_SECONDS = (0, 2, 10, 60)
#: Bytes of frames, one a decoding thread, above which there are fewer threads.
_THREAD_BYTES = 128 * 2**20
#: Frames held back: a frame may be made from one that is shown later, as many as codecs reorder.
_HELD_BACK = 4

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class PresentedFrame:
    """A decoded source frame and when it is shown, in seconds on the index axis."""

    seconds: Fraction
    duration: Fraction
    frame: VideoFrame


def presented_frames(
    path: str | Path,
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    start_index: int = 0,
    threads: int = 0,
) -> Iterator[PresentedFrame]:
    """Every frame in presentation order, from the key frame at or before ``start_index`` on.

    (Where the container is wrong about its key frames, the first frame may come later:
    :func:`presented_frames_from` makes sure.)

    One pass (two where there is damage: :func:`repeatable`); memory is a few frames a decoding thread
    (``threads``, 0 for one a core). Packets that cannot be decoded are counted in ``report`` and skipped.
    Times are those of ``info.clock`` and strictly ascend: a frame whose time stamp runs backwards, or is far
    ahead of the next one's, is put right after the one before it. Raises as :func:`probe`
    does, and :class:`NoFramesError` when nothing can be decoded.
    """
    info = info or probe(path)
    report = report if report is not None else DecodeReport()
    yield from repeatable(lambda count: _presented(path, report, info, start_index, count), report, threads)


def repeatable(read: Callable[[int], Iterator[_Item]], report: DecodeReport, threads: int) -> Iterator[_Item]:
    """What ``read(threads)`` gives, and the same for the same file every time.

    Several threads guess damaged parts of a picture from neighbours that happen to be ready, one thread
    from the same ones each time. So where ``report`` tells of damage, ``read(1)`` starts anew, and what
    was given out before the damage is left out. Healthy videos pay nothing, damaged ones a second pass.
    """
    if threads == 1:
        yield from read(1)
        return
    given, held = 0, deque[_Item]()
    for item in read(threads):
        if report.decoder_met_damage:
            break
        held.append(item)
        if len(held) > _HELD_BACK:
            given += 1
            yield held.popleft()
    if not report.decoder_met_damage:
        yield from held
        return
    held.clear()
    report.forget()
    yield from itertools.islice(read(1), given, None)


def _presented(
    path: str | Path, report: DecodeReport, info: VideoInfo, start_index: int, threads: int
) -> Iterator[PresentedFrame]:
    report.promised_seconds = info.promised_duration
    report.left_out_gaps, report.left_out_seconds = info.clock.left_out()
    start_index = start_index if info.clock.ascends else 0
    end: Fraction | None = None
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = decoding_threads(threads, info)
        packets, key_pts = _packets_from(start_index, container, stream, info, report)
        frames = _after(key_pts, decode_packets(packets, stream, report))
        for shown in _ascending(frames, info, begins=start_index == 0):
            end = shown.seconds + shown.duration
            report.decoded_frames += 1
            report.concealed_frames += shown.frame.is_corrupt
            yield shown
    report.end_seconds = end
    report.ended_early = report.ended_early or info.ended_early
    if end is None and start_index == 0:
        raise NoFramesError("the video has no frames that can be decoded")


def _packets_from(
    start_index: int, container: InputContainer, stream: VideoStream, info: VideoInfo, report: DecodeReport
) -> tuple[Iterator[Packet], int | None]:
    """Packets from the key frame at or before an index on, and that one's time stamp after a seek."""
    seeked = start_index > 0 and pyav.seek(container, info.clock.pts_at(start_index), stream)
    packets = pyav.demux(container, stream, report)
    if not seeked:
        return packets, None
    key = next((packet for packet in packets if packet.is_keyframe or not packet.size), None)
    return (packets, None) if key is None else (itertools.chain([key], packets), key.pts)


def _after(key_pts: int | None, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Without frames shown before the key frame: made from the group before, which was not decoded."""
    for frame in frames:
        pts = frame_pts(frame)
        if key_pts is None or pts is None or pts >= key_pts:
            yield frame


def _ascending(frames: Iterator[VideoFrame], info: VideoInfo, *, begins: bool) -> Iterator[PresentedFrame]:
    """The frames with their times; ``begins``: the first one is the video's."""
    clock = ClockReader(info.clock)
    nominal = 1 / info.average_rate if info.average_rate else Fraction(1, 25)
    last: Fraction | None = None
    end = Fraction(0)

    def stamped() -> Iterator[tuple[VideoFrame, Fraction | None]]:
        for frame in frames:
            pts = frame_pts(frame)
            yield frame, None if pts is None else clock.seconds(pts)

    for (frame, seconds), (_, following) in _with_next(stamped()):
        seconds = end if seconds is None else seconds
        earliest = Fraction(0) if last is None else last + info.time_base
        near = earliest - RESTART_SECONDS
        is_ahead = following is not None and near <= following < seconds - RESTART_SECONDS
        if (last is not None or begins) and (is_ahead or seconds < earliest):
            seconds = earliest
        last = seconds
        duration = frame.duration * info.time_base if frame.duration else nominal
        end = seconds + duration
        yield PresentedFrame(seconds, duration, frame)


_NO_FRAME = (None, None)


def _with_next(items: Iterator[_Item]) -> Iterator[tuple[_Item, _Item]]:
    return itertools.pairwise(itertools.chain(items, [_NO_FRAME]))


def presented_frames_from(
    path: str | Path,
    first_index: int,
    report: DecodeReport,
    *,
    info: VideoInfo,
    threads: int = 0,
) -> Iterator[PresentedFrame]:
    """The frames of :func:`presented_frames` from the one shown at ``first_index``, or earlier ones, on.

    Only what comes after a key frame near by is decoded, where the container's times and key frames can
    be relied on; elsewhere everything before is decoded and thrown away.
    """
    if info.container_format in _SEEKABLE_FORMATS and info.clock.ascends:
        for lead in _LEAD_SECONDS:
            start_index = first_index - lead * frame_index.INDEX_RATE
            if start_index <= 0:
                break
            frames = presented_frames(path, report, info=info, start_index=start_index, threads=threads)
            first = next(frames, None)
            if first is not None and first.seconds <= frame_index.index_time(first_index):
                yield first
                yield from frames
                return
            frames.close()
            report.forget()
    yield from presented_frames(path, report, info=info, threads=threads)


def decoding_threads(wanted: int, info: VideoInfo) -> int:
    """Threads of a decoder (0: one a core), fewer for large frames: each thread holds some of its own."""
    width, height = info.coded_size
    return items_within(width * height * 3, wanted or available_cores(), _THREAD_BYTES)


def decode_packets(
    packets: Iterable[Packet], stream: VideoStream, report: DecodeReport
) -> Iterator[VideoFrame]:
    """The frames of a stream's packets; ``report`` counts those that cannot be decoded."""
    for packet in packets:
        if is_cut_off(packet):
            report.corrupt_packets += 1
            continue
        frames = pyav.decode(stream, packet)
        if frames is None:
            report.corrupt_packets += packet.size > 0
            report.refused_packets += packet.size > 0
            continue
        yield from frames
    # Where the demuxer could not go on, the decoder still holds frames.
    yield from pyav.decode(stream, None) or ()


def frames_with_indices(
    frames: Iterable[PresentedFrame], index_count: int, first_index: int = 0
) -> Iterator[tuple[PresentedFrame, range]]:
    """Each frame with the 10 Hz indices at which it is shown: none for a frame between two indices.

    The ranges follow each other without a gap from ``first_index`` to ``index_count``; none goes beyond.
    ``frames`` begin at or before ``first_index``, or are the whole video's.
    """
    shown: PresentedFrame | None = None
    index = first_index
    for frame in frames:
        if shown is not None:
            # Indices before this frame's time; its own moment belongs to it.
            stop = max(index, min(index_count, math.ceil(frame.seconds * frame_index.INDEX_RATE)))
            yield shown, range(index, stop)
            index = stop
        shown = frame
    if shown is not None:
        yield shown, range(index, max(index_count, index))
