"""Failures of calls on Modal: errors that say what to do, and outages that are waited out."""

import threading

import modal
import pytest

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.resources.compute.modal_client import dashboard_url
from modal_gpu import errors
from tests.resources.compute.conftest import EXTRACT, RESULT, unreached

MODAL = modal.exception


class TestErrors:
    @pytest.mark.parametrize(
        ("end", "kind", "retryable", "advice"),
        [
            ("FunctionTimeoutError", errors.RemoteTimeoutError, False, "MODAL_EXTRACT_TIMEOUT"),
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
    def test_an_unknown_error_name_refers_to_nothing_else(self, name):
        from modal_gpu.answers import error_from_wire

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
            (None, "modal deploy --env staging -m modal_gpu.app"),
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

    def test_an_unreachable_modal_leaves_the_call_to_the_next_attempt(self, waiting, service):
        service.faults["get"] = [unreached] * 1000
        with pytest.raises(errors.RemoteUnavailableError, match="has not answered for") as raised:
            waiting.start().result(10)
        assert raised.value.retryable
        (call_id,) = service.spawned
        assert waiting.row().status == "running" and service.cancelled == []
        service.faults["get"] = []
        service.succeed(call_id, RESULT)
        assert waiting.start().result(10) == RESULT
        assert service.spawned == [call_id]

    @pytest.mark.parametrize("down", ["Modal", "the catalogue"])
    def test_in_an_outage_parallel_calls_are_not_cancelled(
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
            future.backend.client.is_reached.clear()
        else:

            def gone(*_):
                raise CatalogUnavailableError("the database does not answer")

            monkeypatch.setattr(catalog, "cancel_compute_call", gone)
        stop.set()
        with pytest.raises(RuntimeError):
            future.result(10)
        assert service.cancelled == [] and waiting.row().status == "running"

    def test_a_short_outage_is_waited_out(self, waiting, service):
        service.faults["get"] = [unreached, MODAL.ServiceError("unavailable"), OSError("no route to host")]
        service.on_spawn = lambda call_id, _: service.succeed(call_id, RESULT)
        assert waiting.start(unreachable_seconds=5).result(10) == RESULT
        assert len(service.spawned) == 1

    @pytest.mark.parametrize("taken", [True, False])
    def test_a_start_without_an_answer_is_searched_for_by_the_next_attempt(self, waiting, service, taken):
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
