"""Rows of versions, requests, backfills, cancellations, compute calls and locks."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from captionacc_dagster.resources.catalog.rows.record import Row, column
from captionacc_dagster.resources.catalog.rows.videos import ErrorDetails, Stage
from modal_gpu.contracts import CropRegion, Zones

#: What can be claimed: a stage of a video, a request for caption OCR, or a video of a backfill.
ClaimKind = Literal["layout", "boundaries", "text", "request", "backfill"]
DatabaseName = Literal["layout", "captions"]


class CroppedFramesVersion(Row):
    """One version of a video's cropped frames.

    The three sizes are present once the version was activated (``active``, ``archived``), the message in
    ``failed``; ``objects_removed_at`` once a failed or archived version's objects were removed.
    """

    video_id: str
    version: int
    tenant_id: str
    run_id: str
    crop_region: CropRegion
    caption_zones: Zones
    crop_region_version: int
    status: Literal["processing", "active", "archived", "failed"]
    error_message: str | None
    chunk_count: int | None
    total_frames: int | None
    total_size_bytes: int | None
    created_at: datetime
    objects_removed_at: datetime | None


class InferenceRun(Row):
    """One model's labels of one cropped-frames version."""

    id: str
    video_id: str
    cropped_frames_version: int
    run_id: str
    model_version: str
    model_sha256: str | None
    storage_key: str
    total_pairs: int


RejectionType = Literal[
    "storage_quota_exceeded",
    "video_count_exceeded",
    "processing_minutes_exceeded",
    "daily_uploads_exceeded",
    "frame_count_exceeded",
    "cost_exceeded",
    "validation_failed",
    "rate_limited",
    "queue_full",
]


class Rejection(Row):
    """Work that was refused, and why, until somebody acknowledges it."""

    id: str
    tenant_id: str
    video_id: str | None
    rejection_type: RejectionType
    message: str
    run_id: str | None
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class CaptionOcrRequest(Row):
    """A request to read captions again, by their ids in captions.db; ``None``: all of them.

    ``run_id`` is present once a run began it, ``caption_count`` in ``completed``, the message in ``failed``.
    """

    id: str
    tenant_id: str
    video_id: str
    cropped_frames_version: int
    caption_ids: list[int] | None
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    requested_by: str
    run_id: str | None
    #: Makes run keys unique, as a stage's attempts do.
    attempts: int
    error_message: str | None
    caption_count: int | None
    created_at: datetime


class BackfillChoice(Row):
    """The videos that a backfill chose, or would choose in a dry run (``backfill_id`` is ``None``).

    ``skipped``: videos that met the conditions, by reason. ``former_models``: chosen ones by their present
    model (``""``: unknown). ``sample`` has ``video_id``, ``tenant_id``, ``display_path`` and
    ``model_version`` of at most ten.
    """

    backfill_id: str | None
    chosen: int
    skipped: dict[str, int]
    former_models: dict[str, int]
    sample: list[dict[str, Any]]


class BackfillClaim(Row):
    """A chosen video that a run is to be requested for."""

    backfill_id: str
    video_id: str
    partition_key: str
    tenant_id: str
    model_version: str
    size_bytes: int
    requested_by: str
    created_at: datetime


class Backfill(Row):
    """A backfill, and how many of its videos wait, are handed out, or ended in each way."""

    backfill_id: str = column("id")
    model_version: str
    conditions: dict[str, list[str]]
    requested_by: str
    created_at: datetime
    cancelled_at: datetime | None
    waiting: int
    handed_out: int
    done: int
    skipped: int
    failed: int
    cancelled: int


class BackfillVideo(Row):
    """One chosen video. ``detail`` says why it was skipped or failed; ``finished_at``: unless ``queued``."""

    backfill_id: str
    video_id: str
    tenant_id: str
    former_model_version: str | None
    status: Literal["queued", "done", "skipped", "failed", "cancelled"]
    detail: str
    finished_at: datetime | None


class RunCancellation(Row):
    """A run whose work a person cancelled; it is to be ended."""

    run_id: str
    tenant_id: str
    video_id: str
    stage: Stage
    requested_by: str


class ComputeCallRow(Row):
    """A durable call of a compute function; open while ``pending`` or ``running``.

    ``call_id`` (the backend's own) and ``started_at`` are present once it runs, ``result`` and
    ``finished_by`` in ``succeeded``, ``error_details`` in ``failed`` and ``cancelled``, ``finished_at`` in
    all three, and ``cost_usd`` once it was charged.
    """

    id: str
    tenant_id: str
    video_id: str
    function_name: str
    backend: Literal["local", "modal"]
    request_hash: str
    #: The run and the attempt that wait for the call, or waited last.
    run_id: str
    waiter: str | None
    attempts: int
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    call_id: str | None
    cropped_frames_version: int | None
    result: dict[str, Any] | None
    #: ``gpu``, ``seconds``, ``cold_start_seconds`` as the function measured them; ``None`` if it could not.
    usage: dict[str, Any] | None
    error_details: ErrorDetails | None
    finished_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    #: When the outputs made of the result were published; the same request is a new call from then on.
    settled_at: datetime | None
    #: When the backend confirmed a cancellation.
    cancel_delivered_at: datetime | None
    cost_usd: float | None

    @property
    def is_open(self) -> bool:
        """True until the call has ended."""
        return self.status in ("pending", "running")


@dataclass(frozen=True)
class LockToken:
    """Proof of holding a database's lock. ``expires_at`` is the end of the lease."""

    video_id: str
    database_name: DatabaseName
    owner: str
    token: str = field(repr=False)
    expires_at: datetime


class LockInfo(Row):
    """A held lock, without its token."""

    video_id: str
    database_name: DatabaseName
    tenant_id: str
    owner: str = column("lock_owner")
    lock_type: Literal["server", "client"]
    expires_at: datetime = column("lock_expires_at")
    expired: bool
