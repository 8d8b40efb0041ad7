"""The end of a run written into its video's row, where the run could not do that itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

from captionacc_dagster.dagster_internals.auto_retries import (
    retry_failed_to_start,
    retry_run_id,
    will_be_retried,
)
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import (
    STAGES,
    Catalog,
    Stage,
    UnknownVideoError,
    VideoRow,
)
from captionacc_dagster.runs.failures import CANCELLED
from captionacc_dagster.runs.keys import BackfillKey, RequestsKey, RunKey, parse
from captionacc_dagster.runs.tags import BACKFILL_TAG, PARTITION, RUN_KEY, VIDEO_ID
from modal_gpu.errors import CaptionAccError

Log = Callable[[str], None]

#: The first stage of each job.
FIRST_STAGE: dict[str, Stage] = {
    "layout": "layout",
    "video": "layout",
    "captions": "boundaries",
    "caption_text": "text",
}

#: A row whose run ended is written by the run or at its event; after this time by comparison.
SETTLED_BY_THEN = timedelta(minutes=1)
#: How long a retry that Dagster announced may take to start.
RETRIED_BY_THEN = timedelta(minutes=10)
#: Age of a row's run that Dagster does not know, after which it counts as lost with another instance.
LOST_AFTER = timedelta(hours=1)


def settle_run(catalog: Catalog, run: dg.DagsterRun, message: str, error_type: str, log: Log) -> list[Stage]:
    """Fail the stages that the row still assigns to a finished run, or the stage that the run never began.

    Return the failed stages. Nothing changes for a run whose stage another run has taken over.
    """
    video_id = run.tags.get(VIDEO_ID) or video_id_of(run.tags.get(PARTITION, ""))
    if not video_id:
        return []
    try:
        video = catalog.get_video(video_id)
    except UnknownVideoError:
        return []
    except CaptionAccError as error:
        if error.lies_with_service:
            raise
        log(f"run {run.run_id}: {error}")
        return []
    ended: list[Stage] = []
    for stage, owner in _left_by(video, run):
        try:
            catalog.fail_stage(video_id, stage, owner, message, error_type)
            ended.append(stage)
        except CaptionAccError as error:
            if error.lies_with_service:
                raise
            log(f"{stage} of video {video_id} had ended already: {error}")
    _settle_requests(catalog, video_id, run, message, log)
    backfill_id = run.tags.get(BACKFILL_TAG)
    if backfill_id and video.boundaries.last_run_id not in _same_work(run):
        # The run never began its stage, so the row does not show the end.
        catalog.end_backfill_video(backfill_id, video_id, message)
    return ended


def _same_work(run: dg.DagsterRun) -> set[str]:
    """Return the ids of the run and of those that it retries: it may have died before it took over."""
    return {run_id for run_id in (run.run_id, run.parent_run_id, run.root_run_id) if run_id}


def _left_by(video: VideoRow, run: dg.DagsterRun) -> list[tuple[Stage, str]]:
    """Return the stages to fail, each with the run that owns it."""
    runs = _same_work(run)
    owned = [(stage, owner) for stage in STAGES if (owner := video.stage(stage).run_id) in runs and owner]
    if owned:
        return owned
    first = FIRST_STAGE.get(run.job_name)
    key = _key(run)
    if first is None or key is None or isinstance(key, RequestsKey | BackfillKey):
        return []
    state = video.stage(first)
    # Dagster accepts a run key once: no other run will begin this attempt.
    never_began = (
        state.status == "wait"
        and state.run_id is None
        and state.last_run_id not in runs
        and key.attempt == state.attempts
    )
    return [(first, run.run_id)] if never_began else []


def _key(run: dg.DagsterRun) -> RunKey | None:
    return parse(run.tags.get(RUN_KEY, ""))


def _settle_requests(catalog: Catalog, video_id: str, run: dg.DagsterRun, message: str, log: Log) -> None:
    """Fail requests that the run was serving, or that it was created for and never began."""
    runs = _same_work(run)
    key = _key(run)
    made_for = (key.request_id, key.attempt) if isinstance(key, RequestsKey) else None
    for request in catalog.list_caption_ocr_requests(video_id):
        never_began = request.status == "queued" and made_for == (request.id, request.attempts)
        if not never_began and not (request.status == "processing" and request.run_id in runs):
            continue
        try:
            if never_began:
                catalog.begin_caption_ocr_request(request.id, run.run_id)
            worker = run.run_id if never_began else request.run_id
            catalog.fail_caption_ocr_request(request.id, worker or run.run_id, message)
        except CaptionAccError as error:
            if error.lies_with_service:
                raise
            log(f"request {request.id} had ended already: {error}")


def cancel_calls(catalog: Catalog, run_id: str) -> int:
    """Cancel the remote calls of a cancelled run, and return how many. Upkeep cancels them in the backend."""
    calls = catalog.list_compute_calls(run_id=run_id, open_only=True)
    for call in calls:
        catalog.cancel_compute_call(call.id, message="its run was cancelled")
    return len(calls)


def settle_lost_runs(
    catalog: Catalog, instance: dg.DagsterInstance, log: Log, *, limit: int = 500, now: datetime | None = None
) -> int:
    """Compare rows that are being worked on with Dagster's runs; fail those whose run is over or unknown.

    For ends that nobody reported: the sensor was off, the event came before Dagster decided about a retry,
    or the instance's database was lost. Return how many stages were failed.
    """
    now = now or datetime.now(UTC)
    rows = catalog.list_videos(limit, in_work=True)
    wanted = {run_id for row in rows for stage in STAGES if (run_id := row.stage(stage).run_id)}
    if not wanted:
        return 0
    records = {
        record.dagster_run.run_id: record
        for record in instance.get_run_records(dg.RunsFilter(run_ids=sorted(wanted)))
    }
    ended = 0
    for row in rows:
        for stage in STAGES:
            state = row.stage(stage)
            if state.run_id is None:
                continue
            verdict = _verdict(instance, records.get(state.run_id), state.started_at, now)
            if verdict is None:
                continue
            try:
                catalog.fail_stage(row.video_id, stage, state.run_id, *verdict)
                ended += 1
            except CaptionAccError as error:
                if error.lies_with_service:
                    raise
                log(f"{stage} of video {row.video_id} had ended already: {error}")
    return ended


def _verdict(
    instance: dg.DagsterInstance, record: dg.RunRecord | None, started_at: datetime | None, now: datetime
) -> tuple[str, str] | None:
    """Return message and type of the error of a stage whose run is over; None while the run may go on."""
    if record is None:
        if started_at is not None and now - started_at < LOST_AFTER:
            return None
        return "The run is not known to Dagster any more; retry it to go on.", "RunLostError"
    run = record.dagster_run
    if not run.is_finished:
        return None
    ended_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else now - SETTLED_BY_THEN
    if now - ended_at < SETTLED_BY_THEN:
        return None
    if run.status == dg.DagsterRunStatus.CANCELED:
        return CANCELLED, "Cancelled"
    if _goes_on(instance, run, ended_at, now):
        return None
    return "The run ended before it was done; retry it to go on.", "RunFailed"


def _goes_on(instance: dg.DagsterInstance, run: dg.DagsterRun, ended_at: datetime, now: datetime) -> bool:
    """Return whether Dagster retries the run. A retry may have died before it began the stage."""
    while will_be_retried(run) or retry_failed_to_start(instance, run):
        retry = retry_run_id(run)
        record = instance.get_run_record_by_id(retry) if retry else None
        if record is None:
            return now - ended_at < RETRIED_BY_THEN
        run = record.dagster_run
        if not run.is_finished:
            return True
        ended_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else ended_at
    # The end of the retry is settled at its event.
    return now - ended_at < SETTLED_BY_THEN
