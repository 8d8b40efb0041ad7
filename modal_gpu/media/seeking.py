"""Decoding of single frames: only the packets from the keyframe before a wanted frame to that frame.

The packets identify the wanted frame: its time stamp is the largest at or before the wanted time, and a
packet with a later decoding time ends the search, since no frame is shown before it is decoded. The
decoder gets the packets from the last keyframe up to the wanted one, without frames that no other frame
depends on. Seeking only saves reading: if a container cannot seek, all packets are read, but those of
other groups of pictures are not decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av.container import InputContainer
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
from modal_gpu.media.hardware import ways
from modal_gpu.media.probe import VideoInfo
from modal_gpu.media.pyav import VideoPacket
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.source import is_cut_off, open_video

#: Codecs whose bitstream marks exactly the frames that no other frame refers to (H.264: nal_ref_idc).
_SKIPPABLE_CODECS = {"h264"}
#: Containers whose packets have no presentation times. They are decoded from the beginning, as are joined
#: recordings, in which one time stamp occurs at several times.
_UNTIMED_FORMATS = {"avi"}
#: Distance in seconds below which reading on is cheaper than seeking.
_NEAR_SECONDS = 2
#: The same distance if no index shows whether there is a keyframe in between.
_NEAR_SECONDS_UNINDEXED = 5
#: Seconds to seek back before the wanted time, tried in turn while a seek lands after it.
_BACK_SECONDS = (0, 10, 60)
#: Seconds before an undecodable frame at which the search for the last good frame starts.
_DAMAGE_LEAD_SECONDS = 20
#: Most packets held at once; only a group of pictures that lasts minutes has more.
_MAX_QUEUED = 4096

#: Frame indices with their frames; ``None`` for a frame that the decoder did not return.
_Results = Iterator[tuple[int, PresentedFrame | None]]


def frames_at(
    path: str | Path, indices: Sequence[int], info: VideoInfo, report: DecodeReport, threads: int = 0
) -> Iterator[tuple[int, PresentedFrame]]:
    """Yield the frame of each of the ascending ``indices``. Raises :class:`NoFramesError`."""
    if info.container_format in _UNTIMED_FORMATS or not info.clock.ascends:
        yield from _read_through(path, indices, info, report, threads)
        return
    yield from repeatable(
        lambda way: _frames_at(path, indices, info, report, way.threads), report, ways(threads, gpu=False)
    )


def _frames_at(
    path: str | Path, indices: Sequence[int], info: VideoInfo, report: DecodeReport, threads: int
) -> Iterator[tuple[int, PresentedFrame]]:
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = decoding_threads(threads, info)
        decoder = _SeekingDecoder(container, stream, info, report)
        for index, shown in decoder.frames(indices):
            yield index, shown if shown is not None else _last_good_frame(path, index, info)
    report.promised_seconds = info.promised_duration
    report.left_out_gaps, report.left_out_seconds = info.clock.left_out()
    report.end_seconds = info.duration
    report.ended_early = report.ended_early or info.ended_early


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
    """Return what forward decoding shows at an index whose frame is damaged or has no time stamp."""
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
    #: The time stamp of the index's time, and the one of its frame (``None`` if no packet has it).
    limit: int
    pts: int | None


class _SeekingDecoder:
    """One pass over ascending indices. A frame is ``None`` if the decoder did not return it."""

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
        #: Packets read but not decoded. ``_fresh``: the first is a keyframe to restart the decoder at.
        self._queue: list[VideoPacket] = []
        self._fresh = False
        self._key_pts: int | None = None
        #: Time stamps that the decoder got, and frames with theirs that it returned, that may be wanted.
        self._fed: list[int] = []
        self._frames: list[tuple[int, VideoFrame]] = []
        self._wanted: list[_Wanted] = []
        self._limit = info.start_pts

    def frames(self, indices: Sequence[int]) -> _Results:
        """Yield every index with its frame."""
        for index in indices:
            limit = self._limit = self._info.clock.pts_at(index)
            yield from self._read_past(limit)
            candidates = [*self._fed, *(_shown_pts(packet) for packet in self._queue)]
            pts = max((pts for pts in candidates if pts is not None and pts <= limit), default=None)
            self._wanted.append(_Wanted(index, limit, pts))
            if pts is not None:
                while pts not in self._fed:
                    packet = self._queue.pop(0)
                    self._feed(packet, needed=packet.pts == pts)
                    yield from self._resolved()
                self._fed = [fed for fed in self._fed if fed >= pts]
            yield from self._resolved()
        yield from self._drained()

    def _read_past(self, limit: int) -> _Results:
        """Queue every packet with a decoding time at or before ``limit``, from the last keyframe on."""
        if self._should_seek(limit):
            yield from self._drained()
            for seconds in _BACK_SECONDS:
                self._seek(limit - seconds // self._info.time_base)
                yield from self._demux_past(limit)
                if self._key_pts is not None:
                    return
            self._seek(self._info.start_pts)
        yield from self._demux_past(limit)

    def _demux_past(self, limit: int) -> _Results:
        while not self._ended and (self._last_dts is None or self._last_dts <= limit):
            packet = self._next_packet()
            if packet is None:
                self._ended = True
                break
            if packet.dts is not None:
                self._last_dts = packet.dts
            if packet.is_keyframe and packet.pts is not None and packet.pts <= limit:
                # The decoder already has every wanted packet, so the queued ones are not needed.
                self._queue.clear()
                self._fresh, self._key_pts = True, packet.pts
            elif self._key_pts is not None and packet.pts is not None and packet.pts < self._key_pts:
                continue  # shown before the keyframe: depends on the previous group, and is not wanted
            self._queue.append(packet)
            if len(self._queue) > _MAX_QUEUED:
                yield from self._restarted()
                self._feed(self._queue.pop(0), needed=False)
                yield from self._resolved()
        yield from self._restarted()

    def _restarted(self) -> _Results:
        """Drain the decoder before it gets a new keyframe."""
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
        """Return the container index's time stamp of the last keyframe at or before ``limit``, if any."""
        try:
            index = self._stream.index_entries
            entry = index.search_timestamp(limit) if len(index) > 1 else -1
            return index[entry].timestamp if entry >= 0 else None
        except pyav.PYAV_ERRORS:
            return None

    def _seek(self, pts: int) -> None:
        if not pyav.seek(self._container, pts, self._stream):
            self._seekable = False  # keep reading from the current position
            return
        self._packets = pyav.demux(self._container, self._stream, self._report)
        self._ended = False
        self._last_dts = self._key_pts = None
        self._queue.clear()

    def _next_packet(self) -> VideoPacket | None:
        packet = next(self._packets, None)
        # The demuxer's last packet is empty and would flush the decoder.
        return packet if packet is not None and packet.size else None

    def _feed(self, packet: VideoPacket, *, needed: bool) -> None:
        if is_cut_off(packet):
            self._report.corrupt_packets += 1
            return
        if self._skips:
            self._codec.skip_frame = "DEFAULT" if needed else "NONREF"
        pts = _shown_pts(packet)
        if pts is not None:
            self._fed.append(pts)
        self._decode(packet)

    def _decode(self, packet: VideoPacket | None) -> None:
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
            # Only the latest frame up to the wanted time matters; the others would accumulate.
            if frame.pts <= (self._wanted[0].limit if self._wanted else self._limit):
                self._frames.clear()
            self._frames.append((frame.pts, frame))

    def _drained(self) -> _Results:
        """Flush the decoder; yield wanted frames, ``None`` for those that it does not return."""
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

    def _resolved(self) -> _Results:
        """Yield wanted frames that the decoder returned, in order; ``None`` for one that it has passed."""
        while self._wanted:
            wanted = self._wanted[0]
            found = next(((pts, frame) for pts, frame in self._frames if pts == wanted.pts), None)
            if found is None and not any(pts > wanted.limit for pts, _ in self._frames):
                return
            self._wanted.pop(0)
            if wanted.pts is not None:
                self._frames = [(pts, frame) for pts, frame in self._frames if pts >= wanted.pts]
            yield wanted.index, None if found is None else self._presented(*found)

    def _presented(self, pts: int, frame: VideoFrame) -> PresentedFrame:
        return PresentedFrame(self._info.clock.seconds(pts), frame.duration * self._info.time_base, frame)


def _shown_pts(packet: VideoPacket) -> int | None:
    """Return the presentation time stamp of a packet whose frame can be shown, else ``None``."""
    return None if packet.is_discard or packet.is_corrupt else packet.pts
