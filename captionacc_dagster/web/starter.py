"""Starting one video's run at once, for who was told of it: the webhook, the listener.

The same claim, run key, partition and tags as the sensors', so that neither starts what the other did: a
claim goes to one of them, and one that is given back or runs out is handed out again under the same run
key, which is looked up before a run is made, here and in Dagster's daemon.

The caller gets the run's id as soon as the work is claimed. The run itself is made a moment later by
another thread, because that takes Dagster far longer. Where it fails, or this process ends before, the
claim goes back to the sensors, whose run has the same key and another id.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg

from captionacc_dagster.assets.external import approval_event, upload_event
from captionacc_dagster.jobs import captions_job, layout_job
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, CatalogError, LayoutApproval, VideoRow
from captionacc_dagster.runs.tags import RunTags
from captionacc_dagster.sensors.claims import CLAIM_SECONDS, LOOK_AGAIN_SECONDS, Claim, return_claims
from captionacc_dagster.sensors.layout_approvals import (
    captions_claim,
    captions_run_key,
    captions_run_requests,
    layout_approvals,
)
from captionacc_dagster.sensors.new_videos import (
    layout_claim,
    layout_run_key,
    layout_run_requests,
    new_videos,
)
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

RUN_KEY, SENSOR_NAME, PARTITION = "dagster/run_key", "dagster/sensor_name", "dagster/partition"
PRIORITY = "dagster/priority"
_TRIGGER = "webhook"
#: Which tenants are at work is looked up once for all that comes within so many seconds.
_TAGS_SECONDS = 1.0
#: A claim that the catalogue did not take back is given back again after so many seconds.
RETRY_SECONDS = 5.0
#: Runs are made while nobody waits for an answer, but wait no longer than this.
YIELD_SECONDS = 1.0


class LaunchError(CaptionAccError):
    """Dagster does not answer; the sensors will start the run, once it does."""

    retryable = True


#: Makes a run of a job with this id and tags, and queues it.
Submit = Callable[[str, str, dict[str, str]], None]


@dataclass(frozen=True)
class Started:
    """What came of it. ``run_id`` is ``None`` while there is no run, ``priority`` is the run's."""

    outcome: Literal["started", "running", "waiting", "nothing to do"]
    run_id: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class _Order:
    """A run to be made of a claim."""

    claim: Claim
    job: str
    run_id: str
    tags: dict[str, str]
    event: dg.AssetMaterialization


