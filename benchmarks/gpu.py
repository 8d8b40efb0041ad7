"""``python -m benchmarks.gpu [VIDEO …]``: what a GPU does for the extents network, for OCR and for decoding.

One prepared script of less than five minutes, so that a short loan of a GPU fills the table of
``benchmarks/RESULTS.md``. On a machine without a CUDA device it measures the CPU's side and says what it
left out. Needs the extra ``gpu``; OCR on the GPU needs onnxruntime-gpu too. A part that fails says so, and
the others go on.
"""

import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import torch
import typer

from benchmarks.extents_scores import strips_of
from benchmarks.real_clips import RealClip, real_clip
from modal_gpu.cores import available_cores
from modal_gpu.deployment.inference import repeated, synthetic_strips
from modal_gpu.extents.block_predictor import BlockPredictor
from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.decoder import decode
from modal_gpu.extents.network import HALO, REACH
from modal_gpu.extents.predictor import StripHints, collect
from modal_gpu.extents.predictors import has_cuda, load_predictor
from modal_gpu.extents.torch_checkpoint import load_checkpoint
from modal_gpu.extents.torch_scaling import TorchScaler
from modal_gpu.extents.working_scale import hint_planes, working_size
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.media.decoding import presented_frames
from modal_gpu.media.frames import read_full_frames
from modal_gpu.media.hardware import GPU_FORMATS, no_gpu, reason_for_software
from modal_gpu.media.probe import probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.ocr.kept import kept_rapid_ocr

NO_DEVICE = "no CUDA device"
BLOCKS = (32, 128, 512, 1024, 2048)
HINTS = StripHints(line_height=0.45)
#: Most seconds of one figure that is repeated.
SECONDS = 4.0


def predictor(device: str, block: int) -> BlockPredictor:
    """Return the shipped network in blocks."""
    network, checkpoint = load_checkpoint(shipped())
    return BlockPredictor(network, checkpoint.version, checkpoint.sha256, device=device, block=block)


def pairs_by_block(device: str, blocks: tuple[int, ...], drawn: int, turns: int) -> Iterator[str]:
    """Yield pairs a second through the whole predictor: filling, upload, scaling, network, results."""
    strips = repeated(list(synthetic_strips(drawn)), turns)
    height, width = strips[0].luma.shape
    yield f"{len(strips)} strips of {width}×{height}, best of repeated turns"
    for block in blocks:
        judge = predictor(device, block)
        collect(judge.predict(strips[: 3 * max(512, block)], HINTS))
        speeds, began = [], time.monotonic()
        while not speeds or (len(speeds) < 5 and time.monotonic() - began < SECONDS):
            start = time.monotonic()
            collect(judge.predict(strips, HINTS))
            speeds.append(len(strips) / (time.monotonic() - start))
        halved = "" if judge.block == block else f" (halved to {judge.block})"
        yield f"blocks of {block:5}{halved}: {max(speeds):9,.0f} pairs a second, {judge.dtype}"


def where_time_goes(device: str, block: int = 512) -> Iterator[str]:
    """Yield the milliseconds of each step for one block, waited for one by one."""
    judge = predictor(device, block)
    strips = list(synthetic_strips(min(block, 128)))
    luma = np.stack([strips[i % len(strips)].luma for i in range(block)])
    shape = luma.shape[1:]
    size = working_size(*shape, HINTS.line_height)
    scaler = TorchScaler(shape, size, judge.on)
    planes = torch.from_numpy(hint_planes(size, HINTS)).to(judge.on, judge.dtype)[None]
    slot = judge.transfers.slot(luma.shape)
    buffer = slot.host.numpy()

    def fill() -> None:
        for place, strip in enumerate(luma):
            np.copyto(buffer[place], strip)

    with torch.inference_mode():
        working = scaler(slot.device)
        features = judge.network.encode(working, working[:1])
        halo = torch.cat([features[: HALO + 1], features, features[:HALO]])
        pooled = judge.network.maps(halo[None], planes, HALO + 1, HALO + 1 + block)[0]
        padded = torch.cat([pooled[:, :REACH], pooled, pooled[:, :REACH]], dim=1)
        steps: dict[str, Callable[[], object]] = {
            "filling pinned memory": fill,
            "upload": lambda: judge.transfers.upload(slot, slice(None)),
            "scaling": lambda: scaler(slot.device),
            "encoder": lambda: judge.network.encode(working, working[:1]),
            "maps and pooling": lambda: judge.network.maps(halo[None], planes, HALO + 1, HALO + 1 + block),
            "judging over time": lambda: judge.network.judge(padded),
        }
        for name, step in steps.items():
            milliseconds = _milliseconds(step, judge.on)
            a_pair = milliseconds / block * 1000
            yield f"{name:22} {milliseconds:8.3f} ms a block of {block}, {a_pair:.1f} µs a pair"


def _milliseconds(step: Callable[[], object], device: torch.device) -> float:
    """Return the median of up to 20 turns, each until the device has finished."""
    found, began = [], time.monotonic()
    while len(found) < 3 or (len(found) < 20 and time.monotonic() - began < SECONDS):
        start = time.monotonic()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append((time.monotonic() - start) * 1000)
    return statistics.median(found[1:])


