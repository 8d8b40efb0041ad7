"""Forward decoding: every presented frame in order; damage is skipped and counted."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu import frame_index
from modal_gpu.byte_queue import items_within
from modal_gpu.cores import available_cores
from modal_gpu.errors import NoFramesError
from modal_gpu.media import pyav
from modal_gpu.media.clock import RESTART_SECONDS, ClockReader
from modal_gpu.media.hardware import Decoding, acceleration, frames_of_gpu, ways
from modal_gpu.media.probe import VideoInfo, frame_pts, probe
from modal_gpu.media.pyav import VideoPacket
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.source import is_cut_off, open_video

#: Containers whose presentation times and keyframe positions are on one clock.
_SEEKABLE_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
#: Seconds before a wanted frame at which decoding starts, tried in turn while the first frame is too late.
_LEAD_SECONDS = (0, 2, 10, 60)
#: Limit on the bytes of frames, one per decoding thread; larger frames get fewer threads.
_THREAD_BYTES = 128 * 2**20
#: Frames held back, since a frame may depend on one that is shown later; codecs reorder as many.
_HELD_BACK = 4

_Item = TypeVar("_Item")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PresentedFrame:
    """A decoded source frame, its presentation time and its duration, in seconds on the index axis."""

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
    gpu: bool = False,
) -> Generator[PresentedFrame, None, None]:
    """Yield every frame in presentation order, from the keyframe at or before ``start_index``.

    If the container is wrong about its keyframes, the first frame may be later than ``start_index``;
    :func:`presented_frames_from` prevents this.

    Takes one pass, or two if there is damage (:func:`repeatable`). Memory is a few frames per decoding
    thread (``threads``; 0 for one per core). With ``gpu``, NVDEC decodes as long as it does so like
    software; frames are then NV12 or P010. Packets that cannot be decoded are counted in ``report`` and
    skipped. Times are those of ``info.clock`` and strictly ascend: a frame whose time stamp goes backwards,
    or is far ahead of the next frame's, is placed right after the previous frame. Raises the errors of
    :func:`probe`, and :class:`NoFramesError` when nothing can be decoded.
    """
    info = info or probe(path)
    report = report if report is not None else DecodeReport()

    def read(way: Decoding) -> Iterator[PresentedFrame]:
        return _presented(path, report, info, start_index, way)

    yield from repeatable(read, report, ways(threads, gpu))


def repeatable(
    read: Callable[[Decoding], Iterator[_Item]], report: DecodeReport, ways: Sequence[Decoding]
) -> Iterator[_Item]:
    """Yield the items of ``read(way)`` for the first way, identical on every run for the same file.

    Several decoding threads guess damaged parts of a picture from whichever neighbours are ready; one
    thread always uses the same ones, and a GPU guesses differently. When ``report`` shows damage, the file is
    therefore read again from the start in the next way, skipping the items that were already yielded. Only
    damaged videos cost a second pass, and those that a GPU cannot decode.
    """
    *others, last = ways
    yielded = 0
    for way in others:
        held = deque[_Item]()
        for item in itertools.islice(read(way), yielded, None):
            if report.decoder_met_damage:
                break
            held.append(item)
            if len(held) > _HELD_BACK:
                yielded += 1
                yield held.popleft()
        if not report.decoder_met_damage:
            yield from held
            return
        if way.gpu:
            _log.warning(
                "decoding a video again, in software: the GPU failed on %d frames, %d packets were refused",
                report.gpu_failures,
                report.refused_packets,
            )
        report.reset()
    yield from itertools.islice(read(last), yielded, None)


def _presented(
    path: str | Path, report: DecodeReport, info: VideoInfo, start_index: int, way: Decoding
) -> Iterator[PresentedFrame]:
    report.promised_seconds = info.promised_duration
    report.left_out_gaps, report.left_out_seconds = info.clock.left_out()
    start_index = start_index if info.clock.ascends else 0
    end: Fraction | None = None
    with open_video(path, acceleration() if way.gpu else None) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = decoding_threads(way.threads, info)
        packets, key_pts = _packets_from(start_index, container, stream, info, report)
        if way.gpu:
            first_pts = info.start_pts if key_pts is None else key_pts
            decoded = frames_of_gpu(decode_packets, packets, stream, report, first_pts)
        else:
            decoded = decode_packets(packets, stream, report)
        frames = _after(key_pts, decoded)
        for shown in _ascending(frames, info, begins=start_index == 0):
            end = shown.seconds + shown.duration
            report.decoded_frames += 1
            report.concealed_frames += shown.frame.is_corrupt
            yield shown
    report.end_seconds = end
    report.ended_early = report.ended_early or info.ended_early
    if end is None and start_index == 0 and not report.gpu_failures:
        raise NoFramesError("the video has no frames that can be decoded")


def _packets_from(
    start_index: int, container: InputContainer, stream: VideoStream, info: VideoInfo, report: DecodeReport
) -> tuple[Iterator[VideoPacket], int | None]:
    """Return packets from the keyframe at or before an index, and its time stamp if this took a seek."""
    seeked = start_index > 0 and pyav.seek(container, info.clock.pts_at(start_index), stream)
    packets = pyav.demux(container, stream, report)
    if not seeked:
        return packets, None
    key = next((packet for packet in packets if packet.is_keyframe or not packet.size), None)
    return (packets, None) if key is None else (itertools.chain([key], packets), key.pts)


def _after(key_pts: int | None, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Drop frames shown before the keyframe: they depend on the previous group, which is not decoded."""
    for frame in frames:
        pts = frame_pts(frame)
        if key_pts is None or pts is None or pts >= key_pts:
            yield frame


