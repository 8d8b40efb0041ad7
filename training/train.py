"""``python -m training.train``: render missing clips, train, and write the model with its card.

After an interruption the same command continues from the last checkpoint, and ends with the same weights (on
a CPU with the same number of processes). All files are under ``--cache``.
"""

import copy
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from modal_gpu.extents.checkpoint import Checkpoint
from modal_gpu.extents.export import export
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings, Outputs, folded
from modal_gpu.extents.torch_checkpoint import load_checkpoint, save_checkpoint
from modal_gpu.extents.working_scale import LINE_HEIGHT
from training.batches import Batch, Clips, batches
from training.clip import LONG_FRAMES
from training.dataset import DATA_VERSION, LONG_CLIPS, VARIED_CLIPS, ClipStore, validation_clips
from training.freed_memory import keep_freed_memory
from training.optimizer import MuonAndAdamW
from training.schedule import FURTHER, TrainingSettings
from training.validation import by_case, calibrate, fitted, judge_clips, shortfall, validation_figures

DEFAULT_CACHE = Path(".captionacc/training")


def losses(
    outputs: Outputs, batch: Batch, settings: TrainingSettings, different_weight: float
) -> dict[str, Tensor]:
    """Return the weighted binary cross-entropies of presence, same text, and the two maps."""

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


class Trainer:
    """The state of a training run in a folder: ``state.pt``, ``best.pt`` and ``log.jsonl``.

    With several processes (see :func:`train_in_processes`), each has a trainer and its share of the windows;
    only the first one validates and writes.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        device: torch.device,
        start: ExtentsNetwork | None = None,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.rank, self.processes = 0, 1
        if distributed.is_initialized():
            self.rank, self.processes = distributed.get_rank(), distributed.get_world_size()
        if any(cycle.batch % self.processes for cycle in settings.cycles):
            raise typer.BadParameter(f"{self.processes} processes cannot share the windows of a step")
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.step, self.best, self.seconds = 0, float("inf"), 0.0
        network = ExtentsNetwork(settings.network)
        if start is not None:
            # Without the calibration: losses use the uncalibrated logits.
            network.load_state_dict({**start.state_dict(), "calibration": network.calibration})
        self._take(network.to(device, memory_format=torch.channels_last))
        self._resume()

    def _take(self, network: ExtentsNetwork) -> None:
        """Train ``network`` from here on, for one cycle.

        With several processes, the first one's weights are used.
        """
        self.network = network
        #: The network at the start of the cycle, and the average of its weights over the last steps.
        self.before, self.average = copy.deepcopy(network), copy.deepcopy(network)
        network.mixed_precision = _multiplies_bfloat16(self.device)
        #: The module that a step calls; with several processes it averages the gradients.
        self.model = network if self.processes == 1 else DistributedDataParallel(network)
        self.optimizer = MuonAndAdamW(network, self.settings.weight_decay)

    def outcome(self) -> ExtentsNetwork:
        """Return the result of the cycle so far: if averaged, the mean of the weights before and after.

        On footage that neither has seen, the mean is better than both (Wortsman et al., "Robust fine-tuning
        of zero-shot models", 2022).
        """
        _, cycle = self.settings.cycle(self.step - 1)
        return mean_of(self.before, self.average) if cycle.averaged else self.average

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
        self.before.load_state_dict(state["before"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]

    def save(self) -> None:
        if self.rank:
            return
        state = {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "network": self.network.state_dict(),
            "before": self.before.state_dict(),
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
        """Return a step's learning rate: linear warm-up over 3 % of its cycle, then half a cosine to 1 %."""
        begin, cycle = self.settings.cycle(step)
        step, steps, peak = step - begin, cycle.steps, cycle.rate
        warm = max(1, round(0.03 * steps))
        if step < warm:
            return peak * (step + 1) / warm
        share = (step - warm) / max(1, steps - warm)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def run(self, clips: Clips, until: int | None = None, say: Callable[[str], None] = typer.echo) -> None:
        """Train to the last step, or to ``until``; ``seconds`` is the total training time."""
        settings = self.settings
        started = time.monotonic() - self.seconds
        end = settings.steps if until is None else min(until, settings.steps)
        sums: dict[str, float] = {}
        count, seen, mark = 0, 0, time.monotonic()
        drawn = batches(self.step, clips, settings, self.device, self.rank, self.processes)
        for step, batch in drawn:
            if step >= end:
                break
            begin, cycle = settings.cycle(step)
            if step == begin and step > 0:
                came = self.outcome()
                self._take(folded(came) if cycle.folded and came.settings.normalised else came)
            self.network.train()
            outputs = self.model(batch.strips, batch.reference, batch.hints)
            parts = losses(outputs, batch, settings, cycle.different_weight)
            parts["total"].backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
            self.optimizer.step(self.rate(step))
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
            if self.step == begin + cycle.steps:
                self._validate(clips.validation, say)
                self.seconds = time.monotonic() - started
                self.save()
                mark = time.monotonic()
            elif self.step % settings.save_every == 0:
                self.save()
        self.save()

    def _validate(self, paths: list[Path], say: Callable[[str], None]) -> None:
        """Evaluate the result of the cycle, and keep it if it is the best so far."""
        network = self.outcome()
        if self.processes > 1:  # the others wait
            torch.set_num_threads(self.processes)
        figures = validation_figures(fitted(judge_clips(network, paths, self.device)))
        if self.processes > 1:
            torch.set_num_threads(1)
        self.log(kind="validation", **figures)
        say(f"validation at {self.step}: {figures}")
        if shortfall(figures) < self.best:
            self.best = shortfall(figures)
            best = {"settings": asdict(network.settings), "model": network.state_dict()}
            torch.save(best, self.folder / "best.part")
            (self.folder / "best.part").replace(self.folder / "best.pt")

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Update the exponential average of the weights, and copy the running statistics."""
        keep = min(self.settings.averaging, (step + 1) / (step + 10))
        ours = self.average.state_dict()
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                ours[name].lerp_(value, 1 - keep)
            else:
                ours[name].copy_(value)

    def best_network(self) -> ExtentsNetwork:
        """Return the weights that found most captions of the validation clips, on the training device."""
        best = torch.load(self.folder / "best.pt", map_location=self.device, weights_only=True)
        network = ExtentsNetwork(NetworkSettings(**best["settings"])).to(self.device)
        network.load_state_dict(best["model"])
        return network


def train_in_processes(
    processes: int,
    settings: TrainingSettings,
    folder: Path,
    clips: Clips,
    until: int | None = None,
    start: ExtentsNetwork | None = None,
) -> None:
    """Train on a CPU in several single-threaded processes, which is faster than one process with threads.

    Most of the time goes into small operations, which hardly benefit from threads.
    """
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (processes, f"file://{meeting}/processes", settings, folder, clips, until, start)
        torch.multiprocessing.spawn(_train_in_one, arguments, nprocs=processes)


def _train_in_one(
    rank: int,
    processes: int,
    meeting: str,
    settings: TrainingSettings,
    folder: Path,
    clips: Clips,
    until: int | None,
    start: ExtentsNetwork | None,
) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    try:
        Trainer(settings, folder, torch.device("cpu"), start).run(clips, until)
    finally:
        distributed.destroy_process_group()


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu.get_capabilities().get("amx_bf16", False)


def mean_of(one: ExtentsNetwork, other: ExtentsNetwork) -> ExtentsNetwork:
    """Return a folded network whose weights are the means of two networks' weights."""
    mean, weights = folded(one), folded(other).state_dict()
    mean.load_state_dict({name: value.lerp(weights[name], 0.5) for name, value in mean.state_dict().items()})
    return mean


def finish(trainer: Trainer, validation: list[Path], version: str, models: Path, command: str) -> Checkpoint:
    """Calibrate the best weights, and write them, their ONNX graph and their card into ``models``."""
    network = trainer.best_network()
    calibrate(network, judge_clips(network, validation, trainer.device))
    judged = judge_clips(network, validation, trainer.device)
    checkpoint = save_checkpoint(network, version, models)
    export(checkpoint.path)
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
        "validation": {"all": validation_figures(judged), **by_case(judged)},
    }
    checkpoint.path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return checkpoint


