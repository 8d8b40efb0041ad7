"""CPU seconds by part of the work: calls of named functions are timed by their own thread's CPU clock.

A part's time excludes the parts inside it. FFmpeg decodes in threads of its own, so decoding is what the
process used beyond the parts; so is whatever is not listed here.
"""

import pkgutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

#: The parts, each with the functions that do it.
PARTS: dict[str, tuple[str, ...]] = {
    "loading models": (
        "modal_gpu.ocr.rapid.RapidOcrEngine.__init__",
        "modal_gpu.functions.settings.ComputeSettings.predictor",
    ),
    "text detection": ("rapidocr.ch_ppocr_det.main.TextDetector.__call__",),
    "text recognition": ("rapidocr.ch_ppocr_rec.main.TextRecognizer.__call__",),
    "rest of OCR": ("modal_gpu.ocr.rapid.RapidOcrEngine.recognize",),
    "colour conversion": ("modal_gpu.media.pixels._converted",),
    "cropping": ("modal_gpu.media.frames.yuv420_crop",),
    "pictures of source frames": ("modal_gpu.media.frames.small_luma",),
    "VP9 encoding": (
        "modal_gpu.media.chunks._OpenChunk.add",
        "modal_gpu.media.chunks._OpenChunk.finish",
    ),
    "VP9 decoding": ("modal_gpu.media.chunks._ChunkDecoder.frame",),
    "scaling of strips": ("modal_gpu.extents.batches.WorkingStrips.working",),
    "extents network": (
        "modal_gpu.extents.onnx_backend.OnnxBackend.encode",
        "modal_gpu.extents.onnx_backend.OnnxBackend.pooled",
        "modal_gpu.extents.onnx_backend.OnnxBackend.judged",
    ),
    "search for change times": (
        "modal_gpu.extents.change_times.ChangeLocator.add",
        "modal_gpu.extents.change_times.ChangeLocator.finish",
    ),
    "median of a caption's frames": ("modal_gpu.functions.caption_ocr.median_image",),
    "JPEG encoding": ("modal_gpu.functions.extract.encode_jpeg",),
}
REST = "decoding, and the rest"


class Ledger:
    """CPU seconds by part, over all threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._stack = threading.local()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, with the CPU seconds of its calls added to ``part``."""

        def call(*arguments: Any, **named: Any) -> Any:
            inner: list[float] = self._stack.__dict__.setdefault("inner", [])
            inner.append(0.0)
            started = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.thread_time() - started
                own = spent - inner.pop()
                if inner:
                    inner[-1] += spent
                with self._lock:
                    self.seconds[part] += own

        return call

    def rows(self, total: float) -> dict[str, float]:
        """Return the parts' seconds, largest first, and what the process used beyond them."""
        found = dict(sorted(self.seconds.items(), key=lambda item: -item[1]))
        return {**found, REST: max(0.0, total - sum(found.values()))}


@contextmanager
def measured_parts() -> Iterator[Ledger]:
    """Time the calls of all parts within the block. Raises ``AttributeError`` if a part was renamed."""
    ledger = Ledger()
    with ExitStack() as stack:
        for part, functions in PARTS.items():
            for name in functions:
                stack.enter_context(patch(name, ledger.timed(part, pkgutil.resolve_name(name))))
        yield ledger
