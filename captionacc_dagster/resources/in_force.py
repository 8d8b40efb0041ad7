"""The settings in force, without secrets, as the Dagster UI shows them on the page of each resource."""

from typing import TypedDict
from urllib.parse import urlsplit

from captionacc_dagster.resources.compute_settings import model_in_use
from captionacc_dagster.settings import Settings
from modal_gpu.deployment.settings import modal_settings
from modal_gpu.frame_index import INDEX_RATE


class CatalogueInForce(TypedDict):
    """Fields of :class:`~captionacc_dagster.resources.factories.CatalogResource`."""

    kind: str
    place: str
    schema_name: str


class StoreInForce(TypedDict):
    """Fields of :class:`~captionacc_dagster.resources.factories.ObjectStoreResource`."""

    place: str
    endpoint: str
    region: str


class ComputeInForce(TypedDict):
    """Fields of :class:`~captionacc_dagster.resources.factories.ComputeResource`."""

    backend: str
    ocr_engine: str
    ocr_languages: str
    extents_model: str
    workers: int
    calls_at_once: int
    segment_minutes: float
    video_cost_limit_usd: str
    month_cost_limit_usd: str


def catalogue_in_force(settings: Settings) -> CatalogueInForce:
    """Return the catalogue's kind and place; of an address, the host and the database only."""
    if settings.supabase_url:
        kind, place = "Supabase's API", _host(settings.supabase_url)
    elif settings.database_url:
        url = settings.database_url.get_secret_value()
        kind, place = "PostgreSQL", f"{_host(url)}{urlsplit(url).path}"
    else:
        kind, place = "embedded PostgreSQL", str(settings.home)
    return {"kind": kind, "place": place, "schema_name": settings.catalogue_schema}


def store_in_force(settings: Settings) -> StoreInForce:
    """Return where the objects are."""
    url = urlsplit(settings.effective_storage_url)
    if url.scheme != "s3":
        return {"place": url.path, "endpoint": "none: a folder", "region": "none: a folder"}
    return {
        "place": f"s3://{_host(settings.effective_storage_url)}{url.path}",
        "endpoint": _host(settings.storage_endpoint or "") or "AWS",
        "region": settings.storage_region or "us-east-1",
    }


def compute_in_force(settings: Settings) -> ComputeInForce:
    """Return where the compute functions run, with which models, and their limits."""
    backend = "this machine"
    if settings.modal_enabled:
        app = modal_settings()
        backend = f"Modal, app {app.app_name}{f' in {app.environment}' if app.environment else ''}"
    return {
        "backend": backend,
        "ocr_engine": settings.ocr_engine,
        "ocr_languages": ", ".join(settings.ocr_languages) or "those of the engine",
        "extents_model": model_in_use(settings),
        "workers": settings.worker_count,
        "calls_at_once": settings.parallel_calls,
        "segment_minutes": round(settings.segment_frames / INDEX_RATE / 60, 1),
        "video_cost_limit_usd": _limit(settings.video_cost_limit),
        "month_cost_limit_usd": _limit(settings.month_cost_limit),
    }


def _host(url: str) -> str:
    """Return the host and port of an address, without a user and a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _limit(usd: float | None) -> str:
    return "none" if usd is None else f"{usd:g}"