def main(
    backgrounds: Annotated[Path, typer.Option(help="Folder of footage without captions.", exists=True)],
    cache: Annotated[Path, typer.Option(help="Where clips and runs are kept.")] = DEFAULT_CACHE,
    run: Annotated[str, typer.Option(help="Name of the run; the same name continues it.")] = "default",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "extents-11",
    start: Annotated[Path | None, typer.Option(help="Go on from this model, in less time.")] = None,
    models: Annotated[Path | None, typer.Option(help="Where the model is written; the run's folder.")] = None,
    clips: Annotated[int, typer.Option(help="Short training clips.")] = TrainingSettings.clips,
    seed: Annotated[int, typer.Option(help="Of the first weights and the windows.")] = TrainingSettings.seed,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; each cycle has its share.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that make clips and, on a CPU, train.")] = 2,
) -> None:
    """Render missing clips, train, and write the model with its card."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings, network = replace(TrainingSettings(), clips=clips, seed=seed), None
    if start is not None:
        network = folded(load_checkpoint(start)[0])
        settings = replace(settings, cycles=FURTHER, start=start.name, network=network.settings)
    if steps is not None:
        settings = settings.shortened(steps)
    store = ClipStore(cache.resolve(), backgrounds.resolve())

    def say_made(done: int, of: int) -> None:
        if done % 50 == 0 or done == of:
            typer.echo(f"clips: {done}/{of}")

    validation = validation_clips(store, settings.validation, processes, say_made)
    train = store.generate("train", settings.clips, processes, say_made)
    long_store = replace(store, frames=LONG_FRAMES)
    last = VARIED_CLIPS + settings.varied_clips
    long_clips = long_store.generate("train", last - LONG_CLIPS, processes, say_made, LONG_CLIPS)
    folder = cache.resolve() / "runs" / run
    files = Clips(train, validation, long_clips)
    if device.type == "cpu" and processes > 1:
        train_in_processes(processes, settings, folder, files, start=network)
        trainer = Trainer(settings, folder, device, network)
    else:
        trainer = Trainer(settings, folder, device, network)
        trainer.run(files)
    command = (
        f"python -m training.train --backgrounds FOLDER --clips {clips} --seed {seed} "
        f"--steps {settings.steps} --version {version}" + (f" --start {start.name}" if start else "")
    )
    checkpoint = finish(trainer, validation, version, models or trainer.folder, command)
    typer.echo(f"written: {checkpoint.path}")


if __name__ == "__main__":
    typer.run(main)
