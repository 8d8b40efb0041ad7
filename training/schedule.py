"""The schedule of a training run: cycles of steps, and all other settings that determine the weights."""

from dataclasses import dataclass, field, replace

from modal_gpu.extents.network import NetworkSettings
from training.dataset import LONG_CLIPS

#: Number of steps whose windows are drawn together.
GROUP = 4


@dataclass(frozen=True)
class Cycle:
    """Steps over which the learning rate falls from ``rate`` to a hundredth of it, and their data.

    A step has ``batch`` windows of ``frames`` frames and ``width`` columns. Every other group of steps has
    ``long_frames`` and ``long_width`` instead, if set, because a slow fade is longer than the usual window.
    ``steps`` is a multiple of :data:`GROUP`.
    """

    steps: int
    rate: float
    batch: int
    frames: int
    width: int
    long_frames: int = 0
    long_width: int = 0
    #: Windows from long clips, whose reference picture is their own: what near-identical captions share
    #: stays in it.
    long_share: float = 0.5
    #: Windows from clips of the slow cases, in which one caption follows another.
    focused_share: float = 0.0
    #: Of the long windows, those from clips of the faint cases.
    faint_share: float = 0.0
    #: Weight of a pair of different captions relative to one of the same.
    different_weight: float = 3.0
    #: Whether batch normalisation is folded into the convolutions, which makes steps faster.
    folded: bool = False
    #: Whether the result is the mean of the weights before and after the cycle.
    averaged: bool = False


#: Wide windows, in which a small change is as easy to miss as in a full frame.
_WIDE = Cycle(
    11_000, 1e-3, batch=2, frames=36, width=416, long_frames=64, long_width=240, long_share=0.7,
    focused_share=0.6, faint_share=0.3, different_weight=6.0, folded=True,
)  # fmt: skip
#: Cycles that start from a model.
FURTHER = (replace(_WIDE, steps=5000, rate=4e-4, faint_share=0.5, averaged=True),)
#: Cycles that start from random weights, with narrow windows first because they are fast.
FULL = (
    Cycle(3000, 3e-3, batch=4, frames=36, width=224, long_share=0.4, focused_share=0.3),
    _WIDE,
    *FURTHER * 2,
)


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that, with the data, determine the weights.

    ``clips``, ``varied_clips`` and ``validation`` are numbers of clips. Validation has equally many short
    clips, long clips and long clips with varied backgrounds. ``start`` is the name of the model file that the
    run starts from, if any.
    """

    cycles: tuple[Cycle, ...] = FULL
    start: str | None = None
    clips: int = LONG_CLIPS
    varied_clips: int = 1000
    validation: int = 104
    weight_decay: float = 0.01
    averaging: float = 0.995
    smoothing: float = 0.01
    text_weight: float = 0.5
    change_weight: float = 1.0
    seed: int = 1
    save_every: int = 100
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        if any(cycle.steps % GROUP for cycle in self.cycles):
            raise ValueError(f"the steps of a cycle come in groups of {GROUP}")

    @property
    def steps(self) -> int:
        return sum(cycle.steps for cycle in self.cycles)

    def cycle(self, step: int) -> tuple[int, Cycle]:
        """Return the first step of the cycle that contains ``step``, and the cycle."""
        begin = 0
        for cycle in self.cycles:
            if step < begin + cycle.steps:
                break
            begin += cycle.steps
        return begin, cycle

    def shortened(self, steps: int) -> "TrainingSettings":
        """Return settings with about ``steps`` steps in total, shared between the cycles in proportion."""
        share = steps / self.steps / GROUP
        cycles = [replace(cycle, steps=GROUP * max(1, round(cycle.steps * share))) for cycle in self.cycles]
        return replace(self, cycles=tuple(cycles))
