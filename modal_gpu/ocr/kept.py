"""Engines that stay loaded: a container, or a run's process, loads its models once."""

from collections.abc import Callable
from functools import lru_cache
from queue import Empty, SimpleQueue

import numpy as np

from modal_gpu.ocr.engine import OcrEngine, OcrLine
from modal_gpu.ocr.rapid import RapidOcrEngine, RapidOcrSettings


class KeptEngine:
    """An :class:`~modal_gpu.ocr.engine.OcrEngine` that threads may share.

    Behind it are as many engines as were ever busy at once; each is used by one thread at a time.
    """

    def __init__(self, make: Callable[[], OcrEngine]) -> None:
        """Makes the first engine. Raises what ``make`` raises, such as :class:`OcrError`."""
        self._make = make
        self._idle: SimpleQueue[OcrEngine] = SimpleQueue()
        self._idle.put(make())

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """See :class:`modal_gpu.ocr.engine.OcrEngine`."""
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
    """The process's RapidOCR for these settings. Raises :class:`OcrError` when a model is unusable."""
    return KeptEngine(lambda: RapidOcrEngine(settings))
