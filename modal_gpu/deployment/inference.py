"""Measurement of a container's speed: its GPU, and the extents network on synthetic strips."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import DevicePredictor, StripHints, collect
from modal_gpu.extents.predictors import has_cuda

#: Height × width of the synthetic strips in pixels: one line of captions in 1080p, with padding.
STRIP_SIZE = (130, 1180)
#: Number of frames of a caption, and of the gap after it.
_CAPTION, _GAP = 25, 8
#: How often a GPU judges the same strips in a measurement.
_GPU_TURNS = 16


@dataclass(frozen=True)
class SyntheticStrip:
    """A strip of a moving background, with or without a line of text."""

    index: int
    luma: NDArray[np.uint8]

    def rgb(self) -> NDArray[np.uint8]:
        """Return the strip as uint8 RGB, H × W × 3."""
        return np.repeat(self.luma[:, :, None], 3, axis=2)


def synthetic_strips(count: int) -> Iterator[SyntheticStrip]:
    """Yield ``count`` strips with changing captions, always the same ones."""
    height, width = STRIP_SIZE
    ramp = np.arange(width, dtype=np.float32)[None, :] + np.arange(height, dtype=np.float32)[:, None]
    for index in range(count):
        luma = (96 + 48 * np.sin(ramp / 40 + index / 7)).astype(np.uint8)
        caption, place = divmod(index, _CAPTION + _GAP)
        if place < _CAPTION:
            text, origin = f"Caption number {caption} of this clip", (120, 85)
            for shade, thickness in ((0, 9), (255, 3)):
                cv2.putText(luma, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 1.6, shade, thickness, cv2.LINE_AA)
        yield SyntheticStrip(index, luma)


def repeated(strips: Sequence[SyntheticStrip], turns: int) -> list[SyntheticStrip]:
    """Return the strips ``turns`` times over, with indices that go on."""
    count = len(strips)
    return [SyntheticStrip(turn * count + s.index, s.luma) for turn in range(turns) for s in strips]


def _gpu() -> Any:
    """Return CUDA's properties of the GPU."""
    import torch

    return torch.cuda.get_device_properties(0)


def measure_inference(predictor: DevicePredictor, pairs: int = 2048) -> dict[str, Any]:
    """Measure GPU, CUDA, and the pairs per second of ``predictor``, after a warm-up.

    A GPU judges the strips of ``pairs`` several times over, since it takes milliseconds for one turn.
    """
    hints = StripHints(line_height=0.45)
    drawn = list(synthetic_strips(pairs + 1))
    strips = drawn if predictor.device == "cpu" else repeated(drawn, _GPU_TURNS)
    collect(predictor.predict(strips[: max(64, len(strips) // 8)], hints))
    start = time.monotonic()
    predictions = collect(predictor.predict(strips, hints))
    seconds = time.monotonic() - start
    gpu = _gpu() if has_cuda() else None
    return {
        "gpu": gpu.name if gpu else "no GPU",
        "gpu_memory_gib": round(gpu.total_memory / 2**30, 1) if gpu else 0.0,
        "cuda_available": gpu is not None,
        "device": predictor.device,
        "pairs": len(predictions.forward),
        "pairs_a_second": round(len(predictions.forward) / seconds, 1),
        "model_version": predictor.model_version,
        "model_sha256": predictor.model_sha256,
    }
