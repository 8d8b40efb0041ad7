"""Model files kept for the functions: on Modal's volume, or in a folder with the same layout.

``checkpoints/{version}_{sha256[:8]}.safetensors``, and for CPUs the ONNX graph of each beside it. Names
follow from content, so that a file is never overwritten by another one and can always be verified.
"""

import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from modal_gpu.deployment.settings import MODEL_NAME
from modal_gpu.extents.checkpoint import (
    Checkpoint,
    CheckpointError,
    is_graph_name,
    is_installed,
    shipped,
    verify,
    verify_graph,
)
from modal_gpu.extents.export import export
from modal_gpu.extents.torch_checkpoint import load_checkpoint, save_checkpoint

#: Folder of the model files.
CHECKPOINTS = "checkpoints"
_NAME = re.compile(MODEL_NAME)


@dataclass(frozen=True)
class StoredModel:
    """A file in a store; ``size`` in bytes, ``modified`` in seconds since 1970."""

    name: str
    size: int
    modified: float


class ModelStore(Protocol):
    """Where model files are kept. Reading an absent one raises :class:`CheckpointError`."""

    place: str

    def list(self) -> list[StoredModel]:
        """Every file in the folder of model files, by name."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """A file's content, in pieces."""
        ...

    def write(self, path: Path) -> None:
        """Keep a file under its own name."""
        ...


class FolderModels:
    """Model files in a folder."""

    def __init__(self, root: Path) -> None:
        self._folder = root / CHECKPOINTS
        self.place = f"folder {self._folder}"

    def list(self) -> list[StoredModel]:
        """See :class:`ModelStore`."""
        paths = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return [
            StoredModel(path.name, path.stat().st_size, path.stat().st_mtime)
            for path in paths
            if path.is_file() and path.suffix != ".part"
        ]

    def read(self, name: str) -> Iterator[bytes]:
        """See :class:`ModelStore`."""
        path = self._folder / name
        if not path.is_file():
            raise CheckpointError(f"there is no model file {name} in {self.place}")
        yield path.read_bytes()

    def write(self, path: Path) -> None:
        """See :class:`ModelStore`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{path.name}.part"
        shutil.copyfile(path, partial)
        partial.replace(self._folder / path.name)


class VolumeModels:
    """Model files on a ``modal.Volume``."""

    def __init__(self, volume: Any, name: str) -> None:
        self._volume = volume
        self.place = f"Modal volume {name}"

    def list(self) -> list[StoredModel]:
        """See :class:`ModelStore`."""
        try:
            entries = self._volume.listdir(f"/{CHECKPOINTS}")
        except Exception as error:
            if _is_absent(error):
                return []
            raise
        files = [entry for entry in entries if entry.type.name == "FILE"]
        found = [StoredModel(PurePosixPath(f.path).name, f.size, float(f.mtime)) for f in files]
        return sorted(found, key=lambda file: file.name)

    def read(self, name: str) -> Iterator[bytes]:
        """See :class:`ModelStore`."""
        try:
            yield from self._volume.read_file(f"{CHECKPOINTS}/{name}")
        except Exception as error:
            if _is_absent(error):
                raise CheckpointError(f"there is no model file {name} on {self.place}") from None
            raise

    def write(self, path: Path) -> None:
        """See :class:`ModelStore`."""
        with self._volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(path.read_bytes()), f"/{CHECKPOINTS}/{path.name}")


def _is_absent(error: Exception) -> bool:
    # Modal's own error, and the builtin that it uses for files; its package is not imported for this.
    return isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError"


def add_model(store: ModelStore, file: Path, version: str) -> tuple[Checkpoint, bool]:
    """Keep a trained network under its version and hash; also whether it was not there before.

    ``file`` is safetensors, or ``.pt``: a state dictionary of the shipped model's layer sizes, or one under
    ``model`` beside the network's ``settings``. It is exported as an ONNX graph first, so that nothing
    unusable is kept, and the graph is kept beside it. Raises :class:`CheckpointError`.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-model-") as folder:
        checkpoint = named_checkpoint(file, version, Path(folder))
        graph = export(checkpoint.path)
        stored = {model.name for model in store.list()}
        is_new = checkpoint.path.name not in stored
        # The graph first: a checkpoint that is there has its graph.
        for path in (graph.path, checkpoint.path):
            if path.name not in stored:
                store.write(path)
    return checkpoint, is_new


def named_checkpoint(file: Path, version: str, folder: Path) -> Checkpoint:
    """A copy of a trained network in ``folder``, as safetensors with its version and hash for a name."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from None
    digest = hashlib.sha256(data).hexdigest()
    name = f"{version}_{digest[:8]}.safetensors"
    if _NAME.fullmatch(name) is None:
        raise CheckpointError(
            f"model version {version!r}: give letters, digits, dots, hyphens and underscores"
        )
    if file.suffix != ".pt":
        (folder / name).write_bytes(data)
        return Checkpoint(folder / name, version, digest)
    return save_checkpoint(_torch_network(file), version, folder)


def _torch_network(file: Path) -> Any:
    import torch

    from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings

    try:
        # Tensors and plain values only: such a file can run nothing.
        content = torch.load(file, map_location="cpu", weights_only=True)
        state = content.get("model", content)
        given = content.get("settings")
        network = ExtentsNetwork(NetworkSettings(**(_shipped_settings() if given is None else given)))
        network.load_state_dict(state)
    except Exception as error:  # whatever the unpickler stumbles over in a file of another kind
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{file.name} does not hold this version's network: {reason}") from None
    return network.eval()


def _shipped_settings() -> dict[str, Any]:
    """Layer sizes for a file that tells none: those of the shipped model."""
    from safetensors import safe_open

    with safe_open(str(shipped()), "pt") as model:
        return json.loads((model.metadata() or {})["settings"])


@dataclass(frozen=True)
class Verdict:
    """Whether a stored model file is what its name says; ``problem`` is empty when it is."""

    name: str
    sha256: str
    problem: str


def verify_models(store: ModelStore, names: Iterable[str] = ()) -> list[Verdict]:
    """Read model files and compare them with their names; all that there are, or those named."""
    wanted = list(names) or [model.name for model in store.list()]
    return [_verdict(store, name) for name in wanted]


def _verdict(store: ModelStore, name: str) -> Verdict:
    if _NAME.fullmatch(name) is None and not is_graph_name(name):
        return Verdict(name, "", "is not named version_sha256.safetensors")
    with tempfile.TemporaryDirectory(prefix="captionacc-model-") as folder:
        path = Path(folder) / name
        try:
            with path.open("wb") as file:
                for piece in store.read(name):
                    file.write(piece)
            sha256 = verify_graph(path).sha256 if is_graph_name(name) else verify(path).sha256
        except CheckpointError as error:
            return Verdict(name, "", str(error))
        if is_graph_name(name) or not is_installed("torch"):
            return Verdict(name, sha256, "")
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            return Verdict(name, sha256, str(error))
    return Verdict(name, sha256, "")


def resolve_model(chosen: str, root: Path) -> Path | None:
    """The file of a chosen model in ``root``, or at a path; ``None``, the shipped one, for ``""``.

    Raises :class:`CheckpointError` when it is not there.
    """
    if not chosen:
        return None
    path = Path(chosen).expanduser() if "/" in chosen else root / CHECKPOINTS / chosen
    if not path.is_file():
        models = [model.name for model in FolderModels(root).list() if not is_graph_name(model.name)]
        there = ", ".join(models) or "none"
        raise CheckpointError(
            f"EXTENTS_MODEL={chosen} is not at {path} (there: {there}): `captionacc model upload` it"
        )
    return path
