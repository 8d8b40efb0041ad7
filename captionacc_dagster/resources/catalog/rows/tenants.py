"""Rows of tenants, tiers and money. All costs are in US dollars."""

from typing import Literal

from captionacc_dagster.resources.catalog.rows.record import Row, column


class TenantRow(Row):
    """A tenant. Its own limits are ``None`` where its tier's apply, and infinite where none does."""

    tenant_id: str = column("id")
    name: str
    tier: str
    #: Layouts of at least this confidence need no approval; ``None``: a person approves every layout.
    auto_approve_layout_confidence: float | None
    #: No quota applies, whatever its tier is.
    quota_exempt: bool
    accepted_video_count: int
    accepted_bytes: int
    video_cost_limit_usd: float | None
    month_cost_limit_usd: float | None
    #: Languages of captions (BCP-47) of videos without their own; the installation's without any.
    ocr_languages: list[str]


class UserProfile(Row):
    """A user's place in a tenant. It has effect once it is ``approved``."""

    user_id: str
    tenant_id: str
    role: Literal["member", "owner"]
    approval_status: Literal["pending", "approved", "rejected"]
    is_platform_admin: bool
    display_name: str


class AccessTier(Row):
    """The entitlements of a tier's tenants.

    ``base_priority`` is that of their runs, before age and size. A quota of ``None`` is no limit; a cost
    limit of ``None`` is the installation's, an infinite one is no limit.
    """

    tier: str = column("id")
    base_priority: int
    description: str
    video_cost_limit_usd: float | None
    month_cost_limit_usd: float | None


class TenantCosts(Row):
    """Limits that apply to a tenant (``None``: none) and its costs in this month (UTC).

    ``reserved_usd`` is set aside for work in progress.
    """

    video_limit_usd: float | None
    month_limit_usd: float | None
    month_spent_usd: float
    reserved_usd: float


class CostLine(Row):
    """The cost of one function for one tenant in one month (``2026-11``, UTC).

    ``calls`` and ``container_seconds`` are of remote calls; ``processing_minutes`` of all processing.
    """

    tenant_id: str
    tenant: str
    month: str
    function: str = column("function_name")
    calls: int
    container_seconds: float
    processing_minutes: float
    cost_usd: float


class TenantSpend(Row):
    """The estimated cost of a tenant's work in this calendar month (UTC) so far."""

    tenant_id: str
    tier: str
    cost_usd: float
