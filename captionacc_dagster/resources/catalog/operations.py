"""The catalogue's calls for operators: metrics, alerts and removing old rows.

Metrics cost what waits, works or is new, not what exists.
"""

from datetime import datetime

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.operations import (
    LockState,
    OpenCalls,
    StageBacklog,
    StageFailures,
    StageOutcome,
)


class OperationCalls(CatalogCalls):
    """Metrics and purges. A purge returns how many rows it removed, or in a dry run would remove."""

    @sql_function(repeatable=True)
    def stage_outcomes_after(
        self, after: datetime, after_id: int = 0, limit: int = 1000
    ) -> list[StageOutcome]:
        """Return outcomes after the one that was read last, oldest first, without those of the last 20 s."""

    @sql_function(repeatable=True)
    def stage_failures(self, seconds: float = 3600) -> list[StageFailures]:
        """Return the failures of the last ``seconds``, most frequent first."""

    @sql_function(repeatable=True)
    def stage_backlog(self) -> list[StageBacklog]:
        """Return what waits and what is in work, by stage and tier."""

    @sql_function(repeatable=True)
    def lock_state(self) -> list[LockState]:
        """Return the held and the expired leases, by client database."""

    @sql_function(repeatable=True)
    def open_compute_calls(self) -> list[OpenCalls]:
        """Return the open compute calls, by function, backend and status."""

    @sql_function()
    def purge_stage_outcomes(self, older_than_seconds: float) -> int:
        """Remove older outcomes; those of the last day stay."""

    @sql_function(repeatable=True)
    def count_stage_outcomes(self, older_than_seconds: float) -> int:
        """Return how many outcomes :meth:`purge_stage_outcomes` would remove."""

    @sql_function(repeatable=True)
    def purge_backfills(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove backfills that ended earlier."""

    @sql_function(repeatable=True)
    def purge_requests(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove ended requests for text, handled cancellations and acknowledged rejections.

        Those of the last day stay.
        """

    @sql_function(repeatable=True)
    def purge_audit_log(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove older rows of the audit log; those of the last 30 days stay."""
