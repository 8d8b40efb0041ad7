"""Files that commands write: the format follows the extension, and existing files are kept."""

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.cli.files import OutputFileError, check_output, write_output
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import read_captions, write_captions
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line


def is_of(format: str, data: bytes) -> bool:
    if format == "json":
        return isinstance(json.loads(data), list)
    return data.startswith(b"WEBVTT") == (format == "vtt")


class TestExport:
    @pytest.mark.parametrize(
        ("name", "option", "format"),
        [
            ("out.srt", None, "srt"),
            ("out.vtt", None, "vtt"),
            ("out.ass", None, "ass"),
            ("out.json", None, "json"),
            ("out.VTT", None, "vtt"),
            ("two.srt.vtt", None, "vtt"),
            ("out.vtt", "vtt", "vtt"),
            ("out.txt", "vtt", "vtt"),
            ("out", "json", "json"),
            (".srt", "vtt", "vtt"),
        ],
    )
    def test_the_format_follows_the_extension(
        self, captionacc: Captionacc, finished: VideoRow, tmp_path: Path, name: str, option, format: str
    ):
        options = ("--format", option) if option else ()
        result = captionacc("export", "harbour.mp4", *options, "-o", tmp_path / name)
        assert result.code == 0 and result.output == f"Wrote {tmp_path / name}\n"
        assert is_of(format, (tmp_path / name).read_bytes())

    @pytest.mark.parametrize(
        ("name", "option", "message"),
        [
            ("out.vtt", "srt", "contradicts `--format srt`: end it in .srt"),
            ("out.srt", "json", "end it in .json"),
            ("out.JSON", "vtt", "end it in .vtt"),
            ("out.txt", None, "no format follows from its name"),
            ("out", None, "no format follows from its name"),
            ("srt", None, "no format follows from its name"),
        ],
    )
    def test_a_contradictory_or_unclear_format_is_refused(
        self, captionacc: Captionacc, finished: VideoRow, tmp_path: Path, name: str, option, message: str
    ):
        options = ("--format", option) if option else ()
        result = captionacc("export", "harbour.mp4", *options, "-o", tmp_path / name)
        assert result.code == 2 and message in result.notes and result.output == ""
        assert not (tmp_path / name).exists()

    def test_an_existing_file_is_kept_unless_forced(self, captionacc, finished, tmp_path: Path):
        mine = tmp_path / "mine.vtt"
        mine.write_text("hand-made")
        result = captionacc("export", "harbour.mp4", "-o", mine)
        assert (
            result.code == 1 and f"{mine} exists already and was kept: `--force` replaces it" in result.notes
        )
        assert mine.read_text() == "hand-made"
        assert captionacc("export", "harbour.mp4", "-o", mine, "--force").code == 0
        assert is_of("vtt", mine.read_bytes())

    @pytest.mark.parametrize("target", ["-", "/dev/stdout"])
    def test_standard_output_is_not_a_file(
        self, captionacc, line: Line, finished, tmp_path: Path, target: str
    ):
        result = captionacc("export", "harbour.mp4", "-f", "vtt", "-o", target)
        assert result.code == 0 and list(tmp_path.glob("-")) == []
        if target == "-":
            assert result.output.encode() == line.store.get(line.keys(finished.video_id).vtt)

    def test_captions_are_utf_8_whatever_the_terminal_supports(self, captionacc, line: Line, finished):
        keys = line.keys(finished.video_id)
        captions = read_captions(line.store.get(keys.captions_db))
        line.store.put(keys.captions_db, write_captions([replace(captions[0], text="H\u00e4fen \u5b57")]))
        sys.stdout.reconfigure(encoding="ascii")
        try:
            result = captionacc("export", "harbour.mp4")
        finally:
            sys.stdout.reconfigure(encoding="utf-8")
        assert result.code == 0 and "H\u00e4fen \u5b57" in result.output


