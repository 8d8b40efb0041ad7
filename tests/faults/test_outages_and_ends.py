"""Dependencies of a run become unreachable, or a run is ended; the video ends like an undisturbed one.

One platform, on S3 over HTTP. Every test has a video that its run holds at a step until the test has done
what it does; they are all on their way before the first test looks.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import httpx
import psycopg
import pytest
from dagster_graphql import DagsterGraphQLClient

from captionacc_dagster.resources.catalog import LockInfo
from captionacc_dagster.resources.compute import ComputeCall, run_call
from modal_gpu.functions.settings import ComputeSettings
from tests.faults.disturbed_platform import (
    Platform,
    free_port,
    kill_daemon,
    make_clip,
    run_process,
    running_platform,
    servers,
    start_daemon,
)
from tests.faults.injection import Fault
from tests.faults.line_cut import CuttableLine, cut
from tests.faults.table import Healed, Tell
from tests.faults.test_killed_runs import CAPTIONS, CROPS, LAYOUT, TEXT
from tests.modal_calls import request_in
from tests.modal_stand_in.service import Service
from tests.storage_fixtures import ACCESS_KEY, SECRET_KEY, S3Server

pytestmark = [pytest.mark.faults, pytest.mark.e2e, pytest.mark.xdist_group("faults-outages")]

Kind = dg.DagsterEventType


def disturbs(fault: Fault | None = None, **modal: bool) -> Callable[[Callable], Callable]:
    """Declare the disturbance of a test: a video whose run is held at a step, or that is on Modal."""

    def mark(test: Callable) -> Callable:
        test.disturbs = fault, modal
        return test

    return mark


class Outages:
    """The platform, its line to the bucket, and a video for each of ``tests``."""

    def __init__(self, platform: Platform, s3_line: CuttableLine, tests: list[Callable]) -> None:
        self.platform, self.s3_line = platform, s3_line
        self.service = Service(platform.plans.modal_folder)
        self.undisturbed = platform.upload()
        self.faults = {test.__name__: test.disturbs[0] for test in tests}
        self.videos = {
            test.__name__: platform.upload(*filter(None, test.disturbs[:1]), **test.disturbs[1])
            for test in tests
        }

    def run_of(self, video_id: str) -> dg.DagsterRun:
        return self.platform.runs(video_id)[-1]

    def wait_event(self, video_id: str, kind: Kind) -> None:
        self.platform.until(f"{kind.value} of {video_id}", lambda: self.platform.events(video_id, kind))

    def healed(self, test: str, since: float, fault: str, by: str) -> Healed:
        """The video ended like the undisturbed one, and nothing is left over; the table's row."""
        platform, video_id = self.platform, self.videos[test]
        platform.wait_settled(video_id)
        seconds = time.time() - since
        platform.wait_settled(self.undisturbed)
        assert platform.published(video_id) == platform.published(self.undisturbed)
        assert platform.left_over(video_id) == []
        held = self.faults[test]
        where = (held.asset, f"{held.when} {held.step}") if held else (CROPS, "its call")
        return Healed(fault, *where, by, seconds)


@dataclass
class Disturbed:
    """The objects that one test works with."""

    outages: Outages
    test: str
    tell: Tell

    @property
    def video_id(self) -> str:
        return self.outages.videos[self.test]

    def healed(self, since: float, fault: str, by: str) -> None:
        self.tell(self.outages.healed(self.test, since, fault, by))


@pytest.fixture
def disturbed(request: pytest.FixtureRequest, outages: Outages, tell: Tell) -> Disturbed:
    """The test's video, held at its step."""
    disturbed = Disturbed(outages, request.node.originalname, tell)
    if outages.faults[disturbed.test]:
        outages.platform.wait_fired(disturbed.video_id)
    return disturbed


class Containers:
    """Executes the calls that Modal's stand-in accepted, as containers do, with the real functions."""

    def __init__(self, platform: Platform, service: Service) -> None:
        self.platform, self.service = platform, service
        #: Takes a call over by giving true; otherwise it is worked on and answered.
        self.instead: Callable[[str, dict], bool] = lambda call_id, request: False
        self._seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work_on_what_comes, daemon=True)

    def work(self, call_id: str) -> None:
        """Execute a call completely, its answer last."""
        payload = self.service.payload(call_id)
        request = request_in(payload)
        call = ComputeCall(payload["function"], request["tenant_id"], request["video_id"], request)
        settings = ComputeSettings(workers=1, extents_predictor="strokes")
        self.service.succeed(call_id, run_call(call, self.platform.store, settings))

    def calls(self, video_id: str, function: str) -> list[str]:
        """The calls for a video, oldest first."""
        payloads = {call_id: self.service.payload(call_id) for call_id in self.service.spawned}
        return [
            call_id
            for call_id, payload in payloads.items()
            if payload["function"] == function and request_in(payload)["video_id"] == video_id
        ]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(60)

    def _work_on_what_comes(self) -> None:
        while not self._stop.wait(0.05):
            for call_id in self.service.spawned:
                if call_id in self._seen:
                    continue
                self._seen.add(call_id)
                payload = self.service.payload(call_id)
                if not self.instead(payload["function"], {**request_in(payload), "id": call_id}):
                    self.work(call_id)


