"""The windows of clips that each step learns from: drawn at random, reproducible by seed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.dataset import (
    FAINT_CASES,
    SLOW_CASES,
    Window,
    case_of,
    changing_window,
    random_window,
    sized,
)
from training.schedule import GROUP, TrainingSettings


@dataclass(frozen=True)
class Clips:
    """Files of clips: short and long ones for training, and others for validation."""

    short: list[Path]
    validation: list[Path]
    long: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """Windows of one size, stacked; the fields of :class:`~training.dataset.Window` as tensors."""

    strips: Tensor
    reference: Tensor
    hints: Tensor
    presence: Tensor
    presence_weight: Tensor
    same: Tensor
    same_weight: Tensor
    text: Tensor
    change: Tensor

    @classmethod
    def of(cls, windows: list[Window], device: torch.device) -> "Batch":
        height = max(window.strips.shape[1] for window in windows)
        width = max(window.strips.shape[2] for window in windows)
        fitted = [sized(window, height, width) for window in windows]
        stacked = {
            field.name: torch.from_numpy(np.stack([getattr(window, field.name) for window in fitted])).to(
                device
            )
            for field in fields(cls)
        }
        return cls(**stacked)


def batches(
    first: int,
    clips: Clips,
    settings: TrainingSettings,
    device: torch.device,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[tuple[int, Batch]]:
    """Yield the batches from step ``first`` on. A batch depends only on its step, the seed and the processes.

    Process ``rank`` gets its share of each step's windows.
    """
    slow = _of_cases(clips.short, SLOW_CASES)
    faint = _of_cases([*clips.short, *clips.long], FAINT_CASES)
    for group in range(first // GROUP, settings.steps // GROUP):
        _, cycle = settings.cycle(group * GROUP)
        is_long = cycle.long_frames and group % 2
        frames, width = (cycle.long_frames, cycle.long_width) if is_long else (cycle.frames, cycle.width)
        windows = []
        for number in range(rank, GROUP * cycle.batch, processes):
            rng = np.random.default_rng([settings.seed, group, number])
            focused = rng.random() < cycle.focused_share
            if is_long and rng.random() < cycle.faint_share:
                paths = faint
            elif rng.random() < cycle.long_share and clips.long:
                paths = clips.long
            else:
                paths = slow if focused else clips.short
            make = changing_window if focused else random_window
            windows.append(make(rng, paths[int(rng.integers(len(paths)))], frames, width))
        # A batch has clips of similar height.
        windows.sort(key=lambda window: window.strips.shape[1])
        size = len(windows) // GROUP
        for place in range(GROUP):
            step = group * GROUP + place
            if first <= step:
                yield step, Batch.of(windows[place * size : (place + 1) * size], device)


def _of_cases(paths: Sequence[Path], cases: Collection[str]) -> Sequence[Path]:
    """Return the training clips that show one of the cases, or all clips if none does."""
    return [path for path in paths if case_of("train", int(path.stem)) in cases] or paths
