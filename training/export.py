"""``python -m training.export [CHECKPOINT]``: write the ONNX graph of a checkpoint, for CPUs, beside it."""

from pathlib import Path
from typing import Annotated

import typer

from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.export import export


def main(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A .safetensors file; the shipped one by default.")
    ] = None,
) -> None:
    """Write the graph; the same checkpoint always gives the same file."""
    typer.echo(str(export(checkpoint or shipped()).path))


if __name__ == "__main__":
    typer.run(main)
