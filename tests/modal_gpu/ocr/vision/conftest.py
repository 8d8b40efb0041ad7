"""A Vision server a test, and engines on it that do not wait long between tries."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from modal_gpu.ocr.google_vision import GoogleVisionEngine
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally
from tests.modal_gpu.ocr.vision.stand_in import INKS, VisionStandIn


@pytest.fixture
def vision() -> Iterator[VisionStandIn]:
    with VisionStandIn() as server:
        yield server


@pytest.fixture
def open_engine(vision: VisionStandIn) -> Iterator[Callable[..., GoogleVisionEngine]]:
    """``open_engine(**settings)``: an engine on the server, closed after the test.

    ``open_engine.tally`` counts the images that were billed to all of them.
    """
    opened: list[GoogleVisionEngine] = []
    tally = ImageTally()

    def make(**settings) -> GoogleVisionEngine:
        usual = {"endpoint": vision.endpoint, "first_wait_seconds": 0.01, "retry_seconds": 5}
        opened.append(GoogleVisionEngine(VisionSettings(**{**usual, **settings}), tally))
        return opened[-1]

    make.tally = tally
    yield make
    for engine in opened:
        engine.close()


def marked(size: tuple[int, int], *marks: tuple[str, int, int, int, int]) -> np.ndarray:
    """A dark image of ``size`` (height, width) with marks: ink, left, top, right, bottom."""
    image = np.full((*size, 3), 20, np.uint8)
    for ink, left, top, right, bottom in marks:
        image[top:bottom, left:right] = INKS[ink]
    return image
