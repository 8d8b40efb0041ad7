"""The Modal app: the functions around the code that also runs locally.

Deploy with ``modal deploy modal_gpu/app.py``. ``modal.Function.from_name(app, name)`` finds the functions by
name. A container loads its models at the first call and keeps them. The first parameters of each function are
the documented ones; what the platform needs besides are further keywords
(:mod:`modal_gpu.deployment.calls`). Each has a generator variant, ``NAME_stream``
(:mod:`modal_gpu.deployment.streams`).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import modal

from modal_gpu.deployment.calls import Keywords
from modal_gpu.deployment.container import open_container
from modal_gpu.deployment.settings import (
    CAPTION_OCR,
    CROP_AND_INFER,
    EXTRACT,
    INFER,
    MODEL_MOUNT,
    MODEL_VOLUME,
    STORAGE_KEYS,
    VISION_SECRET,
    modal_settings,
    stream_of,
)
from modal_gpu.deployment.streams import stream
from modal_gpu.deployment.wire import Container, Work, answer
from modal_gpu.frame_rates import CROP_RATE, FULL_FRAME_RATE

Plain = dict[str, Any]

settings = modal_settings()


def container_image() -> modal.Image:
    """Return the image with the locked packages, this package and these settings."""
    from modal_gpu.deployment.image import BASE_IMAGE, INSTALL_OPTIONS, is_left_out, requirements_file

    base = modal.Image.from_registry(BASE_IMAGE)
    if packages := settings.system_packages():
        base = base.apt_install(*packages)
    # Modal's `uv_pip_install` uses the latest uv; pip is the base image's pinned version.
    return (
        base.pip_install_from_requirements(
            str(requirements_file(ocr_cuda=settings.ocr_cuda)), extra_options=INSTALL_OPTIONS
        )
        .env(settings.container_environment())
        .add_local_python_source("modal_gpu", ignore=is_left_out)
    )


# The container imports this module too, but does not use this object.
image = container_image() if modal.is_local() else modal.Image.debian_slim()
models = modal.Volume.from_name(MODEL_VOLUME, create_if_missing=True)
secrets = {
    # Its other keys have two names each; a container says which it lacks.
    settings.storage_secret: modal.Secret.from_name(settings.storage_secret, required_keys=[STORAGE_KEYS[0]]),
    VISION_SECRET: modal.Secret.from_name(VISION_SECRET),
}
app = modal.App(settings.app_name, image=image, tags={"project": "captionacc"})


def _options(name: str) -> dict[str, Any]:
    """Return the function's options on Modal. Without ``min_containers`` it scales to zero."""
    own = settings.function(name)
    return {
        "name": name,
        "gpu": own.gpu,
        "timeout": own.timeout_seconds,
        "retries": own.retries,
        "max_containers": own.max_containers,
        "scaledown_window": settings.scaledown_seconds,
        "cpu": own.cpu,
        "memory": own.memory_mib,
        "secrets": [secrets[secret] for secret in own.secrets],
        "volumes": {MODEL_MOUNT: models.read_only()},
    }


def _stream_options(name: str) -> dict[str, Any]:
    """Return the options of a function's generator variant, which Modal does not retry."""
    return {**_options(name), "name": stream_of(name), "retries": None}


@lru_cache(maxsize=4)
def _container(function: str) -> Container:
    return open_container(function, settings)


def _queue(name: str) -> modal.Queue:
    return modal.Queue.from_name(name, create_if_missing=True)


def _call_id() -> str | None:
    return None if modal.is_local() else modal.current_function_call_id()


def _work(name: str) -> Work:
    """Return the core of a function; importing it imports what it works with."""
    if name == EXTRACT:
        from modal_gpu.functions.extract import extract_frames_and_ocr as extract

        return extract
    if name == CROP_AND_INFER:
        from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents as crop

        return crop
    if name == CAPTION_OCR:
        from modal_gpu.functions.caption_ocr import generate_caption_ocr as read

        return read
    from modal_gpu.functions.boundary_inference import run_boundary_inference_batch as infer

    return infer


def _answer(name: str, given: Keywords) -> Any:
    return answer(name, given, _work(name), lambda: _container(name), _queue, _call_id())


def _stream(name: str, given: Keywords) -> Iterator[Plain]:
    return stream(name, given, _work(name), lambda: _container(name))


@app.function(**_options(EXTRACT))
def extract_frames_and_ocr(
    video_key: str | Plain,
    tenant_id: str | None = None,
    video_id: str | None = None,
    frame_rate: float = FULL_FRAME_RATE,
    *,
    outputs: list[str] | None = None,
    segment: Plain | None = None,
    languages: list[str] | None = None,
    contract: int | None = None,
    call_id: str | None = None,
) -> Plain:
    """Extract full frames, their text, and the layout."""
    return _answer(EXTRACT, dict(locals()))


