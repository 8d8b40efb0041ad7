"""Pictures and tables for the Dagster UI: they decode, stay small, and no text breaks their markup."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from captionacc_dagster.assets import previews
from captionacc_dagster.assets.previews import PreviewBox, PreviewFrame
from modal_gpu.contracts import CropRegion

#: An event's row in Dagster's database holds the picture.
LARGEST = 150_000


def noisy(width: int, height: int, seed: int = 1) -> np.ndarray:
    """The worst case for compression: coarse noise with grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    grain = random.integers(-20, 20, (height, width, 3))
    return np.clip(coarse[:height, :width] + grain, 0, 255).astype(np.uint8)


def jpeg(width: int = 1280, height: int = 720, seed: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noisy(width, height, seed)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    assert len(base64.b64encode(data)) < LARGEST
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("count", [1, 4, 5, 30, 1080])
def test_a_contact_sheet_shows_thirty_frames_at_most(count: int):
    thumbnails = [jpeg(192, 108, seed) for seed in range(3)]
    frames = [
        PreviewFrame(100 * n, thumbnails[n % 3], [PreviewBox(0.2, 0.8, 0.8, 0.9)]) for n in range(count)
    ]
    sheet = opened(previews.contact_sheet(frames))
    columns, rows = min(count, 5), -(-min(count, 30) // 5)
    assert sheet.size == (columns * 196 + 4, rows * 112 + 4)


def test_a_contact_sheet_takes_any_shape_of_frame():
    frames = [PreviewFrame(0, jpeg(*size)) for size in ((1, 1), (16, 900), (900, 16), (405, 720))]
    opened(previews.contact_sheet(frames))


def test_a_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        previews.contact_sheet([])


def test_the_layout_picture_dims_what_is_outside_the_crop_region():
    white = io.BytesIO()
    Image.new("RGB", (1280, 720), "white").save(white, "JPEG")
    boxes = [PreviewBox(0.3, 0.85, 0.7, 0.92, "in"), PreviewBox(0.8, 0.05, 0.9, 0.1, "out")]
    frame = PreviewFrame(125, white.getvalue(), boxes)
    picture = opened(previews.layout_preview(frame, [CropRegion(0.1, 0.8, 0.9, 0.95)]))
    assert picture.size == (720, 405)
    inside, outside = picture.getpixel((150, 340)), picture.getpixel((360, 100))
    assert min(inside) > 240 and max(outside) < 130
    opened(previews.layout_preview(PreviewFrame(0, jpeg(1920, 1080)), [CropRegion(0, 0, 1, 1)]))


@pytest.mark.parametrize("frame_size", [(16, 16), (404, 720), (3, 2)])
def test_the_layout_picture_takes_tiny_and_upright_frames(frame_size: tuple[int, int]):
    opened(previews.layout_preview(PreviewFrame(0, jpeg(*frame_size)), [CropRegion(0.4, 0.99, 0.41, 1)]))


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
    strip = opened(previews.timeline(extents, duration))
    assert strip.width == 640
    assert strip.height <= 21 * 30 + 8


def test_a_timeline_shows_each_caption_where_it_is():
    strip = opened(previews.timeline([(2.0, 4.0, 1.0)], 8.0)).convert("RGB")
    scale = (640 - 64 - 8) / 8
    row = [strip.getpixel((round(64 + second * scale), 16)) for second in (1.0, 3.0, 6.0)]
    assert row[0] == row[2] != row[1]


def test_a_strip_is_scaled_down_and_never_up():
    assert opened(previews.strip_jpeg(noisy(1200, 120))).size == (480, 48)
    assert opened(previews.strip_jpeg(noisy(300, 40))).size == (300, 40)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_picture_goes_into_markdown_with_its_own_type(kind: str):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    found = re.fullmatch(
        r"!\[four\]\(data:image/(jpeg|png);base64,([A-Za-z0-9+/=]+)\)",
        previews.markdown_image(buffer.getvalue(), "four"),
    )
    assert found and found[1] == kind
    assert base64.b64decode(found[2]) == buffer.getvalue()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two / lines"),
        ("<b>*bold*</b>", r"\<b\>\*bold\*\</b\>"),
        ("[link](x) `code` _it_", r"\[link\](x) \`code\` \_it\_"),
        ("back\\slash", "back\\\\slash"),
        ("", ""),
        (3, "3"),
        ("\r\nwindows\r", "windows"),
        ("![alt](http://elsewhere/pixel.png)", r"!\[alt\](http://elsewhere/pixel.png)"),
    ],
)
def test_text_in_a_table_is_only_text(text: object, cell: str):
    """Captions may contain any text of a video, including text that looks like Markdown."""
    header, rule, row = previews.markdown_table(["what"], [[text]]).split("\n")
    assert (header, rule) == ("| what |", "| --- |")
    assert row == f"| {cell} |"


def test_our_own_picture_in_a_table_stays_a_picture():
    image = previews.markdown_image(b"\x89PNG", "strip")
    assert image in previews.markdown_table(["image", "text"], [[image, "a"]])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.0"),
        (9.96, "0:10.0"),
        (59.96, "1:00.0"),
        (61.25, "1:01.2"),
        (3661, "1:01:01.0"),
        (-1, "0:00.0"),
    ],
)
def test_times_are_formatted_as_clock_times(seconds: float, text: str):
    assert previews.clock(seconds) == text


def test_evenly_keeps_the_first_and_the_order():
    assert previews.evenly(range(10), 3) == [0, 3, 6]
    assert previews.evenly([1, 2], 5) == [1, 2]
