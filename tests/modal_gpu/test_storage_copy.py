"""Copies between stores: by the service inside one bucket, through this machine otherwise."""

from dataclasses import replace

import pytest

from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.storage import ObjectStore
from modal_gpu.storage_copy import Copier


@pytest.fixture
def source(s3_server) -> ObjectStore:
    return ObjectStore(s3_server.make_settings(prefix="old"))


def test_one_bucket_copies_by_itself(source: ObjectStore, monkeypatch):
    url = source.settings.url.replace("/old", "/new")
    target = ObjectStore(replace(source.settings, url=url))
    source.put("t/video.mp4", b"video", "video/mp4")
    monkeypatch.setattr(ObjectStore, "get", None)  # nothing is transferred
    monkeypatch.setattr(ObjectStore, "put", None)
    Copier(source, target).copy(source.head("t/video.mp4"), "t/client/video.mp4", "video/mp4")
    monkeypatch.undo()
    assert target.get("t/client/video.mp4") == b"video"
    assert source.get("t/video.mp4") == b"video"


def test_between_a_bucket_and_a_folder_it_goes_through_this_machine(
    source: ObjectStore, tmp_path, monkeypatch
):
    target = ObjectStore.from_url(tmp_path.as_uri())
    large = bytes(9 * 2**20)
    for key, data in (("a", b"small"), ("b", large)):
        source.put(key, data)
        Copier(source, target).copy(source.head(key), f"copy/{key}", "video/mp4")
        assert target.get(f"copy/{key}") == data


def test_a_missing_object_is_an_error_and_leaves_nothing(source: ObjectStore):
    target = ObjectStore(replace(source.settings, url=source.settings.url.replace("/old", "/new")))
    source.put("a", b"a")
    info = replace(source.head("a"), key="gone")
    with pytest.raises(ObjectNotFoundError):
        Copier(source, target).copy(info, "b", "video/mp4")
    assert not target.exists("b")
