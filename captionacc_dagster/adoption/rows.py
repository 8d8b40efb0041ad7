"""Rows of the predecessor's catalogue, as typed values.

Its schema has changed over time, and scripts used columns that a newer migration had dropped. A missing
column therefore has its default, and the older names count where the newer ones are absent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from captionacc_dagster.resources.catalog import STAGES, Stage
from captionacc_dagster.resources.catalog.rows.record import utc
from captionacc_dagster.resources.catalog.transport import Record
from modal_gpu.errors import InvalidIdError
from modal_gpu.keys import VideoKeys, canonical_uuid

#: ``review`` is allowed and unused there; it counts as ``annotate``.
OldStatus = Literal["wait", "annotate", "done", "error"]
_STATUSES: Mapping[str, OldStatus] = {
    "wait": "wait",
    "annotate": "annotate",
    "review": "annotate",
    "done": "done",
    "error": "error",
}
#: The columns ``status`` and ``caption_status`` of the older schema.
_FORMER_LAYOUT: Mapping[str, OldStatus] = {"active": "annotate", "error": "error"}
_FORMER_CAPTIONS: Mapping[str, OldStatus] = {"ready": "annotate", "error": "error"}
#: Name of a video whose row has none.
UNNAMED = "video.mp4"
_NAME_LENGTH = 1024


@dataclass(frozen=True)
class OldVideo:
    """A row of ``videos``. Times are aware and in UTC; sizes in bytes and pixels; 0 sizes are ``None``."""

    video_id: str
    tenant_id: str
    name: str
    storage_key: str
    size_bytes: int | None
    uploaded_by_user_id: str | None
    uploaded_at: datetime | None
    deleted_at: datetime | None
    is_demo: bool
    duration_seconds: float | None
    width: int | None
    height: int | None
    statuses: Mapping[Stage, OldStatus]
    #: Messages of stages in ``error``.
    errors: Mapping[Stage, str]
    cropped_frames_version: int | None
    #: True if the older schema says that the browser has not finished the upload.
    is_uploading: bool = False

    @property
    def keys(self) -> VideoKeys:
        """The keys of the video's files, which both platforms share. Raises ``InvalidIdError``."""
        return VideoKeys(self.tenant_id, self.video_id)

    @property
    def frame_count(self) -> int | None:
        """The number of 10 Hz frames that the predecessor cropped: ``int(duration × 10)``."""
        if self.duration_seconds is None:
            return None
        return int(self.duration_seconds * 10) or None

    @classmethod
    def of(cls, row: Record) -> "OldVideo":
        """Read a row. Ids that are no UUIDs are kept as they are, for the report."""
        name = next((str(row[c]) for c in ("display_path", "video_path") if row.get(c)), UNNAMED)
        statuses = _statuses(row)
        return cls(
            video_id=_id(row.get("id")),
            tenant_id=_id(row.get("tenant_id")),
            name=name[-_NAME_LENGTH:],
            storage_key=str(row.get("storage_key") or ""),
            size_bytes=_positive(row.get("size_bytes")),
            uploaded_by_user_id=_uuid_or_none(row.get("uploaded_by_user_id")),
            uploaded_at=_time(row.get("uploaded_at") or row.get("created_at")),
            deleted_at=_time(row.get("deleted_at")),
            is_demo=bool(row.get("is_demo")),
            duration_seconds=_seconds(row.get("duration_seconds")),
            width=_positive(row.get("width")),
            height=_positive(row.get("height")),
            statuses=statuses,
            errors={stage: _message(row, stage) for stage in STAGES if statuses[stage] == "error"},
            cropped_frames_version=_positive(row.get("current_cropped_frames_version")),
            is_uploading="layout_status" not in row and row.get("status") == "uploading",
        )


def _statuses(row: Record) -> dict[Stage, OldStatus]:
    if "layout_status" not in row and "status" in row:
        layout = _FORMER_LAYOUT.get(str(row["status"]), "wait")
        captions = _FORMER_CAPTIONS.get(str(row.get("caption_status")), "wait")
        return {"layout": layout, "boundaries": captions, "text": "wait"}
    return {stage: _STATUSES.get(str(row.get(f"{stage}_status") or "wait"), "wait") for stage in STAGES}


