"""``python -m training.train``: make the clips that are missing, train, write the model and its card.

Interrupted, the same command goes on from the last checkpoint and ends with the same weights (on a
CPU with the same number of processes). Everything is kept under ``--cache``.
"""

import copy
import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from modal_gpu.extents.checkpoint import Checkpoint, save_checkpoint
from modal_gpu.extents.decoder import decode
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings, Outputs, folded
from modal_gpu.extents.predictor import LABELS, predictions
from modal_gpu.extents.working_scale import LINE_HEIGHT
from training.clip import LONG_FRAMES
from training.dataset import (
    DATA_VERSION,
    FAINT_CASES,
    FIRST_CLIPS,
    SLOW_CASES,
    VARIED_CLIPS,
    VARIED_VALIDATION,
    ClipStore,
    Window,
    case_of,
    changing_window,
    random_window,
    sized,
    stored_clip,
    whole_window,
)
from training.scoring import matched

DEFAULT_CACHE = Path(".captionacc/training")
#: Steps whose windows are drawn together.
GROUP = 4


@dataclass(frozen=True)
class Cycle:
    """Steps over which the learning rate falls from ``rate`` to a hundredth of it, and what they learn from.

    ``batch`` windows of ``frames`` frames and ``width`` columns a step; every other group of steps has
    ``long_frames`` and ``long_width`` instead, if there are any: a slow fade is longer than the others.
    ``steps`` come in whole groups (:data:`GROUP`).
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
    #: How much a pair of different captions counts beside one of the same.
    different_weight: float = 3.0
    #: Whether batch normalisation has become part of the convolutions, which makes steps shorter.
    folded: bool = False


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights, with the data.

    ``clips``, ``varied_clips`` and ``validation`` are numbers of clips. There are as many long clips for
    validation as short ones, and as many with varied backgrounds.
    """

    #: First narrow windows, since they are quick; then wide ones, in which a small change is as easily
    #: overlooked as in a whole frame.
    cycles: tuple[Cycle, ...] = (
        Cycle(3000, 3e-3, batch=4, frames=36, width=224, long_share=0.4, focused_share=0.3),
        Cycle(
            11_000, 1e-3, batch=2, frames=36, width=416, long_frames=64, long_width=240, long_share=0.7,
            focused_share=0.6, faint_share=0.3, different_weight=6.0, folded=True,
        ),
    )  # fmt: skip
    clips: int = FIRST_CLIPS
    varied_clips: int = 600
    validation: int = 104
    weight_decay: float = 0.01
    averaging: float = 0.995
    smoothing: float = 0.01
    text_weight: float = 0.5
    change_weight: float = 1.0
    seed: int = 1
    save_every: int = 100
    validate_every: int = 7000
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        if any(cycle.steps % GROUP for cycle in self.cycles):
            raise ValueError(f"the steps of a cycle come in groups of {GROUP}")

    @property
    def steps(self) -> int:
        return sum(cycle.steps for cycle in self.cycles)

    def cycle(self, step: int) -> tuple[int, Cycle]:
        """The first step of the cycle that ``step`` is part of, and the cycle."""
        begin = 0
        for cycle in self.cycles:
            if step < begin + cycle.steps:
                break
            begin += cycle.steps
        return begin, cycle

    def shortened(self, steps: int) -> "TrainingSettings":
        """The same with about ``steps`` steps, each cycle with its share."""
        share = steps / self.steps / GROUP
        cycles = [replace(cycle, steps=GROUP * max(1, round(cycle.steps * share))) for cycle in self.cycles]
        return replace(self, cycles=tuple(cycles))


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
    clips: Sequence[Path],
    long_clips: Sequence[Path],
    settings: TrainingSettings,
    device: torch.device,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[tuple[int, Batch]]:
    """The batches from step ``first`` on; each depends on its step, the seed and the processes alone.

    Process ``rank`` gets its share of each step's windows.
    """
    slow = _of_cases(clips, SLOW_CASES)
    faint = _of_cases([*clips, *long_clips], FAINT_CASES)
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
            elif rng.random() < cycle.long_share and long_clips:
                paths = long_clips
            else:
                paths = slow if focused else clips
            make = changing_window if focused else random_window
            windows.append(make(rng, paths[int(rng.integers(len(paths)))], frames, width))
        # Clips of about one height in a batch.
        windows.sort(key=lambda window: window.strips.shape[1])
        size = len(windows) // GROUP
        for place in range(GROUP):
            step = group * GROUP + place
            if first <= step:
                yield step, Batch.of(windows[place * size : (place + 1) * size], device)


