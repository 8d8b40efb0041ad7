"""Montages and requests keep to the limits, lose no frame, and keep the pixels where the plan says."""

import io
import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modal_gpu.ocr.vision_batches import (
    BAR_HEIGHT,
    IMAGE_PIXELS,
    JPEG_SIDE,
    REQUEST_BYTES,
    REQUEST_IMAGE_BYTES,
    REQUEST_IMAGES,
    Montage,
    MontageLimits,
    Place,
    encode_montages,
    plan_montages,
    plan_requests,
)

SIZES = st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), max_size=60)
LIMITS = st.builds(
    MontageLimits,
    images=st.integers(1, 20),
    pixels=st.integers(1, 2_000_000),
    side=st.integers(100, 5000),
)


def fits(places: tuple[Place, ...], limits: MontageLimits) -> bool:
    height, width = places[-1].bottom, max(place.width for place in places)
    within = height <= limits.side and width <= limits.side and height * width <= limits.pixels
    return within and len(places) <= limits.images


@given(SIZES, LIMITS)
def test_every_frame_has_one_place_in_a_montage_within_the_limits(sizes, limits):
    montages = plan_montages(sizes, limits)
    places = [place for montage in montages for place in montage.places]
    assert [(p.index, p.height, p.width) for p in places] == [(i, h, w) for i, (h, w) in enumerate(sizes)]
    for montage in montages:
        assert len(montage.places) == 1 or fits(montage.places, limits)
        assert montage.places[0].top == 0
        for above, below in zip(montage.places, montage.places[1:], strict=False):
            assert below.top == above.bottom + BAR_HEIGHT


@given(SIZES, LIMITS)
def test_no_montage_could_have_taken_the_next_frame(sizes, limits):
    montages = plan_montages(sizes, limits)
    for montage, after in itertools.pairwise(montages):
        first = after.places[0]
        more = Place(first.index, montage.height + BAR_HEIGHT, first.width, first.height)
        assert not fits((*montage.places, more), limits)


@given(st.lists(st.integers(1, REQUEST_IMAGE_BYTES), max_size=80))
def test_requests_keep_to_their_limits_and_lose_no_image(byte_sizes):
    requests = plan_requests(byte_sizes)
    assert [index for request in requests for index in request] == list(range(len(byte_sizes)))
    for request in requests:
        assert 1 <= len(request) <= REQUEST_IMAGES
        assert sum(byte_sizes[index] for index in request) <= REQUEST_IMAGE_BYTES
    for request, after in itertools.pairwise(requests):
        total = sum(byte_sizes[index] for index in request) + byte_sizes[after[0]]
        assert len(request) == REQUEST_IMAGES or total > REQUEST_IMAGE_BYTES


def test_a_full_request_stays_under_the_documented_size_even_as_json():
    assert REQUEST_IMAGE_BYTES * 4 / 3 + 1000 * REQUEST_IMAGES < REQUEST_BYTES


@given(st.lists(st.tuples(st.integers(20, 60), st.integers(20, 60)), min_size=1, max_size=8))
def test_pixels_lie_where_the_plan_says_and_bars_are_grey(sizes):
    values = [40 * (i % 2) + 80 * (i % 3) for i in range(len(sizes))]
    images = [np.full((*size, 3), value, np.uint8) for size, value in zip(sizes, values, strict=True)]
    [montage] = plan_montages(sizes, MontageLimits())
    [(_, jpeg)] = encode_montages(images, montage)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (montage.height, montage.width)
    for place, value in zip(montage.places, values, strict=True):
        inside = picture[place.top + 8 : place.bottom - 8, 8 : place.width - 8]
        assert np.abs(inside.astype(int) - value).max(initial=0) <= 6
    for place in montage.places[:-1]:
        bar = picture[place.bottom + 8 : place.bottom + BAR_HEIGHT - 7]
        assert np.abs(bar.astype(int) - 128).max() <= 6


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_a_montage_with_too_many_bytes_is_sent_in_parts_that_fit():
    images = [noise(120, 200) for _ in range(7)]
    [montage] = plan_montages([image.shape[:2] for image in images], MontageLimits())
    parts = encode_montages(images, montage, max_bytes=70_000)
    assert len(parts) > 2
    assert all(len(jpeg) <= 70_000 for _, jpeg in parts)
    assert [place.index for part, _ in parts for place in part.places] == list(range(7))
    for part, jpeg in parts:
        assert part.places[0].top == 0
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1).shape[:2] == (part.height, part.width)


def test_a_single_frame_with_too_many_bytes_gets_smaller_until_it_fits():
    image = noise(300, 400)
    [(montage, jpeg)] = encode_montages([image], Montage((Place(0, 0, 400, 300),)), max_bytes=20_000)
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1).shape[:2]
    assert len(jpeg) <= 20_000
    assert montage.places == (Place(0, 0, 400, 300),)
    assert (height, width) < (300, 400) and abs(width / height - 4 / 3) < 0.02


@pytest.mark.parametrize("size", [(JPEG_SIDE + 500, 8), (9000, 9000)])
def test_a_frame_over_the_limits_of_pixels_is_reduced(size):
    image = np.zeros((*size, 3), np.uint8)
    [montage] = plan_montages([size], MontageLimits())
    [(_, jpeg)] = encode_montages([image], montage)
    width, height = Image.open(io.BytesIO(jpeg)).size  # from its header
    assert max(height, width) <= JPEG_SIDE and height * width <= IMAGE_PIXELS
