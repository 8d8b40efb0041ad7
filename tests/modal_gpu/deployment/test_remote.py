"""Calls: what a function makes of one, what it answers, and what never leaves the container."""

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from modal_gpu.answers import incoming
from modal_gpu.contracts import ExtractRequest, ExtractResult, from_wire, to_wire
from modal_gpu.deployment.container import ColdStart, storage_of
from modal_gpu.deployment.settings import EXTRACT
from modal_gpu.deployment.wire import Container, QueueProgress, answer, without_secrets
from modal_gpu.errors import (
    BadVideoError,
    ConfigurationError,
    ContractError,
    NoFramesError,
    StorageError,
)
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import local_video
from modal_gpu.storage import ObjectStore
from tests.modal_calls import by_keywords

TENANT = "00000000-0000-4000-8000-000000000001"
REQUEST = ExtractRequest(TENANT, "11111111-1111-4111-8111-111111111111", f"{TENANT}/v.mp4")
RESULT = ExtractResult(80, 8.0, 640, 360, "h264", 0, 3, 0, 1.5, "frames/", "ocr", "layout")
SECRET = "wJalrXUtnFEMI-the-secret"
KEYS = {"WASABI_ACCESS_KEY_READWRITE": "AK", "WASABI_SECRET_KEY_READWRITE": SECRET}


