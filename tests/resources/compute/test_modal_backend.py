"""Single calls on Modal: recorded in the catalogue first, paid for once, found again, with live progress."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import modal
import psycopg
import pytest

from captionacc_dagster.resources.compute import ComputeCall
from captionacc_dagster.resources.compute.modal_attempt import STARTING
from captionacc_dagster.resources.compute.modal_client import dashboard_url
from captionacc_dagster.resources.compute.modal_wire import request_hash
from modal_gpu.deployment.calls import CONTRACT
from tests.modal_stand_in.service import Service
from tests.resources.compute.conftest import EXTRACT, RESULT, Waiting, unreached

REPOSITORY = Path(__file__).resolve().parents[3]
MODAL = modal.exception


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

    def test_the_function_gets_its_documented_keywords_the_id_and_the_contract(self, waiting, service, call):
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        waiting.start(app_name="my-app", environment="staging").result(10)
        payload = service.payload(service.spawned[0])
        assert (payload["app"], payload["function"], payload["environment"]) == ("my-app", EXTRACT, "staging")
        assert payload["args"] == []
        assert payload["kwargs"] == call.request | {
            "frame_rate": 0.1, "call_id": waiting.row().id, "contract": CONTRACT,
        }  # fmt: skip

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

    def test_progress_from_the_container_arrives_in_order(self, waiting: Waiting, service: Service):
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

    def test_progress_of_a_fast_container_comes_after_the_start(self, waiting: Waiting, service: Service):
        def at_once(call_id: str, _: dict) -> None:
            service.say(waiting.row().id, {"call_id": call_id}, {"stage": "reading", "done": 80, "total": 80})
            service.succeed(call_id, RESULT)

        service.on_spawn = at_once
        heard = []
        waiting.start(progress=lambda *step: heard.append(step)).result(10)
        assert list(dict.fromkeys(heard)) == [(STARTING, 0, 1), (STARTING, 1, 1), ("reading", 80, 80)]

    @pytest.mark.parametrize("fault", [MODAL.NotFoundError("no such queue"), unreached])
    def test_a_missing_queue_fails_nothing(self, waiting, service, fault):
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

    def test_a_result_that_was_published_is_computed_again(self, waiting, service, catalog, video_id):
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

    def test_calls_that_the_version_before_started_are_found_again(self):
        """The number in the hash is the requests', which did not change with the form of the calls."""
        call = ComputeCall(EXTRACT, "t", "v", {"video_key": "k", "outputs": ["b", "a"], "run_id": "r"})
        assert request_hash(call) == "c39625ce9dd5e8a412786c936e1c2b9eb155e2652adceb6f39386cea273a7627"


def test_importing_the_backend_imports_no_modal():
    code = (
        "import sys, captionacc_dagster.resources.compute.modal_backend;"
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
