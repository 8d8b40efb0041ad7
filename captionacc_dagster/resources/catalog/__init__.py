"""The catalogue: which videos there are, how far each is, and who may see it.

:class:`Catalog` has its calls by domain. The rules are SQL functions in ``supabase/schemas``.
"""

from captionacc_dagster.resources.catalog.catalog import Catalog
from captionacc_dagster.resources.catalog.errors import (
    ERRORS_BY_SQLSTATE,
    AlreadyRegisteredError,
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    InvalidArgumentError,
    LockHeldError,
    LockLostError,
    NotPermittedError,
    QuotaExceededError,
    TooManyCallsError,
    UnknownRequestError,
    UnknownTenantError,
    UnknownVersionError,
    UnknownVideoError,
    VideoDeletedError,
    WrongStateError,
)
from captionacc_dagster.resources.catalog.leases import Lease
from captionacc_dagster.resources.catalog.rows.live import EventRow, HeldLock, JobRow, JobState, JobType
from captionacc_dagster.resources.catalog.rows.operations import (
    LockState,
    StageBacklog,
    StageFailures,
    StageOutcome,
)
from captionacc_dagster.resources.catalog.rows.tenants import CostLine, TenantRow, TenantSpend
from captionacc_dagster.resources.catalog.rows.videos import (
    STAGES,
    LayoutApproval,
    LayoutOutcome,
    Stage,
    VideoRow,
)
from captionacc_dagster.resources.catalog.rows.work import (
    Backfill,
    BackfillChoice,
    BackfillClaim,
    CaptionOcrRequest,
    ClaimKind,
    ComputeCallRow,
    CroppedFramesVersion,
    LockInfo,
)

__all__ = [  # noqa: RUF022 (packed)
    "Catalog",
    "ERRORS_BY_SQLSTATE", "AlreadyRegisteredError", "CatalogAccessError", "CatalogError",
    "CatalogUnavailableError", "InvalidArgumentError", "LockHeldError", "LockLostError",
    "NotPermittedError", "QuotaExceededError", "TooManyCallsError",
    "UnknownRequestError", "UnknownTenantError", "UnknownVersionError", "UnknownVideoError",
    "VideoDeletedError", "WrongStateError", "Lease", "EventRow", "HeldLock", "JobRow", "JobState",
    "JobType", "LockState", "StageBacklog", "StageFailures",
    "StageOutcome", "CostLine", "TenantRow", "TenantSpend", "STAGES", "LayoutApproval", "LayoutOutcome",
    "Stage", "VideoRow", "Backfill", "BackfillChoice", "BackfillClaim", "CaptionOcrRequest", "ClaimKind",
    "ComputeCallRow", "CroppedFramesVersion", "LockInfo",
]  # fmt: skip
