"""Rows of jobs and live events."""

from datetime import datetime
from typing import Any, Literal

from captionacc_dagster.resources.catalog.rows.record import Row, column

JobType = Literal["process", "layout", "captions", "caption_text", "export"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobRow(Row):
    """Work on a video that somebody asked for.

    ``progress`` is in percent. ``run_id`` is present once a run works on it, ``finished_at`` in the last
    three states, and ``result`` for an export that succeeded.
    """

    job_id: str = column("id")
    tenant_id: str
    video_id: str
    type: JobType
    state: JobState
    progress: int
    message: str
    parameters: dict[str, Any]
    result: dict[str, Any] | None
    priority: int | None
    run_id: str | None
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class EventRow(Row):
    """Something that clients hear about. ``event_id``: ``None`` for progress, which none resumes after."""

    event_id: str | None
    kind: Literal["video", "captions", "layout", "lock", "job", "progress"]
    video_id: str
    payload: dict[str, Any]
    occurred_at: datetime


class HeldLock(Row):
    """A lock that is held, as lock events have it."""

    video_id: str
    database: str
    owner: str
    type: Literal["server", "client"]
    expires_at: datetime
