"""Pictures made of frames, for the Dagster UI: they decode, stay small and fit the window."""

import io

import numpy as np
import pytest
from PIL import Image

from captionacc_dagster.assets.pictures import drawing, frames
from captionacc_dagster.assets.pictures.drawing import WIDTH
from captionacc_dagster.assets.pictures.frames import PreviewBox, PreviewFrame
from modal_gpu.contracts import CropRegion

#: Pixels that Dagster's table of metadata leaves beside the list of partitions in a window of 1366 pixels.
ROOM = 490


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
    assert len(data) <= drawing.MAX_BYTES
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.width <= ROOM
    return image


@pytest.mark.parametrize("count", [1, 4, 5, 30, 1080])
def test_a_contact_sheet_shows_thirty_frames_at_most(count: int):
    thumbnails = [jpeg(192, 108, seed) for seed in range(3)]
    shown = [PreviewFrame(100 * n, thumbnails[n % 3], [PreviewBox(0.2, 0.8, 0.8, 0.9)]) for n in range(count)]
    sheet = opened(frames.contact_sheet(shown))
    columns, rows = min(count, 5), -(-min(count, 30) // 5)
    tile = (WIDTH - 4) // 5
    assert sheet.size == (columns * tile + 4, rows * (round((tile - 4) * 108 / 192) + 4) + 4)


def test_a_contact_sheet_takes_any_shape_of_frame():
    for sizes in ([(1, 1), (16, 900), (900, 16), (405, 720)], [(405, 720)] * 12, [(16, 900)]):
        opened(frames.contact_sheet([PreviewFrame(0, jpeg(*size)) for size in sizes]))


def test_a_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        frames.contact_sheet([])


def test_the_layout_picture_dims_what_is_outside_the_crop_region():
    white = io.BytesIO()
    Image.new("RGB", (1280, 720), "white").save(white, "JPEG")
    boxes = [PreviewBox(0.3, 0.85, 0.7, 0.92, "in"), PreviewBox(0.8, 0.05, 0.9, 0.1, "out")]
    frame = PreviewFrame(125, white.getvalue(), boxes)
    picture = opened(frames.layout_preview(frame, [CropRegion(0.1, 0.8, 0.9, 0.95)]))
    assert picture.size == (WIDTH, round(WIDTH * 9 / 16))
    inside, outside = picture.getpixel((100, 227)), picture.getpixel((240, 70))
    assert min(inside) > 240 and max(outside) < 130
    opened(frames.layout_preview(PreviewFrame(0, jpeg(1920, 1080)), [CropRegion(0, 0, 1, 1)]))


@pytest.mark.parametrize("frame_size", [(16, 16), (404, 720), (3, 2)])
def test_the_layout_picture_takes_tiny_and_upright_frames(frame_size: tuple[int, int]):
    opened(frames.layout_preview(PreviewFrame(0, jpeg(*frame_size)), [CropRegion(0.4, 0.99, 0.41, 1)]))


def test_the_heat_map_shows_where_text_stands_in_all_frames():
    grey = io.BytesIO()
    Image.new("RGB", (1280, 720), (120, 120, 120)).save(grey, "JPEG")
    boxes = [PreviewBox(0.3, 0.85, 0.7, 0.92, "in")] * 9 + [PreviewBox(0.8, 0.05, 0.9, 0.15, "out")]
    picture = opened(frames.heat_map(PreviewFrame(0, grey.getvalue()), boxes, [CropRegion(0.1, 0.8, 0.9, 1)]))
    width, height = picture.size

    def pixel(x: float, y: float) -> tuple[int, int, int]:
        return picture.getpixel((round(x * width), round(y * height)))

    caption, logo, empty = pixel(0.5, 0.885), pixel(0.85, 0.1), pixel(0.5, 0.4)
    assert caption[1] > caption[0] + 50
    assert logo[0] > logo[1] + 30
    assert max(empty) - min(empty) < 10


@pytest.mark.parametrize("boxes", [[], [PreviewBox(0, 0, 1, 1, "in")], [PreviewBox(0.99, 0.99, 1, 1)]])
def test_the_heat_map_takes_any_boxes_and_frames(boxes: list[PreviewBox]):
    for size in ((16, 900), (900, 16), (1, 1)):
        opened(frames.heat_map(PreviewFrame(0, jpeg(*size)), boxes, [CropRegion(0, 0, 1, 1)]))


@pytest.mark.parametrize("size", [(1200, 120), (300, 40), (200, 600), (16, 16)])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_a_film_strip_fits_whatever_is_cropped(size: tuple[int, int], count: int):
    picture = opened(frames.film_strip([(float(n), noisy(*size)) for n in range(count)]))
    assert picture.width == WIDTH
    assert picture.height < 1500


def test_a_film_strip_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        frames.film_strip([])


def test_a_strip_is_scaled_down_and_never_up():
    assert opened(frames.strip_jpeg(noisy(1200, 120))).size == (240, 24)
    assert opened(frames.strip_jpeg(noisy(200, 40))).size == (200, 40)


def test_a_doubtful_box_is_red_and_a_sure_one_green():
    doubtful, sure = PreviewBox(0, 0, 1, 1, confidence=0.4), PreviewBox(0, 0, 1, 1, confidence=1.0)
    assert (doubtful.colour, sure.colour) == (drawing.OUT, drawing.IN)
    assert PreviewBox(0, 0, 1, 1, "out", confidence=1.0).colour == drawing.OUT


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
    assert drawing.clock(seconds) == text


def test_evenly_keeps_the_first_and_the_order():
    assert drawing.evenly(range(10), 3) == [0, 3, 6]
    assert drawing.evenly([1, 2], 5) == [1, 2]
