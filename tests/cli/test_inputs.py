"""Files, folders and patterns on the command line."""

import os
from pathlib import Path

import pytest

from captionacc_dagster.cli.inputs import Input, InputFileError, check_video, find_videos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "s1/e1.mp4", "s1/.git/e.mp4", "s1/x/e2.webm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    return tmp_path


def names(*given: str) -> list[str]:
    return [str(video.path) for video in find_videos([Path(name) for name in given]).videos]


def test_a_folder_stands_for_the_videos_in_it_and_below(folder: Path):
    found = find_videos([Path()])
    assert found.videos == [
        Input(Path("a.MKV")),
        Input(Path("b.mp4")),
        Input(Path("s1/e1.mp4"), Path("s1")),
        Input(Path("s1/x/e2.webm"), Path("s1/x")),
    ]
    assert find_videos([Path("s1")]).videos[1] == Input(Path("s1/x/e2.webm"), Path("x"))


def test_a_pattern_that_the_shell_left_alone_is_expanded(folder: Path):
    assert names("*.mp4") == ["b.mp4"]
    assert names("**/*.mp4") == ["b.mp4", "s1/e1.mp4"]
    assert names(str(folder / "s?")) == [str(folder / "s1/e1.mp4"), str(folder / "s1/x/e2.webm")]
    (folder / "[1].mp4").write_bytes(b"a name that looks like a pattern")
    assert names("[1].mp4") == ["[1].mp4"]


def test_each_video_comes_once_in_the_order_given(folder: Path):
    (folder / "link.mp4").symlink_to("b.mp4")
    assert names("s1/e1.mp4", "b.mp4", "s1", "./b.mp4", "link.mp4") == ["s1/e1.mp4", "b.mp4", "s1/x/e2.webm"]


def test_a_named_file_is_tried_whatever_its_name_and_existence(folder: Path):
    assert names("notes.txt", "gone.mp4", "x" * 300) == ["notes.txt", "gone.mp4", "x" * 300]


def test_names_without_a_video_are_refused(folder: Path):
    (folder / "empty").mkdir()
    found = find_videos([Path("empty"), Path("*.avi")])
    assert found.videos == []
    assert found.refused == [(Path("empty"), "the folder has no videos"), (Path("*.avi"), "no match")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("talk.mp4", "talk"), ("talk.v2.MKV", "talk.v2"), ("talk.2024", "talk.2024"), ("a", "a")],
)
def test_only_the_extension_of_a_video_is_no_part_of_its_name(name: str, stem: str):
    assert Input(Path(name)).stem == stem


def test_only_regular_files_with_content_are_videos(folder: Path):
    (folder / "none.mp4").touch()
    os.mkfifo(folder / "pipe.mp4")
    for name, reason in {
        "gone": "no such",
        "none.mp4": "empty",
        "pipe.mp4": "regular",
        "s1": "folder",
    }.items():
        with pytest.raises(InputFileError, match=reason):
            check_video(folder / name)
    assert check_video(folder / "b.mp4").st_size == 5
