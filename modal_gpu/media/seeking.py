"""Decoding as little as possible: from the key frame before a wanted frame to that frame.

Packets tell in advance which frame is wanted: its time stamp is the largest at or before the
moment, and a packet whose decoding time is past the moment ends the search, since no frame is
shown before it is decoded. So the decoder gets the packets from the last key frame on, frames that
no other needs left out, up to the wanted one. Seeking only saves reading: where a container cannot
seek, packets are read through and those of other groups of pictures never decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu.errors import NoFramesError
from modal_gpu.frame_index import INDEX_RATE, index_time
from modal_gpu.media import pyav
from modal_gpu.media.decoding import (
    PresentedFrame,
    decoding_threads,
    frames_with_indices,
    presented_frames,
    repeatable,
)
from modal_gpu.media.probe import VideoInfo
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.source import is_cut_off, open_video

#: Codecs whose bitstream marks exactly the frames that no other refers to (H.264: nal_ref_idc).
_SKIPPABLE_CODECS = {"h264"}
#: Containers whose packets do not tell when their frames are shown: decoded from the beginning, as are
#: joined recordings, in which one time stamp stands for several moments.
_UNTIMED_FORMATS = {"avi"}
#: Nearer than this, in seconds, reading on is cheaper than seeking.
_NEAR_SECONDS = 2
#: The same where no index tells whether a key frame lies between.
_NEAR_SECONDS_UNINDEXED = 5
#: Seconds to seek further back when a seek lands after the wanted frame.
_BACK_SECONDS = (0, 10, 60)
#: How far before a frame that cannot be had the search for the last good one starts.
_DAMAGE_LEAD_SECONDS = 20
#: Packets held at once at most; only a group of pictures of minutes has more.
_MAX_QUEUED = 4096


def frames_at(
    path: str | Path, indices: Sequence[int], info: VideoInfo, report: DecodeReport, threads: int = 0
) -> Iterator[tuple[int, PresentedFrame]]:
    """The frame of each of the ascending ``indices``; see the module. Raises :class:`NoFramesError`."""
    if info.container_format in _UNTIMED_FORMATS or not info.clock.ascends:
        yield from _read_through(path, indices, info, report, threads)
        return
    yield from repeatable(lambda count: _frames_at(path, indices, info, report, count), report, threads)


def _frames_at(
    path: str | Path, indices: Sequence[int], info: VideoInfo, report: DecodeReport, threads: int
) -> Iterator[tuple[int, PresentedFrame]]:
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = decoding_threads(threads, info)
        decoder = _SeekingDecoder(container, stream, info, report)
        for index, frame in decoder.frames(indices):
            if frame is None:
                yield index, _last_good_frame(path, index, info)
            else:
                yield index, _presented(frame, info)
    report.promised_seconds = info.promised_duration
    report.left_out_gaps, report.left_out_seconds = info.clock.left_out()
    report.end_seconds = info.duration
    report.ended_early = report.ended_early or info.ended_early


def _presented(frame: VideoFrame, info: VideoInfo) -> PresentedFrame:
    return PresentedFrame(info.clock.seconds(frame.pts), frame.duration * info.time_base, frame)


def _read_through(
    path: str | Path, indices: Sequence[int], info: VideoInfo, report: DecodeReport, threads: int
) -> Iterator[tuple[int, PresentedFrame]]:
    wanted = iter(indices)
    index = next(wanted, None)
    frames = presented_frames(path, report, info=info, threads=threads)
    for shown, covered in frames_with_indices(frames, max(info.index_count, *indices, 0) + 1):
        while index is not None and index < covered.stop:
            yield index, shown
            index = next(wanted, None)
        if index is None:
            return


def _last_good_frame(path: str | Path, index: int, info: VideoInfo) -> PresentedFrame:
    """For a frame that is damaged, or whose packets lack time stamps: what a forward reader shows."""
    lead = _DAMAGE_LEAD_SECONDS * INDEX_RATE
    for start_index in [index - lead, 0] if index > lead else [0]:
        best: PresentedFrame | None = None
        for shown in presented_frames(path, info=info, start_index=start_index, threads=1):
            if shown.seconds > index_time(index):
                if best is None and start_index == 0:
                    best = shown
                break
            best = shown
        if best is not None:
            return best
    raise NoFramesError("the video has no frames that can be decoded")


@dataclass
class _Wanted:
    index: int
    #: The last time stamp that still serves, and that of the frame itself as its packet tells it.
    limit: int
    pts: int | None


class _SeekingDecoder:
    """One pass over ascending indices. A frame comes as ``None`` when it did not come out of the decoder."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, info: VideoInfo, report: DecodeReport
    ) -> None:
        self._container, self._stream, self._info, self._report = container, stream, info, report
        self._codec = stream.codec_context
        self._skips = self._codec.name in _SKIPPABLE_CODECS
        self._packets = pyav.demux(container, stream, report)
        self._ended = False
        self._seekable = True
        self._last_dts: int | None = None
        #: Packets read but not decoded. ``_fresh``: the first is a key frame to start again from.
        self._queue: list[Packet] = []
        self._fresh = False
        self._key_pts: int | None = None
        #: Time stamps given to the decoder, and frames it gave back, that may still be wanted.
        self._fed: list[int] = []
        self._frames: list[VideoFrame] = []
        self._wanted: list[_Wanted] = []
        self._limit = info.start_pts

    def frames(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        for index in indices:
            limit = self._limit = self._info.clock.pts_at(index)
            yield from self._read_past(limit)
            candidates = [*self._fed, *(packet.pts for packet in self._queue if _can_be_shown(packet))]
            pts = max((pts for pts in candidates if pts <= limit), default=None)
            self._wanted.append(_Wanted(index, limit, pts))
            if pts is not None:
                while pts not in self._fed:
                    packet = self._queue.pop(0)
                    self._feed(packet, needed=packet.pts == pts)
                    yield from self._resolved()
                self._fed = [fed for fed in self._fed if fed >= pts]
            yield from self._resolved()
        yield from self._drained()

    def _read_past(self, limit: int) -> Iterator[tuple[int, VideoFrame | None]]:
        """Queue every packet that is decoded at or before ``limit``, from the last key frame on."""
        if self._should_seek(limit):
            yield from self._drained()
            for seconds in _BACK_SECONDS:
                self._seek(limit - seconds // self._info.time_base)
                yield from self._demux_past(limit)
                if self._key_pts is not None:
                    return
            self._seek(self._info.start_pts)
        yield from self._demux_past(limit)

    def _demux_past(self, limit: int) -> Iterator[tuple[int, VideoFrame | None]]:
        while not self._ended and (self._last_dts is None or self._last_dts <= limit):
            packet = self._next_packet()
            if packet is None:
                self._ended = True
                break
            if packet.dts is not None:
                self._last_dts = packet.dts
            if packet.is_keyframe and packet.pts is not None and packet.pts <= limit:
                # Everything wanted so far has been fed, so what is queued is not needed any more.
                self._queue.clear()
                self._fresh, self._key_pts = True, packet.pts
            elif self._key_pts is not None and packet.pts is not None and packet.pts < self._key_pts:
                continue  # shown before the key frame: needs the group before, and nothing needs it
            self._queue.append(packet)
            if len(self._queue) > _MAX_QUEUED:
                yield from self._restarted()
                self._feed(self._queue.pop(0), needed=False)
                yield from self._resolved()
        yield from self._restarted()

    def _restarted(self) -> Iterator[tuple[int, VideoFrame | None]]:
        """Empty the decoder before a new key frame goes in."""
        if self._fresh:
            self._fresh = False
            yield from self._drained()

    def _should_seek(self, limit: int) -> bool:
        position = self._last_dts if self._last_dts is not None else self._info.start_pts
        ahead = (limit - position) * self._info.time_base
        if not self._seekable or ahead < _NEAR_SECONDS:
            return False
        key = self._indexed_key(limit)
        if key is not None:
            return key > position
        return ahead > _NEAR_SECONDS_UNINDEXED

    def _indexed_key(self, limit: int) -> int | None:
        """Time stamp of the last key frame at or before ``limit``, where the container's index tells it."""
        try:
            index = self._stream.index_entries
            entry = index.search_timestamp(limit) if len(index) > 1 else -1
            return index[entry].timestamp if entry >= 0 else None
        except pyav.PYAV_ERRORS:
            return None

    def _seek(self, pts: int) -> None:
        if not pyav.seek(self._container, pts, self._stream):
            self._seekable = False  # go on reading where we are
            return
        self._packets = pyav.demux(self._container, self._stream, self._report)
        self._ended = False
        self._last_dts = self._key_pts = None
        self._queue.clear()

    def _next_packet(self) -> Packet | None:
        packet = next(self._packets, None)
        # The demuxer's last packet is empty: it would flush the decoder.
        return packet if packet is not None and packet.size else None

    def _feed(self, packet: Packet, *, needed: bool) -> None:
        if is_cut_off(packet):
            self._report.corrupt_packets += 1
            return
        if self._skips:
            self._codec.skip_frame = "DEFAULT" if needed else "NONREF"
        if _can_be_shown(packet):
            self._fed.append(packet.pts)
        self._decode(packet)

    def _decode(self, packet: Packet | None) -> None:
        frames = pyav.decode(self._codec, packet)
        if frames is None:
            self._report.corrupt_packets += packet is not None
            self._report.refused_packets += packet is not None
            return
        for frame in frames:
            self._report.decoded_frames += 1
            self._report.concealed_frames += frame.is_corrupt
            if frame.pts is None:
                continue
            # Of the frames up to a wanted moment only the latest matters; the others would pile up.
            if frame.pts <= (self._wanted[0].limit if self._wanted else self._limit):
                self._frames.clear()
            self._frames.append(frame)

    def _drained(self) -> Iterator[tuple[int, VideoFrame | None]]:
        """All that the decoder still holds; what is wanted and not there will not come any more."""
        if not self._fed and not self._wanted:
            return
        self._decode(None)
        self._codec.flush_buffers()
        yield from self._resolved()
        for wanted in self._wanted:
            yield wanted.index, None
        self._wanted.clear()
        self._frames.clear()
        self._fed.clear()

    def _resolved(self) -> Iterator[tuple[int, VideoFrame | None]]:
        """Wanted frames that the decoder gave, in order; ``None`` for one that it has passed over."""
        while self._wanted:
            wanted = self._wanted[0]
            found = next((frame for frame in self._frames if frame.pts == wanted.pts), None)
            if found is None and not any(frame.pts > wanted.limit for frame in self._frames):
                return
            self._wanted.pop(0)
            if wanted.pts is not None:
                self._frames = [frame for frame in self._frames if frame.pts >= wanted.pts]
            yield wanted.index, found


def _can_be_shown(packet: Packet) -> bool:
    return packet.pts is not None and not packet.is_discard and not packet.is_corrupt
