"""``layout_approvals``: an approved layout becomes captions; a changed crop region does so again."""

from collections.abc import Sequence

import dagster as dg

from captionacc_dagster.assets.external import approval_event
from captionacc_dagster.jobs import captions_job
from captionacc_dagster.resources.catalog import Catalog, LayoutApproval
from captionacc_dagster.runs.keys import captions_run_key
from captionacc_dagster.runs.priority import round_robin
from captionacc_dagster.runs.tags import RunTags, Work
from captionacc_dagster.sensors.claims import BATCH, Claim, claim_limits, handed_out, one_by_one, tick_result


@dg.sensor(
    job=captions_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sees approvals, and changes of an approved crop region, that no run was asked for yet; records "
        "them and requests the run that ends in subtitles."
    ),
)
def layout_approvals(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """One run for each version of a video's crop region and each attempt at it."""
    with handed_out("layout_approvals", catalog, context.instance) as handed:
        approvals = catalog.pending_layout_approvals(BATCH, **claim_limits())
        handed.take(map(captions_claim, approvals))
        ready, refused = one_by_one(handed, approvals, captions_run_key, approval_event)
        tags = RunTags(catalog, context.instance)
        return tick_result(
            context,
            handed,
            captions_run_requests([approval for approval, _ in ready], tags, "layout_approvals"),
            [event for _, event in ready],
            seen="no approval waits for its run",
            refused=refused,
        )


def captions_claim(approval: LayoutApproval) -> Claim:
    """What ``pending_layout_approvals`` handed out."""
    return Claim("boundaries", approval.video_id, approval.attempt, captions_run_key(approval))


def captions_run_requests(
    approvals: Sequence[LayoutApproval], tags: RunTags, trigger: str
) -> list[dg.RunRequest]:
    """A run for each crop-region version and attempt, the tenants in turn."""
    in_turn = round_robin(approvals, lambda approval: approval.tenant_id)
    return [
        dg.RunRequest(run_key=captions_run_key(approval), partition_key=approval.video_id, tags=run_tags)
        for approval, run_tags in zip(
            in_turn, tags.of([_captions_work(approval, trigger) for approval in in_turn]), strict=True
        )
    ]


def _captions_work(approval: LayoutApproval, trigger: str) -> Work:
    return Work(
        job=captions_job.name,
        tenant_id=approval.tenant_id,
        video_id=approval.video_id,
        event="approval",
        trigger=trigger,
        size_bytes=approval.size_bytes,
        waiting_since=approval.approved_at,
        age_boosting=not approval.disable_age_boosting,
    )
