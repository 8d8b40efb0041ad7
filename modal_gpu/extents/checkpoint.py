"""Files of trained networks: safetensors, named ``{version}_{sha256[:8]}.safetensors``."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modal_gpu.errors import CaptionAccError

if TYPE_CHECKING:
    from modal_gpu.extents.network import ExtentsNetwork
    from modal_gpu.extents.network_predictor import NetworkPredictor

#: Folder of the shipped model.
MODELS = Path(__file__).parent / "models"
_NAME = re.compile(r"(?P<version>[\w.-]+)_(?P<sha256>[0-9a-f]{8})\.safetensors")


class CheckpointError(CaptionAccError):
    """A model file is missing, is not what its name says, or does not fit the network."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified model file."""

    path: Path
    version: str
    sha256: str


def shipped() -> Path:
    """The model file in the package. Raises :class:`CheckpointError` unless there is exactly one."""
    found = sorted(MODELS.glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{MODELS} must hold one model file and holds {names}; "
            "reinstall the package or run `python -m training.train`"
        )
    return found[0]


def verify(path: Path) -> Checkpoint:
    """Check a file against the hash in its name. Raises :class:`CheckpointError`."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path.name} is not named version_sha256.safetensors: it cannot be verified")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"model file {path} cannot be read: {error.strerror or error}") from None
    if not digest.startswith(match["sha256"]):
        raise CheckpointError(
            f"{path.name} has sha256 {digest[:8]}…, not the one in its name: it is damaged or was changed; "
            "fetch it again"
        )
    return Checkpoint(path, match["version"], digest)


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
    """The verified network of a file, on the CPU. Raises :class:`CheckpointError`."""
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


def load_predictor(path: Path | None = None, *, device: str | None = None) -> "NetworkPredictor":
    """A predictor from a model file, the shipped one by default. Raises :class:`CheckpointError`."""
    from modal_gpu.extents.network_predictor import NetworkPredictor

    network, checkpoint = load_checkpoint(path or shipped())
    return NetworkPredictor(network, checkpoint.version, checkpoint.sha256, device=device)
