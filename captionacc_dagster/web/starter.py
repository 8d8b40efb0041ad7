"""The starter, which starts one video's run at once for the webhook and the listeners.

It uses the same claim, run key, partition and tags as the sensors, so that a run is never started twice. A
claim goes to one of them. A claim that was returned or has expired is handed out again under the same run
key, and both this module and Dagster's daemon look that key up before they create a run.

The caller gets the run's id as soon as the work is claimed. Another thread creates the run a moment later,
because that takes Dagster far longer. If that fails, or this process ends first, the claim goes back to the
sensors, whose run has the same key and another id.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg

from captionacc_dagster.assets.external import approval_event, upload_event
from captionacc_dagster.jobs import captions_job, layout_job
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import Catalog, CatalogError, LayoutApproval, VideoRow
from captionacc_dagster.runs.keys import captions_run_key, layout_run_key
from captionacc_dagster.runs.tags import PARTITION, QUEUE_PRIORITY, RUN_KEY, SENSOR_NAME, RunTags
from captionacc_dagster.sensors.claims import CLAIM_SECONDS, LOOK_AGAIN_SECONDS, Claim, return_claims
from captionacc_dagster.sensors.layout_approvals import (
    captions_claim,
    captions_run_requests,
    layout_approvals,
)
from captionacc_dagster.sensors.new_videos import (
    layout_claim,
    layout_run_requests,
    new_videos,
    with_partition_keys,
)
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

#: The tenants with running work are looked up at most once in this time.
_TAGS_SECONDS = 1.0
#: If the catalogue fails when a claim is returned, the next attempt is after this time.
RETRY_SECONDS = 5.0
#: At its end, a starter creates ordered runs for at most this time.
CLOSE_SECONDS = 10.0
#: Creation of runs waits until no caller waits for an answer, at most this long.
YIELD_SECONDS = 1.0


class LaunchError(CaptionAccError):
    """Dagster does not answer. The sensors start the run once it does."""

    retryable = True


#: Creates and queues a run. Parameters: job, run id, tags.
Submit = Callable[[str, str, dict[str, str]], None]


@dataclass(frozen=True)
class Started:
    """The outcome of a call. ``run_id`` is ``None`` while there is no run; ``priority`` is the run's."""

    outcome: Literal["started", "running", "waiting", "nothing to do"]
    run_id: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class _Order:
    """A run to create for a claim."""

    claim: Claim
    job: str
    run_id: str
    tags: dict[str, str]
    event: dg.AssetMaterialization