class TestPicture:
    @pytest.mark.parametrize("name", ["strip.jpg", "strip.JPEG"])
    def test_a_jpeg_is_written_and_kept(self, captionacc, finished: VideoRow, tmp_path: Path, name: str):
        picture = tmp_path / name
        assert captionacc("layout", "show", "harbour.mp4", "--picture", picture).code == 0
        assert picture.read_bytes().startswith(b"\xff\xd8")
        picture.write_bytes(b"mine")
        result = captionacc("layout", "show", "harbour.mp4", "--picture", picture)
        assert result.code == 1 and "exists already" in result.notes and picture.read_bytes() == b"mine"
        assert captionacc("layout", "show", "harbour.mp4", "--picture", picture, "--force").code == 0
        assert picture.read_bytes().startswith(b"\xff\xd8")

    @pytest.mark.parametrize("name", ["strip.png", "strip", "strip.jpg.txt"])
    def test_another_extension_is_refused(self, captionacc, finished: VideoRow, tmp_path: Path, name: str):
        result = captionacc("layout", "show", "harbour.mp4", "--picture", tmp_path / name)
        assert result.code == 2 and "would contain a JPEG" in result.notes and not (tmp_path / name).exists()


class TestDemo:
    @pytest.fixture
    def folder(self, tmp_path: Path, clip: Clip) -> Path:
        """A demo's folder after its first run: ``clip`` is a sample as ``demo`` makes one."""
        folder = tmp_path / "demo"
        folder.mkdir()
        (folder / "sample.mp4").write_bytes(clip.path.read_bytes())
        (folder / "sample.truth.srt").write_text("truth")
        return folder

    def test_a_second_call_shows_the_existing_captions(self, captionacc, line: Line, finished, folder: Path):
        result = captionacc("demo", "--folder", folder)
        assert result.code == 0, result.text
        assert (
            "Only the gulls are still awake." in result.output
            and "3 captions from an earlier call." in result.output
        )
        assert len(line.catalog.list_videos()) == 1
        for name in ("srt", "vtt"):
            key = getattr(line.keys(finished.video_id), name)
            assert (folder / f"sample.{name}").read_bytes() == line.store.get(key)
        assert captionacc("demo", "--folder", folder).code == 0

    def test_foreign_files_are_kept(self, captionacc, finished: VideoRow, folder: Path):
        (folder / "sample.srt").write_text("mine")
        result = captionacc("demo", "--folder", folder)
        assert result.code == 1 and "sample.srt exists already and was kept" in result.notes
        assert (folder / "sample.srt").read_text() == "mine"
        assert captionacc("demo", "--folder", folder, "--force").code == 0
        (folder / "sample.truth.srt").unlink()
        result = captionacc("demo", "--folder", folder)
        assert result.code == 1 and "sample.mp4 exists already" in result.notes


class TestWriting:
    def test_a_write_is_atomic(self, tmp_path: Path, monkeypatch):
        path = tmp_path / "a.srt"
        path.write_bytes(b"before")
        write = Path.write_bytes

        def full(path: Path, data: bytes):
            write(path, data[:1])
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left on device") as error:
            write_output(path, b"after", force=True)
        assert error.value.filename == str(path)
        assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]

    def test_links_and_permissions_are_kept(self, tmp_path: Path):
        real, link = tmp_path / "real.srt", tmp_path / "link.srt"
        real.write_bytes(b"before")
        real.chmod(0o600)
        link.symlink_to(real)
        with pytest.raises(OutputFileError):
            write_output(link, b"after", force=False)
        write_output(link, b"after", force=True)
        assert link.is_symlink() and real.read_bytes() == b"after"
        assert stat.S_IMODE(real.stat().st_mode) == 0o600

    def test_the_same_bytes_again_do_not_replace_the_file(self, tmp_path: Path):
        path = tmp_path / "a.srt"
        write_output(path, b"same", force=False)
        before = path.stat()
        write_output(path, b"same", force=False)
        assert path.stat().st_ino == before.st_ino

    def test_a_pipe_is_written_into(self, tmp_path: Path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write_output(path, b"text", force=False)
        assert os.read(reader, 10) == b"text"
        os.close(reader)

    @pytest.mark.parametrize("force", [False, True])
    def test_a_folder_is_refused(self, tmp_path: Path, force: bool):
        with pytest.raises(OutputFileError, match="is a folder"):
            check_output(tmp_path, force=force)

    def test_a_dangling_link_is_kept(self, tmp_path: Path):
        link = tmp_path / "link.srt"
        link.symlink_to(tmp_path / "later.srt")
        with pytest.raises(OutputFileError, match="exists already"):
            write_output(link, b"x", force=False)
        write_output(link, b"x", force=True)
        assert (tmp_path / "later.srt").read_bytes() == b"x"
