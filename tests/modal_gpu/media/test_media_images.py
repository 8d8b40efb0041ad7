"""JPEGs and thumbnails."""

import cv2
import numpy as np
import pytest

from modal_gpu.media.images import encode_jpeg, thumbnail

RED = np.full((90, 640, 3), (200, 30, 20), np.uint8)


def test_a_jpeg_keeps_size_and_colours():
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(RED, 90), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == RED.shape
    assert abs(decoded[..., ::-1].astype(int) - RED).max() < 6


def test_quality_decides_the_size():
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    assert len(encode_jpeg(noise, 30)) < len(encode_jpeg(noise, 95))


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 90), (320, 45)), ((320, 50), (320, 50)), ((64, 9), (64, 9))]
)
def test_thumbnails_are_320_wide_and_never_blown_up(size, expected):
    small = thumbnail(np.zeros((size[1], size[0], 3), np.uint8))
    assert (small.shape[1], small.shape[0]) == expected
