"""``python -m training.least_change --backgrounds FOLDER``: the choice of the decoder's ``least_change``.

It prints the caption F1 on the validation clips for several values, over all clips and of the weakest case.
Test clips are not used.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.decoder import DecoderSettings
from modal_gpu.extents.torch_checkpoint import load_checkpoint
from training.dataset import ClipStore, validation_clips
from training.schedule import TrainingSettings
from training.train import DEFAULT_CACHE
from training.validation import by_case, judge_clips, validation_figures

VALUES = (0.03, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4)


def main(
    backgrounds: Annotated[Path, typer.Option(help="Folder of footage without captions.", exists=True)],
    model: Annotated[Path | None, typer.Option(help="A model file. Default: the bundled one.")] = None,
    cache: Annotated[Path, typer.Option(help="Where clips are kept.")] = DEFAULT_CACHE,
) -> None:
    """Print one line for each value."""
    network, _ = load_checkpoint(model or shipped())
    store = ClipStore(cache.resolve(), backgrounds.resolve())
    paths = validation_clips(store, TrainingSettings.validation)
    judged = judge_clips(network, paths, torch.device("cpu"))
    typer.echo("least_change  caption F1  mean of cases  weakest case")
    for value in VALUES:
        settings = replace(DecoderSettings(), least_change=value)
        cases = {case: figures["caption_f1"] for case, figures in by_case(judged, settings).items()}
        weakest = min(cases, key=cases.__getitem__)
        whole = validation_figures(judged, settings)["caption_f1"]
        mean = sum(cases.values()) / len(cases)
        typer.echo(f"{value:<12}  {whole:.4f}      {mean:.4f}         {weakest} {cases[weakest]:.3f}")


if __name__ == "__main__":
    typer.run(main)
