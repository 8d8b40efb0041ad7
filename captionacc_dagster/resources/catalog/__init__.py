"""The catalogue as the platform sees it: rows, errors, and the calls that change a state.

The rules are SQL functions in ``supabase/migrations``; a transport (:class:`PostgresCatalog`) only
calls them. Methods are named after the functions. Times are aware and in UTC.
"""

import dataclasses
import functools
import typing
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, Self

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import CaptionAccError, ConfigurationError, InvalidCropRegionError
from modal_gpu.timeline import Timeline

#: ``approved_by`` of approvals by the tenant's policy.
AUTO_APPROVED_BY = "auto"

Stage = Literal["layout", "boundaries", "text"]
StageStatus = Literal["wait", "annotate", "done", "error"]
#: What is claimed: a stage of a video, a request for caption OCR, or a video of a backfill.
ClaimKind = Literal["layout", "boundaries", "text", "request", "backfill"]
DatabaseName = Literal["layout", "captions"]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)


class CatalogError(CaptionAccError):
    """The catalogue refused a call, or is not set up."""


class CatalogUnavailableError(CatalogError):
    """The database does not answer, or took too long; what was asked may or may not have happened."""

    retryable = True


class CatalogAccessError(CatalogError, ConfigurationError):
    """The database refuses this installation: password, right, schema, or no room; a person has to act."""


class UnknownVideoError(CatalogError):
    """No video of this id."""


class WrongStateError(CatalogError):
    """The state does not allow this step, or another run works on the stage."""


class LockHeldError(CatalogError):
    """Somebody else holds the database's lock."""

    retryable = True
    lies_with_service = False


class LockLostError(CatalogError):
    """The lease ran out and another holder took the lock: what was about to be written must not be.

    The next try waits for the lock and reads again what its holder wrote.
    """

    retryable = True
    lies_with_service = False


class UnknownTenantError(CatalogError):
    """No tenant of this id."""


class VideoDeletedError(CatalogError):
    """The video was deleted by its owner."""


class AlreadyRegisteredError(CatalogError):
    """The video id or its storage key belongs to another upload."""


class UnknownVersionError(CatalogError):
    """The video has no cropped-frames version of this number."""


class InvalidArgumentError(CatalogError):
    """A value that no call may have, such as an unknown stage."""


class NotPermittedError(CatalogError):
    """The user of the request may not do this, or not to this video."""


class UnknownRequestError(CatalogError):
    """No rejection, caption OCR request, compute call or cancelled run of this id."""


#: What the SQL functions raise, by SQLSTATE.
ERRORS_BY_SQLSTATE: Mapping[str, type[CaptionAccError]] = {
    "CA001": UnknownVideoError,
    "CA002": WrongStateError,
    "CA003": InvalidCropRegionError,
    "CA004": LockHeldError,
    "CA005": LockLostError,
    "CA006": UnknownTenantError,
    "CA007": VideoDeletedError,
    "CA008": AlreadyRegisteredError,
    "CA009": UnknownVersionError,
    "CA010": InvalidArgumentError,
    "CA011": NotPermittedError,
    "CA012": UnknownRequestError,
}