def _of_cases(paths: Sequence[Path], cases: Collection[str]) -> Sequence[Path]:
    """Those of training clips that show one of the cases, or all if none does."""
    return [path for path in paths if case_of("train", int(path.stem)) in cases] or paths


def losses(
    outputs: Outputs, batch: Batch, settings: TrainingSettings, different_weight: float
) -> dict[str, Tensor]:
    """Weighted binary cross-entropies of presence, same text, and the two maps."""

    def soft(target: Tensor) -> Tensor:
        return target * (1 - 2 * settings.smoothing) + settings.smoothing

    def mean(loss: Tensor, weight: Tensor) -> Tensor:
        return (loss * weight).sum() / weight.sum().clamp(min=1.0)

    same_weight = batch.same_weight * torch.where(batch.same > 0.5, 1.0, different_weight)
    # The first frame of a window has no frame before it.
    same_weight = torch.cat([torch.zeros_like(same_weight[:, :1]), same_weight[:, 1:]], dim=1)
    change_weight = torch.cat([torch.zeros_like(batch.change[:, :1]), 1 + 4 * batch.change[:, 1:]], dim=1)
    text_weight = (1 + batch.text) * batch.presence_weight[:, :, None, None]
    entropy = F.binary_cross_entropy_with_logits
    parts = {
        "presence": mean(
            entropy(outputs.presence, soft(batch.presence), reduction="none"), batch.presence_weight
        ),
        "same": mean(entropy(outputs.same, soft(batch.same), reduction="none"), same_weight),
        "text": mean(entropy(outputs.text, batch.text, reduction="none"), text_weight),
        "change": mean(entropy(outputs.change, batch.change, reduction="none"), change_weight),
    }
    parts["total"] = (
        parts["presence"]
        + parts["same"]
        + settings.text_weight * parts["text"]
        + settings.change_weight * parts["change"]
    )
    return parts


@dataclass(frozen=True)
class Clips:
    """Files of clips for training, short and long ones, and for validation."""

    short: list[Path]
    validation: list[Path]
    long: list[Path] = field(default_factory=list)


@dataclass
class ClipLogits:
    """A clip's logits and labels as numpy float32 (T,)."""

    case: str
    presence: np.ndarray
    same: np.ndarray
    window: Window


@torch.inference_mode()
def judge_clips(network: ExtentsNetwork, paths: list[Path], device: torch.device) -> list[ClipLogits]:
    """Whole clips through the network in evaluation mode."""
    network.eval()
    judged = []
    for path in paths:
        clip = stored_clip(path)
        window = whole_window(clip)
        batch = Batch.of([window], device)
        outputs = network(batch.strips, batch.reference, batch.hints)
        presence, same = (x[0].float().cpu().numpy() for x in (outputs.presence, outputs.same))
        judged.append(ClipLogits(clip.case, presence, same, window))
    return judged


def validation_figures(judged: list[ClipLogits]) -> dict[str, float]:
    """Loss and accuracies over all frames and pairs that have a label."""

    def entropy(logit: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, logit) - logit * target

    presence_loss, same_loss, right, pairs = [], [], 0.0, 0.0
    found = np.zeros(2)
    called = 0.0
    captions = np.zeros(3)  # of the truth, decoded, right
    for clip in judged:
        window = clip.window
        presence_loss.append(
            np.average(entropy(clip.presence, window.presence), weights=window.presence_weight)
        )
        weight = window.same_weight.copy()
        weight[0] = 0
        if weight.sum():
            same_loss.append(np.average(entropy(clip.same, window.same), weights=weight + 1e-9))
        different = (weight == 1) & (window.same < 0.5)
        found += different.sum(), (different & (clip.same < 0)).sum()
        called += ((weight == 1) & (clip.same < 0)).sum()
        predicted = predictions(_logistic(clip.presence), _logistic(clip.same)[1:])
        probabilities = predicted.forward
        extents = [(extent.start, extent.end) for extent in decode(predicted)]
        wanted = _extents(window)
        captions += len(wanted), len(extents), matched(wanted, extents)
        truth = pair_labels(window)
        clear = (window.presence_weight[1:] > 0.5) & (window.presence_weight[:-1] > 0.5)
        right += (probabilities.argmax(axis=1) == truth)[clear].sum()
        pairs += clear.sum()
    return {
        "caption_f1": float(2 * captions[2] / max(captions[0] + captions[1], 1)),
        "loss": float(np.mean(presence_loss) + np.mean(same_loss)),
        "presence_loss": float(np.mean(presence_loss)),
        "same_loss": float(np.mean(same_loss)),
        "pair_accuracy": float(right / max(pairs, 1)),
        "different_recall": float(found[1] / max(found[0], 1)),
        "different_precision": float(found[1] / max(called, 1)),
    }


