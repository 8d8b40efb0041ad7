"""``python -m training.train``: make the clips that are missing, train, write the model and its card.

Interrupted, the same command goes on from the last checkpoint and ends with the same weights (on a
CPU with the same number of threads). Everything is kept under ``--cache``.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from modal_gpu.extents.checkpoint import Checkpoint, save_checkpoint
from modal_gpu.extents.decoder import decode
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings, Outputs
from modal_gpu.extents.predictor import LABELS, predictions
from modal_gpu.extents.working_scale import LINE_HEIGHT
from training.clips import LONG_FRAMES
from training.dataset import (
    DATA_VERSION,
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


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the weights, with the data. ``clips`` and ``validation`` are numbers of clips.

    There are as many long clips for validation as short ones, and as many with varied backgrounds.
    """

    clips: int = 3185
    validation: int = 104
    steps: int = 21_700
    batch: int = 3
    frames: int = 36
    width: int = 224
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    averaging: float = 0.995
    smoothing: float = 0.01
    different_weight: float = 3.0
    #: From this step on most windows come from the slow cases and show one caption following another.
    focus_from: int = 5100
    focused_share: float = 0.6
    focused_different_weight: float = 6.0
    #: From here on the learning rate starts again from ``second_rate``, on all clips and wider windows, in
    #: which a small change is as easily overlooked as in a whole frame.
    second_from: int = 8000
    second_rate: float = 1.2e-3
    second_batch: int = 2
    second_width: int = 416
    #: From here on long clips too, whose reference picture is their own: what near-identical captions
    #: share stays in it.
    third_from: int = 11_200
    third_rate: float = 6e-4
    long_share: float = 0.5
    #: From here on ``varied_clips`` too, long ones before backgrounds that look like none of the footage:
    #: of what little footage there is, how it changes behind a caption was learnt by heart.
    fourth_from: int = 17_200
    fourth_rate: float = 6e-4
    varied_clips: int = 600
    fourth_long_share: float = 0.7
    text_weight: float = 0.5
    change_weight: float = 1.0
    seed: int = 1
    save_every: int = 100
    validate_every: int = 2000
    network: NetworkSettings = field(default_factory=NetworkSettings)


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


#: Steps whose clips are drawn together, to put clips of about one height in a batch.
_GROUP = 4


