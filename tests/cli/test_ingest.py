"""``ingest``: odd files and names, uploads that fail, and files that were uploaded before."""

import os
import sys
from pathlib import Path

import pytest

from captionacc_dagster.cli.root import printable
from captionacc_dagster.resources.catalog import Catalog, CatalogError, CatalogUnavailableError, VideoRow
from modal_gpu.storage import ObjectStore
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

UNKNOWN = "11111111-1111-4111-8111-111111111111"


def stored(line: Line) -> list[str]:
    return [info.key for info in line.store.list()]


class TestIngest:
    def test_files_are_uploaded_and_registered(self, captionacc: Captionacc, line: Line, make_file):
        files = [make_file("a.mp4"), make_file("b.mkv")]
        result = captionacc("ingest", "--no-wait", *files)
        assert result.code == 0 and result.notes == ""
        rows = line.catalog.list_videos()
        assert result.output.splitlines() == [f"{row.video_id[:8]}  {row.display_path}" for row in rows[::-1]]
        assert {row.display_path: line.store.get(row.storage_key) for row in rows} == {
            "a.mp4": b"a.mp4",
            "b.mkv": b"b.mkv",
        }
        assert [row.size_bytes for row in rows] == [5, 5]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("gone.mp4", "no such file"),
            ("empty.mp4", "is empty"),
            ("folder.mp4", "the folder has no videos"),
            ("pipe.mp4", "not a regular file"),
            ("x" * 300, "File name too long"),
            ("file.mp4/inside", "Not a directory"),
            ("loop.mp4", "Too many levels of symbolic links"),
            ("caf\udce9-gone.mp4", "no such file"),
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
    def test_a_bad_file_is_listed_and_the_others_continue(
        self,
        captionacc: Captionacc,
        line: Line,
        make_file,
        tmp_path: Path,
        name: str,
        reason: str,
        place: int,
    ):
        folder = tmp_path / "bad"
        (folder / "folder.mp4").mkdir(parents=True)
        (folder / "empty.mp4").touch()
        (folder / "file.mp4").write_bytes(b"x")
        (folder / "loop.mp4").symlink_to("loop.mp4")
        os.mkfifo(folder / "pipe.mp4")
        files = [make_file("a.mp4"), make_file("b.mp4")]
        files.insert(place, folder / name)
        result = captionacc("ingest", "--no-wait", *files)
        assert result.code == 1
        assert f"✗ {printable(folder / name)}: {reason}" in result.notes
        assert len(result.notes.splitlines()) == 1
        assert sorted(row.display_path for row in line.catalog.list_videos()) == ["a.mp4", "b.mp4"]
        assert len(stored(line)) == 2

    def test_an_unreadable_file_is_listed(self, captionacc, line: Line, make_file, monkeypatch):
        secret, opened = make_file("secret.mp4"), Path.open

        def guarded(path: Path, *arguments, **options):
            if path == secret:  # root can read everything, so the system's error is simulated
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", guarded)
        result = captionacc("ingest", "--no-wait", secret, make_file("good.mp4"))
        assert result.code == 1 and f"✗ {secret}: Permission denied" in result.notes
        assert [row.display_path for row in line.catalog.list_videos()] == ["good.mp4"]

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("caf\udce9.mp4", "caf\ufffd.mp4"),
            ("a\nb.mp4", "a\ufffdb.mp4"),
            ("\x1b[31mred.mp4", "\ufffd[31mred.mp4"),
            ("\u202etxt.mp4", "\ufffdtxt.mp4"),
            ("cafe\u0301.mp4", "caf\u00e9.mp4"),
            ("[bold] clip[red].mp4", "[bold] clip[red].mp4"),
            ("a :cat: b.mp4", "a :cat: b.mp4"),
            ("-rf.mp4", "-rf.mp4"),
            ("\u5b57" * 83 + ".mp4", "\u5b57" * 83 + ".mp4"),
            (" .mp4", " .mp4"),
        ],
    )
    def test_any_name_is_accepted_shown_on_one_line_and_found(
        self, captionacc: Captionacc, line: Line, make_file, name: str, shown: str
    ):
        file = make_file(name)
        result = captionacc("ingest", "--no-wait", file)
        (row,) = line.catalog.list_videos()
        assert result.code == 0 and result.output == f"{row.video_id[:8]}  {shown}\n"
        assert line.store.get(row.storage_key) == file.read_bytes()
        assert row.display_path == shown
        again = captionacc("ingest", "--no-wait", file)
        assert again.code == 0 and f"was already uploaded as {row.video_id[:8]}" in again.notes
        assert len(again.notes.splitlines()) == 1
        line.catalog.fail_stage(row.video_id, "layout", "run", "why")
        assert shown in captionacc("status").output
        assert shown in captionacc("status", "--", name).output
        assert f"{shown}: a running platform will retry layout" in captionacc("retry", "--", name).output
        missing = captionacc("export", "--", name)
        assert missing.code == 1 and "has no captions yet" in missing.notes
        result = captionacc("delete", "--yes", "--", name)
        assert result.output == f"Deleted {shown} ({row.video_id[:8]}).\n"
        unknown = captionacc("status", "--", name)
        assert unknown.code == 1 and len(unknown.notes.splitlines()) == 1

    def test_names_are_printed_on_an_ascii_terminal(self, captionacc, make_file, monkeypatch):
        for stream in ("stdout", "stderr"):
            getattr(sys, stream).reconfigure(encoding="ascii")
        try:
            result = captionacc("ingest", "--no-wait", make_file("caf\udce9 \u5b57.mp4"))
        finally:
            for stream in ("stdout", "stderr"):
                getattr(sys, stream).reconfigure(encoding="utf-8")
        assert result.code == 0

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (CatalogError("refused"), "refused"),
            (CatalogUnavailableError("no answer"), "no answer"),
            (RuntimeError("a fault of ours"), None),
            (KeyboardInterrupt(), None),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )
    def test_an_upload_that_is_not_registered_leaves_no_object(
        self, captionacc: Captionacc, line: Line, make_file, monkeypatch, error, message: str | None
    ):
        def refuse(*_, **__):
            assert stored(line) != []
            raise error

        monkeypatch.setattr(Catalog, "register_video", refuse)
        files = [make_file("a.mp4"), make_file("b.mp4")]
        if isinstance(error, RuntimeError):
            with pytest.raises(RuntimeError):
                captionacc("ingest", "--no-wait", *files)
        else:
            result = captionacc("ingest", "--no-wait", *files)
            assert result.code == (1 if message else 130)
        if message:
            assert f"✗ {files[0]}: {message}" in result.notes
            assert f"✗ {files[1]}: not tried after this error" in result.notes
        assert stored(line) == [] and line.catalog.list_videos() == []

    def test_a_registration_with_a_lost_answer_counts(self, captionacc, line: Line, make_file, monkeypatch):
        register = Catalog.register_video

        def lose(*arguments, **options):
            register(*arguments, **options)
            raise CatalogUnavailableError("the connection was lost")

        monkeypatch.setattr(Catalog, "register_video", lose)
        result = captionacc("ingest", "--no-wait", make_file("a.mp4"), make_file("b.mp4"))
        assert result.code == 0 and result.notes == ""
        assert sorted(stored(line)) == sorted(row.storage_key for row in line.catalog.list_videos())
        assert len(stored(line)) == 2

    def test_a_file_that_changes_during_the_upload_is_refused(
        self, captionacc, line: Line, make_file, monkeypatch
    ):
        growing, upload = make_file("growing.mp4"), ObjectStore.upload

        def grow(store, path, key, content_type):
            upload(store, path, key, content_type)
            if path == growing:
                with growing.open("ab") as file:
                    file.write(b"more")

        monkeypatch.setattr(ObjectStore, "upload", grow)
        result = captionacc("ingest", "--no-wait", growing, make_file("good.mp4"))
        assert result.code == 1 and f"✗ {growing}: the file changed during the upload" in result.notes
        assert [row.display_path for row in line.catalog.list_videos()] == ["good.mp4"]
        assert len(stored(line)) == 1

    def test_an_unknown_tenant_is_refused(self, captionacc, line: Line, make_file, monkeypatch):
        monkeypatch.setenv("CAPTIONACC_TENANT_ID", UNKNOWN)
        result = captionacc("ingest", "--no-wait", make_file("a.mp4"))
        assert result.code == 1
        assert f"tenant {UNKNOWN} is not in the catalogue" in result.text
        assert stored(line) == []


