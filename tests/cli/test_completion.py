"""Shell completion: set up as the documentation says, and typed in real shells on a terminal of their own."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from captionacc_dagster.cli.completion import video_names, words_so_far
from captionacc_dagster.settings import get_settings
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line

PROGRAMS = Path(sys.executable).parent
_SECONDS = 180


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"COMP_WORDS": "captionacc\nlayout\nsh", "COMP_CWORD": "2"}, ["layout"]),
        ({"COMP_WORDS": "captionacc\nlay", "COMP_CWORD": "1"}, []),
        ({"_TYPER_COMPLETE_ARGS": "captionacc layout "}, ["layout"]),
        ({"_TYPER_COMPLETE_ARGS": "captionacc layout sh"}, ["layout"]),
        ({"_TYPER_COMPLETE_ARGS": "captionacc lay"}, []),
        ({"_TYPER_COMPLETE_ARGS": "captionacc "}, []),
        ({}, []),
    ],
)
def test_the_words_before_the_one_that_is_typed(monkeypatch, environment: dict[str, str], words: list[str]):
    for name in ("COMP_WORDS", "COMP_CWORD", "_TYPER_COMPLETE_ARGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert words_so_far() == words


def test_a_completion_imports_only_the_command_that_is_typed():
    """A person waits for it after each press of the key."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([n for n in ('dagster', 'numpy', 'pydantic') if n in sys.modules]))\n"
        "from captionacc_dagster.__main__ import main\n"
        "sys.argv = ['captionacc']\n"
        "main()\n"
    )
    environment = {"_CAPTIONACC_COMPLETE": "complete_bash", "COMP_WORDS": "captionacc\nst", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == ["status", "stop", "[]"], done.stderr


def test_names_of_videos_are_completed(captionacc: Captionacc, line: Line, make_file, monkeypatch):
    for name in ("talk.mp4", "talk two.mp4", "tour.mp4"):
        line.upload(make_file(name))
    get_settings.cache_clear()
    (spaced,) = (row.video_id[:8] for row in line.catalog.list_videos() if " " in row.display_path)
    assert set(video_names("")) == {"talk.mp4", "tour.mp4", spaced}
    assert video_names("ta") == ["talk.mp4"] and video_names(spaced[:3]) == [spaced]
    monkeypatch.setenv("CAPTIONACC_DATABASE_URL", "postgresql://127.0.0.1:1/none?connect_timeout=1")
    get_settings.cache_clear()
    assert video_names("") == []


def test_a_completion_starts_and_makes_nothing(captionacc: Captionacc, monkeypatch, tmp_path: Path):
    monkeypatch.delenv("CAPTIONACC_DATABASE_URL")
    get_settings.cache_clear()
    assert video_names("") == [] and not (tmp_path / "home").exists()


@contextmanager
def terminal(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a shell on a terminal of its own; yield the terminal's other end."""
    pid, end = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment)
    try:
        yield end
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(end)


#: Colours and movements of the cursor, with which shells show the same words in other ways.
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|[\r\x07]")


def read_until(end: int, pattern: str, shown: str = "") -> str:
    """Return what the terminal showed until it matched; fails after minutes."""
    deadline = time.monotonic() + _SECONDS
    while not re.search(pattern, _CONTROLS.sub("", shown)):
        ready, _, _ = select.select([end], [], [], 1)
        if ready:
            with suppress(OSError):  # the shell has ended
                shown += os.read(end, 65536).decode(errors="replace")
        if time.monotonic() > deadline:
            pytest.fail(f"{pattern!r} did not appear:\n{shown}")
    return shown


@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=pytest.mark.system(name)) for name in ("bash", "zsh", "fish")]
)
def test_commands_and_options_are_completed(shell: str, tmp_path: Path):
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
        # A prompt that is recognised; fish has its own.
        "PS1": "ready> ",
    }
    # As a person does: Typer finds out which shell has called it.
    done = subprocess.run(
        [shell, "-c", "captionacc --install-completion; true"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert f"{shell} completion installed in" in done.stdout, done.stdout + done.stderr
    with terminal([shell, "-i"], environment) as end:
        read_until(end, r"[>#$%] ?")
        time.sleep(1)  # no shell announces that its line editor has started
        os.write(end, b"captionacc layou\t")
        shown = read_until(end, r"captionacc layout ")
        os.write(end, b"add-\t")
        shown = read_until(end, r"add-zone ", shown)
        os.write(end, b"--lang\t")
        read_until(end, r"--language", shown)