@pytest.fixture(scope="module")
def outages(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outages]:
    chosen = [item.function for item in request.session.items if item.path == request.path]
    address = urlsplit(s3_server.endpoint)
    bucket = s3_server.make_settings().url
    with CuttableLine((address.hostname, address.port)) as s3_line, ExitStack() as stack:
        environment = {
            "CAPTIONACC_STORAGE_URL": bucket,
            "WASABI_ENDPOINT_URL": f"http://127.0.0.1:{s3_line.port}",
            "WASABI_ACCESS_KEY_READWRITE": ACCESS_KEY,
            "WASABI_SECRET_KEY_READWRITE": SECRET_KEY,
            # Held runs occupy slots.
            "CAPTIONACC_MAX_RUNS": "10",
            "CAPTIONACC_TENANT_RUNS": "10",
        }
        clip = make_clip(tmp_path_factory.mktemp("clip"))
        platform = stack.enter_context(running_platform(clip, environment=environment))
        platform.instance.event_log_storage.set_concurrency_slots("crop_and_infer", 10)
        yield Outages(platform, s3_line, chosen)


@pytest.fixture(scope="module")
def containers(outages: Outages) -> Iterator[Containers]:
    containers = Containers(outages.platform, outages.service)
    late = outages.videos.get(test_a_call_that_times_out_and_returns_late_changes_nothing.__name__)

    def times_out(function: str, request: dict) -> bool:
        first = function == CROPS and request["video_id"] == late and request["version"] == 1
        if first:
            outages.service.end(request["id"], "FunctionTimeoutError", "Task's current input hit its timeout")
        return first

    containers.instead = times_out
    with containers.at_work():
        yield containers


@pytest.mark.thorough
@disturbs(modal=True, silent=True)
def test_a_silent_modal_call_gives_its_result_to_the_next_attempt(
    disturbed: Disturbed, outages: Outages, containers: Containers
):
    """The wait times out, and the call returns late: nothing is paid twice."""
    video_id = disturbed.video_id
    outages.wait_event(video_id, Kind.STEP_UP_FOR_RETRY)
    since = time.time()
    outages.platform.plans.end_silence(video_id)
    disturbed.healed(since, "no answer from Modal, late", "the next try took the result")
    assert len(containers.calls(video_id, LAYOUT)) == len(containers.calls(video_id, CROPS)) == 1


@disturbs(modal=True)
def test_a_call_that_times_out_and_returns_late_changes_nothing(
    disturbed: Disturbed, outages: Outages, containers: Containers
):
    platform, video_id = outages.platform, disturbed.video_id
    platform.until("the time-out", lambda: platform.row(video_id).boundaries.status == "error")
    details = platform.row(video_id).boundaries.error_details
    assert details["error_type"] == "RemoteTimeoutError" and "captionacc retry" in details["message"]
    assert len(containers.calls(video_id, CROPS)) == 1, "as long again is not paid for by itself"
    since = time.time()
    platform.catalog.retry_stage(video_id, "boundaries")
    platform.until("the second call", lambda: len(containers.calls(video_id, CROPS)) == 2)
    platform.wait_settled(video_id)
    # The container of the first call continued all the time, and publishes only now.
    containers.work(containers.calls(video_id, CROPS)[0])
    versions = platform.catalog.list_cropped_frames_versions(video_id)
    assert sorted((v.version, v.status) for v in versions) == [(1, "failed"), (2, "active")]
    disturbed.healed(since, "call timed out, returned late", "a person's retry called again")
    assert platform.row(video_id).current_cropped_frames_version == 2


@pytest.mark.thorough
@disturbs(Fault(CAPTIONS, "take_lock", do="hold"))
def test_a_run_that_was_paused_for_longer_than_its_lease_takes_it_again(
    disturbed: Disturbed, outages: Outages
):
    platform, video_id = outages.platform, disturbed.video_id
    process = run_process(platform, outages.run_of(video_id).run_id)
    assert "multiprocessing.forkserver" in " ".join(process.parent().cmdline())
    since = time.time()
    process.suspend()
    platform.plans.let_go(video_id)
    platform.until("the end of the lease", lambda: not _locks(platform, video_id))
    process.resume()
    disturbed.healed(since, "process paused (SIGSTOP)", "the asset's next try")
    assert platform.events(video_id, Kind.STEP_UP_FOR_RETRY)