class Partitions:
    """A queue that keeps what is put into its partitions, as `modal.Queue` does."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.heard: dict[str | None, list[Any]] = {}
        self.fail = fail

    def put(self, v: Any, block: bool = True, *, partition: str | None = None) -> None:
        if self.fail:
            raise self.fail
        assert not block
        self.heard.setdefault(partition, []).append(v)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    return Container(store, ComputeSettings(workers=1), "T4", "ta-1", ColdStart())


def former(progress: dict[str, str] | None = None, **change: Any) -> dict[str, Any]:
    """A call in the envelope of the version before."""
    return {"video_key": {"contract": 1, "request": to_wire(REQUEST), "progress": progress, **change}}


def ask(container: Container, work, given=None, queue=None, call_id: str | None = None) -> dict[str, Any]:
    """The answer to a call, through JSON, as a server between both ends might send it."""
    given = json.loads(json.dumps(given or by_keywords(EXTRACT, REQUEST)))
    reply = answer(EXTRACT, given, work, lambda: container, lambda name: queue, call_id)
    assert json.loads(json.dumps(reply)) == reply
    return reply


def test_a_result_comes_back_as_plain_data_with_what_it_used(container: Container):
    seen = []

    def work(request, store, settings, progress):
        seen.append((request, store, settings))
        return RESULT

    reply = ask(container, work)
    assert seen == [(REQUEST, container.store, container.settings)]
    assert reply["ok"] is True and from_wire(ExtractResult, reply["result"]) == RESULT
    usage = reply["usage"]
    assert (usage["gpu"], usage["container_id"]) == ("T4", "ta-1")
    assert usage["seconds"] >= 0 and usage["cold_start_seconds"] > 0
    assert ask(container, work)["usage"]["cold_start_seconds"] == 0
    assert incoming(reply).result == to_wire(RESULT) and incoming(reply).error is None


def test_several_results_come_back_in_their_order(container: Container):
    reply = ask(container, lambda *_: [RESULT, RESULT])
    assert reply["result"] == [to_wire(RESULT)] * 2


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(NoFramesError("no frame of v.mp4 can be decoded"), False), (StorageError("the store is away"), True)],
)
def test_an_error_of_this_project_is_an_answer(container: Container, error, retryable: bool):
    def work(*_):
        raise error

    reply = ask(container, work)
    assert (reply["ok"], "result" in reply) == (False, False)
    assert reply["error"] == {"type": type(error).__name__, "message": str(error), "retryable": retryable}
    assert reply["usage"]["gpu"] == "T4"
    # The orchestrator makes the same error of it.
    again = incoming(reply).error
    assert type(again) is type(error) and str(again) == str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract": 3}, "the call uses contract 3, the deployed app 2"),
        ({"outputs": ["colours"]}, "outputs"),
        ({"video_id": None}, "video_id: Field required"),
        ({"call_id": "x" * 65}, "call_id"),
        ({"frame_rate": 2}, "full frames at 2 Hz are not possible: any rate above 0 and up to 1 Hz works"),
    ],
)
def test_what_this_version_does_not_know_is_refused_by_name(container: Container, change, message: str):
    reply = ask(container, lambda *_: RESULT, by_keywords(EXTRACT, REQUEST) | change)
    assert reply["ok"] is False and message in reply["error"]["message"]
    assert reply["error"]["type"] in ("ContractError", "FrameRateError")
    assert reply["error"]["retryable"] is False


def test_an_envelope_of_the_version_before_is_answered_as_it_was(container: Container):
    queue, seen = Partitions(), []

    def work(request, store, settings, progress):
        seen.append(request)
        progress("frames", 1, 1)
        return RESULT

    reply = ask(
        container, work, former({"queue": "captionacc-progress", "partition": "call-1"}), queue, "fc-1"
    )
    assert seen == [REQUEST]
    assert (reply["contract"], reply["ok"], reply["result"]) == (1, True, to_wire(RESULT))
    assert reply["usage"]["gpu"] == "T4" and incoming(reply).result == to_wire(RESULT)
    assert [message.get("stage") for message in queue.heard["call-1"]] == [None, "frames"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract": 2}, "the call uses contract 2, the deployed app 1"),
        ({"contract": None}, "contract None"),
        ({"priority": 3}, "priority"),
        ({"request": {**to_wire(REQUEST), "colour": "red"}}, "colour"),
        ({"request": {"video_id": "x"}}, "tenant_id"),
        ({"progress": {"queue": "q"}}, "partition"),
        ({"progress": {"queue": "q", "partition": "x" * 65}}, "partition"),
    ],
)
def test_a_wrong_envelope_is_refused_by_name(container: Container, change, message: str):
    reply = ask(container, lambda *_: RESULT, former(**change))
    assert (reply["ok"], reply["contract"], reply["error"]["type"]) == (False, 1, "ContractError")
    assert message in reply["error"]["message"]


class TestWithoutAContract:
    """A caller of its own, who gives the documented keywords and nothing else."""

    GIVEN: ClassVar = {"video_key": REQUEST.video_key, "tenant_id": TENANT, "video_id": REQUEST.video_id}

    def test_the_result_is_the_answer(self, container: Container):
        assert ask(container, lambda *_: RESULT, self.GIVEN) == to_wire(RESULT)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (BadVideoError("the file is not a video"), ValueError),
            (ContractError("no such output"), ValueError),
            (StorageError("the store is away"), RuntimeError),
        ],
    )
    def test_an_error_is_a_builtin_one_that_names_ours(self, container: Container, error, kind):
        def work(*_):
            raise error

        with pytest.raises(kind, match=f"^{type(error).__name__}: {error}$") as raised:
            ask(container, work, self.GIVEN)
        assert type(raised.value) is kind and raised.value.__context__ is None


def test_anything_else_is_a_builtin_error_without_secrets(container: Container, monkeypatch, capfd):
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", SECRET)

    def work(*_):
        raise KeyError(f"unexpected, with {SECRET} in it")

    with pytest.raises(RuntimeError) as caught:
        ask(container, work)
    assert type(caught.value) is RuntimeError
    assert "KeyError" in str(caught.value) and "unexpected" in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    log = capfd.readouterr().err
    assert "Traceback" in log and "KeyError" in log
    assert SECRET not in str(caught.value) and SECRET not in log


def test_an_error_of_this_project_holds_no_secret_either(container: Container, monkeypatch):
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----\n"
    monkeypatch.setenv(
        "GOOGLE_APPLICATION_CREDENTIALS_JSON", json.dumps({"type": "service_account", "private_key": key})
    )

    def work(*_):
        raise BadVideoError(f"a message with {key} and {json.dumps(key)}")

    message = ask(container, work)["error"]["message"]
    assert "MIIEvQIBADAN" not in message and message.startswith("a message with •••")


def test_short_values_and_other_names_are_left_in_the_text():
    environ = {"API_KEY": "abc", "WASABI_BUCKET": "captions-bucket", "MY_TOKEN": "abcdefgh-token"}
    text = "abc in captions-bucket with abcdefgh-token"
    assert without_secrets(text, environ) == "abc in captions-bucket with •••"


class TestProgress:
    def test_it_goes_into_the_partition_of_the_call_with_its_id_first(self, container: Container):
        queue = Partitions()

        def work(request, store, settings, progress):
            for done in range(101):
                progress("frames", done, 100)
            progress("captions", 0, 1)
            return RESULT

        given = by_keywords(EXTRACT, REQUEST, call_id="call-1")
        assert ask(container, work, given, queue, "fc-1")["ok"]
        heard = queue.heard["call-1"]
        assert heard[0] == {"call_id": "fc-1"}
        steps = [(m["stage"], m["done"], m["total"]) for m in heard[1:]]
        assert steps == [("frames", 0, 100), ("frames", 100, 100), ("captions", 0, 1)]
        assert all(m["call_id"] == "fc-1" for m in heard) and set(queue.heard) == {"call-1"}

    def test_about_one_message_a_second_and_the_ends_of_stages(self):
        now, heard = [0.0], []
        progress = QueueProgress(heard.append, clock=lambda: now[0])
        for done in range(1, 51):
            progress("strips", done, 50)
            now[0] += 0.125
        progress.close()
        assert [m["done"] for m in heard] == [1, 9, 17, 25, 33, 41, 49, 50]

    def test_a_failing_queue_fails_nothing_and_is_logged_once(self, container: Container, capfd):
        def work(request, store, settings, progress):
            for stage in ("download", "frames", "upload"):
                progress(stage, 1, 1)
            return RESULT

        given = by_keywords(EXTRACT, REQUEST, call_id="call-1")
        assert ask(container, work, given, Partitions(ConnectionError("no queue")))["ok"]
        assert capfd.readouterr().err.count("progress cannot be sent") == 1

    def test_a_hanging_queue_delays_nothing(self, monkeypatch):
        monkeypatch.setattr("modal_gpu.deployment.wire._LAST_MESSAGES_SECONDS", 0.05)
        release, heard = threading.Event(), []

        def put(message):
            release.wait(10)
            heard.append(message)

        progress = QueueProgress(put)
        start = time.monotonic()
        for done in range(2000):
            progress(f"stage {done}", 1, 1)
        progress.close()
        assert time.monotonic() - start < 2
        release.set()
        progress._thread.join(5)
        # The number of waiting messages is bounded; the others were dropped.
        assert len(heard) <= 101

    def test_without_an_address_no_progress_is_sent(self, container: Container):
        def work(request, store, settings, progress):
            progress("frames", 1, 1)
            return RESULT

        def never(name):
            raise AssertionError(name)

        assert answer(EXTRACT, by_keywords(EXTRACT, REQUEST), work, lambda: container, never)["ok"]


def test_a_cancelled_call_leaves_no_file_behind(container: Container, tmp_path: Path, monkeypatch):
    """Modal raises a BaseException in the function; it is neither answered nor swallowed."""
    from modal.exception import InputCancellation

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    container.store.put(REQUEST.video_key, b"not long", "video/mp4")
    held = []

    def work(request, store, settings, progress):
        with local_video(store, request.video_key) as path:
            held.append(path.read_bytes())
            raise InputCancellation

    with pytest.raises(InputCancellation):
        ask(container, work)
    assert held == [b"not long"] and list(scratch.iterdir()) == []


class TestStorage:
    def test_the_secrets_names_are_those_of_the_orchestrator(self, monkeypatch):
        """The same variables configure the same store on both sides."""
        import os

        from captionacc_dagster.resources.opening import storage_settings
        from captionacc_dagster.settings import Settings

        for name in list(os.environ):
            if name.startswith(("WASABI_", "AWS_", "CAPTIONACC_STORAGE")):
                monkeypatch.delenv(name)
        tables = [
            {"WASABI_BUCKET": "b", "WASABI_ENDPOINT_URL": "https://s3.example", "WASABI_REGION": "eu-1"},
            {"CAPTIONACC_STORAGE_URL": "s3://b/prefix", "WASABI_BUCKET": "other"},
            {"WASABI_BUCKET": "b", "AWS_ENDPOINT_URL_S3": "http://minio:9000", "AWS_REGION": "r"},
            {"WASABI_BUCKET": "b", "CAPTIONACC_STORAGE_PATH_STYLE": "false"},
            {"WASABI_BUCKET": "b", "WASABI_ENDPOINT": "https://s3.other", "AWS_REGION": "r"},
        ]
        others = {"WASABI_ACCESS_KEY": "AK", "WASABI_SECRET_KEY": SECRET}
        for table, keys in itertools.product(tables, (KEYS, others)):
            with monkeypatch.context() as patch:
                for name, value in (table | keys).items():
                    patch.setenv(name, value)
                assert storage_of(os.environ) == storage_settings(Settings(_env_file=None))
                assert storage_of(os.environ).secret_access_key == SECRET

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            (KEYS, "'wasabi-credentials' has no WASABI_BUCKET"),
            (KEYS | {"CAPTIONACC_STORAGE_URL": "file:///tmp/x"}, "is not s3://"),
            ({"WASABI_BUCKET": "b"}, "has no WASABI_ACCESS_KEY_READWRITE .nor WASABI_ACCESS_KEY."),
            ({"WASABI_BUCKET": "b", "WASABI_ACCESS_KEY": "a"}, "has no WASABI_SECRET_KEY_READWRITE"),
        ],
    )
    def test_a_secret_without_a_bucket_or_keys_is_recognized(self, environ: dict[str, str], message: str):
        with pytest.raises(ConfigurationError, match=message):
            storage_of(environ, "wasabi-credentials")
