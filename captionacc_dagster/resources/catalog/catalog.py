"""The class of the catalogue."""

from captionacc_dagster.resources.catalog.adoptions import AdoptionCalls
from captionacc_dagster.resources.catalog.backfills import BackfillCalls
from captionacc_dagster.resources.catalog.claims import ClaimCalls
from captionacc_dagster.resources.catalog.compute_calls import ComputeCalls
from captionacc_dagster.resources.catalog.costs import CostCalls
from captionacc_dagster.resources.catalog.events import EventCalls
from captionacc_dagster.resources.catalog.jobs import JobCalls
from captionacc_dagster.resources.catalog.locks import LockCalls
from captionacc_dagster.resources.catalog.operations import OperationCalls
from captionacc_dagster.resources.catalog.stages import StageCalls
from captionacc_dagster.resources.catalog.tenants import TenantCalls
from captionacc_dagster.resources.catalog.text_requests import TextRequestCalls
from captionacc_dagster.resources.catalog.versions import VersionCalls
from captionacc_dagster.resources.catalog.videos import VideoCalls


class Catalog(
    TenantCalls,
    VersionCalls,
    VideoCalls,
    ClaimCalls,
    StageCalls,
    LockCalls,
    TextRequestCalls,
    ComputeCalls,
    CostCalls,
    BackfillCalls,
    AdoptionCalls,
    OperationCalls,
    JobCalls,
    EventCalls,
):
    """The catalogue through one transport: ``Catalog(PostgresTransport(dsn))``.

    Each change is a SQL function of ``supabase/schemas/``, which checks the state it leaves. Errors are those
    of ``captionacc_dagster.resources.catalog.errors`` and ``InvalidCropRegionError``; every call may raise
    ``CatalogUnavailableError`` and ``CatalogAccessError``. Times are aware and in UTC.
    """

    def __repr__(self) -> str:
        return f"Catalog({self.transport!r})"

    def close(self) -> None:
        """Close the transport's connections; a later call opens new ones."""
        self.transport.close()
