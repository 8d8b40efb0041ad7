"""Following videos: what a terminal and a pipe show, and Ctrl-C before and after the results."""

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from captionacc_dagster.cli import running, watch
from captionacc_dagster.cli.root import StoppedError
from captionacc_dagster.cli.states import report
from captionacc_dagster.platform import services
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.runs.progress import Step
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line


@pytest.fixture
def harbour(finished: VideoRow) -> VideoRow:
    """A finished video's row."""
    return finished


def at(row: VideoRow, layout: str = "wait", boundaries: str = "wait", text: str = "wait") -> VideoRow:
    """The row with these statuses; a status ``run`` is one that a run works on."""
    stages = {"layout": layout, "boundaries": boundaries, "text": text}
    return replace(
        row,
        **{
            name: replace(
                row.stage(name),
                status="wait" if status == "run" else status,
                run_id="run-1" if status == "run" else None,
            )
            for name, status in stages.items()
        },
    )


@dataclass
class Catalog:
    """Returns a video's rows one after the other, the last one repeatedly."""

    rows: list[VideoRow]

    def get_video(self, video_id: str) -> VideoRow:
        return self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]


def here(*rows: VideoRow) -> Any:
    return SimpleNamespace(catalog=Catalog(list(rows)), settings=None)


def followed(*rows: VideoRow) -> None:
    watch.watch(here(*rows), [rows[0]], interval=0)


class TestLines:
    def test_each_stage_is_a_line(self, harbour: VideoRow, capsys):
        followed(
            at(harbour),
            at(harbour, "run"),
            at(harbour, "run"),
            at(harbour, "done", "run"),
            at(harbour, "done", "annotate", "run"),
            at(harbour, "done", "annotate", "annotate"),
        )
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines() == [
            "harbour.mp4: waiting for its turn",
            "harbour.mp4: finding the place of captions",
            "harbour.mp4: finding captions",
            "harbour.mp4: reading captions",
        ]

    def test_a_stage_that_passes_between_two_looks_is_a_line_too(self, harbour: VideoRow, capsys):
        followed(at(harbour), at(harbour, "annotate", "annotate", "annotate"))
        assert len(capsys.readouterr().err.splitlines()) == 4

    def test_what_was_done_before_is_not_repeated(self, harbour: VideoRow, capsys):
        followed(at(harbour, "done", "run"), at(harbour, "done", "annotate", "annotate"))
        assert capsys.readouterr().err.splitlines() == [
            "harbour.mp4: finding captions",
            "harbour.mp4: reading captions",
        ]


class TestTable:
    @pytest.fixture
    def terminal(self, monkeypatch) -> Console:
        terminal = Console(file=io.StringIO(), force_terminal=True, width=200, _environ={"TERM": "xterm"})
        monkeypatch.setattr(watch, "notes", terminal)
        return terminal

    def test_a_terminal_shows_the_remaining_time_of_the_stage(self, terminal: Console):
        """40 of 100 frames in 8 seconds: the other 60 take 12."""
        now = [100.0]
        bar = watch._Bar(lambda: now[0])
        for second, done in ((0, 0), (4, 20), (8, 40)):
            now[0] = 100.0 + second
            bar.show("run-1", Step("frames", done, 100))
        terminal.print(bar.progress.get_renderable())
        shown = terminal.file.getvalue()
        assert " 40%" in shown and "0:00:12" in shown and "frames" in shown
        # Another stage begins another estimate.
        bar.show("run-1", Step("strips", 1, 50))
        terminal.print(bar.progress.get_renderable())
        assert "-:--:--" in terminal.file.getvalue() and "strips" in terminal.file.getvalue()

    def test_the_table_has_a_row_for_each_video(self, harbour: VideoRow, terminal: Console, monkeypatch):
        monkeypatch.setattr(watch.RunLogs, "step", lambda *_: Step("frames", 5, 10))
        with watch._Table() as table:
            table.update([at(harbour, "run")])
        assert "harbour.mp4" in terminal.file.getvalue() and " 50%" in terminal.file.getvalue()


@dataclass
class Platform:
    """Stands in for the platform of a command; ``on_check`` acts in each look."""

    is_own: bool = True
    is_idle: bool = False
    has_ended: bool = False
    on_check: Callable[[], None] = lambda: None
    checks: int = 0

    def check(self, waiting: list[str]) -> None:
        self.checks += 1
        self.on_check()

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *_: object) -> None:
        self.has_ended = True


@dataclass
class Ends:
    """What :func:`running.processed` did."""

    printed: list[str] = field(default_factory=list)
    error: BaseException | None = None


