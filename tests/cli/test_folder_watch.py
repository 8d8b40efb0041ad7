"""``watch``: complete files are ingested, and subtitles written beside them, across restarts."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from captionacc_dagster.cli import folder_watch
from captionacc_dagster.cli.dropped_files import DroppedFiles, is_being_written
from captionacc_dagster.resources.catalog import CatalogUnavailableError, VideoRow
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestDroppedFiles:
    @pytest.fixture
    def dropped(self, tmp_path: Path) -> DroppedFiles:
        return DroppedFiles(tmp_path, 5, Clock())

    def test_a_file_is_complete_when_it_has_not_changed_for_a_while(self, dropped, tmp_path: Path):
        video = tmp_path / "sub" / "a.mp4"
        video.parent.mkdir()
        video.write_bytes(b"1")
        assert dropped.complete() == [] and not dropped.is_settled
        dropped.clock.now += 4
        video.write_bytes(b"12")
        assert dropped.complete() == []
        dropped.clock.now += 4
        assert dropped.complete() == []
        dropped.clock.now += 1
        assert dropped.complete() == [video] and dropped.is_settled
        dropped.clock.now += 100
        assert dropped.complete() == [], "each file once"
        video.write_bytes(b"123")
        assert dropped.complete() == [] and not dropped.is_settled
        dropped.clock.now += 5
        assert dropped.complete() == [video], "until it changes"
        dropped.put_back(video)
        assert dropped.complete() == [video]

    def test_other_files_and_empty_ones_are_not_looked_at(self, dropped, tmp_path: Path):
        for name in ("a.mp4.part", ".a.mp4", "notes.txt", "a.srt"):
            (tmp_path / name).write_bytes(b"1")
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "gone.mp4").symlink_to("nowhere")
        dropped.complete()
        dropped.clock.now += 60
        assert dropped.complete() == [] and dropped.is_settled

    def test_a_file_that_is_still_open_for_writing_is_not_complete(self, dropped, tmp_path: Path):
        video = tmp_path / "a.mp4"
        with video.open("wb") as file:
            file.write(b"1")
            file.flush()
            if not is_being_written(video):
                pytest.skip("this file system shows no writers")
            dropped.complete()
            dropped.clock.now += 60
            assert dropped.complete() == [] and not dropped.is_settled
        assert not is_being_written(video)
        assert dropped.complete() == [video]

    def test_a_program_that_opens_a_file_while_it_is_looked_at_does_not_end_the_process(self, tmp_path: Path):
        # Linux announces it with a signal, whose default would end the process: so not in this one.
        program = (
            "import contextlib, fcntl, os, sys\n"
            "from pathlib import Path\n"
            "from captionacc_dagster.cli.dropped_files import is_being_written\n"
            "real = fcntl.fcntl\n"
            "def opened_then(descriptor, command, value):\n"
            "    real(descriptor, command, value)\n"
            "    if (command, value) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):\n"
            "        with contextlib.suppress(BlockingIOError):\n"
            "            os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK))\n"
            "fcntl.fcntl = opened_then\n"
            "print(is_being_written(Path(sys.argv[1])))\n"
        )
        video = tmp_path / "a.mp4"
        video.write_bytes(b"1")
        done = subprocess.run([sys.executable, "-c", program, str(video)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


class Platform:
    """Stands in for the daemon: at each check it takes the next of ``steps``."""

    steps: list[Callable[[Sequence[str]], None]]

    def __init__(self, here: object) -> None:
        self._steps = iter(self.steps)

    def check(self, waiting: Sequence[str]) -> None:
        next(self._steps, _stop)(waiting)

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _stop(_: Sequence[str]) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dropped"
    folder.mkdir()
    monkeypatch.setattr(folder_watch, "RunningPlatform", Platform)
    monkeypatch.setattr(Platform, "steps", [], raising=False)
    # A look at once instead of every second.
    monkeypatch.setattr(folder_watch, "_moments", lambda _: iter([True] * 20))
    return folder


@pytest.fixture
def watch(captionacc: Captionacc, folder: Path) -> Captionacc:
    return lambda *options: captionacc("watch", folder, "--settle", "0", *options)


def test_a_file_with_known_content_gets_its_subtitles_without_work(
    watch: Captionacc, folder: Path, clip: Clip, line: Line, finished: VideoRow, monkeypatch
):
    (folder / "talk.mp4").write_bytes(clip.path.read_bytes())
    done = watch("--once", "--format", "srt,ass")
    assert done.code == 0 and f"✓ {folder}/talk.mp4: 3 captions, {folder}/talk.srt" in done.output
    assert (folder / "talk.srt").read_bytes() == line.store.get(line.keys(finished.video_id).srt)
    assert sorted(path.name for path in folder.iterdir()) == ["talk.ass", "talk.mp4", "talk.srt"]
    assert len(line.catalog.list_videos()) == 1

    (folder / "talk.srt").write_text("corrected")
    monkeypatch.setattr(folder_watch, "upload", None)  # not even its content is read again
    assert watch("--once").code == 0
    assert (folder / "talk.srt").read_text() == "corrected"


def test_a_new_file_is_followed_until_it_is_ready(
    watch: Captionacc, folder: Path, line: Line, finished: VideoRow, monkeypatch
):
    (folder / "new.mp4").write_bytes(b"new")
    asked = []
    monkeypatch.setattr(
        folder_watch, "state_of", lambda row: "ready" if len(asked) == 2 else asked.append(row) or "working"
    )
    get = line.store.get(line.keys(finished.video_id).captions_db)

    def work(waiting: Sequence[str]) -> None:
        line.store.put(line.keys(*waiting).captions_db, get)

    Platform.steps[:] = [work] * 9
    done = watch("--once")
    row = next(row for row in line.catalog.list_videos() if row.display_path == "new.mp4")
    assert done.code == 0 and f"new.mp4 was ingested as {row.video_id[:8]}" in done.output
    assert (folder / "new.srt").read_bytes() == line.store.get(line.keys(finished.video_id).srt)


def test_a_video_that_fails_is_reported_once_and_the_others_go_on(
    watch: Captionacc, folder: Path, clip: Clip, line: Line, finished: VideoRow
):
    (folder / "bad.mp4").write_bytes(b"bad")

    def fail(waiting: Sequence[str]) -> None:
        line.catalog.fail_stage(*waiting, "layout", "run", "the file is not a video")

    def drop(_: Sequence[str]) -> None:
        (folder / "talk.mp4").write_bytes(clip.path.read_bytes())

    Platform.steps[:] = [fail, drop, lambda _: None]
    done = watch()
    assert done.code == 130 and done.output.count("✗ bad.mp4: layout: the file is not a video") == 1
    assert (folder / "talk.srt").exists() and not (folder / "bad.srt").exists()
    Platform.steps[:] = []
    again = watch("--once")
    assert again.code == 1 and "✗ bad.mp4: layout: the file is not a video" in again.output
    assert len(line.catalog.list_videos()) == 2, "a restart ingests nothing twice"


def test_an_interrupt_says_what_goes_on(watch: Captionacc, folder: Path, line: Line):
    (folder / "new.mp4").write_bytes(b"new")
    done = watch()
    assert done.code == 130
    assert "Stopped: 1 unfinished video stays registered; the same command goes on." in done.errors
    assert len(line.catalog.list_videos()) == 1


def test_an_outage_does_not_lose_a_file(watch: Captionacc, folder: Path, line: Line, monkeypatch):
    (folder / "new.mp4").write_bytes(b"new")
    find, outages = type(line.catalog).find_content, [1, 2]

    def find_content(self, *arguments):
        if outages:
            outages.pop()
            raise CatalogUnavailableError("the catalogue does not answer")
        return find(self, *arguments)

    monkeypatch.setattr("captionacc_dagster.resources.catalog.Catalog.find_content", find_content)
    Platform.steps[:] = [lambda _: None] * 3
    done = watch()
    assert done.errors.count("the catalogue does not answer") == 1
    assert [row.display_path for row in line.catalog.list_videos()] == ["new.mp4"]


def test_something_else_than_a_folder_is_refused(captionacc: Captionacc, clip: Clip):
    done = captionacc("watch", clip.path)
    assert done.code == 1 and f"{clip.path} is not a folder" in done.errors


def test_a_change_in_the_folder_ends_the_wait(tmp_path: Path):
    moments: Iterator[bool] = folder_watch._moments(tmp_path)
    assert next(moments) is True
    writer = threading.Timer(0.3, lambda: (tmp_path / "a.mp4").write_bytes(b"1"))
    writer.start()
    assert any(changed for changed, _ in zip(moments, range(10), strict=False))
    writer.join()