@dataclass
class RunStarter:
    """Claims a video's work and creates its run, exactly once for any number of calls.

    Thread-safe. A worker thread calls ``submit``; :meth:`close` ends that thread.
    """

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    submit: Submit
    #: The run tag that says what started a run.
    trigger: str = "webhook"
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _orders: deque[_Order] = field(default_factory=deque)
    #: Runs that are ordered but not created yet, by run key.
    _promised: dict[str, Started] = field(default_factory=dict)
    #: Claims to return, each with the time at which it expires anyway.
    _owed: list[tuple[float, Claim]] = field(default_factory=list)
    _callers: int = 0
    _closed: bool = False
    _worker: threading.Thread | None = None
    _tags: tuple[float, RunTags] | None = None
    _tags_guard: threading.Lock = field(default_factory=threading.Lock)

    def start_layout(self, video_id: str) -> Started:
        """Start the layout of a new upload.

        Raises ``UnknownVideoError``, ``StorageError`` and :class:`LaunchError`.
        """
        with self._calling():
            video = self.catalog.claim_new_video(video_id, restart_after_seconds=CLAIM_SECONDS)
            if video is None:
                # For an unknown id, get_video raises.
                row = self.catalog.get_video(video_id)
                return self._as_it_is(row, layout_run_key(row), row.layout.status, row.layout.run_id)
            claim = layout_claim(video)
            with self._returned_on_error(claim):
                named = with_partition_keys(self.catalog, [video])
                try:
                    event = upload_event(named[0], self.object_store)
                except ObjectNotFoundError:
                    # The sensor waits for the object, and gives up after a while.
                    self._return_claim(claim, LOOK_AGAIN_SECONDS)
                    return Started("waiting")
                with self._run_tags() as tags:
                    (request,) = layout_run_requests(named, tags, self.trigger)
                is_first = video.layout.unstarted_requests <= 1
                job = request.job_name or layout_job.name
                return self._start(claim, request, job, new_videos.name, event, is_first)

    def start_captions(self, video_id: str) -> Started:
        """Start the captions of an approved layout. Raises ``UnknownVideoError`` and :class:`LaunchError`."""
        with self._calling():
            approval = self.catalog.claim_layout_approval(video_id, restart_after_seconds=CLAIM_SECONDS)
            if approval is None:
                row = self.catalog.get_video(video_id)
                if row.crop_region is None:
                    return Started("nothing to do")
                run_key = captions_run_key(LayoutApproval.of(row))
                return self._as_it_is(row, run_key, row.boundaries.status, row.boundaries.run_id)
            claim = captions_claim(approval)
            with self._returned_on_error(claim):
                with self._run_tags() as tags:
                    (request,) = captions_run_requests([approval], tags, self.trigger)
                event = approval_event(approval)
                return self._start(claim, request, captions_job.name, layout_approvals.name, event, False)

    def close(self, wait_seconds: float = CLOSE_SECONDS) -> None:
        """Create the ordered runs, and return the claims of those not created within ``wait_seconds``."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._worker is not None:
            self._worker.join(wait_seconds)
        while order := self._next_order():
            self._return_claim(order.claim)

    def wait_until_created(self, timeout: float = 30) -> bool:
        """Wait until all ordered runs are created and all claims returned. Return whether they are."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._promised and not self._owed, timeout)

    # -- claims ------------------------------------------------------------------------------

    @contextmanager
    def _calling(self) -> Iterator[None]:
        with self._condition:
            self._callers += 1
        try:
            yield
        finally:
            with self._condition:
                self._callers -= 1
                self._condition.notify_all()

    @contextmanager
    def _returned_on_error(self, claim: Claim) -> Iterator[None]:
        """Return the claim to the catalogue on any error."""
        try:
            yield
        except BaseException:
            self._return_claim(claim)
            raise

    def _return_claim(self, claim: Claim, again_after_seconds: float = 0) -> None:
        try:
            return_claims(self.catalog, [claim], again_after_seconds)
        except CatalogError as error:
            _log.warning("%s will be returned in %.0f s: %s", claim.run_key, RETRY_SECONDS, error)
            with self._condition:
                self._owed.append((time.monotonic() + claim.seconds, claim))
                self._work()

    @contextmanager
    def _run_tags(self) -> Iterator[RunTags]:
        """Lend the tags, one caller at a time; calls within a second share them."""
        with self._tags_guard:
            if self._tags is None or time.monotonic() - self._tags[0] > _TAGS_SECONDS:
                self._tags = (time.monotonic(), RunTags(self.catalog, self.instance))
            with dagster_answers():
                yield self._tags[1]

    # -- runs --------------------------------------------------------------------------------

    def _as_it_is(self, row: VideoRow, run_key: str, status: str, run_id: str | None) -> Started:
        if row.deleted_at is not None or status != "wait":
            return Started("nothing to do")
        known = self._known_run(run_key)
        if known is not None:
            return known
        return Started("running", run_id) if run_id else Started("waiting")

    def _known_run(self, run_key: str) -> Started | None:
        with self._condition:
            promised = self._promised.get(run_key)
        if promised is not None:
            return Started("running", promised.run_id, promised.priority)
        with dagster_answers():
            runs = self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY: run_key}), limit=1)
        return Started("running", runs[0].run_id, _priority(runs[0].tags)) if runs else None

    def _start(
        self,
        claim: Claim,
        request: dg.RunRequest,
        job: str,
        sensor: str,
        event: dg.AssetMaterialization,
        is_first: bool,
    ) -> Started:
        """Order the run. Only a claim that is not the first of its attempt can already have one."""
        if not is_first and (known := self._known_run(claim.run_key)) is not None:
            return known
        tags = {
            **request.tags,
            PARTITION: _partition_key(request),
            RUN_KEY: claim.run_key,
            SENSOR_NAME: sensor,
        }
        order = _Order(claim, job, str(uuid.uuid4()), tags, event)
        started = Started("started", order.run_id, _priority(tags))
        with self._condition:
            if self._closed:
                raise LaunchError("the process is ending")
            self._promised[claim.run_key] = started
            self._orders.append(order)
            self._work()
        return started

    def _work(self) -> None:
        """Wake the worker. The caller holds the condition."""
        if self._worker is None and not self._closed:
            self._worker = threading.Thread(target=self._create_runs, name="create runs", daemon=True)
            self._worker.start()
        self._condition.notify_all()

    def _create_runs(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._orders or self._closed, RETRY_SECONDS)
                if self._orders and not self._closed:
                    # Creating a run takes much CPU time: answers go first.
                    self._condition.wait_for(lambda: not self._callers or self._closed, YIELD_SECONDS)
            order = self._next_order()
            if order is not None:
                self._create(order)
            self._return_owed()
            if order is None and self._closed:
                return

    def _next_order(self) -> _Order | None:
        with self._condition:
            return self._orders.popleft() if self._orders else None

    def _create(self, order: _Order) -> None:
        try:
            self.instance.add_dynamic_partitions(VIDEO_PARTITIONS, [order.tags[PARTITION]])
            self.instance.report_runless_asset_event(order.event)
            self.submit(order.job, order.run_id, order.tags)
        except Exception as error:
            # Whether or not it was created, the sensor requests the same key: Dagster creates one run a key.
            _log.warning("%s is left to the sensor: %s", order.claim.run_key, _first_line(error))
            self._return_claim(order.claim)
        finally:
            with self._condition:
                self._promised.pop(order.claim.run_key, None)
                self._condition.notify_all()

    def _return_owed(self) -> None:
        """Return claims again for which the catalogue failed before, until they expire."""
        with self._condition:
            owed, self._owed = self._owed, []
        left = [(until, claim) for until, claim in owed if until > time.monotonic()]
        try:
            return_claims(self.catalog, [claim for _, claim in left])
            left = []
        except CatalogError:
            pass
        with self._condition:
            self._owed += left
            self._condition.notify_all()


@contextmanager
def dagster_answers() -> Iterator[None]:
    """Turn any error of Dagster's storage into a :class:`LaunchError`."""
    try:
        yield
    except CaptionAccError:
        raise
    except Exception as error:
        _log.warning("Dagster's storage does not answer: %s", _first_line(error))
        raise LaunchError("Dagster's storage does not answer") from None


def _partition_key(request: dg.RunRequest) -> str:
    if request.partition_key is None:
        raise ValueError("a run of a video needs its partition key")
    return request.partition_key


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _priority(tags: Mapping[str, str]) -> int:
    return int(tags.get(QUEUE_PRIORITY, "0"))
