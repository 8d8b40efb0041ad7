"""Single calls on Modal: paid once, found again, cancelled with their run, and errors that say what to do."""

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import modal
import psycopg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from captionacc_dagster.resources.catalog import CatalogUnavailableError, LockLostError
from captionacc_dagster.resources.modal_compute import STARTING, dashboard_url
from captionacc_dagster.resources.modal_compute_wire import request_hash
from modal_gpu import errors
from modal_gpu.remote import CONTRACT
from tests.modal_calls.conftest import EXTRACT, RESULT, Waiting
from tests.modal_stand_in.service import Service

REPOSITORY = Path(__file__).resolve().parents[2]
MODAL = modal.exception


def unreached(*_: object) -> None:
    raise MODAL.ConnectionError("[Errno 111] Connection refused")


class TestOneCall:
    def test_the_call_is_in_the_catalogue_before_it_is_waited_for(self, waiting: Waiting, service: Service):
        seen = []
        service.on_get = lambda call_id: seen.append(waiting.row()) if not seen else None
        future = waiting.start()
        (call_id,) = service.wait_for_spawn()
        service.succeed(call_id, RESULT, gpu="T4", seconds=12.5, cold_start_seconds=3.0)
        assert future.result(10) == RESULT
        (row,) = seen
        assert (row.status, row.call_id, row.run_id) == ("running", call_id, "run-1")
        assert waiting.row().status == "succeeded"

    def test_the_row_is_there_before_modal_is_asked(self, waiting: Waiting, service: Service):
        seen = []
        service.faults["spawn"] = [lambda _: seen.append(waiting.row())]
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start().result(10)
        assert [(row.status, row.call_id) for row in seen] == [("pending", None)]

    def test_the_function_gets_request_progress_address_and_contract(self, waiting, service, call):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start(app_name="my-app", environment="staging").result(10)
        payload = service.payload(service.spawned[0])
        assert (payload["app"], payload["function"], payload["environment"]) == ("my-app", EXTRACT, "staging")
        assert payload["args"] == [
            {
                "request": call.request,
                "progress": {"queue": "captionacc-progress", "partition": waiting.row().id},
                "contract": CONTRACT,
            }
        ]

    def test_what_it_used_is_kept_in_the_row_and_reported(self, waiting: Waiting, service: Service):
        service.on_spawn = lambda call_id, _: service.succeed(
            call_id, RESULT, gpu="T4", seconds=12.5, cold_start_seconds=3.0
        )
        future = waiting.start()
        future.result(10)
        row = waiting.row()
        assert row.usage == {"gpu": "T4", "seconds": 12.5, "cold_start_seconds": 3.0}
        (report,) = future.backend.take_reports()
        assert (report.function, report.call_id, report.compute_call_id) == (EXTRACT, row.call_id, row.id)
        assert (report.gpu, report.seconds, report.cold_start_seconds) == ("T4", 12.5, 3.0)
        assert (report.outcome, report.attached, report.first_taken) == ("succeeded", False, True)
        assert future.backend.take_reports() == []

    def test_progress_from_the_container_is_heard_in_order(self, waiting: Waiting, service: Service):
        heard, half = [], threading.Event()

        def progress(*step) -> None:
            heard.append(step)
            if step == ("reading", 40, 80):
                half.set()

        future = waiting.start(progress=progress)
        (call_id,) = service.wait_for_spawn()
        row = waiting.until(lambda: waiting.row() if waiting.row().call_id else None)
        service.say(row.id, {"call_id": call_id}, {"stage": "downloading", "done": 1, "total": 1})
        service.say(row.id, {"stage": "reading", "done": 40, "total": 80, "call_id": call_id}, {"odd": 1})
        assert half.wait(10), "progress is heard while the call runs"
        service.say(row.id, {"stage": "reading", "done": 80, "total": 80})
        service.succeed(call_id, RESULT)
        future.result(10)
        steps = list(dict.fromkeys(heard))
        assert steps[:4] == [(STARTING, 0, 1), (STARTING, 1, 1), ("downloading", 1, 1), ("reading", 40, 80)]
        assert set(steps[4:]) <= {("reading", 80, 80)}
        assert service.cancelled == []

    def test_what_a_quick_container_says_comes_after_the_beginning(self, waiting: Waiting, service: Service):
        def at_once(call_id: str, _: dict) -> None:
            service.say(waiting.row().id, {"call_id": call_id}, {"stage": "reading", "done": 80, "total": 80})
            service.succeed(call_id, RESULT)

        service.on_spawn = at_once
        heard = []
        waiting.start(progress=lambda *step: heard.append(step)).result(10)
        assert list(dict.fromkeys(heard)) == [(STARTING, 0, 1), (STARTING, 1, 1), ("reading", 80, 80)]

    @pytest.mark.parametrize("fault", [MODAL.NotFoundError("no such queue"), unreached])
    def test_a_queue_that_is_not_there_fails_nothing(self, waiting, service, fault):
        service.faults["queue"] = [fault] * 50
        future = waiting.start()
        service.succeed(service.wait_for_spawn()[0], RESULT)
        assert future.result(10) == RESULT

    def test_call_address_and_function_are_logged(self, waiting: Waiting, service: Service):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start().result(10)
        (call_id,) = service.spawned
        (line,) = waiting.log
        assert EXTRACT in line and call_id in line and dashboard_url(call_id) in line
        assert waiting.default.video_id in line