class TestInterrupts:
    @pytest.fixture
    def platform(self, monkeypatch) -> Platform:
        platform = Platform()
        monkeypatch.setattr(running, "RunningPlatform", lambda _: platform)
        monkeypatch.setattr(services, "wait_for_runs", lambda *_: True)
        return platform

    @pytest.fixture(autouse=True)
    def signals(self) -> Iterator[None]:
        """Handle signals as in a terminal: a shell lets its background ignore SIGINT, and nohup SIGHUP."""
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        former = {n: signal.signal(n, usual.get(n, signal.SIG_DFL)) for n in (*usual, signal.SIGHUP)}
        yield
        for number, handler in former.items():
            signal.signal(number, handler)

    def run(self, *rows: VideoRow) -> Ends:
        """Follow a video and report it as ``ingest`` does."""
        ends = Ends()
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with running.processed(here(*rows), [rows[0]]) as final:
                ends.printed = [row.text.status for row in final]
        except BaseException as error:
            ends.error = error
        assert {number: signal.getsignal(number) for number in former} == former
        return ends

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_before_the_results_it_stops_and_says_what_continues(
        self, harbour: VideoRow, platform: Platform, capsys, number: signal.Signals
    ):
        platform.on_check = lambda: os.kill(os.getpid(), number)
        ends = self.run(at(harbour, "run"))
        assert isinstance(ends.error, StoppedError) and ends.printed == [] and platform.has_ended
        assert str(ends.error).startswith("harbour.mp4: registered, no work is lost. `captionacc up` or")
        assert capsys.readouterr().err.endswith("Stopping…\n")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_after_the_results_it_only_shortens_the_end(
        self, harbour: VideoRow, platform: Platform, monkeypatch, number: signal.Signals
    ):
        """Everything that the user asked for is printed: nothing was stopped."""
        done = at(harbour, "annotate", "annotate", "annotate")

        def wait(video_ids: set[str], check: Callable[[], None]) -> bool:
            os.kill(os.getpid(), number)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                check()
            return True

        monkeypatch.setattr(services, "wait_for_runs", wait)
        ends = self.run(at(harbour, "run"), done)
        assert ends.error is None and ends.printed == ["annotate"]
        assert platform.has_ended and not platform.is_idle

    def test_in_the_moment_of_the_results_they_are_still_reported(self, harbour, platform: Platform):
        def stop() -> None:
            raise KeyboardInterrupt

        platform.on_check = stop
        ends = self.run(at(harbour, "run"), at(harbour, "annotate", "annotate", "annotate"))
        assert ends.error is None and ends.printed == ["annotate"] and platform.has_ended

    def test_while_the_results_are_printed_all_of_them_are(self, harbour, platform: Platform):
        done = at(harbour, "annotate", "annotate", "annotate")
        printed = []
        with running.processed(here(at(harbour, "run"), done), [harbour]) as rows:
            os.kill(os.getpid(), signal.SIGINT)
            printed += [row.display_path for row in rows]
        assert printed == ["harbour.mp4"]

    def test_a_daemon_that_ends_after_the_results_is_no_error(self, harbour, platform, monkeypatch):
        def fail(*_: object) -> bool:
            raise ServiceError("dagster-daemon ended")

        monkeypatch.setattr(services, "wait_for_runs", fail)
        ends = self.run(at(harbour, "run"), at(harbour, "annotate", "annotate", "annotate"))
        assert ends.error is None and ends.printed == ["annotate"]

    def test_a_daemon_that_ends_before_them_is_one(self, harbour, platform: Platform, capsys):
        def fail() -> None:
            raise ServiceError("dagster-daemon ended")

        platform.on_check = fail
        ends = self.run(at(harbour, "run"))
        assert isinstance(ends.error, ServiceError)
        assert "registered, no work is lost" in capsys.readouterr().err


def test_an_interrupt_during_the_upload_says_how_many_are_there(
    captionacc: Captionacc, line: Line, make_file, monkeypatch
):
    from captionacc_dagster.cli import uploads

    upload_one = uploads._upload_one

    def interrupted(here, file, *rest, **options):
        if file.name == "b.mp4":
            raise KeyboardInterrupt
        return upload_one(here, file, *rest, **options)

    monkeypatch.setattr(uploads, "_upload_one", interrupted)
    result = captionacc("ingest", make_file("a.mp4"), make_file("b.mp4"))
    assert result.code == 130
    assert result.notes == "Stopped: 1 of 2 files are uploaded; the same command goes on.\n"
    assert [row.display_path for row in line.catalog.list_videos()] == ["a.mp4"]


def test_a_large_file_is_a_line_for_each_of_its_steps(
    captionacc: Captionacc, line: Line, make_file, monkeypatch
):
    monkeypatch.setattr("captionacc_dagster.cli.uploads._LARGE", 5)
    assert captionacc("ingest", "--no-wait", make_file("a.mp4")).notes == (
        "a.mp4: reading\na.mp4: uploading\n"
    )


@pytest.mark.parametrize(("count", "words"), [(0, "0 captions"), (1, "1 caption;"), (3, "3 captions")])
def test_a_result_counts_captions(harbour: VideoRow, capsys, count: int, words: str):
    report(replace(harbour, text_caption_count=count))
    assert words in capsys.readouterr().out
