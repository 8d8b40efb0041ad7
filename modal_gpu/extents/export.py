"""Export of a checkpoint's ONNX graph, where PyTorch and ONNX are installed."""

from pathlib import Path

from modal_gpu.extents.checkpoint import Graph, require


def export(checkpoint_file: Path, folder: Path | None = None) -> Graph:
    """Write the ONNX graph of a checkpoint, beside it by default. Needs PyTorch and ONNX.

    Raises :class:`CheckpointError`.
    """
    for package in ("torch", "onnx"):
        require(package, f"export {checkpoint_file.name}")
    from modal_gpu.extents.onnx_export import export_graph

    return export_graph(checkpoint_file, folder or checkpoint_file.parent)
