"""Rendered captions: the font comes with OpenCV and holds Latin and Chinese characters."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from modal_gpu.ocr.rapid import FULL_FRAME, STRIP, RapidOcrEngine


@pytest.fixture(scope="session")
def frame_engine() -> RapidOcrEngine:
    return RapidOcrEngine(FULL_FRAME)


@pytest.fixture(scope="session")
def strip_engine() -> RapidOcrEngine:
    return RapidOcrEngine(STRIP)


def busy_background(width: int, height: int) -> np.ndarray:
    """A coloured gradient with soft blobs, uint8 RGB."""
    random = np.random.default_rng(7)
    blobs = cv2.resize(random.integers(20, 150, (6, 10, 3)).astype(np.uint8), (width, height))
    return cv2.GaussianBlur(blobs, (0, 0), 9)


def draw_line(image: np.ndarray, text: str, baseline: int, size: int = 44) -> None:
    """White text with a dark outline, centred."""
    font = cv2.FontFace("uni")
    (left, _, width, _) = cv2.getTextSize(image.shape[:2][::-1], text, (0, 0), font, size, 400)
    origin = ((image.shape[1] - width) // 2 - left, baseline)
    for dx, dy in ((-2, 0), (2, 0), (0, -2), (0, 2), (-2, -2), (2, 2), (-2, 2), (2, -2)):
        place = (origin[0] + dx, origin[1] + dy)
        cv2.putText(image, text, place, (10, 10, 10), font, size, 400)
    cv2.putText(image, text, origin, (250, 250, 250), font, size, 400)


@pytest.fixture(scope="session")
def render() -> Callable[..., np.ndarray]:
    """``render(*lines, width=, height=, size=)``: lines at the bottom of a busy picture."""

    def make(*lines: str, width: int = 1280, height: int = 720, size: int = 44) -> np.ndarray:
        image = busy_background(width, height)
        for place, text in enumerate(reversed(lines)):
            draw_line(image, text, round(height - 0.35 * size - 1.3 * size * place) - 8, size)
        return image

    return make
