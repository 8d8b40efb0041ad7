"""A tenant by what people call it: its name, its id or the start of one."""

from captionacc_dagster.operations.video_names import telling
from captionacc_dagster.resources.catalog import Catalog, TenantRow
from modal_gpu.errors import InvalidIdError


def find_tenant(catalog: Catalog, name: str) -> TenantRow:
    """Return a tenant by its id, the start of its id, or its name.

    Raises :class:`InvalidIdError` for an unknown tenant, and for several, which it lists.
    """
    rows = catalog.find_tenants(name)
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise InvalidIdError(f"no tenant matches {name!r}: give its name, its id or the start of its id")
    length = telling([row.tenant_id for row in rows])
    listed = ", ".join(f"{row.tenant_id[:length]} ({row.name})" for row in rows[:5])
    more = ", …" if len(rows) > 5 else ""
    raise InvalidIdError(f"{len(rows)} tenants match {name!r}: {listed}{more}; give one of these ids")
