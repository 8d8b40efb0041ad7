"""The extents network on PyTorch: on CUDA, in training, and as the reference of the ONNX graph."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modal_gpu.extents.batches import MARGIN
from modal_gpu.extents.network import HALO, REACH, ExtentsNetwork, fused, with_ends
from modal_gpu.extents.network_predictor import Neighbours
from modal_gpu.extents.predictor import FloatArray
from modal_gpu.extents.working_scale import Image

assert HALO + REACH < MARGIN


class TorchBackend:
    """A :class:`~modal_gpu.extents.network_predictor.NetworkBackend` on PyTorch.

    It computes in float32 on a CPU; on CUDA in bfloat16 or, where that is not supported, in float16.
    """

    def __init__(self, network: ExtentsNetwork, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self.device = str(self._device)
        self._dtype = torch.float32
        if self._device.type == "cuda":
            self._dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        self._network = fused(network).to(self._device, self._dtype)

    @torch.inference_mode()
    def encode(self, strips: Image, reference: Image) -> Tensor:
        """Return features (n, h, w, channels)."""
        return self._network.encode(self._tensor(strips), self._tensor(reference)[None])

    @torch.inference_mode()
    def pooled(self, features: Neighbours[Tensor], planes: FloatArray) -> Tensor:
        """Return pooled values (n, channels)."""
        together, first = _together(features, HALO + 1, HALO)
        last = first + len(features.batch)
        hints = self._tensor(planes).to(self._dtype)[None]
        return self._network.maps(together[None], hints, first, last)[0][0]

    @torch.inference_mode()
    def judged(self, pooled: Neighbours[Tensor]) -> FloatArray:
        """Return probabilities (2, n), with REACH pooled values on either side of the batch."""
        together, before = _together(pooled, REACH, REACH)
        after = len(together) - before - len(pooled.batch)
        padded = with_ends(together[None], REACH - before, REACH - after)
        probabilities: FloatArray = self._network.judge(padded)[0].float().sigmoid().cpu().numpy()
        return probabilities

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _together(parts: Neighbours[Tensor], before: int, after: int) -> tuple[Tensor, int]:
    """Join a batch with up to ``before`` and ``after`` values beside it; also return how many are before."""
    sooner = parts.batch[:0] if parts.before is None else parts.before[-before:]
    later = parts.batch[:0] if parts.after is None else parts.after[:after]
    return torch.cat([sooner, parts.batch, later]), len(sooner)
