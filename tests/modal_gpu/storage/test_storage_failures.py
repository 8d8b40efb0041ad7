"""Messages when storage does not work: one clear line, quickly, and never a secret."""

import asyncio
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from modal_gpu.errors import CaptionAccError, StorageError, StorageUrlError
from modal_gpu.storage import ObjectStore, StorageSettings
from tests.storage_fixtures import ACCESS_KEY, SECRET_KEY, S3Server

ACTIONS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("a/b"),
    "put": lambda store: store.put("a/b", b"x"),
    "exists": lambda store: store.exists("a/b"),
    "upload": lambda store: store.upload(Path(__file__), "a/b"),
    "list": lambda store: list(store.list("a/")),
    "delete": lambda store: store.delete("a/b"),
    "put_many": lambda store: store.put_many([("a/b", b"x", "text/plain")]),
}
each_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def failure(action: Callable[[ObjectStore], object], store: ObjectStore) -> StorageError:
    """The error of an action, after checking that its text and its traceback are fit to be shown."""
    with pytest.raises(StorageError) as caught:
        action(store)
    error = caught.value
    everything = "".join(traceback.format_exception(error)) + repr(error) + repr(store) + repr(store.settings)
    assert ACCESS_KEY not in everything
    assert SECRET_KEY not in everything
    assert "\n" not in str(error)
    assert "Debug source" not in everything
    assert len(str(error)) < 300
    assert store.name in str(error)
    return error


@each_action
def test_a_missing_bucket_is_reported_as_such_and_not_as_a_missing_object(
    s3_server: S3Server, action: Callable[[ObjectStore], object]
) -> None:
    store = ObjectStore(s3_server.settings("s3://no-such-bucket"))
    assert "no such bucket" in str(failure(action, store))


@each_action
def test_a_dead_endpoint_fails_within_seconds(action: Callable[[ObjectStore], object]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    store = ObjectStore(S3Server(f"http://127.0.0.1:{port}").settings("s3://bucket"))
    start = time.monotonic()
    error = failure(action, store)
    assert time.monotonic() - start < 5
    assert error.retryable
    assert "connection failed" in str(error)
    assert f"127.0.0.1:{port}" in str(error)


class _Refusal(BaseHTTPRequestHandler):
    """S3's own reply to a signature made with a wrong secret: it repeats the access key."""

    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The '
        f"request signature does not match</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId>"
        f"<StringToSign>AWS4-HMAC-SHA256 {ACCESS_KEY}</StringToSign></Error>"
    ).encode()

    asked: ClassVar[list[str]] = []

    def _refuse(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _refuse

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def refusing_endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@each_action
def test_a_wrong_secret_is_reported_without_showing_it(
    refusing_endpoint: str, action: Callable[[ObjectStore], object]
) -> None:
    store = ObjectStore(S3Server(refusing_endpoint).settings("s3://bucket"))
    assert "access was refused" in str(failure(action, store))


def test_credentials_are_hidden_in_the_settings() -> None:
    settings = StorageSettings("s3://b", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY)
    assert ACCESS_KEY not in repr(settings)
    assert SECRET_KEY not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "s3://",
        "file://",
        "file://host/folder",
        "https://u:hunter2@x/y",
        "s3://k:hunter2@bucket",
    ],
)
def test_a_url_of_another_form_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StorageUrlError, match=r"file:///absolute/folder or s3://bucket") as caught:
        ObjectStore.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_plain_http_needs_an_http_endpoint() -> None:
    """An endpoint without a scheme means https: keys' signatures never travel unencrypted by accident."""
    store = ObjectStore.from_url("s3://b", endpoint="127.0.0.1:1", access_key_id="a", secret_access_key="b")
    with pytest.raises(StorageError, match="connection failed"):
        store.get("k")


def test_content_types_reach_s3(s3_server: S3Server, tmp_path: Path) -> None:
    import obstore

    store = ObjectStore(s3_server.make_settings())
    (tmp_path / "f").write_bytes(b"\x00" * (6 * 1024 * 1024))
    store.put("captions.vtt", b"WEBVTT", "text/vtt")
    store.upload(tmp_path / "f", "video.mp4", "video/mp4")
    for key, expected in (("captions.vtt", "text/vtt"), ("video.mp4", "video/mp4")):
        assert obstore.get(store._store, key).attributes["Content-Type"] == expected


@pytest.mark.parametrize(("path_style", "target"), [(True, "s3.test/bucket/k"), (False, "bucket.s3.test/k")])
def test_the_bucket_is_in_the_path_or_in_the_host(
    monkeypatch: pytest.MonkeyPatch, refusing_endpoint: str, path_style: bool, target: str
) -> None:
    """Checked through an HTTP proxy, which sees the full address without its existing."""
    monkeypatch.setenv("http_proxy", refusing_endpoint)
    monkeypatch.setenv("HTTP_PROXY", refusing_endpoint)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    store = ObjectStore.from_url(
        "s3://bucket",
        endpoint="http://s3.test",
        access_key_id="a",
        secret_access_key="b",
        path_style=path_style,
    )
    with pytest.raises(StorageError, match="access was refused"):
        store.get("k")
    assert _Refusal.asked[-1] == f"http://{target}"


def test_a_local_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CaptionAccError) as caught:
        ObjectStore.from_url((tmp_path / "file").as_uri()).put("k", b"x")
    assert "\n" not in str(caught.value)
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    store.put("a", b"x")
    with pytest.raises(StorageError, match="cannot write 'a/b'"):
        store.put("a/b", b"x")


def test_a_refused_stream_has_the_stores_error_although_its_pieces_are_not_read_to_the_end(
    refusing_endpoint: str,
) -> None:
    store = ObjectStore(S3Server(refusing_endpoint).settings("s3://bucket"))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(2**20)

    for _ in range(5):
        assert "access was refused" in str(
            failure(lambda store: asyncio.run(store.put_stream("a/b", pieces())), store)
        )
