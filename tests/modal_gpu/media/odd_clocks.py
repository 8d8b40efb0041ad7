"""Small videos with odd clocks: audio first, joined recordings, jumps, long gaps, wrong time stamps."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet

from tests.modal_gpu.media.stamped_clips import Clip, every

MILLISECOND = Fraction(1, 1000)
Restamp = Callable[[int, Packet], None]


def audio_first(video: Path, path: Path, start: Fraction) -> Path:
    """A video with silence from 0 s on and frames from ``start`` on, as ``ffmpeg -itsoffset`` makes it."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        pictures = source.streams.video[0]
        stream = container.add_stream_from_template(pictures)
        audio = container.add_stream("mp2", rate=48_000)
        length = start + Fraction(source.duration, av.time_base)
        for number in range(int(length * 48_000 / 1152)):
            sound = AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), format="s16", layout="stereo")
            sound.sample_rate, sound.time_base, sound.pts = 48_000, Fraction(1, 48_000), number * 1152
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
        for packet in source.demux(pictures):
            if packet.size:
                packet.pts += int(start / packet.time_base)
                packet.dts += int(start / packet.time_base)
                packet.stream = stream
                container.mux(packet)
    return path


def restamped(video: Path, path: Path, restamp: Restamp) -> Path:
    """A copy of a video's packets after ``restamp(number, packet)``."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                restamp(number, packet)
                packet.stream = stream
                container.mux(packet)
    return path


def joined(folder: Path, *parts: Sequence[Fraction]) -> Path:
    """Transport streams one after the other, as ``cat`` joins them; each counts its frames from 0."""
    data = b""
    for place, times in enumerate(parts):
        (folder / str(place)).mkdir()
        data += Clip(times, suffix=".ts").write(folder / str(place)).read_bytes()
    path = folder / "joined.ts"
    path.write_bytes(data)
    return path


def later(*parts: tuple[int, Fraction | int]) -> list[Fraction]:
    """Presentation times of frames at 25 a second: so many from each start on."""
    return [time for count, start in parts for time in every(25, count, start)]
