"""A stage of a video's row: begun, retried and failed in one place for all assets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import dagster as dg

from captionacc_dagster.costs.estimates import CostLimitError
from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure, QuietInterruption
from captionacc_dagster.logs import about
from captionacc_dagster.partition_keys import name_of, video_id_of
from captionacc_dagster.resources.catalog import Catalog, Stage, VideoDeletedError, VideoRow
from captionacc_dagster.runs.failures import CANCELLED, final_failure, retry, sentence
from captionacc_dagster.runs.retries import Retries, retries_of
from captionacc_dagster.runs.tags import tag_run
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import CaptionAccError

P = ParamSpec("P")
#: What the body of an asset yields.
Results = Iterator[dg.MaterializeResult[None]]


class RejectedWorkError(Exception):
    """Work was refused by a limit that people set: the step ends without results, and has not failed."""


def skips_rejected(
    body: Callable[Concatenate[dg.AssetExecutionContext, P], Results],
) -> Callable[..., Iterator[Any]]:
    """Let an asset's body end without results when its work is rejected; what depends on it is skipped.

    The reason is a warning in the run, and an observation on each of the assets. The outputs must not be
    required.
    """

    @wraps(body)
    def steps(context: dg.AssetExecutionContext, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        try:
            yield from body(context, *args, **kwargs)
        except RejectedWorkError as rejected:
            context.log.warning(str(rejected))
            for key in sorted(context.selected_asset_keys):
                yield dg.AssetObservation(
                    asset_key=key,
                    partition=context.partition_key,
                    description="rejected",
                    metadata={"rejected": dg.MetadataValue.text(str(rejected))},
                )

    return steps


@contextmanager
def working_on(
    stage: Stage | None, context: dg.AssetExecutionContext, catalog: Catalog
) -> Iterator[VideoRow]:
    """Work on a stage of the run's video, or on none when the output belongs to no stage.

    Yields the video's row. The run owns the stage from here on, until the block finishes or releases it.
    An error is written to the row once no attempt is left, and the run fails with one line; beyond a cost
    limit :class:`RejectedWorkError` is raised, for :func:`skips_rejected`. Transient errors are retried by
    raising :class:`dagster.RetryRequested` (not by a retry policy: with the in-process executor a policy
    would also restart a run that a person has cancelled, dagster-io/dagster#15026). Results of compute calls
    are kept for the next attempt until the block succeeds.
    """
    video_id, name = video_id_of(context.partition_key), name_of(context.partition_key)
    try:
        with about(video=video_id, run=context.run.run_id, stage=stage):
            if stage is not None:
                catalog.begin_stage(video_id, stage, context.run.run_id, attempt=context.retry_number + 1)
            video = catalog.get_video(video_id)
            name = video.display_path
            if video.deleted_at is not None:
                # Beginning a stage refuses it too.
                when = f"{video.deleted_at:%Y-%m-%d %H:%M} UTC"
                raise VideoDeletedError(f"video {video_id} was deleted on {when}")
            tag_run(catalog, context.instance, context.run)
            with about(tenant=video.tenant_id):
                yield video
    except CaptionAccError as error:
        if will_retry(context, error):
            again = retry(error, name, video_id, _retries(context), context.retry_number + 1)
            context.log.warning(str(again))
            raise again from None
        _fail(context, catalog, stage, str(error), type(error).__name__)
        if isinstance(error, CostLimitError):
            raise RejectedWorkError(sentence(error, name, video_id)) from None
        raise _shown(context, final_failure(error, name, video_id)) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        _fail(context, catalog, stage, CANCELLED, "Cancelled")
        raise QuietInterruption(f"{name}: {CANCELLED}") from None
    except Exception as error:
        if full := disk_full(error):
            _fail(context, catalog, stage, str(full), type(full).__name__)
            raise _shown(context, final_failure(full, name, video_id)) from None
        _fail(context, catalog, stage, f"Unexpected {type(error).__name__}: {error}", type(error).__name__)
        raise
    else:
        _settle(context, catalog)


def _shown(context: dg.AssetExecutionContext, failure: FinalFailure) -> FinalFailure:
    """Show a failure on the pages of the assets too, as observations: Dagster only links the run there."""
    facts = {
        "failed": dg.MetadataValue.text(str(failure)),
        "run": dg.MetadataValue.dagster_run(context.run.run_id),
    }
    try:
        for key in sorted(context.selected_asset_keys):
            context.instance.report_runless_asset_event(
                dg.AssetObservation(
                    asset_key=key,
                    partition=context.partition_key,
                    description=f"failed: {failure}",
                    metadata=facts,
                )
            )
    except Exception as error:
        # The failure itself is the important one.
        context.log.warning(f"the failure is not shown on the assets' pages: {type(error).__name__}: {error}")
    return failure


def will_retry(context: dg.AssetExecutionContext, error: BaseException) -> bool:
    """Return whether :func:`working_on` tries again after an error."""
    return _retries(context).tries_again(error, context.retry_number + 1)


def _retries(context: dg.AssetExecutionContext) -> Retries:
    return retries_of(context.op_execution_context.op.name)


def _settle(context: dg.AssetExecutionContext, catalog: Catalog) -> None:
    """Settle the run's compute calls: their outputs are published, so the next run computes them again."""
    try:
        catalog.settle_compute_calls(video_id_of(context.partition_key), context.run.run_id)
    except CaptionAccError as error:
        # The work is done. A run that repeats it while the results are stored would reuse them.
        context.log.warning(f"the run's compute calls are not settled: {error}")


def _fail(
    context: dg.AssetExecutionContext, catalog: Catalog, stage: Stage | None, message: str, kind: str
) -> None:
    if stage is None:
        return
    try:
        catalog.fail_stage(video_id_of(context.partition_key), stage, context.run.run_id, message, kind)
    except CaptionAccError as error:
        # The first error is the important one. The failure sensor writes the row once the catalogue answers.
        context.log.error(f"could not write the {stage} error to the catalogue: {error}")


def run_selects(context: dg.AssetExecutionContext, asset: str) -> bool:
    """Return whether this run also materializes ``asset``."""
    # None or empty (as in in-process runs): all assets of the job.
    selection = context.run.asset_selection
    return not selection or dg.AssetKey(asset) in selection