def _extents(window: Window) -> list[tuple[int, int]]:
    """The captions' frames, half-open."""
    present = window.presence > 0.5
    begins = present & np.concatenate([[True], ~present[:-1] | (window.same[1:] < 0.5)])
    starts = np.flatnonzero(begins).tolist()
    stops = [*starts[1:], len(present)] if starts else []
    return [
        (start, start + int(present[start:stop].sum())) for start, stop in zip(starts, stops, strict=True)
    ]


def _logistic(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def pair_labels(window: Window) -> np.ndarray:
    """Column of the true label of each pair, int (T − 1,)."""
    before, after = window.presence[:-1] > 0.5, window.presence[1:] > 0.5
    names = np.where(
        before & after,
        np.where(window.same[1:] > 0.5, "same", "different"),
        np.where(before, "valid_empty", np.where(after, "empty_valid", "empty_empty")),
    )
    return np.array([LABELS.index(name) for name in names])


def _platt(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Scale and bias that make logits ``x`` fit targets ``y`` under weights ``w`` best."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    prior = np.array([1.0, 0.0])

    def loss(fitted: np.ndarray) -> float:
        z = design @ fitted
        return float((w * (np.logaddexp(0, z) - y * z)).sum() + 5e-4 * ((fitted - prior) ** 2).sum())

    fitted = prior.copy()
    for _ in range(50):
        p = np.exp(-np.logaddexp(0, -(design @ fitted)))
        gradient = design.T @ (w * (p - y)) + 1e-3 * (fitted - prior)
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(2)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        # Far from the optimum, where probabilities are 0 or 1, a whole Newton step overshoots.
        while size > 1e-9 and loss(fitted - size * step) > loss(fitted):
            size /= 2
        fitted = fitted - size * step
    return fitted


def _fits(judged: list[ClipLogits]) -> dict[str, np.ndarray]:
    """Scale and bias that make each output's logits fit the labels best (Platt scaling)."""
    fits = {}
    for name, weight_name in (("presence", "presence_weight"), ("same", "same_weight")):
        logits, targets, weights = [], [], []
        for clip in judged:
            from_second = slice(0 if name == "presence" else 1, None)
            logits.append(getattr(clip, name)[from_second])
            targets.append(getattr(clip.window, name)[from_second])
            weights.append(getattr(clip.window, weight_name)[from_second])
        x, y, w = (np.concatenate(parts).astype(np.float64) for parts in (logits, targets, weights))
        fits[name] = _platt(x, y, w)
    return fits


def fitted(judged: list[ClipLogits]) -> list[ClipLogits]:
    """The same with calibrated logits, by which weights of the training loss are taken out again."""
    (a, b), (c, d) = (fit for fit in _fits(judged).values())
    return [replace(clip, presence=a * clip.presence + b, same=c * clip.same + d) for clip in judged]


def calibrate(network: ExtentsNetwork, judged: list[ClipLogits]) -> None:
    """Write scale and bias of both outputs, fitted on validation clips, into the network."""
    for row, fit in enumerate(_fits(judged).values()):
        old = network.calibration[row].double().cpu().numpy()
        # The logits already went through the old scale and bias.
        new = (fit[0] * old[0], fit[0] * old[1] + fit[1])
        network.calibration[row] = torch.tensor(new, dtype=network.calibration.dtype)


class Trainer:
    """State of a training run in a folder: ``state.pt``, ``best.pt`` and ``log.jsonl``.

    In each of several processes (see :func:`train_in_processes`) one of them, with its share of the
    windows; only the first one validates and writes.
    """

    def __init__(self, settings: TrainingSettings, folder: Path, device: torch.device) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.rank, self.processes = 0, 1
        if distributed.is_initialized():
            self.rank, self.processes = distributed.get_rank(), distributed.get_world_size()
        if any(cycle.batch % self.processes for cycle in settings.cycles):
            raise typer.BadParameter(f"{self.processes} processes cannot share the windows of a step")
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.step, self.best, self.seconds = 0, float("inf"), 0.0
        self._take(ExtentsNetwork(settings.network).to(device, memory_format=torch.channels_last))
        self._resume()

    def _take(self, network: ExtentsNetwork) -> None:
        """Train ``network`` from here on; of several processes', that of the first."""
        self.network = network
        #: What a step calls; of several processes it averages the gradients.
        self.model = network if self.processes == 1 else DistributedDataParallel(network)
        self.average = copy.deepcopy(network)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), weight_decay=self.settings.weight_decay, fused=True
        )

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != json.dumps(asdict(self.settings), sort_keys=True):
            raise typer.BadParameter(f"{self.folder} holds a run with other settings; choose another --run")
        if state["folded"]:
            self._take(folded(self.network))
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]

    def save(self) -> None:
        if self.rank:
            return
        state = {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "folded": not self.network.settings.normalised,
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
        }
        partial = self.folder / "state.part"
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")

    def log(self, **values: object) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **values}) + "\n")

    def rate(self, step: int) -> float:
        """Learning rate of each cycle: linear warm-up over 3 % of its steps, then half a cosine to 1 %."""
        begin, cycle = self.settings.cycle(step)
        step, steps, peak = step - begin, cycle.steps, cycle.rate
        warm = max(1, round(0.03 * steps))
        if step < warm:
            return peak * (step + 1) / warm
        share = (step - warm) / max(1, steps - warm)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def run(self, clips: Clips, until: int | None = None, say: Callable[[str], None] = typer.echo) -> None:
        """Train up to the last step, or up to ``until``; ``seconds`` counts how long it took in all."""
        settings = self.settings
        started = time.monotonic() - self.seconds
        end = settings.steps if until is None else min(until, settings.steps)
        sums: dict[str, float] = {}
        count, seen, mark = 0, 0, time.monotonic()
        drawn = batches(self.step, clips.short, clips.long, settings, self.device, self.rank, self.processes)
        for step, batch in drawn:
            if step >= end:
                break
            _, cycle = settings.cycle(step)
            if cycle.folded and self.network.settings.normalised:
                self._take(folded(self.average))
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            outputs = self.model(batch.strips, batch.reference, batch.hints)
            parts = losses(outputs, batch, settings, cycle.different_weight)
            self.optimizer.zero_grad(set_to_none=True)
            parts["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            self.optimizer.step()
            self._average(step)
            self.step, self.seconds = step + 1, time.monotonic() - started
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            count, seen = count + 1, seen + self.processes * batch.presence.numel()
            if self.rank:
                continue
            if self.step % 20 == 0:
                figures = {name: round(value / count, 5) for name, value in sums.items()}
                speed = seen / (time.monotonic() - mark)
                self.log(kind="training", frames_per_second=round(speed), lr=self.rate(step), **figures)
                say(f"{self.step}/{settings.steps} {figures} {speed:.0f} frames/s")
                sums, count, seen, mark = {}, 0, 0, time.monotonic()
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                if self.processes > 1:  # the others wait
                    torch.set_num_threads(self.processes)
                figures = validation_figures(fitted(judge_clips(self.average, clips.validation, self.device)))
                if self.processes > 1:
                    torch.set_num_threads(1)
                self.log(kind="validation", **figures)
                say(f"validation at {self.step}: {figures}")
                # Captions are what counts; the loss is mostly that of hardly visible frames.
                score = 1 - figures["caption_f1"] + 0.01 * figures["loss"]
                if score < self.best:
                    self.best = score
                    best = {"settings": asdict(self.average.settings), "model": self.average.state_dict()}
                    torch.save(best, self.folder / "best.part")
                    (self.folder / "best.part").replace(self.folder / "best.pt")
                self.seconds = time.monotonic() - started
                self.save()
                mark = time.monotonic()
            elif self.step % settings.save_every == 0:
                self.save()
        self.save()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Exponential average of the weights; the running statistics come along."""
        keep = min(self.settings.averaging, (step + 1) / (step + 10))
        ours = self.average.state_dict()
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                ours[name].lerp_(value, 1 - keep)
            else:
                ours[name].copy_(value)

    def best_network(self) -> ExtentsNetwork:
        """The weights that found most captions of the validation clips, on the training device."""
        best = torch.load(self.folder / "best.pt", map_location=self.device, weights_only=True)
        network = ExtentsNetwork(NetworkSettings(**best["settings"])).to(self.device)
        network.load_state_dict(best["model"])
        return network


def train_in_processes(
    processes: int, settings: TrainingSettings, folder: Path, clips: Clips, until: int | None = None
) -> None:
    """Train on a CPU in several processes of one thread each: quicker than one of several threads.

    Most of the time goes into small operations, which hardly gain from threads.
    """
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (processes, f"file://{meeting}/processes", settings, folder, clips, until)
        torch.multiprocessing.spawn(_train_in_one, arguments, nprocs=processes)


def _train_in_one(
    rank: int,
    processes: int,
    meeting: str,
    settings: TrainingSettings,
    folder: Path,
    clips: Clips,
    until: int | None,
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    try:
        Trainer(settings, folder, torch.device("cpu")).run(clips, until)
    finally:
        distributed.destroy_process_group()


def finish(trainer: Trainer, validation: list[Path], version: str, models: Path, command: str) -> Checkpoint:
    """Calibrate the best weights, write them and their card into ``models``."""
    network = trainer.best_network()
    calibrate(network, judge_clips(network, validation, trainer.device))
    judged = judge_clips(network, validation, trainer.device)
    checkpoint = save_checkpoint(network, version, models)
    by_case = {
        case: validation_figures([clip for clip in judged if clip.case == case])
        for case in sorted({clip.case for clip in judged})
        if case != "empty"
    }
    card = {
        "version": version,
        "sha256": checkpoint.sha256,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": command,
        "settings": asdict(trainer.settings),
        "training_minutes": round(trainer.seconds / 60),
        "data_version": DATA_VERSION,
        "line_height": LINE_HEIGHT,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "validation": {"all": validation_figures(judged), **by_case},
    }
    checkpoint.path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return checkpoint


def main(
    backgrounds: Annotated[Path, typer.Option(help="Folder of footage without captions.", exists=True)],
    cache: Annotated[Path, typer.Option(help="Where clips and runs are kept.")] = DEFAULT_CACHE,
    run: Annotated[str, typer.Option(help="Name of the run; the same name goes on with it.")] = "default",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "extents-6",
    models: Annotated[Path | None, typer.Option(help="Where the model is written; the run's folder.")] = None,
    clips: Annotated[int, typer.Option(help="Short training clips.")] = TrainingSettings.clips,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; each cycle has its share.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that make clips and, on a CPU, train.")] = 2,
) -> None:
    """Make what clips are missing, train, and write the model with its card."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = replace(TrainingSettings(), clips=clips)
    if steps is not None:
        settings = settings.shortened(steps)
    store = ClipStore(cache.resolve(), backgrounds.resolve())

    def say_made(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            typer.echo(f"clips: {done}/{of}")

    validation = store.generate("validation", settings.validation, processes, say_made)
    train = store.generate("train", settings.clips, processes, say_made)
    long_store = replace(store, frames=LONG_FRAMES)
    for first in (0, VARIED_VALIDATION):
        validation += long_store.generate("validation", settings.validation, processes, say_made, first)
    last = VARIED_CLIPS + settings.varied_clips
    long_clips = long_store.generate("train", last - FIRST_CLIPS, processes, say_made, FIRST_CLIPS)
    folder = cache.resolve() / "runs" / run
    files = Clips(train, validation, long_clips)
    if device.type == "cpu" and processes > 1:
        train_in_processes(processes, settings, folder, files)
        trainer = Trainer(settings, folder, device)
    else:
        trainer = Trainer(settings, folder, device)
        trainer.run(files)
    command = (
        f"python -m training.train --backgrounds FOLDER --clips {clips} --steps {settings.steps} "
        f"--version {version}"
    )
    checkpoint = finish(trainer, validation, version, models or trainer.folder, command)
    typer.echo(f"written: {checkpoint.path}")


if __name__ == "__main__":
    typer.run(main)
