"""The boundary to PyAV: its calls over a file's content, and the numbers that a container tells.

A damaged file makes PyAV raise FFmpeg's errors, and Python's own where a number is beyond what it foresees:
``IndexError`` for a stream that appears while packets are read, ``OverflowError`` for a time stamp beyond 64
bits, ``ValueError`` for side data of an unknown kind. Only single calls of PyAV are guarded, so that a
mistake of this project still shows as one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu.errors import BadVideoError
from modal_gpu.media.report import DecodeReport

#: What a call of PyAV raises over a damaged file.
PYAV_ERRORS = (
    av.FFmpegError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: Time stamps and durations beyond this many ticks are damage; sums of a few of them stay within 64 bits.
_MAX_TICKS = 2**60
#: Frames a second that a video stream can have; others are damage.
_MIN_RATE, _MAX_RATE = Fraction(1, 3600), 1000


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Around one call of PyAV: its errors as :class:`BadVideoError`, "``what``: why", on one line."""
    try:
        yield
    except PYAV_ERRORS as error:
        raise BadVideoError(f"{what}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and without the path that FFmpeg's errors name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def demux(
    container: InputContainer, stream: VideoStream, report: DecodeReport | None = None
) -> Iterator[Packet]:
    """The stream's packets up to its end, or until the demuxer cannot go on, which ``report`` then tells.

    The last packet is empty and flushes the decoder.
    """
    try:
        yield from container.demux(stream)
    except IndexError:
        # A stream that appeared while reading is flushed after this one, and PyAV does not know it.
        return
    except PYAV_ERRORS:
        if report is not None:
            report.ended_early = True


def decode(decoder: VideoStream | CodecContext, packet: Packet | None) -> list[VideoFrame] | None:
    """The frames that a packet completes (``None``: all that are left); ``None`` where it is refused."""
    try:
        return decoder.decode(packet)
    except PYAV_ERRORS:
        return None


def seek(container: InputContainer, pts: int, stream: VideoStream) -> bool:
    """Go to the key frame at or before ``pts``; whether the container could."""
    try:
        container.seek(max(-_MAX_TICKS, min(pts, _MAX_TICKS)), stream=stream)
    except PYAV_ERRORS:
        return False
    return True


def time_base(stream: VideoStream) -> Fraction:
    """Seconds a tick. Raises :class:`BadVideoError` where the container gives none above zero."""
    base = stream.time_base
    if base is None or base <= 0:
        raise BadVideoError("the video stream does not say how long a tick of its clock is")
    return base


def average_rate(stream: VideoStream) -> Fraction | None:
    """Frames a second as the container tells; ``None`` where it tells none, or one that no video has."""
    rate = stream.average_rate
    return rate if rate is not None and _MIN_RATE <= rate <= _MAX_RATE else None


def ticks(value: int | None) -> int | None:
    """A time stamp, or ``None`` where there is none, or one that only damage gives."""
    return value if value is not None and abs(value) <= _MAX_TICKS else None


def length(value: int | None) -> int | None:
    """A duration in ticks, or ``None`` where there is none above zero, or one that only damage gives."""
    return value if value is not None and 0 < value <= _MAX_TICKS else None


def bit_rate(stream: VideoStream, container: InputContainer) -> int:
    """Bit/s of the stream, else of the whole file; 0 where neither is known."""
    return next(
        (int(rate) for rate in (stream.codec_context.bit_rate, container.bit_rate) if rate and rate > 0), 0
    )


def display_matrix(frame: VideoFrame) -> bytes | None:
    """The 3 × 3 matrix that stands a frame upright (nine native int32), where it has one."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
        return None if data is None else bytes(data)
    except PYAV_ERRORS:  # side data of a kind that PyAV does not know stands before it
        return None
