"""The extents network on PyTorch in small batches: the reference of the ONNX graph and of blocks on CUDA."""

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


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return float32 for a CPU; for a GPU bfloat16 or, where that is emulated (T4), float16."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class TorchBackend:
    """A :class:`~modal_gpu.extents.network_predictor.NetworkBackend` on PyTorch.

    It computes in :func:`inference_dtype`.
    """

    def __init__(self, network: ExtentsNetwork, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self.device = str(self._device)
        self._dtype = inference_dtype(self._device)
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
