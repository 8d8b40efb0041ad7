"""``extract``: what it writes, prints and answers; the work itself is tested beside the functions."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from captionacc_dagster import cli as command_line
from captionacc_dagster.cli.extract_progress import shown_progress
from captionacc_dagster.cli.root import console, notes
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.settings import get_settings
from modal_gpu.contracts import CropRegion, ExtractResult
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.errors import ConfigurationError, NotAVideoError
from modal_gpu.extraction import extraction
from modal_gpu.timeline import Timeline
from tests.cli.conftest import Captionacc, CommandResult
from tests.cli.documented_json import as_documented
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

CROP = CropRegion(0.04, 0.7, 0.96, 1.0)
#: Packages of the platform and of training, which this command does without.
FORBIDDEN = {"dagster", "psycopg", "supabase", "modal", "torch", "alembic", "sqlalchemy", "grpc"}
REPOSITORY = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CAPTIONACC_WORKERS": "1"}


@dataclass
class Work:
    """Stands in for the work on a video: ``errors`` by file name, and the approvals that it was given."""

    errors: dict[str, BaseException] = field(default_factory=dict)
    damage: str = ""
    found: bool = True
    approvals: list[extraction.Approval] = field(default_factory=list)
    languages: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, video: Path, settings, approval, progress) -> extraction.Extraction:
        self.approvals.append(approval)
        self.languages.append(settings.ocr_languages)
        progress("frames", 0, 8)
        if error := self.errors.get(video.name):
            raise error
        for stage in ("frames", "strips", "captions"):
            progress(stage, 8, 8)
        captions = [
            Caption(
                start_index=4,
                end_index=30,
                start_seconds=0.4,
                end_seconds=3.0,
                ocr_text=f"Text of {video.name}",
                ocr_status="completed",
            )
        ]
        layout = LayoutFile(
            640, 360, CROP, confidence=0.9, caption_band_found=self.found, reason="One line at the bottom."
        )
        facts = ExtractResult(80, 8.0, 640, 360, "h264", 0, 3, 0, 1.0, "f", "o", "l")
        return extraction.Extraction(captions if self.found else [], Timeline(), facts, layout, self.damage)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(extraction, "extract_captions", work)
    return work


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals_as_they_were
) -> Iterator[Captionacc]:
    """Run ``captionacc extract`` in a folder with two videos and nothing else: no home, no catalogue."""
    monkeypatch.chdir(tmp_path)
    for name in ("CAPTIONACC_HOME", "CAPTIONACC_DATABASE_URL", "CAPTIONACC_AUTO_APPROVE"):
        monkeypatch.delenv(name, raising=False)
    for each in (console, notes):
        monkeypatch.setattr(each, "_width", 300)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"video")

    def call(*arguments: object) -> CommandResult:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["captionacc", "extract", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
            raise SystemExit(0)
        captured = capsys.readouterr()
        return CommandResult(int(ended.value.code or 0), captured.out, captured.err)

    yield call
    get_settings.cache_clear()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_subtitles_are_written_beside_the_videos_and_nothing_else(
    run: Captionacc, work: Work, tmp_path: Path
):
    done = run("a.mp4", "b.mp4")
    assert done.code == 0
    assert [line.partition(" in ")[0] for line in done.output.splitlines()] == [
        "✓ a.mp4: 1 caption",
        "✓ b.mp4: 1 caption",
    ]
    assert files(tmp_path) == ["a.mp4", "a.srt", "b.mp4", "b.srt"]
    assert (tmp_path / "a.srt").read_text() == "1\n00:00:00,400 --> 00:00:03,000\nText of a.mp4\n\n"
    assert done.errors.endswith("2 videos: 2 done.\n")


def test_piped_output_has_a_line_a_stage(run: Captionacc, work: Work):
    assert run("a.mp4").errors.splitlines() == [
        "a.mp4: finding the place of captions (8 frames)",
        "a.mp4: finding and reading captions (8 moments)",
        "a.mp4: joining pieces of captions (8 captions)",
    ]


def test_a_terminal_shows_a_bar_with_the_remaining_time(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200, _environ={"TERM": "xterm"})
    monkeypatch.setattr("captionacc_dagster.cli.extract_progress.notes", terminal)
    with shown_progress("[red].mp4", 2, 3) as step:
        step("frames", 4, 8)
        step("strips", 80, 80)
        step("captions", 0, 0)
    assert "[2/3] [red].mp4: joining pieces of captions" in terminal.file.getvalue()
    assert " 95%" in terminal.file.getvalue() and "-:--:--" in terminal.file.getvalue()


def test_a_folder_is_mirrored_in_the_output_with_every_format(run: Captionacc, work: Work, tmp_path: Path):
    (tmp_path / "in" / "s1").mkdir(parents=True)
    for name in ("in/x.mkv", "in/s1/x.mp4"):
        (tmp_path / name).write_bytes(b"video")
    assert run("in", "-o", "out/subs", "--format", "srt, vtt,json,ass,srt").code == 0
    assert files(tmp_path / "out") == [
        *(f"subs/s1/x.{ending}" for ending in ("ass", "json", "srt", "vtt")),
        *(f"subs/x.{ending}" for ending in ("ass", "json", "srt", "vtt")),
    ]
    assert json.loads((tmp_path / "out/subs/x.json").read_text())[0]["text"] == "Text of x.mkv"


def test_existing_subtitles_are_kept_and_missing_formats_added(run: Captionacc, work: Work, tmp_path: Path):
    (tmp_path / "a.srt").write_text("mine")
    done = run("a.mp4", "b.mp4")
    assert done.code == 0 and len(work.approvals) == 1
    assert "a.srt: exists already and was kept: `--force` replaces it" in done.errors
    assert done.errors.endswith("2 videos: 1 done, 1 had subtitles.\n")
    assert run("a.mp4", "--format", "srt,vtt").code == 0
    assert (tmp_path / "a.srt").read_text() == "mine" and (tmp_path / "a.vtt").exists()
    assert run("a.mp4", "--force").code == 0
    assert "Text of a.mp4" in (tmp_path / "a.srt").read_text()


def test_two_videos_with_one_output_do_not_overwrite_each_other(run: Captionacc, work: Work, tmp_path: Path):
    (tmp_path / "a.mkv").write_bytes(b"video")
    done = run("a.mp4", "a.mkv")
    assert done.code == 1 and "✗ a.mkv: a.mp4 has the same output, a.srt" in done.errors
    assert "Text of a.mp4" in (tmp_path / "a.srt").read_text()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (NotAVideoError("the file is not a video"), "the file is not a video"),
        (PermissionError(13, "Permission denied", "a.mp4"), "Permission denied"),
        (RuntimeError("a fault"), "unexpected RuntimeError: a fault"),
    ],
)
def test_good_videos_go_on_when_one_is_bad(
    run: Captionacc, work: Work, tmp_path: Path, error: Exception, shown: str
):
    work.errors["a.mp4"] = error
    done = run("gone.mp4", "a.mp4", "*.avi", "b.mp4")
    assert done.code == 1
    assert f"✗ a.mp4: {shown}\n" in done.errors
    assert "✗ gone.mp4: no such file\n" in done.errors and "✗ *.avi: no match\n" in done.errors
    assert done.errors.endswith("4 videos: 1 done, 3 failed.\n")
    assert files(tmp_path) == ["a.mp4", "b.mp4", "b.srt"]


def test_an_unusable_installation_ends_it_at_once(run: Captionacc, work: Work):
    work.errors["a.mp4"] = ConfigurationError("Google Vision has no credentials")
    done = run("a.mp4", "b.mp4")
    assert done.code == 1 and len(work.approvals) == 1
    assert "✗ a.mp4: Google Vision has no credentials" in done.errors
    assert "✗ b.mp4: not tried after this error" in done.errors


def test_a_layout_that_nobody_approves_has_its_own_exit_code(run: Captionacc, work: Work, tmp_path: Path):
    work.errors["a.mp4"] = extraction.LayoutNotApprovedError("No caption band.")
    done = run("a.mp4", "b.mp4")
    assert done.code == 3
    assert "? a.mp4: No caption band. Name the place: `--crop-region LEFT,TOP,RIGHT,BOTTOM`" in done.errors
    assert files(tmp_path) == ["a.mp4", "b.mp4", "b.srt"]
    work.errors["b.mp4"] = NotAVideoError("bad")
    assert run("a.mp4", "b.mp4", "--force").code == 1


def test_a_video_without_captions_is_done_and_says_why(run: Captionacc, work: Work, tmp_path: Path):
    work.found = False
    done = run("a.mp4")
    assert done.code == 0 and "no captions found" in done.output
    assert "One line at the bottom." in done.errors, "the finding of the analysis"
    assert (tmp_path / "a.srt").read_text() == ""


def test_damage_is_mentioned(run: Captionacc, work: Work):
    work.damage = "3 of 200 frames are damaged"
    assert "a.mp4: 3 of 200 frames are damaged" in run("a.mp4").errors


def test_the_policy_is_the_platforms(run: Captionacc, work: Work, monkeypatch):
    run("a.mp4")
    monkeypatch.setenv("CAPTIONACC_AUTO_APPROVE", "off")
    run("b.mp4")
    assert [a.least_confidence for a in work.approvals] == [0.2, None]


def test_a_crop_region_in_fractions_or_pixels(run: Captionacc, work: Work, clip: Clip, monkeypatch):
    assert run("a.mp4", "--crop-region", "0.1,0.75,0.9,1").code == 0
    assert run(clip.path, "-o", "out", "--crop-region", "64,270,576,360").code == 0
    # A very large picture is scaled down for processing; the option means the pixels that players show.
    monkeypatch.setattr("modal_gpu.media.probe.working_size", lambda width, height: (width // 2, height // 2))
    assert run(clip.path, "-o", "again", "--crop-region", "64,270,576,360").code == 0
    assert [a.crop_region for a in work.approvals] == [CropRegion(0.1, 0.75, 0.9, 1)] * 3


def test_the_languages_are_those_of_the_option_or_of_the_setting(run: Captionacc, work: Work, monkeypatch):
    monkeypatch.setenv("OCR_LANGUAGE", "ru")
    run("a.mp4")
    run("b.mp4", "--language", "KO,en")
    assert work.languages == [("ru",), ("ko", "en")]
    wrong = run("b.mp4", "--language", "klingonese", "--force")
    assert wrong.code == 2 and "--language: 'klingonese' is not a language tag" in wrong.errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("--crop-region", "0.1,0.2,0.3"),
        ("--crop-region", "a,b,c,d"),
        ("--crop-region", "0.9,0.7,0.1,1"),
        ("--crop-region=-1,0.7,1,1",),
        ("--crop-region", "nan,0.7,1,1"),
        ("--crop-region", "0.1,0.7,1.2,1.5"),
        ("--format", "srt,doc"),
        ("--format", ""),
    ],
)
def test_wrong_options_are_refused_before_any_work(run: Captionacc, work: Work, arguments: tuple[str, ...]):
    done = run("a.mp4", *arguments)
    assert done.code == 2 and arguments[0].partition("=")[0] in done.text and not work.approvals


def test_the_results_as_json(run: Captionacc, work: Work):
    work.errors["b.mp4"] = NotAVideoError("bad")
    done = run("a.mp4", "b.mp4", "*.avi", "--json")
    assert done.code == 1
    refused, good, bad = as_documented("extract", done.output)["videos"]
    assert good.pop("seconds") >= 0
    assert good == {
        "video": "a.mp4",
        "status": "done",
        "note": "",
        "files": ["a.srt"],
        "captions": 1,
        "duration_seconds": 8.0,
        "zones": [
            {
                **{"left": 0.04, "top": 0.7, "right": 0.96, "bottom": 1.0},
                "pixels": {"left": 24, "top": 252, "right": 616, "bottom": 360},
            }
        ],
        "layout": {"found": True, "confidence": 0.9, "reason": "One line at the bottom."},
    }
    assert (bad["status"], bad["note"], bad["captions"]) == ("failed", "bad", None)
    assert (refused["video"], refused["note"]) == ("*.avi", "no match")


def test_an_interrupt_says_how_to_go_on_and_leaves_no_file(run: Captionacc, work: Work, tmp_path: Path):
    work.errors["b.mp4"] = KeyboardInterrupt()
    done = run("a.mp4", "b.mp4")
    assert done.code == 130
    assert "Stopped: 1 of 2 videos are left; the same command goes on with them." in done.errors
    assert files(tmp_path) == ["a.mp4", "a.srt", "b.mp4"]


def test_the_command_gives_the_graphs_subtitles_without_the_platform(
    clip: Clip, line: Line, finished: VideoRow, tmp_path: Path
):
    program = (
        "import atexit, sys\n"
        "from captionacc_dagster.__main__ import main\n"
        f"atexit.register(lambda: print(sorted({FORBIDDEN!r} & sys.modules.keys())))\n"
        f"sys.argv = ['captionacc', 'extract', {str(clip.path)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        "main()\n"
    )
    home = tmp_path / "empty"
    home.mkdir()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=home, env=ENV)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "harbour.srt").read_bytes() == line.store.get(line.keys(finished.video_id).srt)
    assert not list(home.iterdir()), "no home is made"
