"""The boundary to PyAV: guarded calls on a file's content, and validated numbers of a container.

On a damaged file PyAV raises FFmpeg's errors, but also Python's own: ``IndexError`` for a stream that
appears while packets are read, ``OverflowError`` for a time stamp beyond 64 bits, ``ValueError`` for side
data of an unknown kind. Each guard covers a single PyAV call, so that a bug in this project is not hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu.errors import BadVideoError
from modal_gpu.media.report import DecodeReport

#: PyAV's stubs make packets generic, its classes are not.
if TYPE_CHECKING:
    VideoPacket: TypeAlias = Packet[VideoStream]
else:
    VideoPacket = Packet

#: What a PyAV call may raise on a damaged file.
PYAV_ERRORS = (
    av.FFmpegError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: Time stamps and durations beyond this many ticks are invalid; sums of a few of them fit in 64 bits.
_MAX_TICKS = 2**60
#: Valid frame rates, in frames per second.
_MIN_RATE, _MAX_RATE = Fraction(1, 3600), 1000


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn the errors of one PyAV call into :class:`BadVideoError`: "``what``: reason", on one line."""
    try:
        yield
    except PYAV_ERRORS as error:
        raise BadVideoError(f"{what}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks and without the path that FFmpeg adds."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def demux(
    container: InputContainer, stream: VideoStream, report: DecodeReport | None = None
) -> Iterator[VideoPacket]:
    """Yield the stream's packets until its end or until the demuxer fails, which ``report`` then records.

    The last packet is empty and flushes the decoder.
    """
    try:
        yield from container.demux(stream)
    except IndexError:
        # At the end PyAV also flushes a stream that appeared while reading, and does not find it.
        return
    except PYAV_ERRORS:
        if report is not None:
            report.ended_early = True


def decode(decoder: VideoStream | VideoCodecContext, packet: VideoPacket | None) -> list[VideoFrame] | None:
    """Return the frames that a packet completes, or ``None`` if the decoder rejects it.

    The packet ``None`` flushes the decoder: it returns all frames that are left.
    """
    try:
        return decoder.decode(packet)
    except PYAV_ERRORS:
        return None


def seek(container: InputContainer, pts: int, stream: VideoStream) -> bool:
    """Seek to the keyframe at or before ``pts``; return whether the container can."""
    try:
        container.seek(max(-_MAX_TICKS, min(pts, _MAX_TICKS)), stream=stream)
    except PYAV_ERRORS:
        return False
    return True


def time_base(stream: VideoStream) -> Fraction:
    """Return the seconds per tick. Raises :class:`BadVideoError` unless the container has a positive one."""
    base = stream.time_base
    if base is None or base <= 0:
        raise BadVideoError("the video stream has no valid time base")
    return base


def average_rate(stream: VideoStream) -> Fraction | None:
    """Return the container's frames per second, or ``None`` if it has none or an invalid one."""
    rate = stream.average_rate
    return rate if rate is not None and _MIN_RATE <= rate <= _MAX_RATE else None


def ticks(value: int | None) -> int | None:
    """Return a time stamp in ticks, or ``None`` if it is missing or out of range."""
    return value if value is not None and abs(value) <= _MAX_TICKS else None


def length(value: int | None) -> int | None:
    """Return a duration in ticks, or ``None`` if it is missing, not positive or out of range."""
    return value if value is not None and 0 < value <= _MAX_TICKS else None


def bit_rate(stream: VideoStream, container: InputContainer) -> int:
    """Return bit/s of the stream, else of the whole file; 0 if neither is known."""
    return next(
        (int(rate) for rate in (stream.codec_context.bit_rate, container.bit_rate) if rate and rate > 0), 0
    )


def display_matrix(frame: VideoFrame) -> bytes | None:
    """Return the 3 × 3 matrix that turns a frame upright (nine native int32), or ``None`` without one."""
    try:
        data = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]  # the stub lacks this key
        return bytes(data)
    except PYAV_ERRORS:  # there is none, or PyAV does not know some other side data of the frame
        return None
