"""Asset of an upkeep pass: its report."""

from datetime import timedelta
from typing import get_args

import dagster as dg

from captionacc_dagster.assets.labels import GROUPS, OWNERS, catalogue_kind, storage_kind, tags
from captionacc_dagster.assets.pictures.links import table
from captionacc_dagster.costs.ledger import charge, cost_policy
from captionacc_dagster.operations.upkeep import Kind, Upkeep, UpkeepPolicy, UpkeepReport
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.factories import modal_backend
from captionacc_dagster.settings import get_settings
from modal_gpu.storage import ObjectStore

#: Most cases that the report lists.
SHOWN = 200
#: The schedule makes a report each night; two more hours are for a long one.
FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(hours=50))


class ReconciliationConfig(dg.Config):
    """Options of a pass."""

    #: Only report what would be done.
    dry_run: bool = True
    #: Also remove objects of videos that the catalogue does not know.
    remove_unknown_objects: bool = False


@dg.asset(
    group_name=GROUPS["upkeep"],
    kinds={catalogue_kind(), storage_kind()},
    tags=tags("upkeep"),
    owners=OWNERS,
    freshness_policy=FRESHNESS,
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


def first_report(
    catalog: Catalog, object_store: ObjectStore, instance: dg.DagsterInstance
) -> dg.AssetMaterialization | None:
    """Return the report of a dry run for an installation that has no report yet; None for others."""
    if instance.get_latest_materialization_event(reconciliation_report.key) is not None:
        return None
    report = make_upkeep(
        catalog, object_store, instance, apply=False, remove_unknown_objects=False, run_id=""
    ).run()
    return dg.AssetMaterialization(
        asset_key=reconciliation_report.key,
        description="The first report, of a dry run; the schedule `upkeep` makes one each night.",
        metadata=report_metadata(report),
    )


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
    """Return the number of cases of every kind, those of none included, and a table of the cases."""
    counts = report.counts()
    done = [finding.kind for finding in report.findings if finding.done]
    failed = [finding.kind for finding in report.errors]
    kinds = [(kind, counts.get(kind, 0), done.count(kind), failed.count(kind)) for kind in get_args(Kind)]
    cases = [
        (finding.kind, finding.subject, finding.detail, report.outcome(finding))
        for finding in report.findings
    ]
    left = len(cases) - SHOWN
    found = {
        "result": dg.MetadataValue.text(_result(report)),
        "mode": dg.MetadataValue.text("applied" if report.applied else "dry run"),
        "checked": table((("kind", "string"), ("cases", "int"), ("done", "int"), ("errors", "int")), kinds),
    }
    if cases:
        columns = [(name, "string") for name in ("kind", "subject", "case", "outcome")]
        found["report"] = table(columns, cases[:SHOWN])
    if left > 0:
        found["more"] = dg.MetadataValue.text(f"{left} cases more")
    return {
        **found,
        "cases": dg.MetadataValue.int(len(report.findings)),
        "done": dg.MetadataValue.int(len(done)),
        "errors": dg.MetadataValue.int(len(report.errors)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 2)),
        **{kind.replace(" ", "_"): dg.MetadataValue.int(n) for kind, n in counts.items()},
    }


def _result(report: UpkeepReport) -> str:
    if not report.findings:
        return "All in order."
    if report.errors:
        return f"{len(report.errors)} of {len(report.findings)} cases failed."
    return f"{len(report.findings)} cases {'handled' if report.applied else 'would be handled'}."
