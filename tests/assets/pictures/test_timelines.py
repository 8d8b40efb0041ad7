"""Charts over time: each value is where it belongs, and charts of any length are small."""

import io

import numpy as np
import pytest
from PIL import Image

from captionacc_dagster.assets.pictures.drawing import IN, OUT, TRACK, WIDTH
from captionacc_dagster.assets.pictures.timelines import captions_timeline, extents_timeline

LEFT, RIGHT, TOP, ROW = 60, 8, 26, 30


def opened(data: bytes) -> Image.Image:
    assert len(data) < 60_000
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.width == WIDTH
    assert image.height <= 20 * ROW + TOP
    return image


def at(image: Image.Image, seconds: float, row_seconds: float, height: int = 16) -> tuple[int, ...]:
    """Return the colour of a moment; ``height`` is below the top of its row."""
    row, rest = divmod(seconds, row_seconds)
    x = LEFT + round(rest / row_seconds * (WIDTH - LEFT - RIGHT))
    return image.getpixel((x, TOP + round(row) * ROW + height))


def near(colour: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return max(abs(one - other) for one, other in zip(colour, expected, strict=True)) < 24


@pytest.mark.parametrize(
    ("extents", "duration"),
    [
        ([], 0.04),
        ([(0.85, 2.55, 0.99), (2.55, 4.45, 0.2)], 8.0),
        ([(58.0, 63.0, 1.0)], 90.0),
        ([(n * 3.0, n * 3.0 + 2, 0.9) for n in range(3600)], 10_800.0),
        ([(5.0, 9.0, 2.0)], 6.0),
    ],
)
def test_a_timeline_of_any_length_is_a_small_picture(extents, duration: float):
    opened(captions_timeline(extents, duration))


def test_a_caption_is_where_it_is_shown_in_the_colour_of_its_confidence():
    image = opened(captions_timeline([(2.0, 4.0, 1.0), (5.0, 6.0, 0.3)], 8.0))
    assert [near(at(image, second, 8), IN) for second in (1.0, 3.0, 4.5, 5.5)] == [False, True, False, False]
    assert near(at(image, 5.5, 8), OUT)
    assert near(at(image, 4.5, 8), TRACK)


def test_a_caption_over_the_end_of_a_row_is_in_both():
    image = opened(captions_timeline([(58.0, 63.0, 1.0)], 120.0))
    assert [near(at(image, second, 60), IN) for second in (57, 59, 61, 64)] == [False, True, True, False]


def test_the_extents_show_captions_and_their_borders():
    presence = np.zeros(80, np.float32)
    presence[20:50] = 1.0
    change = np.zeros(79, np.float32)
    change[19] = change[34] = change[49] = 1.0
    image = opened(extents_timeline(presence, change))
    # At the bottom of its row, a caption is green and a change yellow.
    assert [near(at(image, second, 8), IN) for second in (1.0, 3.0, 4.5, 7.0)] == [False, True, True, False]
    needle = at(image, 3.45, 8, height=2)
    assert needle[0] > 180 and needle[1] > 150 and needle[2] < 120


@pytest.mark.parametrize("frames", [1, 2, 7, 600, 72_000])
def test_extents_of_any_length_are_a_small_picture(frames: int):
    random = np.random.default_rng(frames)
    presence = (random.random(frames) > 0.5).astype(np.float32)
    opened(extents_timeline(presence, np.abs(np.diff(presence))))