class _Row:
    """A dataclass made from a database row, as Python values or as JSON; unknown columns are left out."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{name: _convert(row[column], kind) for name, column, kind in _columns(cls)})


@functools.cache
def _columns(kind: type) -> list[tuple[str, str, Any]]:
    hints = typing.get_type_hints(kind)
    return [
        (field.name, field.metadata.get("column", field.name), hints[field.name])
        for field in dataclasses.fields(kind)
    ]


def _convert(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    kinds = typing.get_args(kind) or (kind,)
    if CropRegion in kinds:
        return CropRegion(**value)
    if Timeline in kinds:
        return Timeline.from_rows(value)
    if datetime in kinds:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)
    if isinstance(value, uuid.UUID):
        return str(value)
    if float in kinds:
        return float(value)
    return value


@dataclass(frozen=True)
class TenantRow(_Row):
    tenant_id: str = dataclasses.field(metadata={"column": "id"})
    name: str
    tier: str
    #: ``None``: a person approves every layout.
    auto_approve_layout_confidence: float | None
    #: No limit applies, whatever the tier says.
    quota_exempt: bool
    #: What the tenant's accepted videos take; the limits are :meth:`Catalog.tenant_limits`.
    accepted_video_count: int
    accepted_bytes: int
    #: Own cost limits in US dollars; ``None``: its tier's, infinity: none.
    video_cost_limit_usd: float | None
    month_cost_limit_usd: float | None


@dataclass(frozen=True)
class AccessTier(_Row):
    """What tenants of a tier are entitled to. ``base_priority``: of their runs, before age and size."""

    tier: str = dataclasses.field(metadata={"column": "id"})
    base_priority: int
    description: str
    storage_quota_bytes: int | None
    video_count_limit: int | None
    processing_minutes_limit: float | None
    daily_upload_limit: int | None
    #: Cost limits in US dollars; ``None``: the installation's, infinity: none.
    video_cost_limit_usd: float | None
    month_cost_limit_usd: float | None


@dataclass(frozen=True)
class TenantCosts(_Row):
    """Limits that apply to a tenant (``None``: none) and this month's spend (UTC), in US dollars.

    ``reserved_usd`` is set aside for work that runs.
    """

    video_limit_usd: float | None
    month_limit_usd: float | None
    month_spent_usd: float
    reserved_usd: float


@dataclass(frozen=True)
class CostLine(_Row):
    """What one function cost one tenant in one month (``2026-11``, UTC).

    ``calls`` and ``container_seconds`` are of remote calls; ``processing_minutes`` of all processing.
    """

    tenant_id: str
    tenant: str
    month: str
    function: str = dataclasses.field(metadata={"column": "function_name"})
    calls: int
    container_seconds: float
    processing_minutes: float
    cost_usd: float


@dataclass(frozen=True)
class Limits(_Row):
    """Quotas; ``None`` is no limit. Minutes are those of a calendar month, uploads of a day, in UTC."""

    storage_quota_bytes: int | None = None
    video_count_limit: int | None = None
    processing_minutes_limit: float | None = None
    daily_upload_limit: int | None = None


@dataclass(frozen=True)
class StageState:
    """One stage of a video. ``run_id`` is set while a run works on it."""

    stage: Stage
    status: StageStatus
    run_id: str | None
    last_run_id: str | None
    error_details: dict[str, Any] | None
    #: Attempts asked for; never goes back, so that run keys made with it are unique. Asking again because
    #: no run began is the same attempt.
    attempts: int
    #: How often the work was begun, repetitions within a run included, and which of its run this is or was.
    tries: int
    run_try: int
    requested_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    note: str


@dataclass(frozen=True)
class VideoRow(_Row):
    """A row of ``captionacc.videos``; the columns' comments there say what each means."""

    video_id: str = dataclasses.field(metadata={"column": "id"})
    tenant_id: str
    display_path: str
    storage_key: str
    size_bytes: int
    content_sha256: str | None
    uploaded_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    duration_seconds: float | None
    width: int | None
    height: int | None
    video_codec: str | None
    bitrate: int | None
    frame_count: int | None
    full_frame_count: int | None
    ocr_box_count: int | None
    failed_ocr_count: int | None
    damage: str
    timeline: Timeline = dataclasses.field(metadata={"column": "time_spans"})

    layout_status: StageStatus
    layout_error_details: dict[str, Any] | None
    layout_run_id: str | None
    layout_last_run_id: str | None
    layout_attempts: int
    #: Claims since a run last began the stage, but for those that were given back.
    layout_unstarted_requests: int
    layout_tries: int
    layout_run_try: int
    layout_requested_at: datetime | None
    layout_started_at: datetime | None
    layout_finished_at: datetime | None
    layout_note: str
    layout_found: bool | None
    layout_confidence: float | None
    proposed_crop_region: CropRegion | None
    layout_approved_at: datetime | None
    layout_approved_by: str | None
    crop_region: CropRegion | None
    crop_region_version: int

    boundaries_status: StageStatus
    boundaries_error_details: dict[str, Any] | None
    boundaries_run_id: str | None
    boundaries_last_run_id: str | None
    boundaries_attempts: int
    boundaries_tries: int
    boundaries_run_try: int
    boundaries_requested_at: datetime | None
    boundaries_started_at: datetime | None
    boundaries_finished_at: datetime | None
    boundaries_note: str
    current_cropped_frames_version: int | None
    caption_count: int | None

    text_status: StageStatus
    text_error_details: dict[str, Any] | None
    text_run_id: str | None
    text_last_run_id: str | None
    text_attempts: int
    text_tries: int
    text_run_try: int
    text_requested_at: datetime | None
    text_started_at: datetime | None
    text_finished_at: datetime | None
    text_note: str
    text_caption_count: int | None

    uploaded_by_user_id: str | None
    #: When it passed its tenant's quotas; ``None`` before its first claim.
    accepted_at: datetime | None
    is_demo: bool
    #: Runs of this video do without the priority that waiting earns.
    disable_age_boosting: bool
    #: When a deleted video's objects were removed from the bucket.
    objects_removed_at: datetime | None

    def stage(self, stage: Stage) -> StageState:
        """The columns of one stage."""
        if stage not in STAGES:
            raise InvalidArgumentError(f"stage {stage!r} is not one of {', '.join(STAGES)}")
        names = [field.name for field in dataclasses.fields(StageState) if field.name != "stage"]
        return StageState(stage=stage, **{name: getattr(self, f"{stage}_{name}") for name in names})

    @property
    def error(self) -> str | None:
        """The message of the first stage in state error, or ``None``."""
        details = self.layout_error_details or self.boundaries_error_details or self.text_error_details
        return details["message"] if details else None


