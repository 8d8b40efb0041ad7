"""Starting one video's run at once, for who was told of it: the webhook, the listener.

The same claim, run key, partition and tags as the sensors', so that neither starts what the other
did: a claim goes to one of them, and a claim that runs out is handed out again under the same run
key, which is looked up before a run is launched, here and in Dagster's daemon.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import dagster as dg

from captionacc_dagster.jobs import captions_job, layout_job
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, LayoutApproval, VideoRow
from captionacc_dagster.sensors.claims import CLAIM_SECONDS
from captionacc_dagster.sensors.layout_approvals import (
    approval_event,
    captions_run_key,
    captions_run_requests,
    layout_approvals,
)
from captionacc_dagster.sensors.new_videos import (
    layout_run_key,
    layout_run_requests,
    new_videos,
    upload_event,
)
from captionacc_dagster.sensors.tags import RunTags
from modal_gpu.errors import CaptionAccError
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

RUN_KEY, SENSOR_NAME, PARTITION = "dagster/run_key", "dagster/sensor_name", "dagster/partition"
PRIORITY = "dagster/priority"
_TRIGGER = "webhook"


class LaunchError(CaptionAccError):
    """Dagster did not launch a run; the sensors will, once it answers."""

    retryable = True


class LaunchUncertainError(LaunchError):
    """Dagster did not say whether it launched the run."""


#: Launches a job with tags and gives the run's id. Raises :class:`LaunchError`.
Launch = Callable[[str, dict[str, str]], str]


@dataclass(frozen=True)
class Started:
    """What came of it. ``run_id`` is ``None`` while there is no run, ``priority`` is the run's."""

    outcome: Literal["started", "running", "waiting", "nothing to do"]
    run_id: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class RunStarter:
    """Claims a video's work and launches its run, once however often it is called and by whom."""

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    launch: Launch

    def start_layout(self, video_id: str) -> Started:
        """Of a new upload. Raises ``UnknownVideoError`` and :class:`LaunchError`."""
        video = self.catalog.claim_new_video(video_id, restart_after_seconds=CLAIM_SECONDS)
        if video is None:
            # Also an unknown id, which get_video refuses.
            row = self.catalog.get_video(video_id)
            return self._as_it_is(row, layout_run_key(row), row.layout_status, row.layout_run_id)

        def give_back() -> bool:
            return self.catalog.return_claims("layout", {video_id: video.layout_attempts}) > 0

        if not self.object_store.exists(video.storage_key):
            # The sensor waits for it, and gives it up when it never comes.
            give_back()
            return Started("waiting")
        event = upload_event(video, self.object_store)
        (request,) = layout_run_requests([video], RunTags(self.catalog, self.instance), _TRIGGER)
        return self._start(request, layout_job.name, new_videos.name, event, give_back)

    def start_captions(self, video_id: str) -> Started:
        """Of an approved layout. Raises ``UnknownVideoError`` and :class:`LaunchError`."""
        approval = self.catalog.claim_layout_approval(video_id, restart_after_seconds=CLAIM_SECONDS)
        if approval is None:
            row = self.catalog.get_video(video_id)
            if row.crop_region is None:
                return Started("nothing to do")
            run_key = captions_run_key(LayoutApproval.from_row(_columns(row)))
            return self._as_it_is(row, run_key, row.boundaries_status, row.boundaries_run_id)

        def give_back() -> bool:
            return self.catalog.return_claims("boundaries", {video_id: approval.attempt}) > 0

        (request,) = captions_run_requests([approval], RunTags(self.catalog, self.instance), _TRIGGER)
        event = approval_event(approval)
        return self._start(request, captions_job.name, layout_approvals.name, event, give_back)

    def _as_it_is(self, row: VideoRow, run_key: str, status: str, run_id: str | None) -> Started:
        if row.deleted_at is not None or status != "wait":
            return Started("nothing to do")
        known = self._known_run(run_key)
        if known is not None:
            return known
        return Started("running", run_id) if run_id else Started("waiting")

    def _known_run(self, run_key: str) -> Started | None:
        runs = self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY: run_key}), limit=1)
        return Started("running", runs[0].run_id, _priority(runs[0].tags)) if runs else None

    def _start(
        self,
        request: dg.RunRequest,
        job: str,
        sensor: str,
        event: dg.AssetMaterialization,
        give_back: Callable[[], bool],
    ) -> Started:
        known = self._known_run(request.run_key)
        if known is not None:
            return known
        tags = {
            **request.tags,
            PARTITION: request.partition_key,
            RUN_KEY: request.run_key,
            SENSOR_NAME: sensor,
        }
        try:
            self.instance.add_dynamic_partitions(videos.name, [request.partition_key])
            self.instance.report_runless_asset_event(event)
            run_id = self.launch(job, tags)
        except LaunchUncertainError:
            # The claim runs out by itself, when it is long known whether there is a run.
            raise
        except Exception:
            give_back()
            raise
        return Started("started", run_id, _priority(tags))


def _priority(tags: dict[str, str]) -> int:
    return int(tags.get(PRIORITY, "0"))


def _columns(row: VideoRow) -> dict:
    from dataclasses import fields

    columns = {field.metadata.get("column", field.name): getattr(row, field.name) for field in fields(row)}
    return columns | {"crop_region": vars(row.crop_region)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from; clients wrap what went wrong on the way."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def launch_over_http(dagster_url: str, timeout_seconds: int = 30) -> Launch:
    """Launches runs through Dagster's web server, as its UI does."""
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
    from gql.transport.exceptions import TransportError
    from requests.exceptions import ConnectionError as NotConnectedError
    from requests.exceptions import ConnectTimeout, RequestException

    parts = urlsplit(dagster_url)

    def launch(job: str, tags: dict[str, str]) -> str:
        try:
            client = DagsterGraphQLClient(
                parts.netloc, use_https=parts.scheme == "https", timeout=timeout_seconds
            )
            return client.submit_job_execution(job, run_config={}, tags=tags)
        except (DagsterGraphQLClientError, RequestException, TransportError) as error:
            causes = list(_causes(error))
            if any(isinstance(cause, (NotConnectedError, ConnectTimeout)) for cause in causes):
                raise LaunchError(f"Dagster's web server at {dagster_url} does not answer") from None
            if any(isinstance(cause, (RequestException, TransportError)) for cause in causes):
                raise LaunchUncertainError(
                    f"Dagster's web server at {dagster_url} did not say whether it launched {job}"
                ) from None
            raise LaunchError(f"Dagster did not launch {job}: {str(error).splitlines()[0]}") from error

    return launch
