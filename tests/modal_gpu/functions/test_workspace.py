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


def test_a_kept_video_is_downloaded_once_until_it_changes_or_another_is_needed(tmp_path: Path, monkeypatch):
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    monkeypatch.setattr(store, "local_path", lambda key: None)
    downloads, download = [], store.download
    monkeypatch.setattr(store, "download", lambda key, path: downloads.append(key) or download(key, path))
    store.put("t/one.mp4", b"one")
    store.put("t/two.mp4", b"two")

    def read(key: str) -> bytes:
        with local_video(store, key, keep=True) as path:
            assert path.name == "video"
            return path.read_bytes()

    assert [read("t/one.mp4") for _ in range(3)] == [b"one"] * 3
    with local_video(store, "t/one.mp4", keep=True) as first:
        pass
    assert downloads == ["t/one.mp4"]
    assert read("t/two.mp4") == b"two" and not first.exists(), "one video is kept, not all"
    store.put("t/two.mp4", b"another two")
    assert read("t/two.mp4") == b"another two"
    assert downloads == ["t/one.mp4", "t/two.mp4", "t/two.mp4"]
    store.delete("t/two.mp4")
    with pytest.raises(BadVideoError, match="upload it again"):
        read("t/two.mp4")
