"""A Modal container's object store and compute settings, from its secrets and settings."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from modal_gpu.deployment.models import CHECKPOINTS, resolve_model
from modal_gpu.deployment.settings import (
    FETCHED_MODELS,
    MODEL_MOUNT,
    OCR_MODELS,
    OTHER_STORAGE_KEYS,
    STORAGE_SECRETS,
    FunctionSettings,
    ModalSettings,
)
from modal_gpu.deployment.wire import Container
from modal_gpu.errors import ConfigurationError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.choice import default_engine
from modal_gpu.ocr.languages.model_files import ModelFiles
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.storage import ObjectStore, StorageSettings

_IMPORTED = time.monotonic()


def storage_of(environ: Mapping[str, str], secret: str = STORAGE_SECRETS[0]) -> StorageSettings:
    """Return the storage settings of the secret with the bucket's keys: the orchestrator's variables.

    Raises :class:`ConfigurationError` if the secret has no bucket or no keys, or a folder, which would not
    outlive the container.
    """
    url = environ.get("CAPTIONACC_STORAGE_URL", "").strip()
    bucket = environ.get("WASABI_BUCKET", "").strip()
    again = f"`modal secret create --force {secret} WASABI_BUCKET=…` and the other keys"
    if not url and not bucket:
        raise ConfigurationError(
            f"the Modal secret {secret!r} has no WASABI_BUCKET: create it again with {again}"
        )
    if url and not url.startswith("s3://"):
        raise ConfigurationError(f"CAPTIONACC_STORAGE_URL in the Modal secret {secret!r} is not s3://…")
    access_key = _either(environ, "WASABI_ACCESS_KEY_READWRITE", "AWS_ACCESS_KEY_ID")
    secret_key = _either(environ, "WASABI_SECRET_KEY_READWRITE", "AWS_SECRET_ACCESS_KEY")
    if access_key is None or secret_key is None:
        absent = "WASABI_ACCESS_KEY_READWRITE" if access_key is None else "WASABI_SECRET_KEY_READWRITE"
        raise ConfigurationError(
            f"the Modal secret {secret!r} has no {absent} (nor {OTHER_STORAGE_KEYS[absent]}): create it "
            f"again with {again}"
        )
    return StorageSettings(
        url=url or f"s3://{bucket}",
        endpoint=_either(environ, "WASABI_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=_either(environ, "WASABI_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        access_key_id=access_key,
        secret_access_key=secret_key,
        path_style=environ.get("CAPTIONACC_STORAGE_PATH_STYLE", "true").strip().lower() != "false",
    )


def compute_settings(
    settings: ModalSettings,
    own: FunctionSettings,
    environ: Mapping[str, str],
    models: Path = Path(MODEL_MOUNT),
) -> ComputeSettings:
    """Return the compute settings of a function's container.

    Raises :class:`CheckpointError` if the chosen model is missing on the volume or incomplete.
    """
    return ComputeSettings(
        workers=own.workers,
        keep_video=True,
        gpu_decoding=settings.gpu_decoding and own.gpu is not None,
        ocr_engine=default_engine(environ),
        ocr_languages=settings.ocr_languages,
        # The volume is mounted read-only: a model that it lacks is fetched once by each container.
        ocr_models=ModelFiles(Path(FETCHED_MODELS), settings.ocr_model_mirror, (models / OCR_MODELS,)),
        ocr_cuda=settings.ocr_cuda,
        vision=VisionSettings.from_environ(environ),
        extents_predictor=settings.extents_predictor,
        extents_model=resolve_model(settings.extents_model, models),
        extents_models=models / CHECKPOINTS,
        extents_block=settings.extents_block,
    )


def open_container(function: str, settings: ModalSettings) -> Container:
    """Build the container of ``function`` from this process's environment."""
    own = settings.function(function)
    container_id = os.environ.get("MODAL_TASK_ID", "")
    container = Container(
        store=ObjectStore(storage_of(os.environ, settings.storage_secret)),
        settings=compute_settings(settings, own, os.environ),
        gpu=(own.gpu or "none") if container_id else "none",
        container_id=container_id or "local",
        cold_start_seconds=ColdStart(),
    )
    return container


class ColdStart:
    """Seconds from the app's import to the first call; 0 for later calls."""

    def __init__(self) -> None:
        self._is_first = True

    def __call__(self) -> float:
        first, self._is_first = self._is_first, False
        return time.monotonic() - _IMPORTED if first else 0.0


def _either(environ: Mapping[str, str], name: str, *others: str) -> str | None:
    """Return the first of these variables that is set; a Wasabi name by either of its spellings."""
    names = [name, *([other] if (other := OTHER_STORAGE_KEYS.get(name)) else []), *others]
    return next((environ[one] for one in names if environ.get(one, "").strip()), None)