@dataclass(frozen=True)
class LayoutApproval(_Row):
    """An approved crop region that is to be processed. ``attempt`` makes the run key unique."""

    video_id: str = dataclasses.field(metadata={"column": "id"})
    tenant_id: str
    crop_region: CropRegion
    crop_region_version: int
    approved_by: str = dataclasses.field(metadata={"column": "layout_approved_by"})
    approved_at: datetime = dataclasses.field(metadata={"column": "layout_approved_at"})
    attempt: int = dataclasses.field(metadata={"column": "boundaries_attempts"})
    size_bytes: int
    uploaded_at: datetime | None
    display_path: str
    disable_age_boosting: bool

    @classmethod
    def of(cls, video: VideoRow) -> Self:
        """The approval that stands in a video's row, which has a crop region."""
        return cls(
            **{
                name: getattr(video, "video_id" if column == "id" else column)
                for name, column, _ in _columns(cls)
            }
        )


@dataclass(frozen=True, kw_only=True)
class LayoutOutcome:
    """What a layout run found. ``crop_region`` is needed when ``layout_found``; a fallback otherwise."""

    duration_seconds: float
    width: int
    height: int
    video_codec: str
    frame_count: int
    layout_found: bool
    layout_confidence: float
    crop_region: CropRegion | None = None
    note: str = ""
    bitrate: int | None = None
    full_frame_count: int | None = None
    ocr_box_count: int | None = None
    failed_ocr_count: int | None = None
    damage: str = ""


@dataclass(frozen=True)
class CroppedFramesVersion(_Row):
    video_id: str
    version: int
    tenant_id: str
    run_id: str
    crop_region: CropRegion
    crop_region_version: int
    status: Literal["processing", "active", "archived", "failed"]
    error_message: str | None
    chunk_count: int | None
    total_frames: int | None
    total_size_bytes: int | None
    created_at: datetime
    activated_at: datetime | None
    archived_at: datetime | None
    failed_at: datetime | None
    #: When a failed or archived version's objects were removed from the bucket.
    objects_removed_at: datetime | None


@dataclass(frozen=True)
class InferenceRun(_Row):
    """One model's labels of one cropped-frames version."""

    id: str
    video_id: str
    cropped_frames_version: int
    run_id: str
    model_version: str
    model_sha256: str | None
    storage_key: str
    total_pairs: int
    completed_at: datetime


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


@dataclass(frozen=True)
class Rejection(_Row):
    """Work that was not done, and why, until somebody has taken note of it."""

    id: str
    tenant_id: str
    video_id: str | None
    rejection_type: RejectionType
    message: str
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None


@dataclass(frozen=True)
class CaptionOcrRequest(_Row):
    """Captions whose text somebody wants read anew, by their ids in captions.db; ``None``: all of them."""

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


@dataclass(frozen=True)
class BackfillChoice(_Row):
    """What a request for a backfill chose, or would choose.

    ``backfill_id`` is ``None`` when nothing was asked for. ``skipped``: videos that met the conditions, by
    reason; ``former_models``: chosen ones by the model they are on (``""``: unknown). ``sample`` has
    ``video_id``, ``tenant_id``, ``display_path`` and ``model_version`` of ten at most.
    """

    backfill_id: str | None
    chosen: int
    skipped: dict[str, int]
    former_models: dict[str, int]
    sample: list[dict[str, Any]]


@dataclass(frozen=True)
class BackfillClaim(_Row):
    """A chosen video that a run is to be asked for."""

    backfill_id: str
    video_id: str
    tenant_id: str
    model_version: str
    size_bytes: int
    requested_by: str
    created_at: datetime


@dataclass(frozen=True)
class Backfill(_Row):
    """A backfill, and how many of its videos wait, are handed out, and how the others ended."""

    backfill_id: str = dataclasses.field(metadata={"column": "id"})
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


@dataclass(frozen=True)
class BackfillVideo(_Row):
    """One chosen video. ``detail`` says why it was skipped, or how it failed."""

    backfill_id: str
    video_id: str
    tenant_id: str
    former_model_version: str | None
    status: Literal["queued", "done", "skipped", "failed", "cancelled"]
    detail: str
    requested_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class RunCancellation(_Row):
    """A run whose work a person stopped: it is to be ended."""

    run_id: str
    tenant_id: str
    video_id: str
    stage: Stage
    requested_by: str
    requested_at: datetime
    handled_at: datetime | None


