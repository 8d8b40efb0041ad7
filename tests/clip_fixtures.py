"""Small clips for tests, and what is burned into them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks.metrics import Caption as TimedCaption
from benchmarks.quality import read_captions as read_subtitles
from captionacc_dagster.demo.sample import SampleCaption, make_sample
from captionacc_dagster.demo.scenes import background
from captionacc_dagster.demo.video import write_video

CAPTIONS = (
    SampleCaption(0.84, 2.6, "Every evening the harbour falls silent."),
    SampleCaption(2.6, 4.44, "Only the gulls are still awake."),
    SampleCaption(5.08, 7.36, "Far out, the last boat turns for home\nand follows the light to the shore."),
)
FRAME_COUNT = 80


@dataclass(frozen=True)
class Clip:
    """A video file and what is burned into it."""

    path: Path
    truth: list[TimedCaption]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Eight seconds with three captions, the first two back to back."""
    folder = tmp_path_factory.mktemp("clip")
    path, truth = folder / "harbour.mp4", folder / "harbour.srt"
    make_sample(path, truth, captions=CAPTIONS, duration=8, size=(640, 360))
    return Clip(path, read_subtitles(truth))


@pytest.fixture(scope="session")
def plain_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Three seconds with a corner logo and no caption."""
    path = tmp_path_factory.mktemp("clip") / "plain.mp4"
    make_sample(path, captions=(), duration=3, size=(640, 360))
    return Clip(path, [])


#: Captions at the bottom, and others at the top that overlap some of them.
BELOW = (
    (0.6, 2.2, "Every evening the harbour falls silent."),
    (3.0, 4.6, "Only the gulls are still awake."),
    (5.4, 7.0, "Far out, a boat turns for home."),
    (7.8, 9.4, "It follows the light to the shore."),
    (10.2, 11.6, "And so the day begins."),
)
ABOVE = (
    (1.4, 3.4, "Meanwhile, on the pier"),
    (4.2, 5.8, "Gulls above the water"),
    (6.6, 8.4, "Somebody lights a lamp"),
    (9.0, 11.0, "Good morning, everyone"),
)


@pytest.fixture(scope="session")
def two_zone_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds with captions at the bottom and at the top."""
    width, height, fps = 640, 360, 25
    font = ImageFont.load_default(24)
    path = tmp_path_factory.mktemp("clip") / "two-zones.mp4"

    def pictures() -> Iterator[np.ndarray]:
        for index, frame in enumerate(background(width, height, 12 * fps, fps, 1)):
            image = Image.fromarray(np.asarray(frame, np.uint8))
            draw = ImageDraw.Draw(image)
            for captions, middle in ((BELOW, 330), (ABOVE, 40)):
                for start, end, text in captions:
                    if round(start * fps) <= index < round(end * fps):
                        draw.text(
                            (width / 2, middle),
                            text,
                            "white",
                            font,
                            "mm",
                            stroke_width=2,
                            stroke_fill="black",
                        )
            yield np.asarray(image).astype(frame.dtype)

    write_video(path, pictures(), (width, height), fps)
    return path