class TestFilesThatAreHere:
    """``ingest`` of a file that the tenant already has: messages and effects, by the state of its video."""

    def test_a_finished_one_is_reported_and_not_processed_again(
        self, captionacc: Captionacc, line: Line, finished: VideoRow, clip: Clip, make_file
    ):
        copy = make_file("copy.mp4", clip.path.read_bytes())
        before = stored(line)
        # With --wait: there is nothing to wait for, so no daemon is started.
        result = captionacc("ingest", clip.path, copy, copy)
        assert result.code == 0
        short = finished.video_id[:8]
        assert result.notes.splitlines() == [
            f"{clip.path} was already uploaded as {short}; `--again` processes it again",
            # Named twice, tried once.
            f"{copy} was already uploaded as {short} (harbour.mp4); `--again` processes it again",
        ]
        assert result.output.count("✓ harbour.mp4: 3 captions") == 1
        assert stored(line) == before and len(line.catalog.list_videos()) == 1

    def test_again_creates_another_video(self, captionacc, line: Line, finished, clip: Clip):
        result = captionacc("ingest", "--no-wait", "--again", clip.path)
        assert result.code == 0 and result.notes == ""
        assert len(line.catalog.list_videos()) == 2

    def test_a_failed_one_is_reported_with_what_to_do(self, captionacc, line: Line, clip: Clip):
        row = line.upload(clip.path)
        line.catalog.fail_stage(row.video_id, "layout", "run", "no space left")
        result = captionacc("ingest", clip.path)
        assert result.code == 1
        short = row.video_id[:8]
        assert (
            f"already uploaded as {short}, which failed: use `captionacc retry {short}` or `--again`"
            in result.notes
        )
        assert "✗ harbour.mp4: layout: no space left" in result.output
        assert len(line.catalog.list_videos()) == 1

    def test_a_deleted_one_does_not_count(self, captionacc, line: Line, clip: Clip):
        line.catalog.soft_delete_video(line.upload(clip.path).video_id)
        result = captionacc("ingest", "--no-wait", clip.path)
        assert result.code == 0 and result.notes == ""
        assert len(line.catalog.list_videos()) == 1

    def test_the_same_file_twice_in_one_command_is_one_video(self, captionacc, line: Line, make_file):
        files = [make_file("a.mp4", b"same"), make_file("b.mp4", b"same"), make_file("c.mp4", b"other")]
        result = captionacc("ingest", "--no-wait", *files)
        assert result.code == 0
        assert f"{files[1]} was already uploaded as " in result.notes and "(a.mp4)" in result.notes
        assert sorted(row.display_path for row in line.catalog.list_videos()) == ["a.mp4", "c.mp4"]
        assert len(stored(line)) == 2

    def test_the_first_of_two_simultaneous_commands_counts(
        self, captionacc, line: Line, clip: Clip, monkeypatch
    ):
        upload, others = ObjectStore.upload, []

        def overtaken(store, path, key, content_type):
            upload(store, path, key, content_type)
            if not others:
                others.append(None)
                others[0] = line.upload(path)

        monkeypatch.setattr(ObjectStore, "upload", overtaken)
        result = captionacc("ingest", "--no-wait", clip.path)
        assert result.code == 0 and f"was already uploaded as {others[0].video_id[:8]}" in result.notes
        assert result.output == f"{others[0].video_id[:8]}  harbour.mp4\n"
        assert stored(line) == [others[0].storage_key]

    def test_deleting_a_followed_video_ends_the_wait(self, line: Line, clip: Clip):
        from captionacc_dagster.cli.watch import watch

        row = line.upload(clip.path)
        line.catalog.soft_delete_video(row.video_id)

        class Here:
            catalog = line.catalog

        (ended,) = watch(Here(), [row], interval=0)
        assert ended.deleted_at is not None


def test_a_folder_and_a_pattern_name_their_videos(captionacc: Captionacc, line: Line, make_file):
    for name in ("a.mp4", "b.mkv", "notes.txt"):
        make_file(name)
    result = captionacc("ingest", "--no-wait", "in", "in/*.mp4", "*.avi")
    assert result.code == 1 and result.notes == "✗ *.avi: no match\n"
    assert sorted(row.display_path for row in line.catalog.list_videos()) == ["a.mp4", "b.mkv"]
