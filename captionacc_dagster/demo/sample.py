"""The generator of the sample video: burned-in captions over a drawn background, and their ground truth.

There are three moving scenes with hard cuts, and a corner logo, which is not a caption. The captions share
one band and cover the usual cases: white with an outline, yellow, in a translucent box, fading, one line and
two, back to back and with gaps, neighbours that differ in one digit, one across a cut, and one that lasts up
to the last frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pysubs2
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.demo.scenes import Frame, background
from captionacc_dagster.demo.video import write_video

Style = Literal["outline", "yellow", "box", "fade"]


@dataclass(frozen=True)
class SampleCaption:
    """A caption, shown in the half-open range from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    text: str
    style: Style = "outline"


DURATION = 30.0
#: All times are on frame boundaries at 25 frames a second, mostly between two tenths of a second.
CAPTIONS = (
    SampleCaption(0.84, 2.6, "Every evening the harbour falls silent."),
    SampleCaption(2.6, 4.44, "Only the gulls are still awake."),
    SampleCaption(
        5.08, 7.36, "Far out, the last boat turns for home\nand follows the light to the shore.", "box"
    ),
    SampleCaption(8.24, 9.4, "Step 1 of 3: wait for the tide.", "yellow"),
    SampleCaption(9.4, 10.56, "Step 2 of 3: wait for the tide.", "yellow"),
    SampleCaption(10.56, 11.8, "Step 3 of 3: cast off!", "yellow"),
    SampleCaption(12.64, 14.76, "Meanwhile, in the city,"),
    SampleCaption(14.76, 17.36, "nobody has gone to bed yet,\nand the trams still run."),
    SampleCaption(18.04, 19.68, "Are you coming?", "fade"),
    SampleCaption(20.16, 22.24, "The first train leaves at 5:40."),  # across the cut at 21.2 s
    SampleCaption(22.84, 23.76, "Yes.", "box"),
    SampleCaption(24.36, 26.92, "I'll bring the coffee,\nyou bring the map.", "box"),
    SampleCaption(27.56, 30.0, "And so the day begins."),
)

_FADE_SECONDS = 0.2
_SHORTEST_SECONDS = 0.4


def make_sample(
    video: Path | str,
    srt: Path | str | None = None,
    *,
    captions: Sequence[SampleCaption] = CAPTIONS,
    duration: float = DURATION,
    size: tuple[int, int] = (960, 540),
    fps: int = 25,
    logo: bool = True,
    seed: int = 1,
) -> list[SampleCaption]:
    """Write the video (H.264 in MP4) and its truth (SubRip), and return the captions as shown.

    ``size`` is (width, height), both even and at least 64. Captions are moved to frame boundaries; those
    beyond ``duration`` seconds are omitted or cut. The same arguments produce the same bytes. Raises
    ``ValueError`` for a size or a duration that is not valid.
    """
    width, height = size
    if width % 2 or height % 2 or min(size) < 64:
        raise ValueError(f"a sample's width and height must be even and at least 64, not {width}×{height}")
    frames = round(duration * fps)
    if frames < 1:
        raise ValueError(f"a sample of {duration} s at {fps} frames a second has no frame")
    shown = _shown(captions, frames, fps)
    layers = [(c, _caption_layer(c, width, height)) for c in shown]
    corner = _logo_layer(width, height) if logo else None

    def pictures() -> Iterator[Frame]:
        for index, frame in enumerate(background(width, height, frames, fps, seed)):
            for caption, layer in layers:
                if (opacity := _opacity(caption, index, fps)) > 0:
                    layer.onto(frame, opacity)
            if corner is not None:
                corner.onto(frame, 1)
            yield frame

    write_video(Path(video), pictures(), size, fps)
    if srt is not None:
        _write_srt(shown, Path(srt))
    return shown


