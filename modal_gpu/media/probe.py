"""Properties of a video file, from all of its packets and its first frame."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu.contracts import MIN_CROP_PIXELS
from modal_gpu.errors import BadVideoError, NoFramesError
from modal_gpu.media import pyav
from modal_gpu.media.clock import Clock, Stamp, read_clock
from modal_gpu.media.geometry import Orientation, square_pixel_size, working_size
from modal_gpu.media.pixels import matrix_coefficients
from modal_gpu.media.pyav import PYAV_ERRORS, VideoPacket
from modal_gpu.media.source import MAX_FRAME_PIXELS, OPEN_OPTIONS, is_broadcast, is_cut_off, open_video
from modal_gpu.timeline import Timeline

#: A longer duration comes from a broken time stamp.
MAX_DURATION_SECONDS = 48 * 3600
#: Largest width or height with square pixels. JPEG allows 65,500; no camera reaches this.
MAX_FRAME_SIDE = 16_384
#: Smallest difference in seconds to the duration in the header for a file that ended early.
_EARLY_SECONDS = Fraction(1, 2)

_DEFAULT_FRAME_SECONDS = Fraction(1, 25)
#: Longest frame duration that a frame rate in a header may imply.
_LONGEST_FRAME_SECONDS = Fraction(1)
#: Matroska's statistics tag, such as 00:00:08.040000000.
_CLOCK = re.compile(r"([0-9]{1,5}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,9})?)")


@dataclass(frozen=True)
class VideoInfo:
    """A video's properties: sizes in pixels, seconds on the index axis (:mod:`modal_gpu.media.clock`)."""

    #: Upright, with square pixels: display matrix and sample aspect ratio applied.
    width: int
    height: int
    #: Degrees counter-clockwise that turn the stored picture upright: 0, 90, 180, 270.
    rotation: int
    codec: str
    #: Bit/s of the video stream, or of the whole file where only that is known; 0 when unknown.
    bitrate: int
    #: The map from time stamps to the index axis, and the axis's length.
    clock: Clock
    average_rate: Fraction | None
    pixel_format: str
    has_audio: bool
    container_format: str
    #: Stored size, and the size for processing (square pixels, very large pictures scaled down). Both are
    #: not upright.
    coded_size: tuple[int, int]
    square_size: tuple[int, int]
    sample_aspect_ratio: Fraction
    orientation: Orientation
    time_base: Fraction
    #: YCbCr matrix coefficients (ISO/IEC 23091-2) of the first frame.
    matrix: int
    #: Duration according to the header; ``None`` if the header has none for the video stream.
    promised_duration: Fraction | None

    @property
    def duration(self) -> Fraction:
        """Seconds from the first presented frame to the end of the last one that the file holds."""
        return self.clock.duration

    @property
    def index_count(self) -> int:
        """Number of 10 Hz frame indices, the same for every stage that reads the file."""
        return self.clock.index_count

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height that players show: upright, with square pixels, not scaled down."""
        return self.orientation.size(*square_pixel_size(*self.coded_size, self.sample_aspect_ratio))

    @property
    def timeline(self) -> Timeline:
        """Conversion from the index axis to a player's times."""
        return self.clock.timeline

    @property
    def start_pts(self) -> int:
        """Presentation time stamp of the first presented frame, in ``time_base`` units."""
        return self.clock.start_pts

    @property
    def ended_early(self) -> bool:
        """True if the file is shorter than its header says."""
        promised, held = self.promised_duration, self.clock.stamped_duration
        return promised is not None and promised - held > _EARLY_SECONDS


def probe(path: str | Path) -> VideoInfo:
    """Return the properties of the video at ``path``.

    Decodes the first frame and reads all packets, since sizes and durations in headers may be wrong.
    Raises ``FileNotFoundError``, :class:`NotAVideoError`, :class:`NoVideoStreamError`,
    :class:`NoFramesError`, or :class:`BadVideoError` for an unsupported size or duration. Each has a
    one-line message for the uploader.
    """
    with open_video(path) as (container, stream):
        frame, clock = _first_frame_and_clock(container, stream)
        coded_size = (frame.width, frame.height)
        sample_aspect = stream.sample_aspect_ratio or Fraction(1)
        orientation = Orientation.from_display_matrix(pyav.display_matrix(frame))
        full_size = square_pixel_size(*coded_size, sample_aspect)
        _check_size(orientation.size(*full_size))
        _check_duration(clock.duration)
        square_size = working_size(*full_size)
        width, height = orientation.size(*square_size)
        return VideoInfo(
            width=width,
            height=height,
            rotation=orientation.rotation,
            codec=stream.codec_context.name,
            bitrate=pyav.bit_rate(stream, container),
            clock=clock,
            average_rate=pyav.average_rate(stream),
            pixel_format=frame.format.name,
            has_audio=bool(container.streams.audio),
            container_format=container.format.name,
            coded_size=coded_size,
            square_size=square_size,
            sample_aspect_ratio=sample_aspect,
            orientation=orientation,
            time_base=clock.time_base,
            matrix=matrix_coefficients(frame),
            promised_duration=_promised_duration(container, stream, clock),
        )


def header_rate(file: BinaryIO) -> Fraction | None:
    """Return the frames per second that a video's header promises; ``None`` if it does not say."""
    try:
        with av.open(file, options=dict(OPEN_OPTIONS), metadata_errors="replace") as container:
            streams = container.streams.video
            return pyav.average_rate(streams[0]) if streams else None
    except PYAV_ERRORS:
        return None