def batches(
    first: int,
    paths: list[Path],
    settings: TrainingSettings,
    device: torch.device,
    long_paths: Sequence[Path] = (),
) -> Iterator[tuple[int, Batch]]:
    """The batches from step ``first`` on; each depends on its step and the seed alone."""
    every = paths
    for group in range(first // _GROUP, -(-settings.steps // _GROUP)):
        second = group * _GROUP >= settings.second_from
        third = group * _GROUP >= settings.third_from and bool(long_paths)
        fourth = group * _GROUP >= settings.fourth_from
        known = long_paths if fourth else long_paths[: VARIED_CLIPS - FIRST_CLIPS]
        long_share = settings.fourth_long_share if fourth else settings.long_share
        paths = every if second else every[:FIRST_CLIPS]
        slow = [path for number, path in enumerate(paths) if case_of("train", number) in SLOW_CASES] or paths
        batch = settings.second_batch if second else settings.batch
        width = settings.second_width if second else settings.width
        size = _GROUP * batch
        windows = []
        for number in range(group * size, (group + 1) * size):
            epoch, place = divmod(number, len(paths))
            order = np.random.default_rng([settings.seed, 1, epoch]).permutation(len(paths))
            rng = np.random.default_rng([settings.seed, 2, number])
            focused = group * _GROUP >= settings.focus_from and rng.random() < settings.focused_share
            make = changing_window if focused else random_window
            if third and rng.random() < long_share:
                path = known[int(rng.integers(len(known)))]
            else:
                path = slow[int(rng.integers(len(slow)))] if focused else paths[order[place]]
            windows.append(make(rng, path, settings.frames, width))
        windows.sort(key=lambda window: window.strips.shape[1])
        for place in range(_GROUP):
            step = group * _GROUP + place
            if first <= step < settings.steps:
                yield step, Batch.of(windows[place * batch : (place + 1) * batch], device)


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
    """State of a training run in a folder: ``state.pt``, ``best.pt`` and ``log.jsonl``."""

    def __init__(self, settings: TrainingSettings, folder: Path, device: torch.device) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.network = ExtentsNetwork(settings.network).to(device, memory_format=torch.channels_last)
        self.average = ExtentsNetwork(settings.network).to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step, self.best = 0, float("inf")
        self._resume()

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != json.dumps(asdict(self.settings), sort_keys=True):
            raise typer.BadParameter(f"{self.folder} holds a run with other settings; choose another --run")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]

    def save(self) -> None:
        state = {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }
        partial = self.folder / "state.part"
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")

    def log(self, **values: object) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **values}) + "\n")

    def rate(self, step: int) -> float:
        """Learning rate of each cycle: linear warm-up over 3 % of its steps, then half a cosine to 1 %."""
        settings = self.settings
        cycles = (
            (0, settings.learning_rate),
            (settings.second_from, settings.second_rate),
            (settings.third_from, settings.third_rate),
            (settings.fourth_from, settings.fourth_rate),
        )
        begin, peak = next(cycle for cycle in reversed(cycles) if step >= cycle[0])
        end = min([settings.steps, *(start for start, _ in cycles if start > begin)])
        step, steps = step - begin, end - begin
        warm = max(1, round(0.03 * steps))
        if step < warm:
            return peak * (step + 1) / warm
        share = (step - warm) / max(1, steps - warm)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def run(
        self,
        train: list[Path],
        validation: list[Path],
        until: int | None = None,
        say: Callable[[str], None] = print,
        long_clips: Sequence[Path] = (),
    ) -> None:
        """Train up to the last step, or up to ``until``."""
        settings = self.settings
        end = settings.steps if until is None else min(until, settings.steps)
        sums: dict[str, float] = {}
        count, seen, mark = 0, 0, time.monotonic()
        for step, batch in batches(self.step, train, settings, self.device, long_clips):
            if step >= end:
                break
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            outputs = self.network(batch.strips, batch.reference, batch.hints)
            focused = step >= settings.focus_from
            weight = settings.focused_different_weight if focused else settings.different_weight
            parts = losses(outputs, batch, settings, weight)
            self.optimizer.zero_grad(set_to_none=True)
            parts["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            self.optimizer.step()
            self._average(step)
            self.step = step + 1
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            count, seen = count + 1, seen + batch.presence.numel()
            if self.step % 20 == 0:
                figures = {name: round(value / count, 5) for name, value in sums.items()}
                speed = seen / (time.monotonic() - mark)
                self.log(kind="training", frames_per_second=round(speed), lr=self.rate(step), **figures)
                say(f"{self.step}/{settings.steps} {figures} {speed:.0f} frames/s")
                sums, count, seen, mark = {}, 0, 0, time.monotonic()
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                figures = validation_figures(fitted(judge_clips(self.average, validation, self.device)))
                self.log(kind="validation", **figures)
                say(f"validation at {self.step}: {figures}")
                # Captions are what counts; the loss is mostly that of hardly visible frames.
                score = 1 - figures["caption_f1"] + 0.01 * figures["loss"]
                if score < self.best:
                    self.best = score
                    torch.save(self.average.state_dict(), self.folder / "best.part")
                    (self.folder / "best.part").replace(self.folder / "best.pt")
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
        network = ExtentsNetwork(self.settings.network).to(self.device)
        network.load_state_dict(
            torch.load(self.folder / "best.pt", map_location=self.device, weights_only=True)
        )
        return network


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
    version: Annotated[str, typer.Option(help="Version of the model.")] = "extents-5",
    models: Annotated[Path | None, typer.Option(help="Where the model is written; the run's folder.")] = None,
    clips: Annotated[int, typer.Option(help="Training clips.")] = TrainingSettings.clips,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = TrainingSettings.steps,
    batch: Annotated[int, typer.Option(help="Windows a step.")] = TrainingSettings.batch,
    workers: Annotated[int, typer.Option(help="Processes that make clips.")] = 2,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch on a CPU.")] = 2,
) -> None:
    """Make what clips are missing, train, and write the model with its card."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = replace(TrainingSettings(), clips=clips, steps=steps, batch=batch)
    store = ClipStore(cache.resolve(), backgrounds.resolve())

    def say_made(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            typer.echo(f"clips: {done}/{of}")

    validation = store.generate("validation", settings.validation, workers, say_made)
    train = store.generate("train", settings.clips, workers, say_made)
    long_store = replace(store, frames=LONG_FRAMES)
    for first in (0, VARIED_VALIDATION):
        validation += long_store.generate("validation", settings.validation, workers, say_made, first)
    last = VARIED_CLIPS + settings.varied_clips
    long_clips = long_store.generate("train", last - FIRST_CLIPS, workers, say_made, FIRST_CLIPS)
    trainer = Trainer(settings, cache.resolve() / "runs" / run, device)
    trainer.run(train, validation, say=typer.echo, long_clips=long_clips)
    command = (
        f"python -m training.train --backgrounds FOLDER --clips {clips} --steps {steps} --batch {batch} "
        f"--version {version}"
    )
    checkpoint = finish(trainer, validation, version, models or trainer.folder, command)
    typer.echo(f"written: {checkpoint.path}")


if __name__ == "__main__":
    typer.run(main)
