"""Small videos whose frames carry their own number, so that a test sees exactly which one it got."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

BITS = 10
#: Upright size that every clip is made at, unless it says otherwise.
SIZE = (320, 96)


def stamped(number: int, width: int, height: int) -> np.ndarray:
    """Grey (height, width): ``number`` in binary as upright stripes, and a dark band along the top."""
    picture = np.empty((height, width), np.uint8)
    for bit in range(BITS):
        picture[:, _stripe(bit, width)] = 200 if number >> bit & 1 else 60
    picture[: height // 4] = 20
    return picture


def read_stamp(picture: np.ndarray) -> int:
    """The number in the lower part of an upright grey or RGB picture, or in a full-width crop of it."""
    grey = picture if picture.ndim == 2 else picture[..., 1]
    height, width = grey.shape
    rows = grey[height // 2 : height - 4]
    number = 0
    for bit in range(BITS):
        stripe = _stripe(bit, width)
        middle = slice(stripe.start + width // BITS // 4, stripe.stop - width // BITS // 4)
        number |= int(rows[:, middle].mean() > 130) << bit
    return number


def _stripe(bit: int, width: int) -> slice:
    return slice(bit * width // BITS, (bit + 1) * width // BITS)


def every(rate: Fraction | int, count: int, start: Fraction | int = 0) -> list[Fraction]:
    """Presentation times of ``count`` frames at a constant rate."""
    return [start + Fraction(number) / Fraction(rate) for number in range(count)]


@dataclass
class Clip:
    """The clip to encode; frame ``k`` shows the number ``k`` and is presented at ``times[k]``."""

    times: Sequence[Fraction]
    suffix: str = ".mp4"
    codec: str = "libx264"
    size: tuple[int, int] = SIZE
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast"})
    #: Degrees counter-clockwise that a player has to turn the stored picture.
    rotation: int = 0
    sample_aspect: Fraction | None = None
    full_range: bool = False
    time_base: Fraction = Fraction(1, 90_000)
    container_options: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / f"clip{self.suffix}"
        width, height = self.size
        stored = (height, width) if self.rotation % 180 else (width, height)
        with av.open(str(path), "w", options=self.container_options) as container:
            stream = container.add_stream(self.codec, rate=25, options=dict(self.options))
            stream.width, stream.height = stored
            stream.pix_fmt = self.pixel_format
            stream.time_base = stream.codec_context.time_base = self.time_base
            if self.sample_aspect:
                stream.codec_context.sample_aspect_ratio = self.sample_aspect
            if self.rotation:
                stream.set_display_rotation(self.rotation)
            if self.full_range:
                stream.codec_context.color_range = 2
            for number, time in enumerate(self.times):
                picture = stamped(number, width, height)
                # Stored rotated the other way, so that the display matrix makes it upright.
                picture = np.ascontiguousarray(np.rot90(picture, -self.rotation // 90))
                frame = VideoFrame.from_ndarray(picture, format="gray8")
                frame = frame.reformat(
                    format=self.pixel_format, src_color_range=2, dst_color_range=2 if self.full_range else 1
                )
                frame.pts, frame.time_base = round(time / self.time_base), self.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    def expected(self, index: int) -> int:
        """The number of the frame that is shown at ``index / 10`` s, by the definition."""
        moment = Fraction(index, 10)
        return max(number for number, time in enumerate(self.times) if time - self.times[0] <= moment)


def decode_everything(path: Path) -> list[tuple[Fraction, int]]:
    """Oracle: (seconds after the first presented frame, number) of every frame, by plain decoding."""
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            upright = np.rot90(frame.to_ndarray(format="gray8"), frame.rotation // 90)
            frames.append((frame.pts * frame.time_base, read_stamp(upright)))
    first = min(time for time, _ in frames)
    return [(time - first, number) for time, number in frames]


def packet_positions(path: Path) -> list[tuple[int, int]]:
    """(position, size) in the file of every video packet."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
