"""The benchmark of scripts names situations that exist, and an engine's failure is no reading."""

import numpy as np
import pytest

from benchmarks.scripts import SCRIPTS, error_rate, read
from benchmarks.situations.choice import chosen
from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import BatchLimits, Box, OcrLine, Reading


class Half:
    """An engine that fails on every second image."""

    batch_limits = BatchLimits(images=2)

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        raise AssertionError("batches only")

    def recognize_batch(self, images: list[np.ndarray]) -> list[Reading]:
        return [OcrError("no answer") if place % 2 else [] for place, _ in enumerate(images)]

    def close(self) -> None:
        """Do nothing."""


def test_each_script_is_a_situation_with_its_language():
    assert [(one.name, len(one.languages)) for one in chosen(SCRIPTS)] == [(name, 1) for name in SCRIPTS]


def test_a_failed_image_ends_the_benchmark():
    blank = np.zeros((8, 8, 3), np.uint8)
    assert read(Half(), [blank]) == [[]]
    with pytest.raises(OcrError, match="no answer"):
        read(Half(), [blank, blank])


def test_the_error_rate_is_over_all_captions():
    line = OcrLine("слово", 0.9, Box(0, 0, 1, 1))
    assert error_rate(["слово", "слова"], [[line], [line]]) == pytest.approx(0.1)
