"""The catalogue's calls for tenants and tiers."""

import re
from collections.abc import Sequence
from uuid import UUID

from captionacc_dagster.resources.catalog.calls import CatalogCalls, first, sql_function
from captionacc_dagster.resources.catalog.errors import UnknownTenantError
from captionacc_dagster.resources.catalog.rows.tenants import AccessTier, TenantRow, UserProfile
from captionacc_dagster.resources.catalog.transport import AnyOf, Where
from modal_gpu.keys import canonical_uuid


class TenantCalls(CatalogCalls):
    """Tenants and tiers. Quotas are set in SQL; see ``docs/reference/catalogue.md``."""

    @sql_function(repeatable=True)
    def ensure_tenant(
        self,
        tenant_id: str,
        name: str,
        *,
        tier: str = "free",
        auto_approve_layout_confidence: float | None = None,
    ) -> TenantRow:
        """Create a tenant that does not exist; an existing one keeps its settings.

        Raises ``InvalidArgumentError`` for an unknown tier, an empty name or a confidence outside [0, 1].
        """

    @sql_function(repeatable=True)
    def set_auto_approve(self, tenant_id: str, confidence: float | None) -> TenantRow:
        """Set from which confidence layouts need no approval; ``None``: all need one.

        Raises ``UnknownTenantError``.
        """

    @sql_function(repeatable=True)
    def set_tenant_languages(self, tenant_id: str, languages: Sequence[str]) -> TenantRow:
        """Set the languages of the captions of a tenant's videos (BCP-47), unless a video has its own.

        Raises ``UnknownTenantError`` and ``InvalidArgumentError``.
        """

    def get_tenant(self, tenant_id: str) -> TenantRow:
        """Return a tenant. Raises ``UnknownTenantError``."""
        return self._by_id(TenantRow, "tenants", tenant_id, "tenant", UnknownTenantError)

    def find_tenants(self, name: str) -> list[TenantRow]:
        """Return the tenants of this name, or whose id starts with it; hyphens in an id may be left out."""
        found = self._select(TenantRow, "tenants", [Where("name", "eq", name)], ["id"])
        digits = name.lower().replace("-", "")
        if re.fullmatch(r"[0-9a-f]{1,32}", digits):
            low, high = (UUID(digits.ljust(32, filler)) for filler in "0f")
            # Greater or equal, which a select does not have.
            above = AnyOf((Where("id", "eq", str(low)), Where("id", "gt", str(low))))
            found += self._select(TenantRow, "tenants", [above, Where("id", "lte", str(high))], ["id"])
        return list({row.tenant_id: row for row in found}.values())

    @sql_function()
    def set_user_profile(
        self,
        user_id: str,
        tenant_id: str,
        *,
        role: str = "member",
        approval_status: str = "pending",
        is_platform_admin: bool = False,
        display_name: str = "",
    ) -> UserProfile:
        """Create or change a user's place in a tenant.

        Raises ``UnknownTenantError`` and ``InvalidArgumentError``, on Supabase also for an unknown user.
        """

    def get_profile(self, user_id: str) -> UserProfile | None:
        """Return a user's place in a tenant, if there is one."""
        where = [Where("user_id", "eq", canonical_uuid(user_id, "user id"))]
        return first(self._select(UserProfile, "user_profiles", where, ["user_id"]))

    def list_access_tiers(self) -> list[AccessTier]:
        """Return the tiers, those of lower priority first."""
        return self._select(AccessTier, "access_tiers", [], ["base_priority", "id"])
