"""Engines that stay loaded, so that a container or a run's process loads its models once."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from queue import Empty, SimpleQueue

import numpy as np

from modal_gpu.ocr.engine import OcrEngine, OcrLine
from modal_gpu.ocr.rapid import FULL_FRAME, RapidOcrEngine, RapidOcrSettings

#: Makes threads wait for models that another thread loads, instead of loading them too.
_loading = threading.Lock()


class KeptEngine:
    """An :class:`~modal_gpu.ocr.engine.OcrEngine` that threads may share.

    It holds as many engines as were ever in use at once; one thread uses an engine at a time.
    """

    def __init__(self, make: Callable[[], OcrEngine]) -> None:
        """Make the first engine. Raises the errors of ``make``, such as :class:`OcrError`."""
        self._make = make
        self._idle: SimpleQueue[OcrEngine] = SimpleQueue()
        self._idle.put(make())

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """Return the image's lines; see :class:`modal_gpu.ocr.engine.OcrEngine`."""
        try:
            engine = self._idle.get_nowait()
        except Empty:
            engine = self._make()
        try:
            return engine.recognize(image)
        finally:
            self._idle.put(engine)


@lru_cache(maxsize=4)
def kept_rapid_ocr(settings: RapidOcrSettings) -> KeptEngine:
    """Return the process's RapidOCR for these settings; those for other images share its models.

    Raises :class:`OcrError` for an unusable model.
    """
    with _loading:
        first = _loaded(
            replace(
                settings,
                detection_side=FULL_FRAME.detection_side,
                min_confidence=FULL_FRAME.min_confidence,
            )
        )
    return KeptEngine(lambda: first.beside(settings))


@lru_cache(maxsize=2)
def _loaded(settings: RapidOcrSettings) -> RapidOcrEngine:
    return RapidOcrEngine(settings)


def forget_rapid_ocr() -> None:
    """Drop all engines that are kept."""
    kept_rapid_ocr.cache_clear()
    _loaded.cache_clear()
