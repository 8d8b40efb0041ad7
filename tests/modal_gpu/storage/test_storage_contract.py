"""One contract for both kinds of store: a local folder, and S3 over HTTP (with and without a prefix)."""

import asyncio
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from modal_gpu.errors import InvalidKeyError, ObjectNotFoundError
from modal_gpu.storage import ObjectStore

LARGE = 12 * 1024 * 1024


@pytest.fixture(params=["folder", "s3", "s3 with prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return ObjectStore.from_url((tmp_path / "a bucket" / "deep").as_uri())
    server = request.getfixturevalue("s3_server")
    return ObjectStore(server.make_settings(prefix="some/place" if "prefix" in request.param else ""))


def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    store.put("a/b/c.bin", b"\x00\xff", "application/x-test")
    assert store.get("a/b/c.bin") == b"\x00\xff"


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.exists("empty")
    assert store.head("empty").size == 0


def test_unusual_but_harmless_keys_are_kept_as_they_are(store: ObjectStore) -> None:
    keys = ["my video (1).mp4", "ü/字幕.mp4", "50%25 off#2&x=1+y.mp4", "dots.../..b"]
    for key in keys:
        store.put(key, key.encode())
    assert dict(store.get_many(keys)) == {key: key.encode() for key in keys}
    assert {info.key for info in store.list()} == set(keys)


def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put("k", b"long first content")
    first = store.head("k")
    store.put("k", b"second")
    assert store.get("k") == b"second"
    assert store.head("k").size == 6
    assert store.head("k").etag != first.etag


def test_head_returns_size_and_time(store: ObjectStore) -> None:
    store.put("k", b"12345")
    info = store.head("k")
    assert (info.key, info.size) == ("k", 5)
    assert info.etag
    assert abs(info.last_modified - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("action", ["get", "head", "download"])
def test_an_absent_object_is_named_in_one_line(store: ObjectStore, tmp_path: Path, action: str) -> None:
    arguments = [tmp_path / "out"] if action == "download" else []
    with pytest.raises(ObjectNotFoundError) as caught:
        getattr(store, action)("not/here.mp4", *arguments)
    assert "'not/here.mp4'" in str(caught.value)
    assert store.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not caught.value.retryable
    assert not store.exists("not/here.mp4")


def test_a_folder_of_keys_is_not_an_object(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    assert not store.exists("a")


def test_files_stream_up_and_down_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    source, target = tmp_path / "source.bin", tmp_path / "new folder" / "target.bin"
    source.write_bytes(content)
    store.upload(source, "large.bin", "video/mp4")
    assert store.head("large.bin").size == LARGE
    info = store.download("large.bin", target)
    assert target.read_bytes() == content
    assert info.size == LARGE
    assert [path.name for path in target.parent.iterdir()] == ["target.bin"]


def test_a_stream_is_written_completely_or_not_at_all(store: ObjectStore) -> None:
    async def pieces(last: int) -> AsyncIterator[bytes]:
        for number in range(10):
            if number == last:
                raise KeyError("the sender is gone")
            yield bytes([number]) * 2**20

    asyncio.run(store.put_stream("streamed.bin", pieces(10)))
    expected = b"".join(bytes([number]) * 2**20 for number in range(10))
    assert store.get("streamed.bin") == expected
    for key in ("streamed.bin", "new.bin"):
        with pytest.raises(KeyError, match="the sender is gone"):
            asyncio.run(store.put_stream(key, pieces(7)))
    assert store.get("streamed.bin") == expected and not store.exists("new.bin")


def test_a_failed_download_leaves_no_file_and_keeps_the_old_one(store: ObjectStore, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "target").write_bytes(b"old")
    with pytest.raises(ObjectNotFoundError):
        store.download("absent", folder / "target")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("target", b"old")]


def test_uploading_a_missing_file_blames_the_file_not_the_store(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "nope.mp4", "k")
    assert not store.exists("k")


def test_a_hundred_small_objects_go_in_and_out_concurrently(store: ObjectStore) -> None:
    objects = {f"chunks/{i:03d}.webm": bytes([i]) * i for i in range(100)}
    assert store.put_many((key, data, "video/webm") for key, data in objects.items()) == 100
    assert {info.key: info.size for info in store.list("chunks/")} == {k: len(d) for k, d in objects.items()}
    assert list(store.get_many(objects)) == list(objects.items())


def test_put_many_takes_its_objects_lazily(store: ObjectStore) -> None:
    """Memory is bounded: an object is requested only when an earlier one has been written."""
    lead = 0

    def objects():
        nonlocal lead
        for i in range(30):
            written = sum(1 for _ in store.list())
            lead = max(lead, i - written)
            yield f"k{i}", b"x", "text/plain"

    store.put_many(objects(), concurrency=3)
    assert lead <= 3


def test_the_first_error_of_many_reaches_the_caller(store: ObjectStore) -> None:
    store.put("there", b"x")
    with pytest.raises(ObjectNotFoundError, match="absent"):
        list(store.get_many(["there", "absent", "there"], concurrency=2))
    with pytest.raises(InvalidKeyError):
        store.put_many([("fine", b"x", "text/plain"), ("../out", b"x", "text/plain")])


def test_listing_is_by_folder(store: ObjectStore) -> None:
    keys = {"many/1", "many/2", "many/deep/er/3"}
    store.put_many((key, b"", "text/plain") for key in [*keys, "many-others/1", "other"])
    assert {info.key for info in store.list("many/")} == keys
    assert len(list(store.list())) == 5
    assert list(store.list("absent/")) == []
    assert store.delete_prefix("many/") == 3
    assert {info.key for info in store.list()} == {"many-others/1", "other"}


@pytest.mark.slow
def test_listing_and_deleting_go_past_the_thousand_keys_of_one_s3_reply(s3_store: ObjectStore) -> None:
    keys = {f"many/{i:04d}" for i in range(1001)}
    s3_store.put_many((key, b"", "text/plain") for key in keys)
    assert {info.key for info in s3_store.list("many/")} == keys
    assert s3_store.delete_prefix("many/") == 1001
    assert list(s3_store.list()) == []


def test_deleting_twice_is_no_error(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "b"):
        store.put(key, b"x")
    store.delete(["a/1", "absent", "b"])
    store.delete("b")
    store.delete([])
    assert [info.key for info in store.list()] == ["a/2"]
    assert store.delete_prefix("a/") == 1
    assert store.delete_prefix("a/") == 0


BAD_KEYS = [
    *("", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\nb", "a\x00b", "a\\..\\b", "."),
    *("a\x85b", "a\u202eb", "a\udce9b", "x" * 901, "字" * 301),
]


def test_a_key_that_could_leave_its_folder_is_refused_everywhere(store: ObjectStore, tmp_path: Path) -> None:
    for key, action in product(BAD_KEYS, _actions_by_key(store, tmp_path)):
        with pytest.raises(InvalidKeyError):
            action(key)


def _actions_by_key(store: ObjectStore, tmp_path: Path) -> list[Callable[[str], object]]:
    return [
        store.get,
        lambda key: store.put(key, b""),
        store.head,
        store.exists,
        lambda key: store.download(key, tmp_path / "x"),
        lambda key: store.upload(Path(__file__), key),
        store.delete,
        lambda key: list(store.list(key + "/")),
    ]


def test_prefixes_end_in_a_slash_and_the_whole_store_is_never_deleted(store: ObjectStore) -> None:
    store.put("ab/c", b"")
    for action in (lambda: list(store.list("ab")), lambda: store.delete_prefix("ab")):
        with pytest.raises(InvalidKeyError, match="does not end"):
            action()
    with pytest.raises(InvalidKeyError, match="whole store"):
        store.delete_prefix("")
    assert store.exists("ab/c")


def test_a_store_survives_pickling(store: ObjectStore) -> None:
    store.put("k", b"x")
    assert pickle.loads(pickle.dumps(store)).get("k") == b"x"


def test_a_reader_never_sees_half_an_overwrite(store: ObjectStore) -> None:
    """Two versions of a large object alternate; each read returns one of them completely."""
    versions = {bytes([fill]) * (6 * 1024 * 1024) for fill in (1, 2)}
    store.put("k", next(iter(versions)))
    done = threading.Event()

    def overwrite() -> None:
        try:
            for _ in range(3):
                for version in versions:
                    store.put("k", version)
        finally:
            done.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        assert store.get("k") in versions
        assert [info.key for info in store.list()] == ["k"]
        reads += 1
    writer.join()
