"""Files of trained networks, named after their content.

A checkpoint is ``{version}_{sha256[:8]}.safetensors``: weights and settings, for training and for CUDA.
Its ONNX graph, for CPUs, is ``{checkpoint's stem}.{own sha256[:8]}.onnx`` beside it and holds the
checkpoint's full hash, so that both files are known to be the same model. ``python -m training.export``
writes the graph.
"""

import ctypes
import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modal_gpu.errors import CaptionAccError

if TYPE_CHECKING:
    from modal_gpu.extents.network import ExtentsNetwork
    from modal_gpu.extents.predictor import PairPredictor

#: Folder of the shipped model.
MODELS = Path(__file__).parent / "models"
_NAME = re.compile(r"(?P<version>[\w.-]+)_(?P<sha256>[0-9a-f]{8})\.safetensors")
_GRAPH_NAME = re.compile(r"(?P<version>[\w.-]+)_(?P<checkpoint>[0-9a-f]{8})\.(?P<sha256>[0-9a-f]{8})\.onnx")


class CheckpointError(CaptionAccError):
    """A model file is missing, is not what its name says, or does not fit the network."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    version: str
    sha256: str


@dataclass(frozen=True)
class Graph:
    """A verified ONNX graph; ``checkpoint`` is the first 8 digits of its checkpoint's hash."""

    path: Path
    version: str
    checkpoint: str
    sha256: str


def shipped() -> Path:
    """Return the checkpoint in the package. Raises :class:`CheckpointError` unless there is exactly one."""
    found = sorted(MODELS.glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{MODELS} must hold one model file and holds {names}; "
            "reinstall the package or run `python -m training.train`"
        )
    return found[0]


def graphs_of(checkpoint_file: Path) -> list[Path]:
    """Return the ONNX graphs beside a checkpoint, one if all is well."""
    return sorted(
        path
        for path in checkpoint_file.parent.glob("*.onnx")
        if path.name.startswith(f"{checkpoint_file.stem}.") and _GRAPH_NAME.fullmatch(path.name)
    )


def verify(path: Path) -> Checkpoint:
    """Check a checkpoint against the hash in its name. Raises :class:`CheckpointError`."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path.name} is not named version_sha256.safetensors: it cannot be verified")
    return Checkpoint(path, match["version"], _verified_hash(path, _read(path), match["sha256"]))


def verify_graph(path: Path) -> Graph:
    """Check an ONNX graph against the hash in its name. Raises :class:`CheckpointError`."""
    return _verified_graph(path)[0]


def is_graph_name(name: str) -> bool:
    """Return whether a file is named as an ONNX graph of a checkpoint."""
    return _GRAPH_NAME.fullmatch(name) is not None


def save_checkpoint(network: "ExtentsNetwork", version: str, folder: Path) -> Checkpoint:
    """Write the network's weights and settings, named after their content."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # One entry only: safetensors writes several in an order that changes from process to process.
    metadata = {"settings": json.dumps(asdict(network.settings), sort_keys=True)}
    data = save(tensors, metadata)
    digest = hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version}_{digest[:8]}.safetensors"
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)
    return Checkpoint(path, version, digest)


def load_checkpoint(path: Path) -> tuple["ExtentsNetwork", Checkpoint]:
    """Return the verified network of a checkpoint, on the CPU. Needs PyTorch.

    Raises :class:`CheckpointError`.
    """
    require("torch", f"read {path.name}")
    from safetensors import SafetensorError, safe_open

    from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings

    checkpoint = verify(path)
    try:
        with safe_open(str(path), "pt") as file:
            settings = NetworkSettings(**json.loads((file.metadata() or {})["settings"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        network = ExtentsNetwork(settings)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} does not hold this version's network: {error}") from None
    return network.eval(), checkpoint


def export(checkpoint_file: Path, folder: Path | None = None) -> Graph:
    """Write the ONNX graph of a checkpoint, beside it by default. Needs PyTorch and ONNX.

    Raises :class:`CheckpointError`.
    """
    for package in ("torch", "onnx"):
        require(package, f"export {checkpoint_file.name}")
    from modal_gpu.extents.onnx_export import export_graph

    return export_graph(checkpoint_file, folder or checkpoint_file.parent)


def load_predictor(
    path: Path | None = None, *, device: str | None = None, threads: int = 1
) -> "PairPredictor":
    """Return a predictor of a checkpoint, the shipped one by default.

    On a CPU ONNX Runtime runs the graph beside the checkpoint, with ``threads`` threads; on CUDA, the
    default where PyTorch finds it, PyTorch runs the checkpoint. Raises :class:`CheckpointError`.
    """
    from modal_gpu.extents.network_predictor import NetworkPredictor

    path = path or shipped()
    device = device or ("cuda" if has_cuda() else "cpu")
    if device == "cpu":
        return _onnx_predictor(path, threads)
    network, checkpoint = load_checkpoint(path)
    from modal_gpu.extents.torch_backend import TorchBackend

    return NetworkPredictor(TorchBackend(network, device), checkpoint.version, checkpoint.sha256)


def _onnx_predictor(checkpoint_file: Path, threads: int) -> "PairPredictor":
    from modal_gpu.extents.network_predictor import NetworkPredictor
    from modal_gpu.extents.onnx_backend import OnnxBackend

    checkpoint = verify(checkpoint_file)
    found = graphs_of(checkpoint_file)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{checkpoint_file.name} must have one ONNX graph beside it and has {names}; "
            f"run `python -m training.export {checkpoint_file}`"
        )
    graph, data = _verified_graph(found[0])
    try:
        backend = OnnxBackend(data, threads=threads)
        made_from = backend.metadata["checkpoint_sha256"]
    except Exception as error:  # ONNX Runtime has no base class of its errors
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{graph.path.name} does not hold this version's network: {reason}") from None
    if made_from != checkpoint.sha256:
        raise CheckpointError(
            f"{graph.path.name} was not exported from {checkpoint_file.name}; "
            f"run `python -m training.export {checkpoint_file}`"
        )
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


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError where sys.modules blocks it
        return False


def require(package: str, purpose: str) -> None:
    """Raise :class:`CheckpointError` when a package of the extra ``training`` is not installed."""
    if not is_installed(package):
        raise CheckpointError(f"{package} is needed to {purpose}: pip install 'captionacc-dagster[training]'")


def _verified_graph(path: Path) -> tuple[Graph, bytes]:
    match = _GRAPH_NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path.name} is not named version_sha256.sha256.onnx: it cannot be verified")
    data = _read(path)
    return Graph(
        path, match["version"], match["checkpoint"], _verified_hash(path, data, match["sha256"])
    ), data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"model file {path} cannot be read: {error.strerror or error}") from None


def _verified_hash(path: Path, data: bytes, expected: str) -> str:
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(expected):
        raise CheckpointError(
            f"{path.name} has sha256 {digest[:8]}…, not the one in its name: it is damaged or was changed; "
            "fetch it again"
        )
    return digest
