"""``python -m benchmarks.extents_speed``: pairs a second of the bundled network, next to a ResNet-50.

The network runs as shipped (ONNX Runtime on a CPU) and on PyTorch.

The ResNet-50 stands for the usual approach: each pair is resized to 480 × 48 and judged twice, once in each
order, by the full network (with random weights, which do not affect the time). All process the same strips,
preprocessing included, in turns within one run, so that a noisy machine slows all of them.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from torch import Tensor, nn

from benchmarks.extents_scores import strips_of
from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.network_predictor import NetworkPredictor
from modal_gpu.extents.predictor import StripHints, collect
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.torch_backend import TorchBackend
from modal_gpu.extents.torch_checkpoint import load_checkpoint


class _Bottleneck(nn.Module):
    """Residual block of He et al. 2015, with the stride in the 3 × 3 convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *_unit(inputs, width, 1), nn.ReLU(inplace=True), *_unit(width, width, 3, stride),
            nn.ReLU(inplace=True), *_unit(width, outputs, 1),
        )  # fmt: skip
        self.shortcut = (
            nn.Sequential(*_unit(inputs, outputs, 1, stride)) if inputs != outputs else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _unit(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def resnet50(inputs: int, outputs: int) -> nn.Sequential:
    """Build a ResNet-50 with random weights."""
    layers: list[nn.Module] = [
        *_unit(inputs, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    channels = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            width = 64 * 2**stage
            layers.append(_Bottleneck(channels, width, 2 if stage and not block else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def _resnet_pairs(network: nn.Module, strips: np.ndarray, batch: int, device: torch.device) -> int:
    """Judge neighbouring strips twice each, and return the number of pairs."""
    small = [cv2.resize(strip, (480, 48), interpolation=cv2.INTER_AREA) for strip in strips]
    pictures = torch.from_numpy(np.stack(small)).to(device).float().div_(255).sub_(0.45).div_(0.225)
    pictures = pictures[:, None].expand(-1, 3, -1, -1)
    for begin in range(0, len(strips) - 1, batch):
        first, second = pictures[begin : begin + batch], pictures[begin + 1 : begin + 1 + batch]
        first = first[: len(second)]
        for one, other in ((first, second), (second, first)):
            network(torch.cat([one, other], dim=1).contiguous(memory_format=torch.channels_last))
    return len(strips) - 1


def main(
    model: Annotated[Path | None, typer.Option(help="A model file. Default: the bundled one.")] = None,
    width: Annotated[int, typer.Option(help="Of the strips, pixels.")] = 1280,
    height: Annotated[int, typer.Option(help="Of the strips, pixels.")] = 120,
    line_height: Annotated[float, typer.Option(help="A caption line's, as a share of the strip.")] = 0.4,
    frames: Annotated[int, typer.Option(help="Strips a turn.")] = 600,
    turns: Annotated[int, typer.Option(help="Turns; the median counts.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads on a CPU.")] = 1,
) -> None:
    """Print the speeds, their CPU time and their ratio to the ResNet-50."""
    torch.set_num_threads(threads)
    predictor = load_predictor(model, threads=threads)
    device = torch.device(predictor.device)
    on_torch = NetworkPredictor(TorchBackend(load_checkpoint(model or shipped())[0], str(device)), "", "")
    rng = np.random.default_rng(0)
    strips = rng.integers(16, 236, (frames, height, width), dtype=np.uint8)
    hints = StripHints(line_height)
    resnet = resnet50(6, 5).eval().to(device, memory_format=torch.channels_last)
    few = min(frames, 33) if device.type == "cpu" else frames

    def resnet_pairs() -> int:
        judged = _resnet_pairs(resnet, strips[:few], 16, device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return judged

    judges: dict[str, Callable[[], int]] = {
        "network as shipped": lambda: len(collect(predictor.predict(strips_of(strips), hints)).forward),
        "network on PyTorch": lambda: len(collect(on_torch.predict(strips_of(strips), hints)).forward),
        "ResNet-50, two orders": resnet_pairs,
    }
    speeds: dict[str, list[float]] = {name: [] for name in judges}
    processor: dict[str, list[float]] = {name: [] for name in judges}
    with torch.inference_mode():
        for turn in range(turns + 1):
            for name, judge in judges.items():
                started, cpu = time.perf_counter(), time.process_time()
                pairs = judge()
                if turn:  # the first one is a warm-up
                    speeds[name].append(pairs / (time.perf_counter() - started))
                    processor[name].append(1000 * (time.process_time() - cpu) / pairs)
    print(f"{width}×{height} strips, {device}, {threads} threads, median of {turns} turns (best)")
    other = statistics.median(speeds["ResNet-50, two orders"])
    for name, values in speeds.items():
        median = statistics.median(values)
        print(
            f"{name}: {median:.0f} pairs a second ({max(values):.0f}), "
            f"{statistics.median(processor[name]):.2f} ms of CPU a pair, ratio {median / other:.1f}"
        )


if __name__ == "__main__":
    typer.run(main)
