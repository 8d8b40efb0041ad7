"""Undamaged videos of many kinds, two seconds long and small, as bytes."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

RATE, FRAMES = 12, 24
os.environ.setdefault("SVT_LOG", "1")  # errors only
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_X264 = {"preset": "ultrafast", "g": "8"}


@dataclass(frozen=True)
class Kind:
    """The recipe of a file. ``starts`` is in seconds; ``audio`` adds a track that starts at zero."""

    container: str
    codec: str
    size: tuple[int, int] = (128, 96)
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    rotation: int = 0
    sample_aspect: Fraction | None = None
    starts: Fraction = Fraction(0)
    audio: str = ""
    #: The frames that exist, for a variable frame rate.
    frames: Callable[[int], bool] = lambda number: True


KINDS = {
    "mp4": Kind("mp4", "libx264", options=_X264),
    "mp4 fragmented": Kind("mp4", "libx264", options=_X264, container_options=_FRAGMENTED),
    "mp4 index first": Kind("mp4", "libx264", options=_X264, container_options={"movflags": "faststart"}),
    "mp4 mpeg4": Kind("mp4", "mpeg4"),
    "mp4 hevc": Kind("mp4", "libx265", options={"preset": "ultrafast", "x265-params": "log-level=none"}),
    "mp4 rotated": Kind("mp4", "libx264", options=_X264, rotation=90),
    "mp4 anamorphic": Kind("mp4", "libx264", options=_X264, sample_aspect=Fraction(16, 11)),
    "mp4 with b-frames": Kind("mp4", "libx264", options={"preset": "veryfast", "bf": "3", "g": "12"}),
    "mov mjpeg": Kind("mov", "mjpeg", pixel_format="yuvj420p"),
    "3gp": Kind("3gp", "h263"),
    "mkv": Kind("matroska", "libx264", options=_X264),
    "mkv vfr": Kind("matroska", "libx264", options=_X264, frames=lambda number: number % 5 != 2),
    "mkv audio first": Kind("matroska", "libx264", options=_X264, starts=Fraction(3, 2), audio="aac"),
    "webm vp8": Kind("webm", "libvpx", options={"deadline": "realtime", "cpu-used": "8"}),
    "webm vp9": Kind("webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "webm av1": Kind("webm", "libsvtav1", options={"preset": "12"}),
    "ts": Kind("mpegts", "libx264", options=_X264),
    "ts audio": Kind("mpegts", "mpeg2video", audio="mp2"),
    "ps": Kind("vob", "mpeg2video", options={"g": "6"}),
    "avi": Kind("avi", "mpeg4"),
    "avi raw": Kind("avi", "rawvideo", size=(64, 48), pixel_format="yuv420p"),
    "flv": Kind("flv", "flv"),
    "gif": Kind("gif", "gif", pixel_format="rgb8"),
    "asf": Kind("asf", "wmv2"),
    "mxf": Kind("mxf", "mpeg2video"),
    "nut": Kind("nut", "ffv1", size=(64, 48)),
    "ivf": Kind("ivf", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
}


@cache
def media_file(name: str) -> bytes:
    """Return the file of a kind."""
    # By name, because some containers are reopened to be finished.
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "made"
        _write(KINDS[name], path)
        return path.read_bytes()


def _write(kind: Kind, path: Path) -> None:
    # bitexact: no random ids and no dates, so that a case is the same file every time.
    options = {"fflags": "+bitexact", **kind.container_options}
    with av.open(str(path), "w", format=kind.container, options=options) as container:
        stream = container.add_stream(kind.codec, rate=25 if kind.container in ("mxf", "vob") else RATE)
        width, height = kind.size
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixel_format
        stream.options = {"flags": "+bitexact", **kind.options}
        stream.codec_context.thread_count = 1
        if kind.sample_aspect:
            stream.codec_context.sample_aspect_ratio = kind.sample_aspect
        if kind.rotation:
            stream.set_display_rotation(kind.rotation)
        sound = container.add_stream(kind.audio, rate=44_100) if kind.audio else None
        if sound is not None:
            container.mux(_silence(sound))
        ticks = 1 / stream.codec_context.framerate
        for number in filter(kind.frames, range(FRAMES)):
            frame = VideoFrame.from_ndarray(_picture(number, width, height), format="gray8")
            frame = frame.reformat(format=kind.pixel_format)
            frame.pts, frame.time_base = number + round(kind.starts / ticks), ticks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))


def _picture(number: int, width: int, height: int) -> np.ndarray:
    """Draw a moving slope, and below it a bright bar that stays for half a second."""
    across, down = np.arange(width), np.arange(height)[:, None]
    picture = ((across * 2 + down + number * 5) % 200).astype(np.uint8)
    left = number // 6 * width // 8
    picture[height * 3 // 4 : height * 7 // 8, left : left + width // 2] = 235
    return picture


def _silence(sound: av.AudioStream) -> list[av.Packet]:
    """Return one second of silence."""
    packets: list[av.Packet] = []
    context = sound.codec_context
    for start in range(0, context.sample_rate, 1024):
        kind = np.float32 if "flt" in context.format.name else np.int16
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), kind), context.format.name, "mono")
        frame.sample_rate, frame.pts = context.sample_rate, start
        packets += sound.encode(frame)
    return packets
