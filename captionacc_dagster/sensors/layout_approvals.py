"""``layout_approvals``: requests captions for approved layouts, and again when the crop region changes."""

from collections.abc import Sequence

import dagster as dg

from captionacc_dagster.assets.external import approval_event
from captionacc_dagster.jobs import captions_job
from captionacc_dagster.resources.catalog import Catalog, LayoutApproval
from captionacc_dagster.runs.keys import captions_run_key
from captionacc_dagster.runs.priority import round_robin
from captionacc_dagster.runs.tags import RunTags, Work
from captionacc_dagster.sensors.claims import (
    BATCH,
    Claim,
    apply_to_each,
    claim_limits,
    claims_of_tick,
    tick_result,
)

#: ``approved_by`` of layouts that the tenant's policy approved.
POLICY = "auto"


@dg.sensor(
    job=captions_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Finds approvals, and changes of an approved crop region, for which no run was requested yet; "
        "records them and requests the run that ends in subtitles."
    ),
)
def layout_approvals(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """Request a run for each attempt at each version of a video's crop region."""
    with claims_of_tick("layout_approvals", catalog, context.instance) as claims:
        approvals = catalog.pending_layout_approvals(BATCH, **claim_limits())
        claims.add(map(captions_claim, approvals))
        ready, refused = apply_to_each(claims, approvals, captions_run_key, approval_event)
        tags = RunTags(catalog, context.instance)
        return tick_result(
            context,
            claims,
            captions_run_requests([approval for approval, _ in ready], tags, "layout_approvals"),
            [event for _, event in ready],
            seen="no approval waits for a run",
            refused=refused,
        )


def captions_claim(approval: LayoutApproval) -> Claim:
    """Return the claim on an approval that the catalogue assigned."""
    return Claim("boundaries", approval.video_id, approval.attempt, captions_run_key(approval))


def captions_run_requests(
    approvals: Sequence[LayoutApproval], tags: RunTags, trigger: str
) -> list[dg.RunRequest]:
    """Return a run request for each approval, with the tenants in turn."""
    in_turn = round_robin(approvals, lambda approval: approval.tenant_id)
    return [
        dg.RunRequest(run_key=captions_run_key(approval), partition_key=approval.partition_key, tags=run_tags)
        for approval, run_tags in zip(
            in_turn, tags.of([_captions_work(approval, trigger) for approval in in_turn]), strict=True
        )
    ]


def _captions_work(approval: LayoutApproval, trigger: str) -> Work:
    by_person = approval.approved_by != POLICY
    return Work(
        job=captions_job.name,
        tenant_id=approval.tenant_id,
        video_id=approval.video_id,
        partition_key=approval.partition_key,
        event="approval",
        trigger=trigger,
        size_bytes=approval.size_bytes,
        # A person has waited for the video since it came.
        waiting_since=approval.created_at if by_person else approval.approved_at,
        age_boosting=not approval.disable_age_boosting,
        override=approval.priority_override,
        by_person=by_person,
    )