def _ascending(frames: Iterator[VideoFrame], info: VideoInfo, *, begins: bool) -> Iterator[PresentedFrame]:
    """Yield the frames with their times. ``begins``: the first of them is the video's first frame."""
    clock = ClockReader(info.clock)
    nominal = 1 / info.average_rate if info.average_rate else Fraction(1, 25)
    last: Fraction | None = None
    end = Fraction(0)

    def stamped() -> Iterator[tuple[VideoFrame, Fraction | None]]:
        for frame in frames:
            pts = frame_pts(frame)
            yield frame, None if pts is None else clock.seconds(pts)

    for frame, seconds, following in _with_next_time(stamped()):
        seconds = end if seconds is None else seconds
        earliest = Fraction(0) if last is None else last + info.time_base
        is_ahead = (
            following is not None
            and following < seconds  # decides for nearly all frames
            and earliest - RESTART_SECONDS <= following < seconds - RESTART_SECONDS
        )
        if (last is not None or begins) and (is_ahead or seconds < earliest):
            seconds = earliest
        last = seconds
        duration = frame.duration * info.time_base if frame.duration else nominal
        end = seconds + duration
        yield PresentedFrame(seconds, duration, frame)


def _with_next_time(
    frames: Iterator[tuple[VideoFrame, Fraction | None]],
) -> Iterator[tuple[VideoFrame, Fraction | None, Fraction | None]]:
    """Yield each frame with its own time and the next frame's (``None`` after the last)."""
    current = next(frames, None)
    if current is None:
        return
    for following in frames:
        yield *current, following[1]
        current = following
    yield *current, None


def presented_frames_from(
    path: str | Path,
    first_index: int,
    report: DecodeReport,
    *,
    info: VideoInfo,
    threads: int = 0,
    gpu: bool = False,
) -> Iterator[PresentedFrame]:
    """Yield the frames of :func:`presented_frames`, from the one shown at ``first_index`` or an earlier one.

    Where the container's times and keyframes are reliable, decoding starts at a keyframe shortly before;
    elsewhere at the beginning of the file.
    """
    if info.container_format in _SEEKABLE_FORMATS and info.clock.ascends:
        for lead in _LEAD_SECONDS:
            start_index = first_index - lead * frame_index.INDEX_RATE
            if start_index <= 0:
                break
            frames = presented_frames(
                path, report, info=info, start_index=start_index, threads=threads, gpu=gpu
            )
            first = next(frames, None)
            if first is not None and first.seconds <= frame_index.index_time(first_index):
                yield first
                yield from frames
                return
            frames.close()
            report.reset()
    yield from presented_frames(path, report, info=info, threads=threads, gpu=gpu)


def decoding_threads(wanted: int, info: VideoInfo) -> int:
    """Return a decoder's threads (0: one per core), fewer for large frames: each thread holds some."""
    width, height = info.coded_size
    return items_within(width * height * 3, wanted or available_cores(), _THREAD_BYTES)


def decode_packets(
    packets: Iterable[VideoPacket], stream: VideoStream, report: DecodeReport
) -> Iterator[VideoFrame]:
    """Yield the frames of a stream's packets; count in ``report`` the packets that cannot be decoded."""
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
    # If the demuxer failed, the decoder still holds frames.
    yield from pyav.decode(stream, None) or ()


def frames_with_indices(
    frames: Iterable[PresentedFrame], index_count: int, first_index: int = 0
) -> Iterator[tuple[PresentedFrame, range]]:
    """Yield each frame with the 10 Hz indices at which it is shown: none for a frame between two indices.

    The ranges are contiguous from ``first_index`` to ``index_count`` and do not exceed it. ``frames`` start
    at or before ``first_index``, or are all frames of the video.
    """
    shown: PresentedFrame | None = None
    index = first_index
    for frame in frames:
        if shown is not None:
            # Indices before this frame's time; an index at exactly its time is its own.
            stop = max(index, min(index_count, frame_index.first_index_from(frame.seconds)))
            yield shown, range(index, stop)
            index = stop
        shown = frame
    if shown is not None:
        yield shown, range(index, max(index_count, index))
