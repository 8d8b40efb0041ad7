"""Dagster's handles on the platform's parts.

Each opens its part from the process's settings when a run or a tick needs it, so that no address
and no secret stands in a run's config. Assets and sensors see the plain objects.
"""

import dagster as dg

from captionacc_dagster.platform import open_catalog, open_object_store
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.compute import Compute, LocalCompute
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import ConfigurationError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.modal_models import resolve_model
from modal_gpu.storage import ObjectStore


class CatalogResource(dg.ConfigurableResource[Catalog]):
    """The catalogue: the embedded PostgreSQL, one at ``CAPTIONACC_DATABASE_URL``, or ``SUPABASE_URL``'s."""

    def create_resource(self, context: dg.InitResourceContext) -> Catalog:
        return open_catalog(get_settings())


class ObjectStoreResource(dg.ConfigurableResource[ObjectStore]):
    """The bytes: a folder, or the bucket at ``CAPTIONACC_STORAGE_URL`` or ``WASABI_BUCKET``."""

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return open_object_store(get_settings())


class ComputeResource(dg.ConfigurableResource[Compute]):
    """Where the heavy functions run: here, in the run's own process."""

    def create_resource(self, context: dg.InitResourceContext) -> Compute:
        settings = get_settings()
        if settings.modal_enabled:
            raise ConfigurationError("MODAL_ENABLED=true, but this version computes here only: unset it")
        return LocalCompute(
            open_object_store(settings),
            ComputeSettings(
                workers=settings.worker_count,
                ocr_detection_model=settings.ocr_detection_model,
                ocr_recognition_model=settings.ocr_recognition_model,
                ocr_dictionary=settings.ocr_dictionary,
                ocr_engine=settings.ocr_engine,
                vision=settings.vision,
                extents_predictor=settings.extents_predictor,
                extents_model=resolve_model(settings.extents_model, settings.home / "models"),
            ),
        )
