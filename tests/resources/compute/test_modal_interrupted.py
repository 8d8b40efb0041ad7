"""Calls on Modal whose process is killed, whose run is interrupted, or that a person cancels."""

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from captionacc_dagster.resources.catalog import LockLostError
from captionacc_dagster.resources.compute.modal_client import dashboard_url
from modal_gpu import errors
from tests.modal_stand_in.service import Service
from tests.resources.compute.conftest import RESULT, Waiting, unreached

REPOSITORY = Path(__file__).resolve().parents[3]
_PROCESS = """
import os, signal, sys
from pathlib import Path
from captionacc_dagster.resources.compute import ComputeCall
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from tests.modal_stand_in.service import Service
import json
dsn, folder, moment, call = sys.argv[1:]
service = Service(Path(folder))
if moment != "waiting":
    service.faults[moment] = [lambda _: os.kill(os.getpid(), signal.SIGKILL)]
backend = ModalBackend(
    Catalog(PostgresTransport(dsn)), ModalCallSettings(poll_seconds=0.02), "killed-run", modal=service
)
backend.call(ComputeCall(**json.loads(call)))
"""


class TestKilled:
    """The process is killed with SIGKILL: it cannot clean up."""

    @pytest.fixture
    def die(self, waiting: Waiting, service: Service, postgres_dsn: str, call):
        import json

        def die(moment: str) -> None:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _PROCESS,
                    postgres_dsn,
                    str(service.folder),
                    moment,
                    json.dumps(dataclasses.asdict(call)),
                ],
                cwd=REPOSITORY,
                env=os.environ,
            )
            try:
                if moment == "waiting":
                    service.wait_for_spawn()
                    waiting.until(lambda: waiting.row().call_id)
                    process.kill()
                assert process.wait(20) == -9
            finally:
                process.kill()

        return die

    def test_while_it_waits_the_next_attempt_finds_the_call(self, waiting, service, die):
        die("waiting")
        (call_id,) = service.spawned
        assert service.cancelled == [], "the call goes on without its caller"
        future = waiting.start()
        waiting.until(lambda: waiting.row().run_id == "run-1")
        service.succeed(call_id, RESULT)
        assert future.result(10) == RESULT
        assert service.spawned == [call_id]

    def test_before_modal_was_asked_the_next_attempt_asks(self, waiting, service, die):
        die("spawn")
        assert service.spawned == []
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        assert (len(service.spawned), waiting.row().attempts) == (1, 2)

    def test_with_its_id_not_stored_the_call_is_found_by_its_containers_first_message(
        self, waiting, service, die
    ):
        die("after_spawn")
        (call_id,) = service.spawned
        row = waiting.row()
        assert (row.status, row.call_id) == ("pending", None)
        service.say(row.id, {"call_id": call_id}, {"stage": "reading", "done": 1, "total": 8})
        service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        assert service.spawned == [call_id]

    def test_with_its_id_not_stored_and_no_container_yet_it_is_cancelled_once_it_appears(
        self, waiting, service, die
    ):
        die("after_spawn")
        (stray,) = service.spawned
        future = waiting.start()
        call_id = service.wait_for_spawn(2)[1]
        service.say(waiting.row().id, {"call_id": stray}, {"call_id": call_id})
        waiting.until(lambda: service.cancelled == [stray])
        service.succeed(call_id, RESULT)
        assert future.result(10) == RESULT
        assert service.cancelled == [stray]


