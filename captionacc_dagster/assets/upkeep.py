"""Asset of an upkeep pass: its report."""

import dagster as dg

from captionacc_dagster.assets import previews
from captionacc_dagster.assets.external import OWNERS
from captionacc_dagster.costs.ledger import charge, cost_policy
from captionacc_dagster.operations.upkeep import Upkeep, UpkeepPolicy, UpkeepReport
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.factories import modal_backend
from captionacc_dagster.settings import get_settings
from modal_gpu.storage import ObjectStore

#: Most cases that the report lists.
SHOWN = 200


class ReconciliationConfig(dg.Config):
    """Options of a pass."""

    #: Only report what would be done.
    dry_run: bool = True
    #: Also remove objects of videos that the catalogue does not know.
    remove_unknown_objects: bool = False


@dg.asset(
    group_name="platform",
    kinds={"postgres", "s3"},
    owners=OWNERS,
    description=(
        "Removes what is no longer needed, and compares the catalogue, the bucket and the partitions: "
        "expired leases, objects of failed and archived versions and of deleted videos, orphaned calls, "
        "temporary folders, old records. Charges calls that no run has charged. "
        "A manual materialization only reports, unless its config says otherwise."
    ),
)
def reconciliation_report(
    context: dg.AssetExecutionContext,
    config: ReconciliationConfig,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.MaterializeResult[None]:
    """Run one pass and report it."""
    report = make_upkeep(
        catalog,
        object_store,
        context.instance,
        apply=not config.dry_run,
        remove_unknown_objects=config.remove_unknown_objects,
        run_id=context.run.run_id,
    ).run()
    for finding in report.errors:
        context.log.warning(f"{finding.kind} {finding.subject}: {finding.error}")
    return dg.MaterializeResult(metadata=report_metadata(report))


def make_upkeep(
    catalog: Catalog,
    object_store: ObjectStore,
    instance: dg.DagsterInstance,
    *,
    apply: bool,
    remove_unknown_objects: bool,
    run_id: str,
) -> Upkeep:
    """Return an upkeep pass with the settings' policy."""
    settings = get_settings()
    backend = modal_backend(settings, run_id, print) if settings.modal_enabled and apply else None
    return Upkeep(
        catalog,
        object_store,
        instance,
        UpkeepPolicy(
            archived_days=settings.archived_days,
            deleted_days=settings.deleted_days,
            outcome_days=settings.outcome_days,
            audit_days=settings.audit_days,
            event_days=settings.event_days,
        ),
        apply=apply,
        remove_unknown_objects=remove_unknown_objects,
        cancel_abandoned=backend.cancel_abandoned if backend else None,
        charge=lambda call: charge(catalog, cost_policy(settings), [call]),
    )


def report_metadata(report: UpkeepReport) -> dict[str, dg.MetadataValue]:
    """Return the counts by kind and a table of the cases."""
    rows = [
        (
            finding.kind,
            # In one column: the table has little room in the UI.
            f"{finding.subject}: {finding.detail}",
            finding.error or ("done" if finding.done else "left" if report.applied else "would be done"),
        )
        for finding in report.findings[:SHOWN]
    ]
    table = previews.markdown_table(("finding", "case", "outcome"), rows) if rows else "All in order."
    left = len(report.findings) - SHOWN
    return {
        "report": dg.MetadataValue.md(table + (f"\n\n… and {left} more" if left > 0 else "")),
        "mode": dg.MetadataValue.text("applied" if report.applied else "dry run"),
        "cases": dg.MetadataValue.int(len(report.findings)),
        "done": dg.MetadataValue.int(sum(finding.done for finding in report.findings)),
        "errors": dg.MetadataValue.int(len(report.errors)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **{kind.replace(" ", "_"): dg.MetadataValue.int(n) for kind, n in report.counts().items()},
    }
