"""Reading and writing of checkpoints with PyTorch, which is imported only when a function is called."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modal_gpu.extents.checkpoint import Checkpoint, CheckpointError, require, shipped, verify

if TYPE_CHECKING:
    from modal_gpu.extents.network import ExtentsNetwork


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
    if path.suffix == ".pt":
        return read_pt(path), checkpoint
    try:
        with safe_open(str(path), "pt") as file:
            settings = NetworkSettings(**json.loads((file.metadata() or {})["settings"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        network = ExtentsNetwork(settings)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} does not contain this version's network: {error}") from None
    return network.eval(), checkpoint


def read_pt(file: Path) -> "ExtentsNetwork":
    """Return the network of a ``.pt`` file, on the CPU.

    The file holds a state dictionary with the shipped model's layer sizes, or one under ``model`` beside the
    network's ``settings``. Raises :class:`CheckpointError`.
    """
    import torch

    from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings

    try:
        # Only tensors and plain values, so that the file cannot execute code.
        content = torch.load(file, map_location="cpu", weights_only=True)
        state = content.get("model", content)
        given = content.get("settings")
        network = ExtentsNetwork(NetworkSettings(**(_shipped_settings() if given is None else given)))
        network.load_state_dict(state)
    except Exception as error:  # the unpickler may raise anything for another kind of file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{file.name} does not contain this version's network: {reason}") from None
    return network.eval()


def _shipped_settings() -> dict[str, Any]:
    """Return the shipped model's layer sizes, for a file without its own."""
    from safetensors import safe_open

    with safe_open(str(shipped()), "pt") as model:
        settings: dict[str, Any] = json.loads((model.metadata() or {})["settings"])
        return settings