class TestCancelled:
    @pytest.mark.parametrize(
        "interruption", [DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit]
    )
    def test_an_interrupted_run_cancels_its_call(self, waiting, service, interruption):
        begun, stop = threading.Event(), threading.Event()

        def progress(*_) -> None:
            begun.set()
            if stop.is_set():
                raise interruption

        future = waiting.start(progress=progress)
        (call_id,) = service.wait_for_spawn()
        assert begun.wait(10)
        stop.set()
        with pytest.raises(interruption):
            future.result(10)
        assert service.cancelled == [call_id]
        row = waiting.row()
        assert row.status == "cancelled" and row.cancel_delivered_at is not None

    def test_an_interruption_while_the_call_is_being_started_cancels_it(self, waiting, service, monkeypatch):
        """The main thread is interrupted after Modal took the call, and before its id is stored."""
        import concurrent.futures

        taken, go_on = threading.Event(), threading.Event()

        def slow(_: str) -> None:
            taken.set()
            assert go_on.wait(10)

        def interrupted(future, *arguments):
            assert taken.wait(10)
            monkeypatch.undo()
            threading.Timer(0.05, go_on.set).start()
            raise KeyboardInterrupt

        service.faults["after_spawn"] = [slow]
        monkeypatch.setattr(concurrent.futures.Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            waiting.backend().call(waiting.default)
        assert service.cancelled == service.spawned and len(service.spawned) == 1
        assert waiting.row().status == "cancelled"

    def test_a_listener_that_refuses_cancels_the_call(self, waiting, service):
        """The layout's listener refuses when its lock is lost, even while the container is silent."""

        def refuse(*_) -> None:
            if service.polls:
                raise LockLostError("the lock ran out")

        future = waiting.start(progress=refuse)
        with pytest.raises(LockLostError):
            future.result(10)
        assert service.cancelled == service.spawned
        assert waiting.row().error_details["message"] == "the lock ran out"

    def test_an_attempt_that_another_followed_cancels_nothing(self, waiting, service):
        stop = threading.Event()

        def progress(*_) -> None:
            if stop.is_set():
                raise KeyboardInterrupt

        first = waiting.start(progress=progress)
        (call_id,) = service.wait_for_spawn()
        waiting.until(lambda: waiting.row().call_id)
        second = waiting.start(run_id="run-2")
        waiting.until(lambda: waiting.row().run_id == "run-2")
        stop.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
        assert service.cancelled == []
        service.succeed(call_id, RESULT)
        assert second.result(10) == RESULT
        assert any("goes on: run run-2 waits for it" in line for line in waiting.log)

    def test_a_cancellation_that_failed_is_delivered_by_upkeep(self, waiting, service):
        service.faults["cancel"] = [unreached]

        def refuse(*_) -> None:
            if service.polls:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            waiting.start(progress=refuse).result(10)
        assert service.cancelled == []
        row = waiting.row()
        assert row.status == "cancelled" and row.cancel_delivered_at is None
        assert any("could not cancel" in line and dashboard_url(row.call_id) in line for line in waiting.log)
        (delivered,) = waiting.backend("upkeep").cancel_abandoned(lambda run_id: True)
        assert delivered.cancel_delivered_at is not None
        assert service.cancelled == service.spawned

    def test_upkeep_cancels_the_calls_of_dead_runs_only(self, waiting, service, call):
        service.faults["get"] = [unreached] * 1000
        for run_id in ("dead", "alive"):
            request = {**call.request, "for": run_id}
            future = waiting.start(dataclasses.replace(call, request=request), run_id=run_id)
            with pytest.raises(errors.RemoteUnavailableError):
                future.result(10)
        upkeep = waiting.backend("upkeep")
        assert upkeep.cancel_abandoned(lambda run: run == "alive") == [], "it may be about to be found"
        (cancelled,) = upkeep.cancel_abandoned(lambda run: run == "alive", older_than_seconds=0)
        assert cancelled.run_id == "dead"
        assert service.cancelled == [cancelled.call_id]

    def test_a_call_cancelled_in_the_catalogue_ends_the_wait(self, waiting, service, catalog):
        future = waiting.start()
        service.wait_for_spawn()
        row = waiting.until(lambda: waiting.row() if waiting.row().call_id else None)
        catalog.cancel_compute_call(row.id, message="too expensive")
        with pytest.raises(errors.RemoteCancelledError, match="too expensive"):
            future.result(10)
