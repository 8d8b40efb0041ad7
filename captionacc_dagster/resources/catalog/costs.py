"""The catalogue's calls for costs, in US dollars, and for usage."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.tenants import (
    AccessTier,
    CostLine,
    TenantCosts,
    TenantRow,
    TenantSpend,
)
from captionacc_dagster.resources.catalog.rows.work import ComputeCallRow
from captionacc_dagster.resources.catalog.transport import Condition, Where

Amount = float | Decimal
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class CostCalls(CatalogCalls):
    """Costs. Raises ``InvalidArgumentError`` for an amount that is negative or not finite."""

    def reserve_cost(
        self,
        video_id: str,
        run_id: str,
        function_name: str,
        estimate_usd: Amount,
        *,
        video_limit_usd: Amount | None = None,
        month_limit_usd: Amount | None = None,
        life_seconds: float = 86_400,
        frame_count: int | None = None,
    ) -> tuple[bool, str]:
        """Reserve what a function's calls for a video are expected to cost.

        The limits are the installation's, for tenants and tiers without their own. Beyond a limit nothing is
        reserved, a rejection is recorded, and the answer is false and what to do. Raises
        ``UnknownVideoError`` and ``VideoDeletedError``.
        """
        (row,) = self._call(
            "reserve_cost",
            video_id=video_id,
            run_id=run_id,
            function_name=function_name,
            estimate_usd=estimate_usd,
            video_limit_usd=video_limit_usd,
            month_limit_usd=month_limit_usd,
            life_seconds=life_seconds,
            frame_count=frame_count,
            repeatable=True,
        )
        return row["granted"], row["message"]

    @sql_function()
    def release_cost(self, video_id: str, run_id: str, function_name: str) -> bool:
        """Delete this run's reservation, since its calls are charged.

        Returns false while calls are open, and if another run has made a reservation since.
        """

    @sql_function(repeatable=True, compute_call_id="id")
    def charge_compute_call(
        self,
        compute_call_id: str,
        cost_usd: Amount,
        seconds: Amount,
        *,
        metadata: Mapping[str, Any] = _NOTHING,
    ) -> ComputeCallRow:
        """Record what a call that ended cost, as usage of its tenant. Only the first charge counts.

        Raises ``UnknownRequestError``, and ``WrongStateError`` for a call that is open.
        """

    def uncharged_compute_calls(
        self, *, run_id: str | None = None, older_than_seconds: float = 0, limit: int = 1000
    ) -> list[ComputeCallRow]:
        """Return remote calls that ended at least so long ago and were not charged, oldest first."""
        where: list[Condition] = [
            Where("charged_at", "is", None),
            Where("backend", "eq", "modal"),
            Where("finished_at", "is_not", None),
        ]
        if run_id is not None:
            where.append(Where("run_id", "eq", run_id))
        if older_than_seconds:
            before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
            where.append(Where("finished_at", "lt", before))
        return self._select(ComputeCallRow, "compute_calls", where, ["finished_at", "id"], limit)

    @sql_function(repeatable=True)
    def set_tier_cost_limits(
        self, tier: str, *, video_usd: Amount | None = None, month_usd: Amount | None = None
    ) -> AccessTier:
        """Set a tier's limits. ``None``: the installation's; infinity: no limit."""

    @sql_function(repeatable=True)
    def set_tenant_cost_limits(
        self, tenant_id: str, *, video_usd: Amount | None = None, month_usd: Amount | None = None
    ) -> TenantRow:
        """Set a tenant's own limits. ``None``: its tier's; infinity: no limit."""

    @sql_function(repeatable=True)
    def tenant_costs(
        self, tenant_id: str, *, video_limit_usd: Amount | None = None, month_limit_usd: Amount | None = None
    ) -> TenantCosts:
        """Return a tenant's limits, with the installation's as given, and its costs in this month."""

    def cost_report(self, since: datetime, *, tenant_id: str | None = None) -> list[CostLine]:
        """Return the costs by tenant, month and function, newest month first."""
        (row,) = self._call("cost_report", since=since, tenant_id=tenant_id, repeatable=True)
        return [CostLine.from_row(line) for line in row["lines"]]

    @sql_function(repeatable=True)
    def monthly_spend(self, limit: int = 50) -> list[TenantSpend]:
        """Return this month's costs of the tenants that cost most, without those that have no estimate."""

    @sql_function()
    def record_usage(
        self,
        tenant_id: str,
        metric_type: str,
        metric_value: Amount,
        *,
        video_id: str | None = None,
        cost_estimate_usd: Amount | None = None,
        metadata: Mapping[str, Any] = _NOTHING,
    ) -> int:
        """Add a row of usage and return its id. Raises ``UnknownTenantError`` and ``UnknownVideoError``."""
