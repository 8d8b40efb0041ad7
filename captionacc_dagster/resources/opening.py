"""The catalogue and the bucket, opened from the settings.

Each process opens them for itself: commands, sensors in the code server, and runs.
"""

from functools import lru_cache

from pydantic import SecretStr

from captionacc_dagster.constants import LOCAL_TENANT_NAME
from captionacc_dagster.platform.homes import make_private
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.settings import Settings, SettingsError, get_settings
from modal_gpu.storage import ObjectStore, StorageSettings


def storage_settings(settings: Settings) -> StorageSettings:
    """Return the settings of the object store, with the secret unwrapped."""
    secret = settings.storage_secret_access_key
    return StorageSettings(
        url=settings.effective_storage_url,
        endpoint=settings.storage_endpoint,
        region=settings.storage_region,
        access_key_id=settings.storage_access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
        path_style=settings.storage_path_style,
    )


def open_object_store(settings: Settings | None = None) -> ObjectStore:
    """Return the object store: the bucket, or the folder that takes its place."""
    settings = settings or get_settings()
    if settings.has_embedded_bucket:
        make_private(settings.home / "bucket")
    return ObjectStore(storage_settings(settings))


def database_dsn(settings: Settings | None = None) -> str:
    """Return the catalogue's connection string; start the embedded server if that is the catalogue.

    Raises :class:`SettingsError` if the settings only name the API of a Supabase project.
    """
    settings = settings or get_settings()
    if settings.database_url:
        return settings.database_url.get_secret_value()
    if settings.supabase_url:
        raise SettingsError(
            "SUPABASE_URL reaches the catalogue through its API, but this needs the database itself: set "
            "CAPTIONACC_DATABASE_URL to the project's connection string (session mode) for this command"
        )
    return EmbeddedPostgres(settings.home).ensure_running()


def open_catalog(settings: Settings | None = None) -> Catalog:
    """Return the catalogue. The embedded one is migrated and gets its tenant here.

    Other databases are migrated by an operator, with ``captionacc migrate``.

    With both ``SUPABASE_URL`` and ``CAPTIONACC_DATABASE_URL`` the project's API is used, and the database
    itself only to migrate.
    """
    settings = settings or get_settings()
    if settings.supabase_url:
        if settings.supabase_service_role_key is None:
            raise SettingsError("SUPABASE_URL is set without SUPABASE_SERVICE_ROLE_KEY: set both")
        return _supabase_catalog(
            settings.supabase_url, settings.supabase_service_role_key, settings.catalogue_schema
        )
    dsn = database_dsn(settings)
    catalog = _postgres_catalog(dsn, settings.catalogue_schema)
    if settings.database_url:
        return catalog
    migrate(dsn, schema=settings.catalogue_schema)
    policy = settings.auto_approve_layout
    tenant = catalog.ensure_tenant(
        str(settings.tenant_id), LOCAL_TENANT_NAME, auto_approve_layout_confidence=policy
    )
    if tenant.auto_approve_layout_confidence != policy:
        catalog.set_auto_approve(tenant.tenant_id, policy)
    return catalog


@lru_cache(maxsize=4)
def _postgres_catalog(dsn: str, schema: str) -> Catalog:
    # One connection pool per process: a code server opens the catalogue at each tick of a sensor.
    return Catalog(PostgresTransport(dsn, schema=schema))


@lru_cache(maxsize=4)
def _supabase_catalog(url: str, key: SecretStr, schema: str) -> Catalog:
    # The HTTP client loads only where it is used.
    from captionacc_dagster.resources.catalog.supabase import SupabaseTransport

    return Catalog(SupabaseTransport(url, key.get_secret_value(), schema=schema))
