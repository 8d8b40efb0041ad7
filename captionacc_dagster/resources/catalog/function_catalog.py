"""The catalogue's calls, the same for every transport.

A transport gives two things: calling a function of the catalogue's schema by name, and selecting
rows of a table. Values go in as Python has them; rows come out with Python values or with JSON's,
which :class:`~captionacc_dagster.resources.catalog.VideoRow` and its like take alike.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from captionacc_dagster.resources.catalog import (
    STAGES,
    AccessTier,
    Backfill,
    BackfillChoice,
    BackfillClaim,
    BackfillVideo,
    CaptionOcrRequest,
    ClaimKind,
    ComputeCallRow,
    CostLine,
    CroppedFramesVersion,
    DatabaseName,
    InferenceRun,
    LayoutApproval,
    LayoutOutcome,
    Limits,
    LockInfo,
    LockState,
    LockToken,
    OpenCalls,
    Rejection,
    RejectionType,
    RunCancellation,
    Stage,
    StageBacklog,
    StageFailures,
    StageOutcome,
    TenantCosts,
    TenantRow,
    TenantSpend,
    UnknownRequestError,
    UnknownTenantError,
    UnknownVideoError,
    UserProfile,
    VideoRow,
)
from captionacc_dagster.resources.catalog.leases import RenewedLease, hold_lease
from modal_gpu.contracts import CropRegion, to_wire
from modal_gpu.keys import canonical_uuid, check_key
from modal_gpu.timeline import Timeline

Row = dict[str, Any]

_HALF_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REJECTIONS = "caption_frame_extents_inference_rejections"

#: Functions whose second call with the same arguments changes nothing and answers as the first did, so
#: that a transport may repeat one whose answer was lost.
REPEATABLE = frozenset(
    {
        "ensure_tenant",
        "set_auto_approve",
        "register_video",
        "find_content",
        "find_videos",
        "rename_video",
        "soft_delete_video",
        "begin_stage",
        "fail_stage",
        "complete_review",
        "approve_layout",
        "activate_cropped_frames_version",
        "record_times",
        "fail_cropped_frames_version",
        "record_inference_run",
        "renew_lock",
        "list_locks",
        "tenant_limits",
        "set_tier_limits",
        "set_tenant_limits",
        "set_tenant_tier",
        "set_demo",
        "return_claims",
        "acknowledge_rejection",
        "request_caption_ocr",
        "begin_caption_ocr_request",
        "finish_caption_ocr_request",
        "fail_caption_ocr_request",
        "cancel_stage",
        "pending_run_cancellations",
        "finish_run_cancellation",
        "archive_cropped_frames_version",
        "removable_cropped_frames_versions",
        "mark_objects_removed",
        "abandoned_cropped_frames_versions",
        "clear_expired_locks",
        "removable_videos",
        "mark_video_objects_removed",
        "open_compute_call",
        "assign_compute_call",
        "finish_compute_call",
        "fail_compute_call",
        "cancel_compute_call",
        "confirm_compute_call_cancelled",
        "settle_compute_calls",
        "stage_outcomes_after",
        "stage_failures",
        "stage_backlog",
        "lock_state",
        "open_compute_calls",
        "monthly_spend",
        "reserve_cost",
        "charge_compute_call",
        "set_tier_cost_limits",
        "set_tenant_cost_limits",
        "tenant_costs",
        "cost_report",
        "request_backfill",
        "end_backfill_video",
        "cancel_backfill",
        "list_backfills",
        "purge_backfills",
        "purge_requests",
        "purge_audit_log",
        "count_stage_outcomes",
    }
)


@dataclass(frozen=True)
class Where:
    """One comparison. ``is`` takes ``None`` and ``is_not`` too; times and ids are given as they are."""

    column: str
    operator: Literal["eq", "lt", "lte", "gt", "gte", "is", "is_not"]
    value: Any


@dataclass(frozen=True)
class AnyOf:
    """At least one of the comparisons holds."""

    comparisons: tuple[Where, ...]


class FunctionCatalog(ABC):
    """:class:`~captionacc_dagster.resources.catalog.Catalog`, all but its transport."""

    @abstractmethod
    def _call(self, function: str, **arguments: Any) -> list[Row]:
        """The rows that a function gives; one row with one column for a plain value."""

    @abstractmethod
    def _select(
        self, table: str, where: Sequence[Where | AnyOf], order: Sequence[str], limit: int | None = None
    ) -> list[Row]:
        """Rows for which all of ``where`` holds. ``order`` names columns, ``-`` before a descending one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; a later call opens new ones."""

    def _call_one(self, function: str, **arguments: Any) -> Row:
        return self._call(function, **arguments)[0]

    def _call_value(self, function: str, **arguments: Any) -> Any:
        (value,) = self._call_one(function, **arguments).values()
        return value

    # -- tenants and videos ------------------------------------------------------------------

    def ensure_tenant(
        self,
        tenant_id: str,
        name: str,
        *,
        tier: str = "free",
        auto_approve_layout_confidence: float | None = None,
    ) -> TenantRow:
        return TenantRow.from_row(
            self._call_one(
                "ensure_tenant",
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                name=name,
                tier=tier,
                auto_approve_layout_confidence=auto_approve_layout_confidence,
            )
        )

    def set_auto_approve(self, tenant_id: str, confidence: float | None) -> TenantRow:
        row = self._call_one(
            "set_auto_approve", tenant_id=canonical_uuid(tenant_id, "tenant id"), confidence=confidence
        )
        return TenantRow.from_row(row)

    def get_tenant(self, tenant_id: str) -> TenantRow:
        key = canonical_uuid(tenant_id, "tenant id")
        rows = self._select("tenants", [Where("id", "eq", key)], ["id"])
        if not rows:
            raise UnknownTenantError(f"tenant {key} is not in the catalogue")
        return TenantRow.from_row(rows[0])

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
        return VideoRow.from_row(
            self._call_one(
                "register_video",
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                video_id=_video_id(video_id),
                storage_key=check_key(storage_key),
                size_bytes=size_bytes,
                display_path=_storable(display_path),
                uploaded=uploaded,
                uploaded_by_user_id=uploaded_by_user_id,
                content_sha256=content_sha256,
                again=again,
            )
        )

    def find_content(self, tenant_id: str, content_sha256: str) -> VideoRow | None:
        key = canonical_uuid(tenant_id, "tenant id")
        rows = self._call("find_content", tenant_id=key, sha256=content_sha256)
        return VideoRow.from_row(rows[0]) if rows else None

    def find_videos(self, name: str, limit: int = 100) -> list[VideoRow]:
        return [
            VideoRow.from_row(row) for row in self._call("find_videos", name=_storable(name), limit=limit)
        ]

    def rename_video(self, video_id: str, name: str) -> VideoRow:
        row = self._call_one("rename_video", video_id=_video_id(video_id), name=_storable(name))
        return VideoRow.from_row(row)

    def get_video(self, video_id: str) -> VideoRow:
        key = _video_id(video_id)
        rows = self._select("videos", [Where("id", "eq", key)], ["id"])
        if not rows:
            raise UnknownVideoError(f"video {key} is not in the catalogue")
        return VideoRow.from_row(rows[0])

    def list_videos(
        self,
        limit: int = 100,
        *,
        tenant_id: str | None = None,
        include_deleted: bool = False,
        in_work: bool | None = None,
        before: VideoRow | None = None,
    ) -> list[VideoRow]:
        where: list[Where | AnyOf] = []
        if tenant_id is not None:
            where.append(Where("tenant_id", "eq", canonical_uuid(tenant_id, "tenant id")))
        if not include_deleted:
            where.append(Where("deleted_at", "is", None))
        runs = [f"{stage}_run_id" for stage in STAGES]
        if in_work:
            where.append(AnyOf(tuple(Where(column, "is_not", None) for column in runs)))
        elif in_work is not None:
            where += [Where(column, "is", None) for column in runs]
        if before is not None:
            created = before.created_at
            where += [
                Where("created_at", "lte", created),
                AnyOf((Where("created_at", "lt", created), Where("id", "gt", before.video_id))),
            ]
        rows = self._select("videos", where, ["-created_at", "id"], limit)
        return [VideoRow.from_row(row) for row in rows]

    def soft_delete_video(self, video_id: str) -> VideoRow:
        return VideoRow.from_row(self._call_one("soft_delete_video", video_id=_video_id(video_id)))

    # -- asking for work ---------------------------------------------------------------------

    def claim_new_videos(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[VideoRow]:
        rows = self._claim("claim_new_videos", limit, restart_after_seconds, max_unstarted, tenant_limit)
        return [VideoRow.from_row(row) for row in rows]

    def pending_layout_approvals(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[LayoutApproval]:
        rows = self._claim(
            "pending_layout_approvals", limit, restart_after_seconds, max_unstarted, tenant_limit
        )
        return [LayoutApproval.from_row(row) for row in rows]

    def pending_text(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[VideoRow]:
        rows = self._claim("pending_text", limit, restart_after_seconds, max_unstarted, tenant_limit)
        return [VideoRow.from_row(row) for row in rows]

    def _claim(
        self,
        function: str,
        limit: int,
        restart_after: float,
        max_unstarted: int,
        tenant_limit: int | None,
    ) -> list[dict[str, Any]]:
        return self._call(
            function,
            limit=limit,
            restart_after_seconds=float(restart_after),
            max_unstarted=max_unstarted,
            tenant_limit=tenant_limit,
        )

    # -- stages ------------------------------------------------------------------------------

    def begin_stage(
        self, video_id: str, stage: Stage, run_id: str, *, take_over: bool = True, attempt: int = 1
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "begin_stage",
                video_id=_video_id(video_id),
                stage=stage,
                run_id=run_id,
                take_over=take_over,
                **{"try": attempt},
            )
        )

    def fail_stage(
        self, video_id: str, stage: Stage, run_id: str, message: str, error_type: str = ""
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "fail_stage",
                video_id=_video_id(video_id),
                stage=stage,
                run_id=run_id,
                message=_storable(message),
                error_type=_storable(error_type),
            )
        )

    def release_stage(self, video_id: str, stage: Stage, run_id: str) -> VideoRow:
        return VideoRow.from_row(
            self._call_one("release_stage", video_id=_video_id(video_id), stage=stage, run_id=run_id)
        )

    def retry_stage(self, video_id: str, stage: Stage) -> VideoRow:
        return VideoRow.from_row(self._call_one("retry_stage", video_id=_video_id(video_id), stage=stage))

    def complete_review(self, video_id: str, stage: Literal["boundaries", "text"]) -> VideoRow:
        return VideoRow.from_row(self._call_one("complete_review", video_id=_video_id(video_id), stage=stage))

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
        return VideoRow.from_row(
            self._call_one(
                "record_times",
                video_id=_video_id(video_id),
                stage=stage,
                run_id=run_id,
                frame_count=frame_count,
                duration_seconds=float(duration_seconds),
                time_spans=timeline.rows(),
            )
        )

    def finish_layout(self, video_id: str, run_id: str, outcome: LayoutOutcome) -> VideoRow:
        arguments = {name: getattr(outcome, name) for name in asdict(outcome)}
        arguments |= {
            "crop_region": _region(outcome.crop_region),
            "duration_seconds": float(outcome.duration_seconds),
            "layout_confidence": float(outcome.layout_confidence),
            "note": _storable(outcome.note),
            "damage": _storable(outcome.damage),
        }
        row = self._call_one("finish_layout", video_id=_video_id(video_id), run_id=run_id, **arguments)
        return VideoRow.from_row(row)

    def approve_layout(
        self, video_id: str, approved_by: str, crop_region: CropRegion | None = None
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "approve_layout",
                video_id=_video_id(video_id),
                approved_by=approved_by,
                crop_region=_region(crop_region),
            )
        )

    def finish_boundaries(
        self, video_id: str, run_id: str, *, version: int, caption_count: int, note: str = ""
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "finish_boundaries",
                video_id=_video_id(video_id),
                run_id=run_id,
                version=version,
                caption_count=caption_count,
                note=_storable(note),
            )
        )

    def finish_text(self, video_id: str, run_id: str, *, caption_count: int, note: str = "") -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "finish_text",
                video_id=_video_id(video_id),
                run_id=run_id,
                caption_count=caption_count,
                note=_storable(note),
            )
        )

    # -- cropped frames ----------------------------------------------------------------------

    def allot_cropped_frames_version(self, video_id: str, run_id: str, crop_region: CropRegion) -> int:
        return self._call_value(
            "allot_cropped_frames_version",
            video_id=_video_id(video_id),
            run_id=run_id,
            crop_region=_region(crop_region),
        )

    def activate_cropped_frames_version(
        self, video_id: str, version: int, *, chunk_count: int, total_frames: int, total_size_bytes: int
    ) -> CroppedFramesVersion:
        return CroppedFramesVersion.from_row(
            self._call_one(
                "activate_cropped_frames_version",
                video_id=_video_id(video_id),
                version=version,
                chunk_count=chunk_count,
                total_frames=total_frames,
                total_size_bytes=total_size_bytes,
            )
        )

    def fail_cropped_frames_version(
        self, video_id: str, version: int, message: str, *, run_id: str | None = None
    ) -> CroppedFramesVersion:
        return CroppedFramesVersion.from_row(
            self._call_one(
                "fail_cropped_frames_version",
                video_id=_video_id(video_id),
                version=version,
                message=_storable(message),
                run_id=run_id,
            )
        )

    def list_cropped_frames_versions(self, video_id: str) -> list[CroppedFramesVersion]:
        where = [Where("video_id", "eq", _video_id(video_id))]
        rows = self._select("cropped_frames_versions", where, ["version"])
        return [CroppedFramesVersion.from_row(row) for row in rows]

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
        return str(
            self._call_value(
                "record_inference_run",
                video_id=_video_id(video_id),
                cropped_frames_version=version,
                run_id=run_id,
                model_version=model_version,
                storage_key=check_key(storage_key),
                total_pairs=total_pairs,
                processing_time_seconds=float(processing_time_seconds),
                started_at=started_at,
                completed_at=completed_at,
                model_sha256=model_sha256,
                file_size_bytes=file_size_bytes,
            )
        )

    # -- locks -------------------------------------------------------------------------------

    def take_lock(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        lease_seconds: float,
        *,
        lock_type: Literal["server", "client"] = "server",
    ) -> LockToken:
        key = _video_id(video_id)
        row = self._call_one(
            "take_lock",
            video_id=key,
            database_name=database_name,
            owner=owner,
            lease_seconds=float(lease_seconds),
            lock_type=lock_type,
        )
        return LockToken(key, database_name, owner, str(row["token"]), _moment(row["expires_at"]))

    def renew_lock(self, token: LockToken, lease_seconds: float) -> LockToken:
        expires_at = self._call_value("renew_lock", token=token.token, lease_seconds=float(lease_seconds))
        return replace(token, expires_at=_moment(expires_at))

    def release_lock(self, token: LockToken) -> bool:
        return self._call_value("release_lock", token=token.token)

    def list_locks(self, *, include_expired: bool = False) -> list[LockInfo]:
        return [LockInfo.from_row(row) for row in self._call("list_locks", include_expired=include_expired)]

    def bump_database_version(self, token: LockToken) -> int:
        return self._call_value("bump_database_version", token=token.token)

    def database_version(self, video_id: str, database_name: DatabaseName) -> int:
        where = [Where("video_id", "eq", _video_id(video_id)), Where("database_name", "eq", database_name)]
        rows = self._select("video_database_state", where, ["video_id"])
        return rows[0]["server_version"] if rows else 0

    def lease(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        seconds: float = 60,
        *,
        wait_seconds: float = 30,
    ) -> AbstractContextManager[RenewedLease]:
        """Hold a lock while the block runs, waiting up to ``wait_seconds`` for it."""
        return hold_lease(self, video_id, database_name, owner, seconds, wait_seconds)

    # -- tiers, limits, people ---------------------------------------------------------------

    def list_access_tiers(self) -> list[AccessTier]:
        return [AccessTier.from_row(row) for row in self._select("access_tiers", [], ["base_priority", "id"])]

    def set_tier_limits(self, tier: str, limits: Limits) -> AccessTier:
        return AccessTier.from_row(self._call_one("set_tier_limits", tier=tier, **_limits(limits)))

    def set_tenant_limits(self, tenant_id: str, limits: Limits, *, quota_exempt: bool = False) -> TenantRow:
        key = canonical_uuid(tenant_id, "tenant id")
        row = self._call_one("set_tenant_limits", tenant_id=key, quota_exempt=quota_exempt, **_limits(limits))
        return TenantRow.from_row(row)

    def tenant_limits(self, tenant_id: str) -> Limits:
        rows = self._call("tenant_limits", tenant_id=self.get_tenant(tenant_id).tenant_id)
        return Limits.from_row(rows[0]) if rows else Limits()

    def set_tenant_tier(self, tenant_id: str, tier: str) -> TenantRow:
        key = canonical_uuid(tenant_id, "tenant id")
        return TenantRow.from_row(self._call_one("set_tenant_tier", tenant_id=key, tier=tier))

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
        return UserProfile.from_row(
            self._call_one(
                "set_user_profile",
                user_id=canonical_uuid(user_id, "user id"),
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                role=role,
                approval_status=approval_status,
                is_platform_admin=is_platform_admin,
                display_name=display_name,
            )
        )

    def set_demo(self, video_id: str, is_demo: bool) -> VideoRow:
        return VideoRow.from_row(self._call_one("set_demo", video_id=_video_id(video_id), is_demo=is_demo))

    # -- one video's claim -------------------------------------------------------------------

    def claim_new_video(self, video_id: str, *, restart_after_seconds: float = 3600) -> VideoRow | None:
        rows = self._call(
            "claim_new_video",
            video_id=_video_id(video_id),
            restart_after_seconds=float(restart_after_seconds),
        )
        return VideoRow.from_row(rows[0]) if rows else None

    def claim_layout_approval(
        self, video_id: str, *, restart_after_seconds: float = 3600
    ) -> LayoutApproval | None:
        rows = self._call(
            "claim_layout_approval",
            video_id=_video_id(video_id),
            restart_after_seconds=float(restart_after_seconds),
        )
        return LayoutApproval.from_row(rows[0]) if rows else None

    def return_claims(
        self,
        kind: ClaimKind,
        claims: Mapping[str, int | str],
        *,
        restart_after_seconds: float = 3600,
        again_after_seconds: float = 0,
    ) -> int:
        return self._call_value(
            "return_claims",
            kind=kind,
            claims=dict(claims),
            restart_after_seconds=float(restart_after_seconds),
            again_after_seconds=float(again_after_seconds),
        )

    # -- rejections --------------------------------------------------------------------------

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
    ) -> Rejection:
        return Rejection.from_row(
            self._call_one(
                "record_rejection",
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                rejection_type=rejection_type,
                message=_storable(message),
                video_id=None if video_id is None else _video_id(video_id),
                cropped_frames_version=cropped_frames_version,
                model_version=model_version,
                run_id=run_id,
                frame_count=frame_count,
                estimated_cost_usd=None if estimated_cost_usd is None else Decimal(str(estimated_cost_usd)),
            )
        )

    def list_rejections(
        self, tenant_id: str, *, include_acknowledged: bool = False, limit: int = 100
    ) -> list[Rejection]:
        where = [Where("tenant_id", "eq", canonical_uuid(tenant_id, "tenant id"))]
        if not include_acknowledged:
            where.append(Where("acknowledged_at", "is", None))
        rows = self._select(_REJECTIONS, where, ["-created_at", "id"], limit)
        return [Rejection.from_row(row) for row in rows]

    def acknowledge_rejection(self, rejection_id: str, acknowledged_by: str) -> Rejection:
        key = canonical_uuid(rejection_id, "rejection id")
        row = self._call_one("acknowledge_rejection", rejection_id=key, acknowledged_by=acknowledged_by)
        return Rejection.from_row(row)

    # -- text of single captions -------------------------------------------------------------

    def request_caption_ocr(
        self, video_id: str, caption_ids: Sequence[int] | None = None, *, requested_by: str = "service"
    ) -> CaptionOcrRequest:
        return CaptionOcrRequest.from_row(
            self._call_one(
                "request_caption_ocr",
                video_id=_video_id(video_id),
                caption_ids=None if caption_ids is None else list(caption_ids),
                requested_by=requested_by,
            )
        )

    def claim_caption_ocr_requests(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        tenant_limit: int | None = None,
    ) -> list[CaptionOcrRequest]:
        rows = self._claim(
            "claim_caption_ocr_requests", limit, restart_after_seconds, max_unstarted, tenant_limit
        )
        return [CaptionOcrRequest.from_row(row) for row in rows]

    def begin_caption_ocr_request(self, request_id: str, run_id: str) -> CaptionOcrRequest:
        key = canonical_uuid(request_id, "request id")
        row = self._call_one("begin_caption_ocr_request", request_id=key, run_id=run_id)
        return CaptionOcrRequest.from_row(row)

    def finish_caption_ocr_request(
        self, request_id: str, run_id: str, *, caption_count: int
    ) -> CaptionOcrRequest:
        key = canonical_uuid(request_id, "request id")
        row = self._call_one(
            "finish_caption_ocr_request", request_id=key, run_id=run_id, caption_count=caption_count
        )
        return CaptionOcrRequest.from_row(row)

    def fail_caption_ocr_request(self, request_id: str, run_id: str, message: str) -> CaptionOcrRequest:
        key = canonical_uuid(request_id, "request id")
        row = self._call_one(
            "fail_caption_ocr_request", request_id=key, run_id=run_id, message=_storable(message)
        )
        return CaptionOcrRequest.from_row(row)

    def list_caption_ocr_requests(self, video_id: str) -> list[CaptionOcrRequest]:
        where = [Where("video_id", "eq", _video_id(video_id))]
        rows = self._select("caption_ocr_requests", where, ["-created_at", "id"])
        return [CaptionOcrRequest.from_row(row) for row in rows]

    # -- cancelling --------------------------------------------------------------------------

    def cancel_stage(self, video_id: str, stage: Stage, cancelled_by: str) -> VideoRow:
        row = self._call_one(
            "cancel_stage", video_id=_video_id(video_id), stage=stage, cancelled_by=cancelled_by
        )
        return VideoRow.from_row(row)

    def pending_run_cancellations(self, limit: int = 50) -> list[RunCancellation]:
        rows = self._call("pending_run_cancellations", limit=limit)
        return [RunCancellation.from_row(row) for row in rows]

    def finish_run_cancellation(self, run_id: str) -> RunCancellation:
        return RunCancellation.from_row(self._call_one("finish_run_cancellation", run_id=run_id))

    # -- upkeep of cropped-frames versions ---------------------------------------------------

    def archive_cropped_frames_version(self, video_id: str, version: int) -> CroppedFramesVersion:
        row = self._call_one("archive_cropped_frames_version", video_id=_video_id(video_id), version=version)
        return CroppedFramesVersion.from_row(row)

    def removable_cropped_frames_versions(
        self,
        limit: int = 50,
        *,
        older_than_seconds: float = 86_400,
        status: Literal["failed", "archived"] | None = None,
    ) -> list[CroppedFramesVersion]:
        rows = self._call(
            "removable_cropped_frames_versions",
            limit=limit,
            older_than_seconds=float(older_than_seconds),
            status=status,
        )
        return [CroppedFramesVersion.from_row(row) for row in rows]

    def abandoned_cropped_frames_versions(
        self, limit: int = 50, *, older_than_seconds: float = 86_400
    ) -> list[CroppedFramesVersion]:
        rows = self._call(
            "abandoned_cropped_frames_versions", limit=limit, older_than_seconds=float(older_than_seconds)
        )
        return [CroppedFramesVersion.from_row(row) for row in rows]

    def mark_objects_removed(self, video_id: str, version: int) -> CroppedFramesVersion:
        row = self._call_one("mark_objects_removed", video_id=_video_id(video_id), version=version)
        return CroppedFramesVersion.from_row(row)

    def find_inference_run(self, video_id: str, version: int, model_version: str) -> InferenceRun | None:
        where = [
            Where("video_id", "eq", _video_id(video_id)),
            Where("cropped_frames_version", "eq", version),
            Where("model_version", "eq", model_version),
        ]
        rows = self._select("caption_frame_extents_inference_runs", where, ["id"])
        return InferenceRun.from_row(rows[0]) if rows else None

    # -- upkeep of everything else -----------------------------------------------------------

    def clear_expired_locks(self, *, older_than_seconds: float = 3600, limit: int = 1000) -> int:
        return self._call_value(
            "clear_expired_locks", older_than_seconds=float(older_than_seconds), limit=limit
        )

    def removable_videos(self, limit: int = 50, *, older_than_seconds: float = 86_400) -> list[VideoRow]:
        rows = self._call("removable_videos", limit=limit, older_than_seconds=float(older_than_seconds))
        return [VideoRow.from_row(row) for row in rows]

    def mark_video_objects_removed(self, video_id: str) -> VideoRow:
        return VideoRow.from_row(self._call_one("mark_video_objects_removed", video_id=_video_id(video_id)))

    # -- durable calls of compute functions --------------------------------------------------

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
        return ComputeCallRow.from_row(
            self._call_one(
                "open_compute_call",
                video_id=_video_id(video_id),
                run_id=run_id,
                function_name=function_name,
                backend=backend,
                request_hash=request_hash,
                waiter=canonical_uuid(waiter, "waiter"),
                cropped_frames_version=cropped_frames_version,
                spawn_grace_seconds=float(spawn_grace_seconds),
                life_seconds=float(life_seconds),
            )
        )

    def assign_compute_call(self, compute_call_id: str, waiter: str, call_id: str) -> ComputeCallRow:
        return self._compute_call("assign_compute_call", compute_call_id, waiter=waiter, call_id=call_id)

    def finish_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        result: Mapping[str, Any],
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        return self._compute_call(
            "finish_compute_call",
            compute_call_id,
            waiter=waiter,
            result=_storable_json(result),
            usage=_storable_json(usage),
        )

    def fail_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        message: str,
        error_type: str = "",
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        return self._compute_call(
            "fail_compute_call",
            compute_call_id,
            waiter=waiter,
            message=_storable(message),
            error_type=_storable(error_type),
            usage=_storable_json(usage),
        )

    def cancel_compute_call(
        self, compute_call_id: str, waiter: str | None = None, message: str = ""
    ) -> ComputeCallRow:
        return self._compute_call(
            "cancel_compute_call", compute_call_id, waiter=waiter, message=_storable(message)
        )

    def confirm_compute_call_cancelled(self, compute_call_id: str) -> ComputeCallRow:
        return self._compute_call("confirm_compute_call_cancelled", compute_call_id)

    def _compute_call(self, function: str, compute_call_id: str, **arguments: Any) -> ComputeCallRow:
        key = canonical_uuid(compute_call_id, "compute call id")
        return ComputeCallRow.from_row(self._call_one(function, id=key, **arguments))

    def settle_compute_calls(self, video_id: str, run_id: str) -> int:
        return self._call_value("settle_compute_calls", video_id=_video_id(video_id), run_id=run_id)

    def get_compute_call(self, compute_call_id: str) -> ComputeCallRow:
        key = canonical_uuid(compute_call_id, "compute call id")
        rows = self._select("compute_calls", [Where("id", "eq", key)], ["id"])
        if not rows:
            raise UnknownRequestError(f"compute call {key} is not in the catalogue")
        return ComputeCallRow.from_row(rows[0])

    def list_compute_calls(
        self,
        *,
        video_id: str | None = None,
        run_id: str | None = None,
        open_only: bool = False,
        created_before: datetime | None = None,
        limit: int = 100,
    ) -> list[ComputeCallRow]:
        where: list[Where | AnyOf] = []
        if video_id is not None:
            where.append(Where("video_id", "eq", _video_id(video_id)))
        if run_id is not None:
            where.append(Where("run_id", "eq", run_id))
        if open_only:
            where.append(AnyOf((Where("status", "eq", "pending"), Where("status", "eq", "running"))))
        if created_before is not None:
            where.append(Where("created_at", "lt", created_before))
        rows = self._select("compute_calls", where, ["created_at", "id"], limit)
        return [ComputeCallRow.from_row(row) for row in rows]

    def undelivered_compute_cancellations(self, limit: int = 100) -> list[ComputeCallRow]:
        where = [
            Where("status", "eq", "cancelled"),
            Where("call_id", "is_not", None),
            Where("cancel_delivered_at", "is", None),
        ]
        rows = self._select("compute_calls", where, ["finished_at", "id"], limit)
        return [ComputeCallRow.from_row(row) for row in rows]

    # -- backfills ---------------------------------------------------------------------------

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
        row = self._call_one(
            "request_backfill",
            backfill_id=canonical_uuid(backfill_id, "backfill id"),
            model_version=model_version,
            conditions={name: list(values) for name, values in conditions.items()},
            requested_by=requested_by,
            limit=limit,
            dry_run=dry_run,
        )
        return BackfillChoice.from_row(row)

    def claim_backfill_videos(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        at_once: int = 20,
    ) -> list[BackfillClaim]:
        rows = self._call(
            "claim_backfill_videos",
            limit=limit,
            restart_after_seconds=float(restart_after_seconds),
            max_unstarted=max_unstarted,
            at_once=at_once,
        )
        return [BackfillClaim.from_row(row) for row in rows]

    def end_backfill_video(self, backfill_id: str, video_id: str, message: str) -> bool:
        return self._call_value(
            "end_backfill_video",
            backfill_id=canonical_uuid(backfill_id, "backfill id"),
            video_id=_video_id(video_id),
            message=_storable(message),
        )

    def cancel_backfill(self, backfill_id: str) -> int:
        return self._call_value("cancel_backfill", backfill_id=canonical_uuid(backfill_id, "backfill id"))

    def list_backfills(self, limit: int = 20) -> list[Backfill]:
        return [Backfill.from_row(row) for row in self._call("list_backfills", limit=limit)]

    def get_backfill_video(self, backfill_id: str, video_id: str) -> BackfillVideo | None:
        where = [
            Where("backfill_id", "eq", canonical_uuid(backfill_id, "backfill id")),
            Where("video_id", "eq", _video_id(video_id)),
        ]
        rows = self._select("backfill_videos", where, ["video_id"])
        return BackfillVideo.from_row(rows[0]) if rows else None

    def list_backfill_videos(
        self, backfill_id: str, *, status: str | None = None, limit: int = 100
    ) -> list[BackfillVideo]:
        where = [Where("backfill_id", "eq", canonical_uuid(backfill_id, "backfill id"))]
        if status is not None:
            where.append(Where("status", "eq", status))
        rows = self._select("backfill_videos", where, ["turn", "video_id"], limit)
        return [BackfillVideo.from_row(row) for row in rows]

    def purge_backfills(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        return self._call_value(
            "purge_backfills", older_than_seconds=float(older_than_seconds), dry_run=dry_run
        )

    def purge_requests(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        return self._call_value(
            "purge_requests", older_than_seconds=float(older_than_seconds), dry_run=dry_run
        )

    def purge_audit_log(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        return self._call_value(
            "purge_audit_log", older_than_seconds=float(older_than_seconds), dry_run=dry_run
        )

    def current_inference_run(self, video_id: str) -> InferenceRun | None:
        version = self.get_video(video_id).current_cropped_frames_version
        where = [
            Where("video_id", "eq", _video_id(video_id)),
            Where("cropped_frames_version", "eq", version or 0),
        ]
        order = ["-completed_at", "-created_at"]
        rows = self._select("caption_frame_extents_inference_runs", where, order, 1)
        return InferenceRun.from_row(rows[0]) if rows else None

    # -- costs -------------------------------------------------------------------------------

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
        row = self._call_one(
            "reserve_cost",
            video_id=_video_id(video_id),
            run_id=run_id,
            function_name=function_name,
            estimate_usd=_decimal(estimate_usd),
            video_limit_usd=_decimal(video_limit_usd),
            month_limit_usd=_decimal(month_limit_usd),
            life_seconds=float(life_seconds),
            frame_count=frame_count,
        )
        return row["granted"], row["message"]

    def release_cost(self, video_id: str, run_id: str, function_name: str) -> bool:
        key = _video_id(video_id)
        return self._call_value("release_cost", video_id=key, run_id=run_id, function_name=function_name)

    def charge_compute_call(
        self,
        compute_call_id: str,
        cost_usd: float | Decimal,
        seconds: float | Decimal,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        return self._compute_call(
            "charge_compute_call",
            compute_call_id,
            cost_usd=_decimal(cost_usd),
            seconds=_decimal(seconds),
            metadata=_storable_json(dict(metadata or {})),
        )

    def uncharged_compute_calls(
        self, *, run_id: str | None = None, older_than_seconds: float = 0, limit: int = 1000
    ) -> list[ComputeCallRow]:
        where: list[Where | AnyOf] = [
            Where("charged_at", "is", None),
            Where("backend", "eq", "modal"),
            Where("finished_at", "is_not", None),
        ]
        if run_id is not None:
            where.append(Where("run_id", "eq", run_id))
        if older_than_seconds:
            before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
            where.append(Where("finished_at", "lt", before))
        rows = self._select("compute_calls", where, ["finished_at", "id"], limit)
        return [ComputeCallRow.from_row(row) for row in rows]

    def set_tier_cost_limits(
        self, tier: str, *, video_usd: float | None = None, month_usd: float | None = None
    ) -> AccessTier:
        row = self._call_one(
            "set_tier_cost_limits", tier=tier, video_usd=_decimal(video_usd), month_usd=_decimal(month_usd)
        )
        return AccessTier.from_row(row)

    def set_tenant_cost_limits(
        self, tenant_id: str, *, video_usd: float | None = None, month_usd: float | None = None
    ) -> TenantRow:
        row = self._call_one(
            "set_tenant_cost_limits",
            tenant_id=canonical_uuid(tenant_id, "tenant id"),
            video_usd=_decimal(video_usd),
            month_usd=_decimal(month_usd),
        )
        return TenantRow.from_row(row)

    def tenant_costs(
        self,
        tenant_id: str,
        *,
        video_limit_usd: float | None = None,
        month_limit_usd: float | None = None,
    ) -> TenantCosts:
        row = self._call_one(
            "tenant_costs",
            tenant_id=canonical_uuid(tenant_id, "tenant id"),
            video_limit_usd=_decimal(video_limit_usd),
            month_limit_usd=_decimal(month_limit_usd),
        )
        return TenantCosts.from_row(row)

    def cost_report(self, since: datetime, *, tenant_id: str | None = None) -> list[CostLine]:
        key = None if tenant_id is None else canonical_uuid(tenant_id, "tenant id")
        row = self._call_one("cost_report", since=since, tenant_id=key)
        return [CostLine.from_row(line) for line in row["lines"]]

    # -- usage -------------------------------------------------------------------------------

    def record_usage(
        self,
        tenant_id: str,
        metric_type: str,
        metric_value: float | Decimal,
        *,
        video_id: str | None = None,
        cost_estimate_usd: float | Decimal | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        return self._call_value(
            "record_usage",
            tenant_id=canonical_uuid(tenant_id, "tenant id"),
            metric_type=metric_type,
            metric_value=Decimal(str(metric_value)),
            video_id=None if video_id is None else _video_id(video_id),
            cost_estimate_usd=None if cost_estimate_usd is None else Decimal(str(cost_estimate_usd)),
            metadata=dict(metadata or {}),
        )

    # -- what an operator looks at -----------------------------------------------------------

    def stage_outcomes_after(
        self, after: datetime, after_id: int = 0, limit: int = 1000
    ) -> list[StageOutcome]:
        rows = self._call("stage_outcomes_after", after=after, after_id=after_id, limit=limit)
        return [StageOutcome.from_row(row) for row in rows]

    def purge_stage_outcomes(self, older_than_seconds: float) -> int:
        return self._call_value("purge_stage_outcomes", older_than_seconds=float(older_than_seconds))

    def count_stage_outcomes(self, older_than_seconds: float) -> int:
        return self._call_value("count_stage_outcomes", older_than_seconds=float(older_than_seconds))

    def stage_failures(self, seconds: float = 3600) -> list[StageFailures]:
        return [StageFailures.from_row(row) for row in self._call("stage_failures", seconds=float(seconds))]

    def stage_backlog(self) -> list[StageBacklog]:
        return [StageBacklog.from_row(row) for row in self._call("stage_backlog")]

    def lock_state(self) -> list[LockState]:
        return [LockState.from_row(row) for row in self._call("lock_state")]

    def open_compute_calls(self) -> list[OpenCalls]:
        return [OpenCalls.from_row(row) for row in self._call("open_compute_calls")]

    def monthly_spend(self, limit: int = 50) -> list[TenantSpend]:
        return [TenantSpend.from_row(row) for row in self._call("monthly_spend", limit=limit)]


def _decimal(amount: float | Decimal | None) -> Decimal | None:
    return None if amount is None else Decimal(str(amount))


def _limits(limits: Limits) -> dict[str, Any]:
    minutes = limits.processing_minutes_limit
    return asdict(limits) | {
        "processing_minutes_limit": None if minutes is None else Decimal(str(minutes)),
    }


def _video_id(value: str) -> str:
    return canonical_uuid(value, "video id")


def _region(region: CropRegion | None) -> Row | None:
    return None if region is None else to_wire(region)


def _storable(text: str) -> str:
    """Text that PostgreSQL takes: without NUL, U+FFFD for half surrogates (undecodable bytes of names)."""
    return _HALF_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\0", ""))


def _storable_json(value: Any) -> Any:
    """JSON that PostgreSQL takes, as :func:`_storable`."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable_json(item) for key, item in value.items()}
    return [_storable_json(item) for item in value] if isinstance(value, list | tuple) else value


def _moment(value: datetime | str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC)
