"""The Modal app: three functions around the code that also runs locally.

Deploy with ``modal deploy modal_gpu/app.py``. ``modal.Function.from_name(app, name)`` finds the functions by
name. A container loads its models at the first call and keeps them. Each function takes the envelope of
:mod:`modal_gpu.deployment.wire`, one call at a time.
"""

from functools import lru_cache
from typing import Any

import modal

from modal_gpu.contracts import CaptionOcrRequest, CropInferRequest, ExtractRequest
from modal_gpu.deployment.container import open_container
from modal_gpu.deployment.settings import (
    CAPTION_OCR,
    CROP_AND_INFER,
    EXTRACT,
    MODEL_MOUNT,
    MODEL_VOLUME,
    STORAGE_KEYS,
    STORAGE_SECRET,
    VISION_SECRET,
    modal_settings,
)
from modal_gpu.deployment.wire import Container, answer

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
    STORAGE_SECRET: modal.Secret.from_name(STORAGE_SECRET, required_keys=list(STORAGE_KEYS)),
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


@lru_cache(maxsize=3)
def _container(function: str) -> Container:
    return open_container(function, settings)


def _queue(name: str) -> modal.Queue:
    return modal.Queue.from_name(name, create_if_missing=True)


def _call_id() -> str | None:
    return None if modal.is_local() else modal.current_function_call_id()


@app.function(**_options(EXTRACT))
def extract_frames_and_ocr(envelope: dict[str, Any]) -> dict[str, Any]:
    """Extract full frames, their text, and the layout; see :func:`modal_gpu.deployment.wire.answer`."""
    from modal_gpu.functions.extract import extract_frames_and_ocr as work

    return answer(envelope, ExtractRequest, work, lambda: _container(EXTRACT), _queue, _call_id())


@app.function(**_options(CROP_AND_INFER))
def crop_and_infer_caption_frame_extents(envelope: dict[str, Any]) -> dict[str, Any]:
    """Crop frames into chunks and label pairs; see :func:`modal_gpu.deployment.wire.answer`."""
    from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents as work

    return answer(envelope, CropInferRequest, work, lambda: _container(CROP_AND_INFER), _queue, _call_id())


@app.function(**_options(CAPTION_OCR))
def generate_caption_ocr(envelope: dict[str, Any]) -> dict[str, Any]:
    """Read captions; see :func:`modal_gpu.deployment.wire.answer`."""
    from modal_gpu.functions.caption_ocr import generate_caption_ocr as work

    return answer(envelope, CaptionOcrRequest, work, lambda: _container(CAPTION_OCR), _queue, _call_id())


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
