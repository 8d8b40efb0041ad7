"""What a video file is, found out without decoding more than its first frame."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu import frame_index
from modal_gpu.contracts import MIN_CROP_PIXELS
from modal_gpu.errors import BadVideoError, NoFramesError
from modal_gpu.media import pyav
from modal_gpu.media.geometry import Orientation, square_pixel_size
from modal_gpu.media.pixels import matrix_coefficients
from modal_gpu.media.source import MAX_FRAME_PIXELS, is_broadcast, open_video

#: Longer is a broken time stamp rather than footage.
MAX_DURATION_SECONDS = 48 * 3600
#: Pixels a side, square ones, that a frame may have: JPEG holds no more than 65,500, and no camera as many.
MAX_FRAME_SIDE = 16_384
#: A file that holds this much less than its header promised has ended early.
_EARLY_SECONDS = Fraction(1, 2)

_DEFAULT_FRAME_SECONDS = Fraction(1, 25)
_TAIL_SECONDS = (4, 64)
#: Matroska's statistics tag, such as 00:00:08.040000000.
_CLOCK = re.compile(r"([0-9]{1,5}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,9})?)")


@dataclass(frozen=True)
class VideoInfo:
    """A video's facts. Sizes in pixels; times in seconds after the first presented frame."""

    #: Upright, with square pixels: display matrix and sample aspect ratio applied.
    width: int
    height: int
    #: Degrees counter-clockwise that stand the stored picture upright: 0, 90, 180, 270.
    rotation: int
    codec: str
    #: Bit/s of the video stream, or of the whole file where only that is known; 0 when unknown.
    bitrate: int
    #: From the first presented frame to the end of the last one that the file really holds.
    duration: Fraction
    #: Number of 10 Hz frame indices.
    index_count: int
    average_rate: Fraction | None
    pixel_format: str
    has_audio: bool
    container_format: str
    #: Stored picture size, and that size with square pixels, both before it is stood upright.
    coded_size: tuple[int, int]
    square_size: tuple[int, int]
    sample_aspect_ratio: Fraction
    orientation: Orientation
    time_base: Fraction
    #: Presentation time stamp of the first presented frame, in ``time_base`` units.
    start_pts: int
    #: YCbCr matrix coefficients (ISO/IEC 23091-2) of the first frame.
    matrix: int
    #: What the header says the duration is; ``None`` when it does not say it for the video stream.
    promised_duration: Fraction | None

    @property
    def ended_early(self) -> bool:
        """The file holds less than its header promised."""
        return self.promised_duration is not None and self.promised_duration - self.duration > _EARLY_SECONDS

    def seconds(self, pts: int) -> Fraction:
        """Presentation time of a time stamp, in seconds after the first presented frame."""
        return (pts - self.start_pts) * self.time_base

    def pts_at(self, index: int) -> int:
        """The last time stamp at or before a frame index's moment."""
        return self.start_pts + frame_index.index_time(index) // self.time_base


def probe(path: str | Path) -> VideoInfo:
    """Facts of the video at ``path``.

    The first frame is decoded, since headers lie about sizes; the last packets are read, since
    headers lie about durations. Raises ``FileNotFoundError``, :class:`NotAVideoError`,
    :class:`NoVideoStreamError`, :class:`NoFramesError`, or :class:`BadVideoError` for frames or a
    duration that no footage has. Each has a one-line message for the uploader.
    """
    with open_video(path) as (container, stream):
        frame, start_pts = _first_frame(container, stream)
        time_base = pyav.time_base(stream)
        coded_size = (frame.width, frame.height)
        sample_aspect = stream.sample_aspect_ratio or Fraction(1)
        square_size = square_pixel_size(*coded_size, sample_aspect)
        orientation = Orientation.from_display_matrix(pyav.display_matrix(frame))
        width, height = orientation.size(*square_size)
        if min(width, height) < MIN_CROP_PIXELS:
            raise BadVideoError(
                f"the video's frames are {width}×{height} pixels, too small to hold captions "
                f"(at least {MIN_CROP_PIXELS}×{MIN_CROP_PIXELS})"
            )
        _check_size(square_size)
        promised = _promised_duration(container, stream, start_pts)
        end_pts = _end_pts(container, stream, promised, start_pts)
        duration = max((end_pts - start_pts) * time_base, time_base)
        if duration > MAX_DURATION_SECONDS:
            raise BadVideoError(
                f"the video claims to last {float(duration) / 3600:.0f} hours; at most "
                f"{MAX_DURATION_SECONDS // 3600} are accepted, so its time stamps are probably damaged"
            )
        return VideoInfo(
            width=width,
            height=height,
            rotation=orientation.rotation,
            codec=stream.codec_context.name,
            bitrate=pyav.bit_rate(stream, container),
            duration=duration,
            index_count=frame_index.frame_count(duration),
            average_rate=pyav.average_rate(stream),
            pixel_format=frame.format.name,
            has_audio=bool(container.streams.audio),
            container_format=container.format.name,
            coded_size=coded_size,
            square_size=square_size,
            sample_aspect_ratio=sample_aspect,
            orientation=orientation,
            time_base=time_base,
            start_pts=start_pts,
            matrix=matrix_coefficients(frame),
            promised_duration=promised,
        )