def against_the_cpu(clip: RealClip, device: str, name: str) -> Iterator[str]:
    """Yield how the predictor on ``device`` agrees with ONNX Runtime on a clip."""
    start = time.monotonic()
    expected = collect(load_predictor(device="cpu").predict(strips_of(clip.luma), clip.hints))
    on_cpu = time.monotonic() - start
    judge = predictor(device, 512)
    collect(judge.predict(strips_of(clip.luma[:1600]), clip.hints))
    start = time.monotonic()
    found = collect(judge.predict(strips_of(clip.luma), clip.hints))
    seconds = time.monotonic() - start
    labels = (found.forward.argmax(axis=1) != expected.forward.argmax(axis=1)).sum()
    extents = [[(e.start, e.end) for e in decode(result)] for result in (found, expected)]
    same = "the same extents" if extents[0] == extents[1] else f"other extents: {_changed(*extents)}"
    yield (
        f"{name}: {len(extents[1])} extents, {same}; {labels} of {len(found.forward)} labels differ, "
        f"probabilities by at most {np.abs(found.forward - expected.forward).max():.4f}; "
        f"{on_cpu:.2f} s on ONNX Runtime, {seconds:.3f} s on {device}"
    )


def _changed(found: list[tuple[int, int]], expected: list[tuple[int, int]]) -> str:
    return f"{sorted(set(expected) - set(found))} became {sorted(set(found) - set(expected))}"


def ocr(videos: list[Path], frames: int) -> Iterator[str]:
    """Yield seconds a full frame of RapidOCR on the CPU, and on the GPU where onnxruntime-gpu is there."""
    base = ComputeSettings().ocr()
    pictures = [f.image for v in videos for f in read_full_frames(v, [100 * i for i in range(frames)])]
    settings = {"CPU": base}
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and has_cuda():
        settings["GPU"] = ComputeSettings(ocr_cuda=True).ocr()
    else:
        yield f"RapidOCR on the GPU left out: {NO_DEVICE if not has_cuda() else 'no onnxruntime-gpu here'}"
    texts = {}
    for name, chosen in settings.items():
        engine = kept_rapid_ocr(chosen)
        engine.recognize(pictures[0])
        start = time.monotonic()
        texts[name] = [[line.text for line in engine.recognize(picture)] for picture in pictures]
        seconds = (time.monotonic() - start) / len(pictures)
        yield f"RapidOCR on the {name}: {seconds:.3f} s a frame, {len(pictures)} frames"
    if len(texts) == 2:
        differing = sum(a != b for a, b in zip(texts["CPU"], texts["GPU"], strict=True))
        yield f"{differing} of {len(pictures)} frames read differently"


def decoding(video: Path) -> Iterator[str]:
    """Yield frames a second in software by threads, and of NVDEC."""
    info = probe(video)
    for threads in sorted({1, 2, available_cores()}):
        count, seconds, _ = _decoded(video, threads, gpu=False)
        yield f"{video.stem}: software, {threads} threads: {count / seconds:,.0f} frames a second"
    if reason := reason_for_software(info) or no_gpu():
        yield f"{video.stem}: NVDEC left out: {reason}"
        return
    count, seconds, formats = _decoded(video, 1, gpu=True)
    made_by = "NVDEC" if formats <= GPU_FORMATS else f"software after NVDEC refused ({', '.join(formats)})"
    yield f"{video.stem}: {made_by}: {count / seconds:,.0f} frames a second, pictures copied to memory"


def _decoded(video: Path, threads: int, *, gpu: bool) -> tuple[int, float, set[str]]:
    count, formats, report = 0, set(), DecodeReport()
    start = time.monotonic()
    for shown in presented_frames(video, report, info=probe(video), threads=threads, gpu=gpu):
        count += 1
        formats.add(shown.frame.format.name)
    return count, time.monotonic() - start, formats


def main(
    videos: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False)] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the clips' strips.")] = None,
    quick: Annotated[bool, typer.Option(help="Few strips and frames, to try the script.")] = False,
) -> None:
    """Print the figures of each part."""
    videos = videos or []
    cuda = has_cuda()
    began = time.monotonic()
    print(f"GPU: {torch.cuda.get_device_name(0) if cuda else NO_DEVICE}; {available_cores()} cores")
    drawn, turns = (96, 1) if quick else (512, 64)

    def on_gpu(part: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
        return part if cuda else lambda: iter([f"left out: {NO_DEVICE}"])

    with tempfile.TemporaryDirectory(prefix="captionacc-gpu-") as temporary:
        folder = cache or Path(temporary)
        clips = {video: real_clip(video, folder) for video in videos if video.with_suffix(".srt").exists()}
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "pairs a second": on_gpu(lambda: pairs_by_block("cuda", BLOCKS, drawn, turns)),
        "where the time of a block goes": on_gpu(lambda: where_time_goes("cuda")),
        "the same on one CPU thread": lambda: _on_one_thread(drawn),
    }
    for video, clip in clips.items():
        parts[f"CUDA against the CPU, {video.stem}"] = on_gpu(
            lambda clip=clip, name=video.stem: against_the_cpu(clip, "cuda", name)
        )
    if videos:
        parts["OCR of full frames"] = lambda: ocr(videos, 2 if quick else 8)
    for video in videos:
        parts[f"decoding, {video.stem}"] = lambda video=video: decoding(video)
    for title, part in parts.items():
        print(f"\n{title}")
        try:
            for line in part():
                print(f"  {line}", flush=True)
        except Exception:
            print(f"  failed:\n{traceback.format_exc()}", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


def _on_one_thread(drawn: int) -> Iterator[str]:
    """Yield the speed and the steps of the same code on PyTorch's CPU device, in float32."""
    torch.set_num_threads(1)
    yield from pairs_by_block("cpu", (32,), min(drawn, 512), 1)
    yield from where_time_goes("cpu", 64)


if __name__ == "__main__":
    typer.run(main)
