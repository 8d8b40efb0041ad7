"""The video as a local file: a link to a folder's file, a copy of a bucket's object."""

from pathlib import Path

import pytest

from modal_gpu.errors import BadVideoError
from modal_gpu.functions.workspace import local_video
from modal_gpu.storage import ObjectStore


def test_a_video_in_a_local_folder_is_not_copied(tmp_path: Path):
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    store.put("t/video.mp4", b"content")
    with local_video(store, "t/video.mp4") as path:
        assert path.read_bytes() == b"content" and path.samefile(tmp_path / "bucket" / "t" / "video.mp4")
        assert path.name == "video", "FFmpeg must not see the key's extension"
    assert not path.parent.exists()
    assert store.get("t/video.mp4") == b"content"


def test_a_video_in_a_bucket_is_copied(tmp_path: Path, monkeypatch):
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    store.put("t/video.mp4", b"content")
    monkeypatch.setattr(store, "local_path", lambda key: None)
    with local_video(store, "t/video.mp4") as path:
        assert path.read_bytes() == b"content" and not path.is_symlink()


def test_a_missing_video_must_be_uploaded_again(tmp_path: Path):
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    with pytest.raises(BadVideoError, match="upload it again"), local_video(store, "t/video.mp4"):
        pass