def _check_size(size: tuple[int, int]) -> None:
    """Refuse frames that cannot be kept as pictures; ``size`` is that with square pixels."""
    width, height = size
    if max(size) > MAX_FRAME_SIDE or width * height > MAX_FRAME_PIXELS:
        raise BadVideoError(
            f"the video's frames are {width}×{height} pixels; at most {MAX_FRAME_SIDE} a side and "
            f"{MAX_FRAME_PIXELS // 2**20} megapixels are accepted: scale it down"
        )


def _first_frame(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, int]:
    """The first frame that decodes, and the time stamp of the first that is to be presented.

    The two differ where the file's beginning is damaged: index 0 must not move because of that.
    """
    stream.thread_type = "SLICE"  # frame threads would decode ahead
    packets = damaged = 0
    for packet in pyav.demux(container, stream):
        packets += packet.size > 0
        frames = pyav.decode(stream, packet)
        if frames is None:
            # Recordings cut out of a broadcast begin anywhere: nothing is presented before a key frame.
            damaged += not is_broadcast(container)
            continue
        for frame in frames:
            candidates = [frame_pts(frame), pyav.ticks(stream.start_time) if damaged else None]
            return frame, min((pts for pts in candidates if pts is not None), default=0)
    what = f"none of its {packets} packets can be decoded" if packets else "its video stream is empty"
    raise NoFramesError(f"the video has no frames: {what}")


def frame_pts(frame: VideoFrame) -> int | None:
    """A decoded frame's presentation time stamp, as well as it is known."""
    return pyav.ticks(frame.pts if frame.pts is not None else frame.dts)


def frame_seconds(stream: VideoStream) -> Fraction:
    """Nominal seconds a frame, for frames that do not say how long they last."""
    rate = pyav.average_rate(stream)
    return 1 / rate if rate else _DEFAULT_FRAME_SECONDS


def _promised_duration(container: InputContainer, stream: VideoStream, start_pts: int) -> Fraction | None:
    if (length := pyav.length(stream.duration)) is not None:
        start = pyav.ticks(stream.start_time)
        return ((start if start is not None else start_pts) + length - start_pts) * stream.time_base
    end: Fraction | None = None
    if tagged := _clock_seconds(stream.metadata.get("DURATION", "")):
        end = tagged  # Matroska's statistics tag: when the track ends on the container's clock
    elif len(container.streams) == 1 and "matroska" in container.format.name:
        end = _container_seconds(container)
    return end - start_pts * stream.time_base if end is not None else None


def _container_seconds(container: InputContainer) -> Fraction | None:
    length = pyav.length(container.duration)
    return Fraction(length, av.time_base) if length is not None else None


def _clock_seconds(text: str) -> Fraction | None:
    found = _CLOCK.fullmatch(text.strip())
    return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3]) if found else None


def _end_pts(
    container: InputContainer, stream: VideoStream, promised: Fraction | None, start_pts: int
) -> int:
    """End of the last presented frame that the file holds, from its last packets, without decoding."""
    known = promised
    if known is None:
        known = _container_seconds(container)
    attempts = [
        start_pts + (known - tail) // stream.time_base for tail in _TAIL_SECONDS if known and known > tail
    ]
    frame_ticks = max(1, round(frame_seconds(stream) / stream.time_base))
    for seek_pts in [*attempts, None]:
        if not pyav.seek(container, start_pts if seek_pts is None else seek_pts, stream):
            continue
        ends = (_packet_end(packet, frame_ticks) for packet in pyav.demux(container, stream))
        end_pts = max((end for end in ends if end is not None), default=start_pts)
        if end_pts > start_pts:
            return end_pts
    return start_pts + frame_ticks


def _packet_end(packet: Packet, frame_ticks: int) -> int | None:
    pts = pyav.ticks(packet.pts if packet.pts is not None else packet.dts)
    if pts is None or packet.is_discard or packet.is_corrupt or not packet.size:
        return None
    return pts + (pyav.length(packet.duration) or frame_ticks)