@dataclass
class RunStarter:
    """Claims a video's work and has its run made, once however often it is called and by whom.

    Serves many threads. ``submit`` is called by one thread of its own; :meth:`close` ends that one.
    """

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    submit: Submit
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _orders: deque[_Order] = field(default_factory=deque)
    #: Runs that are ordered and not made yet, by run key.
    _promised: dict[str, Started] = field(default_factory=dict)
    #: Claims to give back, with the time at which they run out anyway.
    _owed: list[tuple[float, Claim]] = field(default_factory=list)
    _callers: int = 0
    _closed: bool = False
    _worker: threading.Thread | None = None
    _tags: tuple[float, RunTags] | None = None
    _tags_guard: threading.Lock = field(default_factory=threading.Lock)

    def start_layout(self, video_id: str) -> Started:
        """Of a new upload. Raises ``UnknownVideoError``, ``StorageError`` and :class:`LaunchError`."""
        with self._calling():
            video = self.catalog.claim_new_video(video_id, restart_after_seconds=CLAIM_SECONDS)
            if video is None:
                # Also an unknown id, which get_video refuses.
                row = self.catalog.get_video(video_id)
                return self._as_it_is(row, layout_run_key(row), row.layout_status, row.layout_run_id)
            claim = layout_claim(video)
            with self._kept(claim):
                try:
                    event = upload_event(video, self.object_store)
                except ObjectNotFoundError:
                    # The sensor waits for it, and gives it up when it never comes.
                    self._give_back(claim, LOOK_AGAIN_SECONDS)
                    return Started("waiting")
                with self._run_tags() as tags:
                    (request,) = layout_run_requests([video], tags, _TRIGGER)
                is_first = video.layout_unstarted_requests <= 1
                return self._start(claim, request, layout_job.name, new_videos.name, event, is_first)

    def start_captions(self, video_id: str) -> Started:
        """Of an approved layout. Raises ``UnknownVideoError`` and :class:`LaunchError`."""
        with self._calling():
            approval = self.catalog.claim_layout_approval(video_id, restart_after_seconds=CLAIM_SECONDS)
            if approval is None:
                row = self.catalog.get_video(video_id)
                if row.crop_region is None:
                    return Started("nothing to do")
                run_key = captions_run_key(LayoutApproval.of(row))
                return self._as_it_is(row, run_key, row.boundaries_status, row.boundaries_run_id)
            claim = captions_claim(approval)
            with self._kept(claim):
                with self._run_tags() as tags:
                    (request,) = captions_run_requests([approval], tags, _TRIGGER)
                event = approval_event(approval)
                return self._start(claim, request, captions_job.name, layout_approvals.name, event, False)

    def close(self, wait_seconds: float = 10) -> None:
        """Make the runs that are ordered; what is not made within ``wait_seconds`` is given back."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._worker is not None:
            self._worker.join(wait_seconds)
        while order := self._next_order():
            self._give_back(order.claim)

    def wait_until_made(self, timeout: float = 30) -> bool:
        """Wait for the runs that are ordered and the claims to be given back; whether none is left."""
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
    def _kept(self, claim: Claim) -> Iterator[None]:
        """Give the claim back on any error."""
        try:
            yield
        except BaseException:
            self._give_back(claim)
            raise

    def _give_back(self, claim: Claim, again_after_seconds: float = 0) -> None:
        try:
            return_claims(self.catalog, [claim], again_after_seconds)
        except CatalogError as error:
            _log.warning("%s is given back in %.0f s: %s", claim.run_key, RETRY_SECONDS, error)
            with self._condition:
                self._owed.append((time.monotonic() + claim.seconds, claim))
                self._work()

    @contextmanager
    def _run_tags(self) -> Iterator[RunTags]:
        """Shared by calls that come within a second, one after the other."""
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
        """Order the run. Only a claim that is not the first of its attempt may have one already."""
        if not is_first and (known := self._known_run(claim.run_key)) is not None:
            return known
        tags = {
            **request.tags,
            PARTITION: claim.row_id,
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
        """Wake the worker; with the condition held."""
        if self._worker is None and not self._closed:
            self._worker = threading.Thread(target=self._make_runs, name="make runs", daemon=True)
            self._worker.start()
        self._condition.notify_all()

    def _make_runs(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._orders or self._closed, RETRY_SECONDS)
                if self._orders and not self._closed:
                    # Making a run is a lot of computing: answers go first.
                    self._condition.wait_for(lambda: not self._callers or self._closed, YIELD_SECONDS)
            order = self._next_order()
            if order is not None:
                self._make(order)
            self._pay_back()
            if order is None and self._closed:
                return

    def _next_order(self) -> _Order | None:
        with self._condition:
            return self._orders.popleft() if self._orders else None

    def _make(self, order: _Order) -> None:
        try:
            self.instance.add_dynamic_partitions(videos.name, [order.claim.row_id])
            self.instance.report_runless_asset_event(order.event)
            self.submit(order.job, order.run_id, order.tags)
        except Exception as error:
            # Made or not: the sensor asks for the same key, and Dagster makes one run a key.
            _log.warning("%s is left to the sensor: %s", order.claim.run_key, _first_line(error))
            self._give_back(order.claim)
        finally:
            with self._condition:
                self._promised.pop(order.claim.run_key, None)
                self._condition.notify_all()

    def _pay_back(self) -> None:
        """Give back what the catalogue did not take before, until it runs out by itself."""
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
    """Turn whatever Dagster's storage raises into a :class:`LaunchError`."""
    try:
        yield
    except CaptionAccError:
        raise
    except Exception as error:
        _log.warning("Dagster's storage does not answer: %s", _first_line(error))
        raise LaunchError("Dagster's storage does not answer") from None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _priority(tags: dict[str, str]) -> int:
    return int(tags.get(PRIORITY, "0"))