def _shown(captions: Sequence[SampleCaption], frames: int, fps: int) -> list[SampleCaption]:
    shown = []
    for caption in captions:
        start, end = round(caption.start * fps), min(round(caption.end * fps), frames)
        if end - start >= min(_SHORTEST_SECONDS, caption.end - caption.start) * fps - 0.5:
            shown.append(replace(caption, start=start / fps, end=end / fps))
    return shown


def _write_srt(captions: Sequence[SampleCaption], path: Path) -> None:
    truth = pysubs2.SSAFile()
    for caption in captions:
        event = pysubs2.SSAEvent(start=round(caption.start * 1000), end=round(caption.end * 1000))
        event.plaintext = caption.text
        truth.append(event)
    truth.save(str(path), format_="srt")


@dataclass(frozen=True)
class _Layer:
    """A picture with premultiplied colour, placed with its corner at row ``top`` and column ``left``."""

    top: int
    left: int
    #: (h, w, 3), 0 to 255.
    colour: npt.NDArray[np.float32]
    #: (h, w, 1), 0 to 1.
    alpha: npt.NDArray[np.float32]

    @classmethod
    def from_image(cls, image: Image.Image) -> "_Layer":
        left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
        pixels = np.asarray(image.crop((left, top, right, bottom)), np.float32)
        alpha = pixels[..., 3:] / np.float32(255)
        return cls(top, left, pixels[..., :3] * alpha, alpha)

    def onto(self, frame: Frame, opacity: float) -> None:
        height, width = self.alpha.shape[:2]
        under = frame[self.top : self.top + height, self.left : self.left + width]
        under[:] = under * (1 - self.alpha * opacity) + self.colour * opacity + 0.5


def _opacity(caption: SampleCaption, index: int, fps: int) -> float:
    start, end = round(caption.start * fps), round(caption.end * fps)
    if not start <= index < end:
        return 0.0
    if caption.style != "fade":
        return 1.0
    steps = _FADE_SECONDS * fps + 1  # the first and the last frame are never fully transparent
    return min(1.0, (index - start + 1) / steps, (end - index) / steps)


def _caption_layer(caption: SampleCaption, width: int, height: int) -> _Layer:
    """Draw a caption. All captions share the baseline of the last line, and so one band."""
    size = height * 0.065
    font = ImageFont.load_default(size)
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    lines = caption.text.split("\n")
    baselines = [height * 0.925 - size * 1.28 * above for above in reversed(range(len(lines)))]
    if caption.style == "box":
        half = max(font.getlength(line) for line in lines) / 2 + size * 0.5
        box = (width / 2 - half, baselines[0] - size * 1.02, width / 2 + half, baselines[-1] + size * 0.45)
        draw.rounded_rectangle(box, radius=size * 0.3, fill=(8, 10, 18, 165))
    fill = (255, 222, 64) if caption.style == "yellow" else (255, 255, 255)
    outline = 0 if caption.style == "box" else max(1, round(size * 0.1))
    for line, baseline in zip(lines, baselines, strict=True):
        draw.text(
            (width / 2, baseline),
            line,
            font=font,
            anchor="ms",
            fill=fill,
            stroke_width=outline,
            stroke_fill=(12, 12, 16),
        )
    return _Layer.from_image(image)


def _logo_layer(width: int, height: int) -> _Layer:
    size = height * 0.042
    font = ImageFont.load_default(size)
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    right, middle = width - size * 0.9, size * 1.5
    draw.text((right, middle), "Harbour TV", font=font, anchor="rm", fill=(255, 255, 255, 215))
    centre = right - font.getlength("Harbour TV") - size * 0.85
    draw.ellipse(
        (centre - size / 2, middle - size / 2, centre + size / 2, middle + size / 2), fill=(255, 96, 72, 230)
    )
    sail = [(centre - size * 0.12, middle - size * 0.3), (centre + size * 0.28, middle + size * 0.2)]
    draw.polygon([*sail, (centre - size * 0.12, middle + size * 0.2)], fill=(255, 255, 255, 240))
    return _Layer.from_image(image)
