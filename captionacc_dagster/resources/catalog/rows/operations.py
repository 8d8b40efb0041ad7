"""Rows that metrics and alerts are made of."""

from datetime import datetime
from typing import Literal

from captionacc_dagster.resources.catalog.rows.record import Row
from captionacc_dagster.resources.catalog.rows.videos import Stage
from captionacc_dagster.resources.catalog.rows.work import DatabaseName


class StageOutcome(Row):
    """The end of one attempt at a stage. ``seconds`` count from its start; ``None``: no run began it."""

    id: int
    occurred_at: datetime
    tenant_id: str
    video_id: str
    stage: Stage
    outcome: Literal["finished", "error"]
    error_type: str
    run_id: str | None
    seconds: float | None


class StageFailures(Row):
    """Recent failures of one stage with one error type."""

    stage: Stage
    error_type: str
    failures: int


class StageBacklog(Row):
    """Videos of one tier that wait for a stage, or are in it; a time is ``None`` if there are none."""

    stage: Stage
    tier: str
    waiting: int
    oldest_waiting_at: datetime | None
    running: int
    oldest_running_at: datetime | None


class LockState(Row):
    """Leases on one kind of client database; a time is ``None`` if there are none.

    ``expired`` counts those of holders that ended without releasing them.
    """

    database_name: DatabaseName
    held: int
    expired: int
    oldest_expired_at: datetime | None
    #: Transactions in this database that wait for another one's lock now.
    database_waits: int


class OpenCalls(Row):
    """Open compute calls of one kind."""

    function_name: str
    backend: Literal["local", "modal"]
    status: Literal["pending", "running"]
    calls: int
    oldest_at: datetime
