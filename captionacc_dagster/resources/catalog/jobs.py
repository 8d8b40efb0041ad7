"""The catalogue's calls for jobs: work on videos that people ask for through the API."""

from collections.abc import Mapping
from typing import Any

from captionacc_dagster.resources.catalog.calls import CatalogCalls, is_id, sql_function
from captionacc_dagster.resources.catalog.errors import UnknownRequestError
from captionacc_dagster.resources.catalog.rows.live import JobRow, JobType
from captionacc_dagster.resources.catalog.transport import Condition, Where


class JobCalls(CatalogCalls):
    """Jobs. Calls with a ``job_id`` raise ``UnknownRequestError``."""

    @sql_function()
    def create_job(
        self,
        video_id: str,
        type: JobType,
        parameters: Mapping[str, Any],
        *,
        priority: int | None = None,
        requested_by: str = "service",
    ) -> JobRow:
        """Request work on a video; an open job of the type is returned instead of another one.

        ``parameters`` may have ``languages`` (BCP-47). ``priority`` replaces that of the tenant's tier.
        Raises ``WrongStateError`` if a run works on one of the stages or their inputs are missing,
        ``UnknownVideoError``, ``VideoDeletedError`` and ``InvalidArgumentError``.
        """

    @sql_function(repeatable=True)
    def cancel_job(self, job_id: str, cancelled_by: str) -> JobRow:
        """Cancel a job and end its run; a finished one stays as it is."""

    @sql_function(repeatable=True)
    def finish_export(self, job_id: str, result: Mapping[str, Any] | None, message: str = "") -> JobRow:
        """End an export: as succeeded with its result, as failed with ``None``."""

    @sql_function(repeatable=True)
    def purge_jobs(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Delete jobs that finished so long ago. Returns how many there were."""

    def get_job(self, job_id: str) -> JobRow:
        """Return a job."""
        return self._by_id(JobRow, "jobs", job_id, "job", UnknownRequestError)

    def list_jobs(
        self,
        limit: int = 100,
        *,
        is_open: bool | None = None,
        video_id: str | None = None,
        tenant_id: str | None = None,
    ) -> list[JobRow]:
        """Return jobs, newest first; ``is_open``: only those that have not (true) or have (false) ended."""
        where: list[Condition] = []
        if is_open is not None:
            where.append(Where("finished_at", "is" if is_open else "is_not", None))
        if video_id is not None:
            where.append(is_id("video_id", video_id))
        if tenant_id is not None:
            where.append(is_id("tenant_id", tenant_id))
        return self._select(JobRow, "jobs", where, ["-created_at", "id"], limit)
