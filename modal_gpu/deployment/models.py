"""Storage of model files for the functions: on Modal's volume, or in a folder with the same layout.

Files are named ``checkpoints/{version}_{sha256[:8]}.safetensors`` (or ``.pt``, if they were put there by
other means), each with its ONNX graph for CPUs beside it. Since names depend on the content, files are never
overwritten and can always be verified.
"""

import hashlib
import io
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
    verify,
    verify_graph,
)
from modal_gpu.extents.export import export
from modal_gpu.extents.torch_checkpoint import load_checkpoint, read_pt, save_checkpoint

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
    """A place for model files. Reading a missing file raises :class:`CheckpointError`."""

    place: str

    def list(self) -> list[StoredModel]:
        """Return all model files, sorted by name."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's content in pieces."""
        ...

    def write(self, path: Path) -> None:
        """Store a file under its name."""
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
    # Modal's error, identified without importing its package, and the builtin that it raises for files.
    return isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError"


def add_model(store: ModelStore, file: Path, version: str) -> tuple[Checkpoint, bool]:
    """Store a trained network under its version and hash; return it, and whether it is new.

    ``file`` is safetensors, or ``.pt``: a state dictionary with the shipped model's layer sizes, or one under
    ``model`` beside the network's ``settings``. It is first exported as an ONNX graph, which is stored beside
    it, so that no unusable file is stored. Raises :class:`CheckpointError`.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-model-") as folder:
        checkpoint = named_checkpoint(file, version, Path(folder))
        graph = export(checkpoint.path)
        stored = {model.name for model in store.list()}
        is_new = checkpoint.path.name not in stored
        # The graph first, so that every stored checkpoint has one.
        for path in (graph.path, checkpoint.path):
            if path.name not in stored:
                store.write(path)
    return checkpoint, is_new


def named_checkpoint(file: Path, version: str, folder: Path) -> Checkpoint:
    """Copy a trained network to ``folder``, as safetensors named by version and hash."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from None
    digest = hashlib.sha256(data).hexdigest()
    name = f"{version}_{digest[:8]}.safetensors"
    if _NAME.fullmatch(name) is None:
        raise CheckpointError(
            f"model version {version!r}: use letters, digits, dots, hyphens and underscores"
        )
    if file.suffix != ".pt":
        (folder / name).write_bytes(data)
        return Checkpoint(folder / name, version, digest)
    return save_checkpoint(read_pt(file), version, folder)


@dataclass(frozen=True)
class Verdict:
    """The result of verifying a stored model file against its name; ``problem`` is empty if they match."""

    name: str
    sha256: str
    problem: str


def verify_models(store: ModelStore, names: Iterable[str] = ()) -> list[Verdict]:
    """Read model files, all by default, and compare them with their names."""
    wanted = list(names) or [model.name for model in store.list()]
    return [_verdict(store, name) for name in wanted]


def _verdict(store: ModelStore, name: str) -> Verdict:
    if _NAME.fullmatch(name) is None and not is_graph_name(name):
        return Verdict(name, "", "is not named version_sha256.safetensors or .pt")
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
    """Return the file of a model in ``root`` or at a path; ``None`` (the shipped model) for ``""``.

    Raises :class:`CheckpointError` if the file does not exist.
    """
    if not chosen:
        return None
    path = Path(chosen).expanduser() if "/" in chosen else root / CHECKPOINTS / chosen
    if not path.is_file():
        models = [model.name for model in FolderModels(root).list() if not is_graph_name(model.name)]
        stored = ", ".join(models) or "none"
        raise CheckpointError(
            f"EXTENTS_MODEL={chosen} is not at {path} (stored: {stored}): `captionacc model upload` it"
        )
    return path
