"""Findings of an upkeep pass, its policy, and the workplace that its steps share."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg

from captionacc_dagster.resources.catalog import Catalog, CatalogError
from modal_gpu.errors import CaptionAccError
from modal_gpu.storage import ObjectStore

Kind = Literal[
    "expired lease",
    "abandoned version",
    "failed version",
    "archived version",
    "orphaned call",
    "uncharged call",
    "temporary folder",
    "deleted video",
    "partition without a row",
    "row without a partition",
    "objects without a row",
    "old records",
]

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class UpkeepPolicy:
    """Retention times. Days may be fractions."""

    archived_days: float = 30
    failed_days: float = 1
    deleted_days: float = 7
    lease_hours: float = 1
    temporary_days: float = 2
    #: An upload is in the bucket before it is in the catalogue.
    unknown_days: float = 1
    #: Outcomes of stages, ended backfills and requests.
    outcome_days: float = 90
    #: Actions of people, and refusals.
    audit_days: float = 365
    #: Step-by-step events of Dagster's runs, where they are in PostgreSQL.
    event_days: float = 60


@dataclass(frozen=True)
class Finding:
    """One case: its subject, and what was done or would be done."""

    kind: Kind
    subject: str
    detail: str
    done: bool
    error: str = ""


@dataclass(frozen=True)
class UpkeepReport:
    """All findings of one pass, in the order of its steps."""

    applied: bool
    findings: list[Finding]
    seconds: float

    def counts(self) -> dict[str, int]:
        """Return the number of cases by kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    @property
    def errors(self) -> list[Finding]:
        """Findings whose action failed."""
        return [finding for finding in self.findings if finding.error]

    def outcome(self, finding: Finding) -> str:
        """Return a finding's outcome for people: its error, or whether it was, or would be, handled."""
        return finding.error or ("done" if finding.done else "kept" if self.applied else "would be done")


@dataclass(frozen=True)
class Workplace:
    """Everything that a step needs. A step yields its findings and, with ``apply``, acts on them."""

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    policy: UpkeepPolicy = field(default_factory=UpkeepPolicy)
    apply: bool = False

    def handle(self, kind: Kind, subject: str, detail: str, action: Callable[[], object]) -> Finding:
        """Run the action if this pass applies; return the finding, with the error of an action that failed.

        Raises a :class:`CatalogError` that lies with the service, since other cases would fail as well.
        """
        if not self.apply:
            return Finding(kind, subject, detail, done=False)
        try:
            action()
        except (CaptionAccError, OSError) as error:
            if isinstance(error, CatalogError) and error.lies_with_service:
                raise
            return Finding(kind, subject, detail, done=False, error=str(error))
        return Finding(kind, subject, detail, done=True)
