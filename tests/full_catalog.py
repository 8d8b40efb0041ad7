"""The catalogue with the SQL functions that Python does not call: the web app and operators do.

They belong to the catalogue's contract, and bring videos into the states that tests need.
"""

from captionacc_dagster.resources.catalog import Catalog, TenantRow, VideoRow
from captionacc_dagster.resources.catalog.calls import is_id, sql_function
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.resources.catalog.rows.record import Row
from captionacc_dagster.resources.catalog.rows.tenants import AccessTier
from captionacc_dagster.resources.catalog.rows.work import CroppedFramesVersion, Rejection
from captionacc_dagster.resources.catalog.transport import Where


class Limits(Row):
    """Quotas; ``None`` is no limit. Minutes are those of a calendar month, uploads of a day, in UTC."""

    storage_quota_bytes: int | None = None
    video_count_limit: int | None = None
    processing_minutes_limit: float | None = None
    daily_upload_limit: int | None = None


class FullCatalog(Catalog):
    """Every SQL function of the service role."""

    @sql_function(repeatable=True)
    def set_demo(self, video_id: str, is_demo: bool) -> VideoRow:
        """Set whether everybody may see a video."""

    @sql_function(repeatable=True)
    def archive_cropped_frames_version(self, video_id: str, version: int) -> CroppedFramesVersion:
        """Archive a version that is not in use."""

    def set_tier_limits(self, tier: str, limits: Limits) -> AccessTier:
        """Set the quotas of a tier, for videos claimed from now on."""
        (row,) = self._call("set_tier_limits", tier=tier, **vars(limits), repeatable=True)
        return AccessTier.from_row(row)

    def set_tenant_limits(self, tenant_id: str, limits: Limits, *, quota_exempt: bool = False) -> TenantRow:
        """Set the quotas of a tenant; ``None``: its tier's."""
        arguments = {"tenant_id": tenant_id, "quota_exempt": quota_exempt, **vars(limits)}
        (row,) = self._call("set_tenant_limits", repeatable=True, **arguments)
        return TenantRow.from_row(row)

    @sql_function(repeatable=True)
    def set_tenant_tier(self, tenant_id: str, tier: str) -> TenantRow:
        """Set the tier of a tenant."""

    def tenant_limits(self, tenant_id: str) -> Limits:
        """Return the quotas that apply to a tenant."""
        rows = self._call("tenant_limits", tenant_id=tenant_id, repeatable=True)
        return Limits.from_row(rows[0]) if rows else Limits()

    def list_rejections(
        self, tenant_id: str, *, include_acknowledged: bool = False, limit: int = 100
    ) -> list[Rejection]:
        """Return a tenant's rejections, newest first."""
        where = [is_id("tenant_id", tenant_id)]
        if not include_acknowledged:
            where.append(Where("acknowledged_at", "is", None))
        table = "caption_frame_extents_inference_rejections"
        return self._select(Rejection, table, where, ["-created_at", "id"], limit)

    @sql_function(repeatable=True)
    def acknowledge_rejection(self, rejection_id: str, acknowledged_by: str) -> Rejection:
        """Record that somebody has read a rejection."""

    def database_version(self, video_id: str, database_name: str) -> int:
        """Return how often a client database was published."""
        where = [is_id("video_id", video_id), Where("database_name", "eq", database_name)]
        rows = self.transport.select("video_database_state", where, ["video_id"])
        return rows[0]["server_version"] if rows else 0


def connected(dsn: str, **options) -> FullCatalog:
    """The catalogue of a PostgreSQL database."""
    return FullCatalog(PostgresTransport(dsn, **options))
