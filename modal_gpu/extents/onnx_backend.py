"""The extents network on ONNX Runtime, for CPUs: the graph that :mod:`~modal_gpu.extents.onnx_export` writes.

One thread is the default. A second one saves little time and spends much while it waits for the first,
and decoders and encoders want the other cores.
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from modal_gpu.extents.network_predictor import Neighbours
from modal_gpu.extents.predictor import FloatArray
from modal_gpu.extents.working_scale import Image

#: Strips that go through the network at once: of a batch of 32, a quarter of the memory for its layers.
_RUN = 8
#: ONNX Runtime's levels begin at 0, verbose; at 3 it logs errors only.
_ERRORS = 3


@dataclass(frozen=True)
class _Features:
    """A batch's features: of each frame alone, and those that frames are compared by; (n, channels, h, w)."""

    alone: FloatArray
    compared: FloatArray


class OnnxBackend:
    """A :class:`~modal_gpu.extents.network_predictor.NetworkBackend` on ONNX Runtime, in float32.

    It is deterministic, whatever the number of threads.
    """

    device = "cpu"

    def __init__(self, graph: bytes, *, threads: int = 1) -> None:
        """``graph`` is a serialized model. Raises ONNX Runtime's own errors for anything else."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads without work sleep: spinning, they take the cores of decoders and of other runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Patterns reserve all memory of a run in one block: 100 MB more, and 4 % more time.
        options.enable_mem_pattern = False
        options.log_severity_level = _ERRORS
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._halo, self._reach = int(self.metadata["halo"]), int(self.metadata["reach"])

    def encode(self, strips: Image, reference: Image) -> _Features:
        """Return the features of strips (n, H, W) beside a reference picture (H, W)."""
        parts = [
            self._run(
                ["alone", "compared"],
                {"encode.strips": strips[start : start + _RUN], "encode.reference": reference[None]},
            )
            for start in range(0, len(strips), _RUN)
        ]
        alone, compared = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
        return _Features(alone, compared)

    def pooled(self, features: Neighbours[_Features], planes: FloatArray) -> FloatArray:
        """Return pooled values (n, channels)."""
        batch, before, after = features.batch, features.before, features.after
        neighbours = Neighbours(
            None if before is None else before.compared,
            batch.compared,
            None if after is None else after.compared,
        )
        compared = _together(neighbours, self._halo + 1, self._halo)
        alone = np.concatenate([batch.alone[:1] if before is None else before.alone[-1:], batch.alone])
        parts = []
        for start in range(0, len(batch.alone), _RUN):
            stop = min(start + _RUN, len(batch.alone))
            parts += self._run(
                ["pooled"],
                {
                    "maps.alone": alone[start : stop + 1],
                    "maps.compared": compared[start : stop + 2 * self._halo + 1],
                    "maps.hints": planes[None],
                    "maps.start": np.array(before is None and start == 0),
                },
            )
        return np.concatenate(parts)

    def judged(self, pooled: Neighbours[FloatArray]) -> FloatArray:
        """Return presence and same-text probabilities (2, n)."""
        together = _together(pooled, self._reach, self._reach)
        (probabilities,) = self._run(["probabilities"], {"judge.pooled": together})
        return probabilities

    def _run(self, outputs: list[str], inputs: dict[str, NDArray[np.generic]]) -> list[FloatArray]:
        results: list[FloatArray] = self._session.run(outputs, inputs)
        return results


def _together(parts: Neighbours[FloatArray], before: int, after: int) -> FloatArray:
    """Join a batch with ``before`` and ``after`` values beside it; the ends stand in for missing ones."""
    sooner = parts.batch[:0] if parts.before is None else parts.before[-before:]
    later = parts.batch[:0] if parts.after is None else parts.after[:after]
    first = parts.batch[:1].repeat(before - len(sooner), axis=0)
    last = (later if len(later) else parts.batch)[-1:].repeat(after - len(later), axis=0)
    return np.concatenate([first, sooner, parts.batch, later, last])
