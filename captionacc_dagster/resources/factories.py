"""Dagster resources of the platform: the catalogue, the object store and the compute.

Each is opened from the process's settings when a run or a tick needs it, so that no secret is in a run's
config. Assets and sensors receive the plain objects. The fields of a resource are for the UI: they show the
settings that were in force when the code was loaded.
"""

import ipaddress
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.compute import Compute, FannedOutCompute, FanOut, local_compute
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from captionacc_dagster.resources.compute_settings import compute_settings
from captionacc_dagster.resources.in_force import catalogue_in_force, compute_in_force, store_in_force
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from captionacc_dagster.resources.start_line import start_line
from captionacc_dagster.settings import Settings, get_settings, load_settings
from modal_gpu.deployment.settings import modal_settings
from modal_gpu.errors import CaptionAccError, ConfigurationError
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)


class CatalogResource(dg.ConfigurableResource[Catalog]):
    """The catalogue: embedded, at ``CAPTIONACC_DATABASE_URL``, or behind ``SUPABASE_URL``."""

    kind: str = Field(default="", description="How the catalogue is reached")
    place: str = Field(default="", description="The home of the embedded one, or host and database")
    schema_name: str = Field(default="", description="CAPTIONACC_SCHEMA")

    def create_resource(self, context: dg.InitResourceContext) -> Catalog:
        settings = get_settings()
        # Every run needs the catalogue. A sensor's tick does too, and has no run.
        if context.run is not None and context.log is not None:
            context.log.info(start_line(settings, "run"))
        return open_catalog(settings)


class ObjectStoreResource(dg.ConfigurableResource[ObjectStore]):
    """The object store: a folder, or the bucket at ``CAPTIONACC_STORAGE_URL`` or ``WASABI_BUCKET``."""

    place: str = Field(default="", description="The folder, or the bucket and its prefix")
    endpoint: str = Field(default="", description="Host of the S3 service")
    region: str = Field(default="", description="Region of the S3 service")

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return open_object_store(get_settings())


class ComputeResource(dg.ConfigurableResource[Compute]):
    """The compute: the run's own process, or Modal (``MODAL_ENABLED``)."""

    backend: str = Field(default="", description="MODAL_ENABLED, MODAL_APP_NAME, MODAL_ENVIRONMENT")
    ocr_engine: str = Field(default="", description="OCR_ENGINE; on Modal its deployment may have another")
    ocr_languages: str = Field(
        default="", description="OCR_LANGUAGE, unless a video or its tenant has its own"
    )
    extents_model: str = Field(default="", description="EXTENTS_MODEL, EXTENTS_PREDICTOR")
    workers: int = Field(default=0, description="CAPTIONACC_WORKERS: CPU workers of a run")
    calls_at_once: int = Field(default=0, description="CAPTIONACC_MAX_PARALLEL: calls for one video")
    segment_minutes: float = Field(
        default=0.0, description="CAPTIONACC_SEGMENT_FRAMES: longest part of a video a call"
    )
    video_cost_limit_usd: str = Field(
        default="", description="CAPTIONACC_VIDEO_COST_LIMIT, unless a tenant has its own"
    )
    month_cost_limit_usd: str = Field(
        default="", description="CAPTIONACC_MONTH_COST_LIMIT, unless a tenant has its own"
    )

    def create_resource(self, context: dg.InitResourceContext) -> Compute:
        settings = get_settings()
        if settings.modal_enabled:
            check_modal_reaches_storage(settings)
            run_id = context.run.run_id if context.run else ""
            log = context.log.info if context.log else _log.info
            # The deployment decides the predictor: the network unless it is set otherwise.
            divided = replace(fan_out(settings), divide_crops=modal_settings().extents_predictor == "network")
            backend = modal_backend(settings, run_id, log)
            return FannedOutCompute(backend, open_object_store(settings), divided)
        return local_compute(open_object_store(settings), compute_settings(settings), fan_out(settings))


def resources() -> dict[str, dg.ConfigurableResource[Any]]:
    """Return the resources with the settings in force; invalid settings are reported where they are used."""
    try:
        settings = load_settings()
        return {
            "catalog": CatalogResource(**catalogue_in_force(settings)),
            "object_store": ObjectStoreResource(**store_in_force(settings)),
            "compute": ComputeResource(**compute_in_force(settings)),
        }
    except CaptionAccError:
        return {
            "catalog": CatalogResource(),
            "object_store": ObjectStoreResource(),
            "compute": ComputeResource(),
        }


def fan_out(settings: Settings) -> FanOut:
    """Return how one video's work is divided."""
    return FanOut(
        segment_frames=settings.segment_frames,
        max_parallel=settings.parallel_calls,
        divide_crops=settings.extents_predictor == "network",
    )


def modal_backend(settings: Settings, run_id: str, log: Callable[[str], None]) -> ModalBackend:
    """Return the backend of one run, or of upkeep, which cancels abandoned calls."""
    app = modal_settings()
    return ModalBackend(
        open_catalog(settings),
        ModalCallSettings(
            app_name=app.app_name,
            environment=app.environment,
            poll_seconds=settings.modal_poll_seconds,
            wait_seconds=settings.modal_wait_seconds,
            unreachable_seconds=settings.modal_unreachable_seconds,
            life_seconds=settings.modal_result_seconds,
        ),
        run_id,
        log=log,
    )


def check_modal_reaches_storage(settings: Settings) -> None:
    """Raise :class:`ConfigurationError` when only this machine can reach the object store."""
    url = settings.effective_storage_url
    advice = (
        "set WASABI_BUCKET, WASABI_ENDPOINT_URL and its keys (or CAPTIONACC_STORAGE_URL) to a bucket that "
        "both reach, or unset MODAL_ENABLED"
    )
    if not url.startswith("s3://"):
        raise ConfigurationError(
            f"MODAL_ENABLED=true, but the videos are in {url}, which Modal's containers cannot see: {advice}"
        )
    host = urlsplit(settings.storage_endpoint or "").hostname or ""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost" or host.endswith(".localhost")
    if is_local:
        raise ConfigurationError(
            f"MODAL_ENABLED=true, but the bucket's endpoint is this machine ({settings.storage_endpoint}), "
            f"which Modal's containers cannot reach: {advice}"
        )
