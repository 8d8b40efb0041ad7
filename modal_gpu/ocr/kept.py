"""Engines that stay loaded, so that a container or a run's process loads its models once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from modal_gpu.ocr.engine import OcrEngine, OcrLine
from modal_gpu.ocr.rapid import FULL_FRAME, RapidOcrEngine, RapidOcrSettings

#: Makes threads wait for models that another thread loads, instead of loading them too.
_loading = threading.Lock()

E = TypeVar("E")


class Kept(Generic[E]):
    """Engines that threads may share: as many as were ever in use at once; a thread has one for itself."""

    def __init__(self, make: Callable[[], E]) -> None:
        """Make the first engine. Raises the errors of ``make``, such as :class:`OcrError`."""
        self._make = make
        self._idle: SimpleQueue[E] = SimpleQueue()
        self._idle.put(make())

    @contextmanager
    def lent(self) -> Iterator[E]:
        """Lend an engine for a block."""
        try:
            engine = self._idle.get_nowait()
        except Empty:
            engine = self._make()
        try:
            yield engine
        finally:
            self._idle.put(engine)


class KeptEngine(Kept[OcrEngine]):
    """An :class:`~modal_gpu.ocr.engine.OcrEngine` that threads may share."""

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """Return the image's lines; see :class:`modal_gpu.ocr.engine.OcrEngine`."""
        with self.lent() as engine:
            return engine.recognize(image)


@lru_cache(maxsize=4)
def kept_rapid_ocr(settings: RapidOcrSettings) -> KeptEngine:
    """Return the process's RapidOCR for these settings; those for other images share its models.

    Raises :class:`OcrError` for an unusable model.
    """
    first = _first(settings)
    return KeptEngine(lambda: first.beside(settings))


@lru_cache(maxsize=4)
def kept_finders(settings: RapidOcrSettings) -> Kept[RapidOcrEngine]:
    """Return the process's detectors of lines for these settings."""
    first = _first(settings)
    return Kept(lambda: first.beside(settings))


def _first(settings: RapidOcrSettings) -> RapidOcrEngine:
    """Return the engine that has loaded the models of ``settings``."""
    with _loading:
        return _loaded(
            replace(
                settings,
                detection_side=FULL_FRAME.detection_side,
                min_confidence=FULL_FRAME.min_confidence,
                keep_unread=False,
            )
        )


@lru_cache(maxsize=2)
def _loaded(settings: RapidOcrSettings) -> RapidOcrEngine:
    return RapidOcrEngine(settings)


def forget_rapid_ocr() -> None:
    """Drop all engines that are kept."""
    kept_rapid_ocr.cache_clear()
    kept_finders.cache_clear()
    _loaded.cache_clear()