def _message(row: Record, stage: Stage) -> str:
    details = row.get(f"{stage}_error_details")
    if isinstance(details, Mapping):
        # {"message": …, "error": …}; either may be missing.
        parts = [str(details[name]) for name in ("message", "error") if details.get(name)]
        return ": ".join(parts)[:500] or "no message"
    return str(row.get("error_message") or "no message")[:500]


@dataclass(frozen=True)
class OldTenant:
    """A row of ``tenants``, with the access tiers of its users' profiles."""

    tenant_id: str
    name: str
    tiers: frozenset[str] = frozenset()

    @property
    def tier(self) -> str:
        """This platform's tier: ``premium`` if any user is ``active``, else ``free``.

        The predecessor took the tier of one arbitrary profile; ``enterprise`` could never come out.
        """
        return "premium" if "active" in self.tiers else "free"


@dataclass(frozen=True)
class OldProfile:
    """A row of ``user_profiles``. Rights over all tenants (``platform_admins``) are not taken over."""

    user_id: str
    tenant_id: str
    role: Literal["member", "owner"]
    approval_status: Literal["pending", "approved", "rejected"]

    @classmethod
    def of(cls, row: Record) -> "OldProfile | None":
        """Read a row; ``None`` without a user or a tenant. An unknown approval is none."""
        user, tenant = (_uuid_or_none(row.get(column)) for column in ("id", "tenant_id"))
        if user is None or tenant is None:
            return None
        approval = str(row.get("approval_status"))
        return cls(
            user,
            tenant,
            "owner" if row.get("role") == "owner" else "member",
            "approved" if approval == "approved" else "rejected" if approval == "rejected" else "pending",
        )


@dataclass(frozen=True)
class OldLock:
    """A held lock of ``video_database_state``. ``since`` is its last sign of life."""

    video_id: str
    database_name: str
    lock_type: str
    since: datetime | None

    @classmethod
    def of(cls, row: Record) -> "OldLock | None":
        """Read a row; ``None`` if nobody holds the lock. System locks have a type and no holder."""
        if not row.get("lock_type") and not row.get("lock_holder_user_id"):
            return None
        since = row.get("last_activity_at") or row.get("locked_at")
        locked = row.get("locked_at")
        moments = [moment for moment in (_time(since), _time(locked)) if moment is not None]
        return cls(
            video_id=_id(row.get("video_id")),
            database_name=str(row.get("database_name") or ""),
            lock_type=str(row.get("lock_type") or "client"),
            since=max(moments, default=None),
        )


@dataclass(frozen=True)
class OldVersion:
    """A row of ``cropped_frames_versions``. Its newest code wrote none, so most videos have no row."""

    video_id: str
    version: int
    status: str
    crop_region: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Record) -> "OldVersion":
        """Read a row."""
        region = row.get("crop_region")
        return cls(
            video_id=_id(row.get("video_id")),
            version=_positive(row.get("version")) or 1,
            status=str(row.get("status") or ""),
            crop_region=region if isinstance(region, Mapping) else {},
        )


def _id(value: object) -> str:
    text = str(value or "")
    try:
        return canonical_uuid(text.lower())
    except InvalidIdError:
        return text


def _uuid_or_none(value: object) -> str | None:
    try:
        return canonical_uuid(str(value).lower()) if value else None
    except InvalidIdError:
        return None


def _time(value: object) -> datetime | None:
    try:
        return utc(cast("datetime | str", value)) if value else None
    except (ValueError, TypeError):
        return None


def _positive(value: object) -> int | None:
    """Return a positive integer; ``None`` for 0, which is the default of unknown sizes there."""
    number = _number(value)
    return int(number) if number is not None and 1 <= number < 2**63 else None


def _seconds(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: object) -> float | None:
    try:
        number = float(cast(Any, value))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
