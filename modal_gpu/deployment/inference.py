"""Measurement of a container's speed: its GPU, and the extents network on synthetic strips."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import DevicePredictor, StripHints, collect
from modal_gpu.extents.predictors import has_cuda
from modal_gpu.media.decoding import presented_frames
from modal_gpu.media.hardware import GPU_FORMATS, no_gpu

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


def gpu_decodes() -> str:
    """Return ``yes`` if this process decodes a drawn H.264 clip on the GPU, else why not."""
    if reason := no_gpu():
        return reason
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "drawn.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            for shade in range(10):
                picture = np.full((360, 640, 3), 20 * shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            container.mux(stream.encode())
        formats = {shown.frame.format.name for shown in presented_frames(path, gpu=True)}
    return (
        "yes" if formats <= GPU_FORMATS else "no: the driver's NVDEC library is missing or refused the clip"
    )


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
        "gpu_decodes": gpu_decodes(),
        "device": predictor.device,
        "pairs": len(predictions.forward),
        "pairs_a_second": round(len(predictions.forward) / seconds, 1),
        "model_version": predictor.model_version,
        "model_sha256": predictor.model_sha256,
    }
