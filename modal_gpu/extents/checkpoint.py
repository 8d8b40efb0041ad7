"""Files of trained networks, named after their content.

A checkpoint is ``{version}_{sha256[:8]}.safetensors``, or ``.pt``: weights and settings, for training and
CUDA.
Its ONNX graph, for CPUs, is ``{checkpoint's stem}.{own sha256[:8]}.onnx`` beside it and holds the
checkpoint's full hash, so that both files are known to be the same model. ``python -m training.export``
writes the graph.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from modal_gpu.errors import CaptionAccError

#: Folder of the shipped model.
MODELS = Path(__file__).parent / "models"
#: Regular expression of a checkpoint's name.
CHECKPOINT_NAME = r"(?P<version>[\w.-]+)_(?P<sha256>[0-9a-f]{8})\.(?:safetensors|pt)"
_NAME = re.compile(CHECKPOINT_NAME)
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
            f"{MODELS} must hold one model file and holds {names}: reinstall captionacc-dagster"
        )
    return found[0]


def graphs_of(checkpoint_file: Path) -> list[Path]:
    """Return the ONNX graphs beside a checkpoint, one if all is well."""
    return sorted(
        path
        for path in checkpoint_file.parent.glob("*.onnx")
        if path.name.startswith(f"{checkpoint_file.stem}.") and _GRAPH_NAME.fullmatch(path.name)
    )


def version_of(name: str) -> str:
    """Return the version in the name of a checkpoint's file, such as ``extents-2``."""
    return Path(name).stem.rpartition("_")[0]


def checkpoint_of(version: str, folder: Path | None) -> Path:
    """Return the checkpoint of a version, such as ``extents-2``: the shipped one, or one in a folder.

    A file's name stands for its version. Raises :class:`CheckpointError` unless exactly one file fits.
    """
    files = folder.iterdir() if folder is not None and folder.is_dir() else ()
    known = [*sorted(path for path in files if _NAME.fullmatch(path.name)), shipped()]
    found = [path for path in known if version in (path.name, path.stem, version_of(path.name))]
    if not found:
        versions = ", ".join(dict.fromkeys(version_of(path.name) for path in known))
        raise CheckpointError(
            f"there is no extents model {version} (stored: {versions}): `captionacc model upload` it"
        )
    by_hash = {path.stem: path for path in reversed(found)}
    if len(by_hash) > 1:
        names = ", ".join(sorted(path.name for path in by_hash.values()))
        raise CheckpointError(f"version {version} of the extents model has several files, name one: {names}")
    return next(iter(by_hash.values()))


def chosen_version(predictor: str, model: str) -> str:
    """Return the version that results name: the strokes', a model file's, or for ``""`` the shipped one's.

    Raises :class:`CheckpointError` without a shipped model.
    """
    if predictor == "strokes":
        from modal_gpu.extents.strokes import StrokePredictor

        return StrokePredictor().model_version
    return version_of(model or shipped().name)


def verify(path: Path) -> Checkpoint:
    """Check a checkpoint against the hash in its name. Raises :class:`CheckpointError`."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(
            f"{path.name} is not named version_sha256.safetensors or .pt: it cannot be verified"
        )
    return Checkpoint(path, match["version"], _verified_hash(path, _read(path), match["sha256"]))


def read_graph(path: Path) -> tuple[Graph, bytes]:
    """Return a verified ONNX graph and its content. Raises :class:`CheckpointError`."""
    match = _GRAPH_NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path.name} is not named version_sha256.sha256.onnx: it cannot be verified")
    data = _read(path)
    return Graph(
        path, match["version"], match["checkpoint"], _verified_hash(path, data, match["sha256"])
    ), data


def verify_graph(path: Path) -> Graph:
    """Check an ONNX graph against the hash in its name. Raises :class:`CheckpointError`."""
    return read_graph(path)[0]


def is_graph_name(name: str) -> bool:
    """Return whether a file is named as an ONNX graph of a checkpoint."""
    return _GRAPH_NAME.fullmatch(name) is not None


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