@dataclass(frozen=True)
class ComputeCallRow(_Row):
    """A durable call of a compute function. Open while ``pending`` or ``running``."""

    id: str
    tenant_id: str
    video_id: str
    function_name: str
    backend: Literal["local", "modal"]
    request_hash: str
    #: The run and the attempt that wait for it, or waited last.
    run_id: str
    waiter: str | None
    attempts: int
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    #: The backend's own id; ``None`` while ``pending``.
    call_id: str | None
    cropped_frames_version: int | None
    result: dict[str, Any] | None
    #: ``gpu``, ``seconds``, ``cold_start_seconds`` as the function measured them; ``None`` when it could not.
    usage: dict[str, Any] | None
    error_details: dict[str, Any] | None
    finished_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    #: When what was made of the result was published; the same request is a new call from then on.
    settled_at: datetime | None
    #: When the backend confirmed a cancellation.
    cancel_delivered_at: datetime | None
    #: US dollars, once it was charged.
    cost_usd: float | None

    @property
    def is_open(self) -> bool:
        return self.status in ("pending", "running")


@dataclass(frozen=True)
class StageOutcome(_Row):
    """How one attempt at a stage ended. ``seconds``: from the run's beginning of it; ``None``: none began."""

    id: int
    occurred_at: datetime
    tenant_id: str
    video_id: str
    stage: Stage
    outcome: Literal["finished", "error"]
    error_type: str
    run_id: str | None
    seconds: float | None


@dataclass(frozen=True)
class StageFailures(_Row):
    """Stages of one kind that ended in an error of one type lately."""

    stage: Stage
    error_type: str
    failures: int


@dataclass(frozen=True)
class StageBacklog(_Row):
    """Videos of one tier that wait for, or are in, one stage, and since when the oldest of them is."""

    stage: Stage
    tier: str
    waiting: int
    oldest_waiting_at: datetime | None
    running: int
    oldest_running_at: datetime | None


@dataclass(frozen=True)
class LockState(_Row):
    """Leases on one kind of client database. ``expired``: of holders that died without giving back."""

    database_name: DatabaseName
    held: int
    expired: int
    oldest_expired_at: datetime | None
    oldest_held_at: datetime | None
    #: Transactions that wait for another's lock now, in the whole database.
    database_waits: int


@dataclass(frozen=True)
class OpenCalls(_Row):
    """Compute calls of one kind that are waited for now."""

    function_name: str
    backend: Literal["local", "modal"]
    status: Literal["pending", "running"]
    calls: int
    oldest_at: datetime


@dataclass(frozen=True)
class TenantSpend(_Row):
    """What a tenant's work cost in this calendar month (UTC) so far, in US dollars, as estimated."""

    tenant_id: str
    tier: str
    cost_usd: float


@dataclass(frozen=True)
class UserProfile(_Row):
    """A user's place in a tenant."""

    user_id: str
    tenant_id: str
    role: Literal["member", "owner"]
    approval_status: Literal["pending", "approved", "rejected"]
    is_platform_admin: bool
    display_name: str


@dataclass(frozen=True)
class LockToken:
    """Proof of holding a database's lock. ``expires_at`` is the end of the lease as it was taken."""

    video_id: str
    database_name: DatabaseName
    owner: str
    token: str = dataclasses.field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class LockInfo(_Row):
    """A held lock, as everybody may see it."""

    video_id: str
    database_name: DatabaseName
    tenant_id: str
    owner: str = dataclasses.field(metadata={"column": "lock_owner"})
    lock_type: Literal["server", "client"]
    locked_at: datetime
    expires_at: datetime = dataclasses.field(metadata={"column": "lock_expires_at"})
    expired: bool


class Lease(Protocol):
    """A lock that is being renewed."""

    @property
    def token(self) -> LockToken: ...

    def check(self) -> None:
        """Raise :class:`LockLostError` unless the lock is certainly still held; call it before each write."""
        ...