def _check_size(size: tuple[int, int]) -> None:
    """Refuse frames without room for captions or too large to be stored; ``size`` has square pixels."""
    width, height = size
    if min(size) < MIN_CROP_PIXELS:
        raise BadVideoError(
            f"the video's frames are {width}×{height} pixels, too small to hold captions "
            f"(at least {MIN_CROP_PIXELS}×{MIN_CROP_PIXELS})"
        )
    if max(size) > MAX_FRAME_SIDE or width * height > MAX_FRAME_PIXELS:
        raise BadVideoError(
            f"the video's frames are {width}×{height} pixels; at most {MAX_FRAME_SIDE} a side and "
            f"{MAX_FRAME_PIXELS // 2**20} megapixels are accepted: scale it down"
        )


def _check_duration(seconds: Fraction) -> None:
    if seconds > MAX_DURATION_SECONDS:
        raise BadVideoError(
            f"the video lasts {float(seconds) / 3600:.0f} hours; at most "
            f"{MAX_DURATION_SECONDS // 3600} are accepted"
        )


def _first_frame_and_clock(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, Clock]:
    """Return the first frame that decodes and the clock of all packets, in one pass over the file."""
    stream.thread_type = "SLICE"  # frame threads would decode ahead
    time_base = pyav.time_base(stream)
    nominal = max(1, int(min(frame_seconds(stream), _LONGEST_FRAME_SECONDS) / time_base))
    packets = pyav.demux(container, stream)
    opening: list[Stamp] = []
    frame, start_pts = _first_frame(container, stream, _stamped_into(opening, packets, nominal))
    leading = int(1 / time_base)

    def stamps() -> Iterator[Stamp]:
        # Earlier packets could not be decoded or are not presented.
        yield from (stamp for stamp in opening if stamp.pts is None or stamp.pts >= start_pts)
        following: list[Stamp] = []
        for _ in _stamped_into(following, packets, nominal):
            while following:
                stamp = following.pop()
                if stamp.pts is None or not start_pts - leading <= stamp.pts < start_pts:
                    yield stamp

    start_time = pyav.ticks(container.start_time)
    clock = read_clock(
        stamps(),
        start_pts,
        time_base,
        container_start=None if start_time is None else Fraction(start_time, av.time_base),
        held=not is_broadcast(container),
    )
    return frame, clock


def _stamped_into(stamps: list[Stamp], packets: Iterator[VideoPacket], nominal: int) -> Iterator[VideoPacket]:
    """Yield the packets; append the time stamps of those that a player presents to ``stamps``."""
    for packet in packets:
        if packet.size > 0 and not packet.is_discard and not is_cut_off(packet):
            pts, dts = pyav.ticks(packet.pts), pyav.ticks(packet.dts)
            stamps.append(Stamp(dts, pts, pyav.length(packet.duration) or nominal))
        yield packet


def _first_frame(
    container: InputContainer, stream: VideoStream, packets: Iterator[VideoPacket]
) -> tuple[VideoFrame, int]:
    """Return the first frame that decodes, and the time stamp of the first frame to present.

    The two differ where the file's beginning is damaged: damage must not move index 0.
    """
    found = damaged = 0
    for packet in packets:
        found += packet.size > 0
        frames = pyav.decode(stream, packet)
        if frames is None:
            # A recording of a broadcast starts anywhere; nothing is presented before its first keyframe.
            damaged += not is_broadcast(container)
            continue
        for frame in frames:
            candidates = [frame_pts(frame), pyav.ticks(stream.start_time) if damaged else None]
            return frame, min((pts for pts in candidates if pts is not None), default=0)
    what = f"none of its {found} packets can be decoded" if found else "its video stream is empty"
    raise NoFramesError(f"the video has no frames: {what}")


def frame_pts(frame: VideoFrame) -> int | None:
    """Return a decoded frame's presentation time stamp, else its decoding time stamp, else ``None``."""
    return pyav.ticks(frame.pts if frame.pts is not None else frame.dts)


def frame_seconds(stream: VideoStream) -> Fraction:
    """Return the nominal duration in seconds of frames without a duration of their own."""
    rate = pyav.average_rate(stream)
    return 1 / rate if rate else _DEFAULT_FRAME_SECONDS


def _promised_duration(container: InputContainer, stream: VideoStream, clock: Clock) -> Fraction | None:
    if (length := pyav.length(stream.duration)) is not None:
        start = pyav.ticks(stream.start_time)
        start = clock.start_pts if start is None else start
        return (start + length - clock.start_pts) * clock.time_base
    end: Fraction | None = None
    if tagged := _clock_seconds(stream.metadata.get("DURATION", "")):
        end = tagged  # Matroska's statistics tag: the track's end on the container's clock
    elif len(container.streams) == 1 and "matroska" in container.format.name:
        end = _container_seconds(container)
    return end - clock.start_pts * clock.time_base if end is not None else None


def _container_seconds(container: InputContainer) -> Fraction | None:
    length = pyav.length(container.duration)
    return Fraction(length, av.time_base) if length is not None else None


def _clock_seconds(text: str) -> Fraction | None:
    found = _CLOCK.fullmatch(text.strip())
    return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3]) if found else None