class TestAgain:
    def test_a_second_attempt_waits_for_the_same_call_and_nothing_is_paid_twice(self, waiting, service):
        first = waiting.start()
        (call_id,) = service.wait_for_spawn()
        waiting.until(lambda: waiting.row().call_id)
        second = waiting.start(run_id="run-2")
        waiting.until(lambda: waiting.row().run_id == "run-2")
        service.succeed(call_id, RESULT, gpu="T4", seconds=1.0)
        assert first.result(10) == second.result(10) == RESULT
        assert service.spawned == [call_id]
        reports = [*first.backend.take_reports(), *second.backend.take_reports()]
        assert sorted(report.first_taken for report in reports) == [False, True], "its cost counts once"
        assert any("was started by an earlier attempt" in line and call_id in line for line in waiting.log)

    def test_many_attempts_at_once_start_one_call(self, waiting: Waiting, service: Service):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        futures = [waiting.start(run_id=f"run-{n}", spawn_grace_seconds=30) for n in range(6)]
        assert [future.result(20) for future in futures] == [RESULT] * 6
        assert len(service.spawned) == 1

    def test_a_result_that_was_not_used_is_taken_from_the_catalogue(self, waiting, service):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start().result(10)
        polls = service.polls
        second = waiting.start(run_id="run-2")
        assert second.result(10) == RESULT
        assert (len(service.spawned), service.polls) == (1, polls), "Modal is not asked again"
        assert [report.first_taken for report in second.backend.take_reports()] == [False]

    def test_a_result_that_was_published_is_computed_anew(self, waiting, service, catalog, video_id):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start().result(10)
        catalog.settle_compute_calls(video_id, "run-1")
        waiting.start(run_id="run-2").result(10)
        assert len(service.spawned) == 2

    def test_a_late_return_is_not_taken_twice(self, waiting, service, catalog):
        """The first attempt hangs between Modal's answer and the catalogue until the second is done."""
        held, arrived = threading.Event(), threading.Event()

        def hold(call_id: str) -> None:
            if threading.current_thread().name.endswith("_0"):
                arrived.set()
                held.wait(10)

        first = waiting.start()
        (call_id,) = service.wait_for_spawn()
        waiting.until(lambda: waiting.row().call_id)
        service.on_get = hold
        assert arrived.wait(10)
        second = waiting.start(run_id="run-2")
        service.succeed(call_id, RESULT)
        assert second.result(10) == RESULT
        done = waiting.row()
        service.answer(call_id, {"ok": True, "result": "something else"})
        held.set()
        assert first.result(10) == RESULT, "it gets what was taken first"
        assert waiting.row() == done
        assert [report.first_taken for report in first.backend.take_reports()] == [False]

    @pytest.mark.parametrize("end", ["OutputExpiredError", "InternalFailure", "RemoteError", "gone"])
    def test_an_earlier_call_that_is_lost_is_replaced_at_once(self, waiting, service, catalog, call, end):
        row = catalog.open_compute_call(
            call.video_id, "dead", EXTRACT, request_hash(call), "00000000-0000-4000-8000-000000000001"
        )
        lost = "fc-unknown"
        if end != "gone":
            lost = service.Function.from_name("captionacc-processing", EXTRACT).spawn().object_id
            service.end(lost, end)
        catalog.assign_compute_call(row.id, row.waiter, lost)
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        statuses = [row.status for row in catalog.list_compute_calls(video_id=call.video_id)]
        assert statuses == ["failed", "succeeded"]

    def test_the_same_work_has_the_same_hash_whatever_the_run_and_the_order_of_outputs(self, call):
        def with_request(**changes) -> str:
            return request_hash(dataclasses.replace(call, request={**call.request, **changes}))

        assert with_request(run_id="a") == with_request(run_id="b") == request_hash(call)
        assert with_request(outputs=["layout_db", "raw_ocr_db"]) == request_hash(call)
        others = [
            with_request(outputs=["layout_db"]),
            with_request(version=2),
            with_request(captions=[2, 1]),
            with_request(captions=[1, 2]),
            request_hash(dataclasses.replace(call, function="generate_caption_ocr")),
        ]
        assert len({*others, request_hash(call)}) == 6