@app.function(**_stream_options(EXTRACT))
def extract_frames_and_ocr_stream(
    video_key: str | Plain,
    tenant_id: str | None = None,
    video_id: str | None = None,
    frame_rate: float = FULL_FRAME_RATE,
    *,
    outputs: list[str] | None = None,
    segment: Plain | None = None,
    languages: list[str] | None = None,
) -> Iterator[Plain]:
    """Yield the steps of :func:`extract_frames_and_ocr`, then its end."""
    yield from _stream(EXTRACT, dict(locals()))


@app.function(**_options(CROP_AND_INFER))
def crop_and_infer_caption_frame_extents(
    video_key: str | Plain,
    tenant_id: str | None = None,
    video_id: str | None = None,
    crop_region: Plain | None = None,
    frame_rate: float = CROP_RATE,
    *,
    version: int | None = None,
    run_id: str | None = None,
    outputs: list[str] | None = None,
    frame_count: int | None = None,
    segment: Plain | None = None,
    zones: list[Plain] | None = None,
    damaged: bool | None = None,
    contract: int | None = None,
    call_id: str | None = None,
) -> Plain:
    """Crop frames into chunks and label pairs."""
    return _answer(CROP_AND_INFER, dict(locals()))


@app.function(**_stream_options(CROP_AND_INFER))
def crop_and_infer_caption_frame_extents_stream(
    video_key: str | Plain,
    tenant_id: str | None = None,
    video_id: str | None = None,
    crop_region: Plain | None = None,
    frame_rate: float = CROP_RATE,
    *,
    version: int | None = None,
    run_id: str | None = None,
    outputs: list[str] | None = None,
    frame_count: int | None = None,
    segment: Plain | None = None,
    zones: list[Plain] | None = None,
    damaged: bool | None = None,
) -> Iterator[Plain]:
    """Yield the steps of :func:`crop_and_infer_caption_frame_extents`, then its end."""
    yield from _stream(CROP_AND_INFER, dict(locals()))


@app.function(**_options(CAPTION_OCR))
def generate_caption_ocr(
    chunks_prefix: str | Plain,
    start_frame: int | None = None,
    end_frame: int | None = None,
    *,
    captions: list[Plain] | None = None,
    crop_region: Plain | None = None,
    frame_count: int | None = None,
    languages: list[str] | None = None,
    contract: int | None = None,
    call_id: str | None = None,
) -> Plain | list[Plain]:
    """Read one caption, frames ``[start_frame, end_frame)``, or a batch of ``captions``."""
    return _answer(CAPTION_OCR, dict(locals()))


@app.function(**_stream_options(CAPTION_OCR))
def generate_caption_ocr_stream(
    chunks_prefix: str | Plain,
    start_frame: int | None = None,
    end_frame: int | None = None,
    *,
    captions: list[Plain] | None = None,
    crop_region: Plain | None = None,
    frame_count: int | None = None,
    languages: list[str] | None = None,
) -> Iterator[Plain]:
    """Yield the steps of :func:`generate_caption_ocr`, then its end."""
    yield from _stream(CAPTION_OCR, dict(locals()))


@app.function(**_options(INFER))
def run_boundary_inference_batch(
    video_id: str,
    tenant_id: str,
    cropped_frames_version: int,
    model_version: str,
    run_id: str | None = None,
    frame_pairs: list[list[int]] | None = None,
    *,
    contract: int | None = None,
    call_id: str | None = None,
) -> Plain:
    """Judge the stored chunks of a version with a model's version."""
    return _answer(INFER, dict(locals()))


@app.function(**_stream_options(INFER))
def run_boundary_inference_batch_stream(
    video_id: str,
    tenant_id: str,
    cropped_frames_version: int,
    model_version: str,
    run_id: str | None = None,
    frame_pairs: list[list[int]] | None = None,
) -> Iterator[Plain]:
    """Yield the steps of :func:`run_boundary_inference_batch`, then its end."""
    yield from _stream(INFER, dict(locals()))


@app.function(**{**_options(CROP_AND_INFER), "name": "measure_inference", "secrets": [], "timeout": 600})
def measure_inference() -> dict[str, Any]:
    """Measure the container's GPU, its cold start, and the network's pairs per second."""
    from pathlib import Path

    from modal_gpu.deployment.container import ColdStart
    from modal_gpu.deployment.inference import measure_inference as measure
    from modal_gpu.deployment.models import resolve_model
    from modal_gpu.extents.predictors import load_predictor

    model = resolve_model(settings.extents_model, Path(MODEL_MOUNT))
    predictor = load_predictor(model, block=settings.extents_block)
    cold = ColdStart()()
    return {"cold_start_seconds": round(cold, 2), **measure(predictor)}


@app.local_entrypoint()
def test_inference() -> None:
    """Print the results of :func:`measure_inference`: ``modal run modal_gpu/app.py::test_inference``."""
    import sys

    for name, value in measure_inference.remote().items():
        sys.stdout.write(f"{name:20} {value}\n")
