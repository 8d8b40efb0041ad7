"""The predictor of a checkpoint, on what the machine has: ONNX Runtime on a CPU, PyTorch on CUDA."""

import ctypes
import sys
from pathlib import Path
from typing import Any

from modal_gpu.extents.block_size import DEFAULT_BLOCK
from modal_gpu.extents.checkpoint import CheckpointError, graphs_of, is_installed, read_graph, shipped, verify
from modal_gpu.extents.network_predictor import NetworkPredictor
from modal_gpu.extents.predictor import DevicePredictor

_EXPORTED = "`captionacc model upload` stores a model with its graph"


def load_predictor(
    path: Path | None = None, *, device: str | None = None, threads: int = 1, block: int = DEFAULT_BLOCK
) -> DevicePredictor:
    """Return a predictor of a checkpoint, the shipped one by default.

    On a CPU ONNX Runtime runs the graph beside the checkpoint, with ``threads`` threads; a ``.pt`` file
    without one runs on PyTorch. On CUDA, the default where PyTorch finds it, PyTorch runs the checkpoint in
    blocks of ``block`` strips. Raises :class:`CheckpointError`.
    """
    path = path or shipped()
    device = device or ("cuda" if has_cuda() else "cpu")
    if device == "cpu":
        if path.suffix == ".pt" and not graphs_of(path):
            return _torch_predictor(path)
        return _onnx_predictor(path, threads)
    from modal_gpu.extents.torch_checkpoint import load_checkpoint

    network, checkpoint = load_checkpoint(path)  # says what to install where there is no PyTorch
    from modal_gpu.extents.block_predictor import BlockPredictor

    return BlockPredictor(network, checkpoint.version, checkpoint.sha256, device=device, block=block)


def _torch_predictor(checkpoint_file: Path) -> NetworkPredictor[Any, Any]:
    from modal_gpu.extents.torch_checkpoint import load_checkpoint

    network, checkpoint = load_checkpoint(checkpoint_file)
    from modal_gpu.extents.torch_backend import TorchBackend

    return NetworkPredictor(TorchBackend(network), checkpoint.version, checkpoint.sha256)


def _onnx_predictor(checkpoint_file: Path, threads: int) -> NetworkPredictor[Any, Any]:
    from modal_gpu.extents.onnx_backend import OnnxBackend

    checkpoint = verify(checkpoint_file)
    found = graphs_of(checkpoint_file)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{checkpoint_file.name} must have one ONNX graph beside it and has {names}; {_EXPORTED}"
        )
    graph, data = read_graph(found[0])
    try:
        backend = OnnxBackend(data, threads=threads)
        made_from = backend.metadata["checkpoint_sha256"]
    except Exception as error:  # ONNX Runtime has no base class of its errors
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{graph.path.name} does not contain this version's network: {reason}"
        ) from None
    if made_from != checkpoint.sha256:
        raise CheckpointError(f"{graph.path.name} was not exported from {checkpoint_file.name}; {_EXPORTED}")
    return NetworkPredictor(backend, checkpoint.version, checkpoint.sha256)


def has_cuda() -> bool:
    """Return whether PyTorch can use a GPU. It is only imported where NVIDIA's driver is installed."""
    if not is_installed("torch"):
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    available: bool = torch.cuda.is_available()
    return available