def _locks(platform: Platform, video_id: str) -> list[LockInfo]:
    return [lock for lock in platform.catalog.list_locks() if lock.video_id == video_id]


@disturbs(Fault(CROPS, "put chunk", when="before", nth=2, do="hold"))
def test_an_unreachable_bucket_is_retried(disturbed: Disturbed, outages: Outages):
    platform, video_id = outages.platform, disturbed.video_id
    since = time.time()
    with cut(outages.s3_line):
        platform.plans.let_go(video_id)
        outages.wait_event(video_id, Kind.STEP_UP_FOR_RETRY)
    disturbed.healed(since, "object store down", "the asset's next try")


@pytest.mark.thorough
@disturbs(Fault(CROPS, "activate_cropped_frames_version", when="before", do="hold"))
def test_broken_connections_are_replaced(disturbed: Disturbed, outages: Outages):
    platform = outages.platform
    since = time.time()
    with psycopg.connect(platform.postgres.dsn("postgres"), autocommit=True) as connection:
        broken = connection.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'captionacc'"
        ).fetchone()[0]
    assert broken
    platform.plans.let_go(disturbed.video_id)
    disturbed.healed(since, "database connections cut", "a new connection")


@disturbs(Fault(CAPTIONS, "finish_boundaries", when="before", do="hold"))
def test_an_unreachable_database_is_retried(disturbed: Disturbed, outages: Outages):
    platform, video_id = outages.platform, disturbed.video_id
    since = time.time()
    platform.postgres.stop()
    try:
        platform.plans.let_go(video_id)
        # Dagster's own storage is a different one here.
        outages.wait_event(video_id, Kind.STEP_UP_FOR_RETRY)
    finally:
        platform.postgres.ensure_running()
    disturbed.healed(since, "database down", "the asset's next try")


@pytest.fixture(scope="module")
def graphql(outages: Outages) -> Iterator[DagsterGraphQLClient]:
    """The API of a real web server."""
    port = free_port()
    command = [Path(sys.executable).parent / "dagster-webserver", "--empty-workspace", "-p", str(port)]
    log = outages.platform.services.log_folder / "dagster-webserver.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=subprocess.STDOUT)
    try:
        outages.platform.until("the web server", lambda: process.poll() is None and _answers(port))
        yield DagsterGraphQLClient("127.0.0.1", port_number=port)
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info", trust_env=False).is_success
    except httpx.TransportError:
        return False


@disturbs(Fault(CROPS, "put chunk", do="hold"))
def test_a_run_that_is_terminated_is_cancelled_and_retried_by_a_person(
    disturbed: Disturbed, outages: Outages, graphql: DagsterGraphQLClient
):
    platform, video_id = outages.platform, disturbed.video_id
    run_id = outages.run_of(video_id).run_id
    graphql.terminate_run(run_id)
    platform.plans.let_go(video_id)
    platform.until("the row's word", lambda: platform.row(video_id).error)
    details = platform.row(video_id).boundaries.error_details
    assert (details["error_type"], details["run_id"]) == ("Cancelled", run_id)
    platform.until("the run's end", lambda: outages.run_of(video_id).is_finished)
    assert outages.run_of(video_id).status == dg.DagsterRunStatus.CANCELED
    since = time.time()
    platform.catalog.retry_stage(video_id, "boundaries")
    disturbed.healed(since, "terminated (GraphQL)", "a person's retry")
    assert platform.instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.CANCELED


@disturbs(Fault(LAYOUT, "put full frame", do="hold"))
def test_a_killed_and_restarted_daemon_continues(disturbed: Disturbed, outages: Outages):
    """The run is not disturbed: its code server waits for it."""
    platform, video_id = outages.platform, disturbed.video_id
    since = time.time()
    kill_daemon(platform)
    platform.plans.let_go(video_id)
    start_daemon(platform)
    disturbed.healed(since, "daemon killed, started again", "the run went on")
    assert len(platform.runs(video_id)) == 1


@disturbs(Fault(TEXT, "put captions.db", when="before", do="hold"))
def test_after_a_reboot_interrupted_work_is_started_again(disturbed: Disturbed, outages: Outages):
    """Daemon, code server and run end at once; nothing reports the run's end to Dagster."""
    platform, video_id = outages.platform, disturbed.video_id
    run = outages.run_of(video_id)
    process = run_process(platform, run.run_id)
    since = time.time()
    kill_daemon(platform)
    for one in (*servers(process), process):
        one.kill()
    assert platform.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
    start_daemon(platform)
    disturbed.healed(since, "daemon, server and run killed", "the missing process was noticed")
    ended = platform.events(video_id, Kind.RUN_FAILURE)
    assert any("The process of this run is gone" in message for message in ended)