_PROCESS = """
import os, signal, sys
from pathlib import Path
from captionacc_dagster.resources.compute import ComputeCall
from captionacc_dagster.resources.modal_compute import ModalBackend, ModalCallSettings
from captionacc_dagster.resources.postgres_catalog import PostgresCatalog
from tests.modal_stand_in.service import Service
import json
dsn, folder, moment, call = sys.argv[1:]
service = Service(Path(folder))
if moment != "waiting":
    service.faults[moment] = [lambda _: os.kill(os.getpid(), signal.SIGKILL)]
backend = ModalBackend(
    PostgresCatalog(dsn), ModalCallSettings(poll_seconds=0.02), "killed-run", client=service
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

    def test_with_its_id_not_stored_the_call_is_found_by_its_containers_first_word(
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

    def test_with_its_id_not_stored_and_no_container_yet_it_is_cancelled_when_it_shows_up(
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
        """As the layout's does when its lock is lost; also while the container says nothing."""

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

    def test_a_cancellation_that_modal_did_not_take_is_delivered_by_upkeep(self, waiting, service):
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


class TestErrors:
    @pytest.mark.parametrize(
        ("end", "kind", "retryable", "advice"),
        [
            ("FunctionTimeoutError", errors.RemoteTimeoutError, False, "longer time-out"),
            ("InternalFailure", errors.RemoteInterruptedError, True, "a retry starts a new one"),
            ("OutputExpiredError", errors.RemoteInterruptedError, True, "a retry starts a new one"),
            ("RemoteError", errors.RemoteCallError, False, "look at its logs"),
            ("ExecutionError", errors.RemoteCallError, False, "a retry would as well"),
            ("ZeroDivisionError", errors.RemoteCallError, False, "a retry would as well"),
            ("TimeoutError", errors.RemoteCallError, False, "failed"),
        ],
    )
    def test_each_end_of_a_call_is_an_error_that_says_what_to_do(
        self, waiting, service, end, kind, retryable, advice
    ):
        # TimeoutError is the built-in one: a socket's in the container, not "the result is not there yet".
        service.on_spawn = lambda call_id, _: service.end(call_id, end, "what it said")
        with pytest.raises(errors.CaptionAccError) as raised:
            waiting.start(poll_seconds=0.2).result(10)
        assert type(raised.value) is kind
        assert raised.value.retryable is retryable
        message = str(raised.value)
        (call_id,) = service.spawned
        for part in (EXTRACT, waiting.default.video_id, call_id, dashboard_url(call_id), advice):
            assert part in message
        row = waiting.row()
        assert row.status == "failed"
        assert row.error_details["error_type"] == kind.__name__
        assert service.cancelled == []

    def test_an_error_of_the_function_comes_back_in_its_own_class_and_words(self, waiting, service):
        error = {"type": "BadVideoError", "message": "the file is damaged; upload it again"}
        answer = {"ok": False, "error": error, "usage": {"gpu": "T4", "seconds": 2.0}}
        service.on_spawn = lambda call_id, _: service.answer(call_id, answer)
        future = waiting.start()
        with pytest.raises(errors.BadVideoError) as raised:
            future.result(10)
        assert str(raised.value) == "the file is damaged; upload it again"
        row = waiting.row()
        assert (row.status, row.usage) == ("failed", {"gpu": "T4", "seconds": 2.0}), "it was paid too"
        (report,) = future.backend.take_reports()
        assert (report.outcome, report.seconds) == ("failed", 2.0)

    @pytest.mark.parametrize("retryable", [True, False])
    def test_an_error_of_another_version_keeps_whether_to_retry(self, waiting, service, retryable):
        error = {"type": "NewError", "message": "what is new", "retryable": retryable}
        service.on_spawn = lambda call_id, _: service.answer(call_id, {"ok": False, "error": error})
        with pytest.raises(errors.RemoteCallError, match="NewError: what is new") as raised:
            waiting.start().result(10)
        assert raised.value.retryable is retryable

    @pytest.mark.parametrize("name", ["CaptionAccError", "annotations", "__name__", "Exception", ""])
    def test_a_name_that_is_no_error_of_ours_names_nothing_else(self, name):
        from captionacc_dagster.resources.modal_compute_wire import error_from_wire

        error = error_from_wire({"type": name, "message": "m"})
        assert isinstance(error, errors.CaptionAccError)

    @pytest.mark.parametrize(
        "answer", [None, "text", {}, {"ok": "yes"}, {"ok": True, "result": 1, "contract": 99}]
    )
    def test_an_answer_in_another_form_says_to_deploy(self, waiting, service, answer):
        service.on_spawn = lambda call_id, _: service.answer(call_id, answer)
        with pytest.raises(errors.ContractError, match="deploy"):
            waiting.start().result(10)
        assert waiting.row().status == "failed"

    @pytest.mark.parametrize(
        ("fault", "advice"),
        [
            (MODAL.AuthError("Token missing"), "modal token new"),
            (MODAL.PermissionDeniedError("no"), "modal token new"),
            (None, "modal deploy --env staging modal_gpu/app.py"),
        ],
    )
    def test_what_a_person_has_to_set_up_says_how(self, waiting, service, fault, advice):
        if fault is None:
            service.undeployed = {EXTRACT}
        service.faults["spawn"] = [fault]
        with pytest.raises(errors.ConfigurationError, match=advice):
            waiting.start(environment="staging").result(10)
        assert waiting.row().status == "failed", "the next attempt need not wait for this one"
        assert service.spawned == []

    def test_a_modal_that_is_not_reached_leaves_the_call_to_the_next_attempt(self, waiting, service):
        service.faults["get"] = [unreached] * 1000
        with pytest.raises(errors.RemoteUnavailableError, match="not reached since") as raised:
            waiting.start().result(10)
        assert raised.value.retryable
        (call_id,) = service.spawned
        assert waiting.row().status == "running" and service.cancelled == []
        service.faults["get"] = []
        service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        assert service.spawned == [call_id]

    @pytest.mark.parametrize("down", ["Modal", "the catalogue"])
    def test_in_an_outage_the_calls_beside_are_not_cancelled(
        self, waiting, service, catalog, monkeypatch, down
    ):
        """A fan-out ends the others when one fails; these are as they were when all is up again."""
        stop = threading.Event()

        def progress(*_) -> None:
            if stop.is_set():
                raise RuntimeError("another call failed")

        future = waiting.start(progress=progress, unreachable_seconds=60)
        service.wait_for_spawn()
        waiting.until(lambda: waiting.row().call_id)
        if down == "Modal":
            service.faults["get"] = [unreached] * 10_000
            polls = service.polls
            waiting.until(lambda: service.polls > polls + 1)
            future.backend.is_reached.clear()
        else:

            def gone(*_):
                raise CatalogUnavailableError("the database does not answer")

            monkeypatch.setattr(catalog, "cancel_compute_call", gone)
        stop.set()
        with pytest.raises(RuntimeError):
            future.result(10)
        assert service.cancelled == [] and waiting.row().status == "running"

    def test_a_short_outage_is_sat_out(self, waiting, service):
        service.faults["get"] = [unreached, MODAL.ServiceError("unavailable"), OSError("no route to host")]
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        assert waiting.start(unreachable_seconds=5).result(10) == RESULT
        assert len(service.spawned) == 1

    @pytest.mark.parametrize("taken", [True, False])
    def test_a_start_without_an_answer_is_looked_for_by_the_next_attempt(self, waiting, service, taken):
        """Modal's answer to the start is lost; the call may have been taken."""
        service.faults["after_spawn" if taken else "spawn"] = [unreached]
        with pytest.raises(errors.RemoteUnavailableError):
            waiting.start().result(10)
        assert waiting.row().status == "pending"
        if taken:
            service.say(waiting.row().id, {"call_id": service.spawned[0]})
            service.succeed(service.spawned[0], RESULT)
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        assert len(service.spawned) == 1

    def test_a_wait_that_is_too_long_cancels_the_call(self, waiting, service):
        with pytest.raises(errors.RemoteTimeoutError, match="MODAL_WAIT_SECONDS"):
            waiting.start(wait_seconds=0.1).result(10)
        assert service.cancelled == service.spawned
        assert waiting.row().status == "cancelled"

    def test_a_call_that_cannot_be_noted_is_not_left_running(self, waiting, service, catalog, monkeypatch):
        def gone(*_):
            raise CatalogUnavailableError("the database does not answer")

        monkeypatch.setattr(catalog, "assign_compute_call", gone)
        with pytest.raises(CatalogUnavailableError):
            waiting.start().result(10)
        assert service.cancelled == service.spawned and len(service.spawned) == 1

    def test_a_catalogue_that_fails_at_the_result_loses_nothing(self, waiting, service, catalog, monkeypatch):
        def gone(*_):
            raise CatalogUnavailableError("the database does not answer")

        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        with monkeypatch.context() as patched:
            patched.setattr(catalog, "finish_compute_call", gone)
            with pytest.raises(CatalogUnavailableError):
                waiting.start().result(10)
        assert waiting.start().result(10) == RESULT
        assert len(service.spawned) == 1 and service.cancelled == []

    def test_errors_survive_pickling(self):
        import pickle

        for kind in (errors.RemoteCallError, errors.RemoteTimeoutError, errors.RemoteUnavailableError):
            copy = pickle.loads(pickle.dumps(kind("what happened")))
            assert (type(copy), str(copy)) == (kind, "what happened")


def test_importing_the_backend_imports_no_modal():
    code = (
        "import sys, captionacc_dagster.resources.modal_compute;"
        "print([name for name in sys.modules if name.split('.')[0] in ('modal', 'dagster', 'grpclib')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_rows_hold_no_request_and_no_secret(waiting, service, postgres_dsn):
    service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
    waiting.start().result(10)
    with psycopg.connect(postgres_dsn) as connection:
        (text,) = connection.execute("select to_jsonb(c)::text from captionacc.compute_calls c").fetchone()
    assert "outputs" not in text