class Catalog(Protocol):
    """Every call checks what it changes and raises an error of this module (or InvalidCropRegionError)."""

    # Tenants and videos
    def ensure_tenant(
        self,
        tenant_id: str,
        name: str,
        *,
        tier: str = "free",
        auto_approve_layout_confidence: float | None = None,
    ) -> TenantRow:
        """Create a tenant that is missing; one that exists keeps its settings."""
        ...

    def set_auto_approve(self, tenant_id: str, confidence: float | None) -> TenantRow: ...

    def get_tenant(self, tenant_id: str) -> TenantRow: ...

    def register_video(
        self,
        tenant_id: str,
        video_id: str,
        storage_key: str,
        size_bytes: int,
        display_path: str,
        *,
        uploaded: bool = True,
        uploaded_by_user_id: str | None = None,
        content_sha256: str | None = None,
        again: bool = False,
    ) -> VideoRow:
        """Tell the catalogue of an upload; repeating it is harmless.

        With the file's ``content_sha256`` (64 lower-case hexadecimal digits), and unless ``again``, the
        answer is the tenant's video of the same file where there is one: a row of another ``video_id``, and
        none is made. ``display_path`` is kept as the catalogue cleans names: NFC, without control characters.
        """
        ...

    def find_content(self, tenant_id: str, content_sha256: str) -> VideoRow | None:
        """The tenant's video of this very file: one that has not failed, then the newest."""
        ...

    def find_videos(self, name: str, limit: int = 100) -> list[VideoRow]:
        """Videos of this name, or whose id starts with it; newest first, deleted ones left out."""
        ...

    def get_video(self, video_id: str) -> VideoRow:
        """Also a deleted one. Raises :class:`UnknownVideoError`."""
        ...

    def list_videos(
        self,
        limit: int = 100,
        *,
        tenant_id: str | None = None,
        include_deleted: bool = False,
        in_work: bool | None = None,
        before: VideoRow | None = None,
    ) -> list[VideoRow]:
        """Newest first. ``in_work``: a run works on a stage. ``before``: the last row of the former page."""
        ...

    def rename_video(self, video_id: str, name: str) -> VideoRow:
        """Change the name that people see. Raises :class:`InvalidArgumentError` for an unusable one."""
        ...

    def soft_delete_video(self, video_id: str) -> VideoRow:
        """Take a video out of all processing; the run that works on it is ended."""
        ...

    # Asking for work; each row is handed out once, and again when no run began it in time. Tenants take
    # turns; of one, at most ``tenant_limit`` wait for their runs.
    def claim_new_videos(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[VideoRow]: ...

    def pending_layout_approvals(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[LayoutApproval]: ...

    def pending_text(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[VideoRow]: ...

    # Stages
    def begin_stage(
        self, video_id: str, stage: Stage, run_id: str, *, take_over: bool = True, attempt: int = 1
    ) -> VideoRow:
        """Make a run the worker of a stage, at its ``attempt``-th try.

        Another run is displaced: it is refused when it finishes.
        """
        ...

    def fail_stage(
        self, video_id: str, stage: Stage, run_id: str, message: str, error_type: str = ""
    ) -> VideoRow: ...

    def release_stage(self, video_id: str, stage: Stage, run_id: str) -> VideoRow:
        """End a run's work on a stage of which it made only a part; the stage's status stays."""
        ...

    def retry_stage(self, video_id: str, stage: Stage) -> VideoRow: ...

    def complete_review(self, video_id: str, stage: Literal["boundaries", "text"]) -> VideoRow: ...

    def record_times(
        self,
        video_id: str,
        stage: Stage,
        run_id: str,
        *,
        frame_count: int,
        duration_seconds: float,
        timeline: Timeline,
    ) -> VideoRow:
        """How long the video is and how players show its times, from the run that read it last."""
        ...

    def finish_layout(self, video_id: str, run_id: str, outcome: LayoutOutcome) -> VideoRow:
        """Ready for a person, or approved at once where the tenant's policy says so."""
        ...

    def approve_layout(
        self, video_id: str, approved_by: str, crop_region: CropRegion | None = None
    ) -> VideoRow:
        """``None`` approves the proposed region. The approved region again changes nothing."""
        ...

    def finish_boundaries(
        self, video_id: str, run_id: str, *, version: int, caption_count: int, note: str = ""
    ) -> VideoRow: ...

    def finish_text(self, video_id: str, run_id: str, *, caption_count: int, note: str = "") -> VideoRow: ...

    # Cropped frames
    def allot_cropped_frames_version(self, video_id: str, run_id: str, crop_region: CropRegion) -> int:
        """A number never used, or the one that an interrupted attempt left while its compute calls last."""
        ...

    def activate_cropped_frames_version(
        self, video_id: str, version: int, *, chunk_count: int, total_frames: int, total_size_bytes: int
    ) -> CroppedFramesVersion: ...

    def fail_cropped_frames_version(
        self, video_id: str, version: int, message: str, *, run_id: str | None = None
    ) -> CroppedFramesVersion:
        """With a ``run_id`` nothing changes when another run has taken the version over."""
        ...

    def list_cropped_frames_versions(self, video_id: str) -> list[CroppedFramesVersion]: ...

    def record_inference_run(
        self,
        video_id: str,
        version: int,
        run_id: str,
        *,
        model_version: str,
        storage_key: str,
        total_pairs: int,
        processing_time_seconds: float,
        started_at: datetime,
        completed_at: datetime,
        model_sha256: str | None = None,
        file_size_bytes: int | None = None,
    ) -> str:
        """Gives the row's id; the same model on the same version replaces its row."""
        ...

    # Locks
    def take_lock(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        lease_seconds: float,
        *,
        lock_type: Literal["server", "client"] = "server",
    ) -> LockToken: ...

    def renew_lock(self, token: LockToken, lease_seconds: float) -> LockToken: ...

    def release_lock(self, token: LockToken) -> bool:
        """False when the lock was no longer the caller's."""
        ...

    def list_locks(self, *, include_expired: bool = False) -> list[LockInfo]: ...

    def bump_database_version(self, token: LockToken) -> int:
        """Record that a new version of the file was published; needs a lease that still runs."""
        ...

    def database_version(self, video_id: str, database_name: DatabaseName) -> int:
        """0 before the first publication."""
        ...

    def lease(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        seconds: float = 60,
        *,
        wait_seconds: float = 30,
    ) -> AbstractContextManager[Lease]:
        """Hold a lock while the block runs. Raises :class:`LockHeldError` after ``wait_seconds``."""
        ...

    # Tiers, limits, people
    def list_access_tiers(self) -> list[AccessTier]: ...

    def set_tier_limits(self, tier: str, limits: Limits) -> AccessTier:
        """For videos claimed from now on."""
        ...

    def set_tenant_limits(self, tenant_id: str, limits: Limits, *, quota_exempt: bool = False) -> TenantRow:
        """A tenant's own limits; what is ``None`` is its tier's."""
        ...

    def tenant_limits(self, tenant_id: str) -> Limits:
        """What applies to a tenant: its own limits, its tier's, or none."""
        ...

    def set_tenant_tier(self, tenant_id: str, tier: str) -> TenantRow: ...

    def set_user_profile(
        self,
        user_id: str,
        tenant_id: str,
        *,
        role: Literal["member", "owner"] = "member",
        approval_status: Literal["pending", "approved", "rejected"] = "pending",
        is_platform_admin: bool = False,
        display_name: str = "",
    ) -> UserProfile:
        """Create or change a user's place; audited."""
        ...

    def set_demo(self, video_id: str, is_demo: bool) -> VideoRow:
        """Whether everybody may look at a video."""
        ...

    # One video's claim, for who was told of it
    def claim_new_video(self, video_id: str, *, restart_after_seconds: float = 3600) -> VideoRow | None:
        """As :meth:`claim_new_videos`; ``None`` when the video is not to be claimed, now or at all."""
        ...

    def claim_layout_approval(
        self, video_id: str, *, restart_after_seconds: float = 3600
    ) -> LayoutApproval | None:
        """As :meth:`pending_layout_approvals`, for one video."""
        ...

    def return_claims(
        self,
        kind: ClaimKind,
        claims: Mapping[str, int | str],
        *,
        restart_after_seconds: float = 3600,
        again_after_seconds: float = 0,
    ) -> int:
        """Give back claims that no run was made for; return how many there were.

        ``claims`` maps ids of videos to the attempt claimed; of kind ``request`` ids of requests to theirs,
        of kind ``backfill`` videos to the backfill. The next claim has them after ``again_after_seconds``,
        as the same attempt; ``restart_after_seconds`` is that of the claim. What a run began stays as it is.
        """
        ...

    # Rejections
    def record_rejection(
        self,
        tenant_id: str,
        rejection_type: RejectionType,
        message: str,
        *,
        video_id: str | None = None,
        cropped_frames_version: int | None = None,
        model_version: str | None = None,
        run_id: str | None = None,
        frame_count: int | None = None,
        estimated_cost_usd: float | Decimal | None = None,
    ) -> Rejection: ...

    def list_rejections(
        self, tenant_id: str, *, include_acknowledged: bool = False, limit: int = 100
    ) -> list[Rejection]:
        """Newest first."""
        ...

    def acknowledge_rejection(self, rejection_id: str, acknowledged_by: str) -> Rejection: ...

    # Text of single captions
    def request_caption_ocr(
        self, video_id: str, caption_ids: Sequence[int] | None = None, *, requested_by: str = "service"
    ) -> CaptionOcrRequest:
        """``None``: all captions. The same request, while it waits, is the same row."""
        ...

    def claim_caption_ocr_requests(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[CaptionOcrRequest]: ...

    def begin_caption_ocr_request(self, request_id: str, run_id: str) -> CaptionOcrRequest: ...

    def finish_caption_ocr_request(
        self, request_id: str, run_id: str, *, caption_count: int
    ) -> CaptionOcrRequest: ...

    def fail_caption_ocr_request(self, request_id: str, run_id: str, message: str) -> CaptionOcrRequest: ...

    def list_caption_ocr_requests(self, video_id: str) -> list[CaptionOcrRequest]:
        """Newest first."""
        ...

    # Cancelling
    def cancel_stage(self, video_id: str, stage: Stage, cancelled_by: str) -> VideoRow:
        """The stage ends in error ``CancelledError``; what its run writes from now on is refused."""
        ...

    def pending_run_cancellations(self, limit: int = 50) -> list[RunCancellation]:
        """Runs that are to be ended, oldest first, until :meth:`finish_run_cancellation`."""
        ...

    def finish_run_cancellation(self, run_id: str) -> RunCancellation: ...

    # Backfills: finished videos that are to have a newer extents model
    def request_backfill(
        self,
        backfill_id: str,
        model_version: str,
        conditions: Mapping[str, Sequence[str]],
        requested_by: str,
        *,
        limit: int | None = None,
        dry_run: bool = True,
    ) -> BackfillChoice:
        """Choose videos, the newest first, and unless it is a dry run ask for them.

        ``conditions``: lists under ``tenant``, ``video``, ``model_version``, ``status`` (``ready``,
        ``reviewed``), ``uploaded_before``, ``uploaded_after`` (ISO times). ``backfill_id`` is a UUID made by
        the caller: the same one again asks for nothing more.
        """
        ...

    def claim_backfill_videos(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        at_once: int = 20,
    ) -> list[BackfillClaim]:
        """As the other claims; ``at_once`` are handed out and not ended at most. Notes how others ended."""
        ...

    def end_backfill_video(self, backfill_id: str, video_id: str, message: str) -> bool:
        """Its run failed or was cancelled. False when that is known already."""
        ...

    def cancel_backfill(self, backfill_id: str) -> int:
        """Ask for no more of its videos; gives how many there were."""
        ...

    def list_backfills(self, limit: int = 20) -> list[Backfill]:
        """Newest first."""
        ...

    def get_backfill_video(self, backfill_id: str, video_id: str) -> BackfillVideo | None: ...

    def list_backfill_videos(
        self, backfill_id: str, *, status: str | None = None, limit: int = 100
    ) -> list[BackfillVideo]:
        """In the order in which they are handed out."""
        ...

    def purge_backfills(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove ended ones that are older, or only count them."""
        ...

    def purge_requests(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove ended requests for text, cancellations carried out and rejections taken note of, or only
        count them; those of the last day stay."""
        ...

    def purge_audit_log(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove old rows of the audit log, or only count them; those of the last 30 days stay."""
        ...

    def current_inference_run(self, video_id: str) -> InferenceRun | None:
        """What made the extents that readers use now."""
        ...

    # Upkeep of cropped-frames versions
    def archive_cropped_frames_version(self, video_id: str, version: int) -> CroppedFramesVersion: ...

    def removable_cropped_frames_versions(
        self,
        limit: int = 50,
        *,
        older_than_seconds: float = 86_400,
        status: Literal["failed", "archived"] | None = None,
    ) -> list[CroppedFramesVersion]:
        """Failed and archived ones, or those of one status, whose objects are still in the bucket."""
        ...

    def abandoned_cropped_frames_versions(
        self, limit: int = 50, *, older_than_seconds: float = 86_400
    ) -> list[CroppedFramesVersion]:
        """Unfinished ones that no run works on and no call is open for."""
        ...

    def mark_objects_removed(self, video_id: str, version: int) -> CroppedFramesVersion: ...

    def find_inference_run(self, video_id: str, version: int, model_version: str) -> InferenceRun | None:
        """Whether this model has labelled this version already, so that it need not again."""
        ...

    # Upkeep of everything else
    def clear_expired_locks(self, *, older_than_seconds: float = 3600, limit: int = 1000) -> int:
        """Forget leases that ran out so long ago and that nobody took over; gives how many."""
        ...

    def removable_videos(self, limit: int = 50, *, older_than_seconds: float = 86_400) -> list[VideoRow]:
        """Deleted ones whose objects are still in the bucket."""
        ...

    def mark_video_objects_removed(self, video_id: str) -> VideoRow: ...

    # Durable calls of compute functions
    def open_compute_call(
        self,
        video_id: str,
        run_id: str,
        function_name: str,
        request_hash: str,
        waiter: str,
        *,
        backend: Literal["local", "modal"] = "modal",
        cropped_frames_version: int | None = None,
        spawn_grace_seconds: float = 30,
        life_seconds: float = 86_400,
    ) -> ComputeCallRow:
        """The call of this request: a new row, the one that is open, or a result not settled yet.

        ``waiter`` is a UUID of this attempt, made by the caller. A pending row with another waiter is
        being started by that one: ask again. Calls older than ``life_seconds`` are left alone.
        """
        ...

    def assign_compute_call(self, compute_call_id: str, waiter: str, call_id: str) -> ComputeCallRow:
        """The call was started. On :class:`WrongStateError` it is another's: cancel what was started."""
        ...

    def finish_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        result: Mapping[str, Any],
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        """The first result is taken (``finished_by`` tells whose); a later one gets that row."""
        ...

    def fail_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        message: str,
        error_type: str = "",
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        """For the call's waiter only; the row as it is otherwise."""
        ...

    def cancel_compute_call(
        self, compute_call_id: str, waiter: str | None = None, message: str = ""
    ) -> ComputeCallRow:
        """With a ``waiter`` only when the call is still that one's; the row as it is otherwise.

        Then tell the backend, and :meth:`confirm_compute_call_cancelled`.
        """
        ...

    def confirm_compute_call_cancelled(self, compute_call_id: str) -> ComputeCallRow: ...

    def settle_compute_calls(self, video_id: str, run_id: str) -> int:
        """What a run made of its calls is published: the same requests are new calls from now on."""
        ...

    def get_compute_call(self, compute_call_id: str) -> ComputeCallRow:
        """Raises :class:`UnknownRequestError`."""
        ...

    def list_compute_calls(
        self,
        *,
        video_id: str | None = None,
        run_id: str | None = None,
        open_only: bool = False,
        created_before: datetime | None = None,
        limit: int = 100,
    ) -> list[ComputeCallRow]:
        """Oldest first."""
        ...

    def undelivered_compute_cancellations(self, limit: int = 100) -> list[ComputeCallRow]:
        """Cancelled calls that the backend may still run, oldest first."""
        ...

    # Costs, in US dollars
    def reserve_cost(
        self,
        video_id: str,
        run_id: str,
        function_name: str,
        estimate_usd: float | Decimal,
        *,
        video_limit_usd: float | Decimal | None = None,
        month_limit_usd: float | Decimal | None = None,
        life_seconds: float = 86_400,
        frame_count: int | None = None,
    ) -> tuple[bool, str]:
        """Set aside what a function's calls for a video are expected to cost.

        The limits are the installation's, for tenants and tiers without their own. Beyond a limit nothing
        is set aside, a rejection is recorded, and the answer is ``False`` and what to do.
        """
        ...

    def release_cost(self, video_id: str, run_id: str, function_name: str) -> bool:
        """The calls are charged. False when calls go on, or the reservation is another run's by now."""
        ...

    def charge_compute_call(
        self,
        compute_call_id: str,
        cost_usd: float | Decimal,
        seconds: float | Decimal,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        """What a call that ended cost, as a row of usage; the first charge stays."""
        ...

    def uncharged_compute_calls(
        self, *, run_id: str | None = None, older_than_seconds: float = 0, limit: int = 1000
    ) -> list[ComputeCallRow]:
        """Remote calls that ended so long ago and were not charged, oldest first."""
        ...

    def set_tier_cost_limits(
        self, tier: str, *, video_usd: float | None = None, month_usd: float | None = None
    ) -> AccessTier:
        """``None``: the installation's limit, infinity: none."""
        ...

    def set_tenant_cost_limits(
        self, tenant_id: str, *, video_usd: float | None = None, month_usd: float | None = None
    ) -> TenantRow:
        """``None``: the tier's limit, infinity: none."""
        ...

    def tenant_costs(
        self,
        tenant_id: str,
        *,
        video_limit_usd: float | None = None,
        month_limit_usd: float | None = None,
    ) -> TenantCosts:
        """Limits in force and this month's spend; the arguments are the installation's limits."""
        ...

    def cost_report(self, since: datetime, *, tenant_id: str | None = None) -> list[CostLine]:
        """By tenant, month and function, newest month first."""
        ...

    # Usage
    def record_usage(
        self,
        tenant_id: str,
        metric_type: str,
        metric_value: float | Decimal,
        *,
        video_id: str | None = None,
        cost_estimate_usd: float | Decimal | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int: ...

    # What an operator looks at; each costs what waits, works or is new, not what exists
    def stage_outcomes_after(
        self, after: datetime, after_id: int = 0, limit: int = 1000
    ) -> list[StageOutcome]:
        """Those after one that was read already, oldest first; those of the last 20 s are left for later."""
        ...

    def purge_stage_outcomes(self, older_than_seconds: float) -> int:
        """Remove old outcomes, and say how many there were; those of the last day stay."""
        ...

    def count_stage_outcomes(self, older_than_seconds: float) -> int:
        """How many :meth:`purge_stage_outcomes` would remove."""
        ...

    def stage_failures(self, seconds: float = 3600) -> list[StageFailures]:
        """Most frequent first."""
        ...

    def stage_backlog(self) -> list[StageBacklog]: ...

    def lock_state(self) -> list[LockState]: ...

    def open_compute_calls(self) -> list[OpenCalls]: ...

    def monthly_spend(self, limit: int = 50) -> list[TenantSpend]:
        """The tenants that cost most, that one first; those without an estimate are left out."""
        ...

    def close(self) -> None: ...
