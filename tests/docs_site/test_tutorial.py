"""docs/tutorial.md and README.md: their commands, run in their order, print what is shown."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.running_platform import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text()
README = (REPOSITORY / "README.md").read_text()
#: What the set-up does, which has been done here.
SET_UP = ("make ", "source ")
#: Whatever differs from one run or machine to another, and what stands for it.
VARIABLE = {
    r"\b\d+(\.\d+)? s\b": "N s",
    r"\b[0-9a-f]{8}\b": "ID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?": "TIME",
    r"127\.0\.0\.1:\d+": "HOST",
    r"(/\S+)?/\.captionacc\b": "/HOME",
    r"process \d+, since [\d:]+": "process N, since TIME",
    r"[ ─]*([│╮╯])$": r"\1",
    r"[─]+": "─",
}


def steps(page: str) -> list[tuple[str, str]]:
    """Return the commands of the console blocks with what they print, in the order of the page."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            found.append((command, output))
    return found


#: Lines about work in progress: which of them are seen depends on the machine.
PROGRESS = re.compile(r"\S+: (waiting for|finding|reading|joining) ")


def comparable(output: str) -> list[str]:
    """Return the lines of an output without what varies."""
    lines = []
    for line in output.rstrip().splitlines():
        if PROGRESS.match(line):
            continue
        for pattern, stands_for in VARIABLE.items():
            line = re.sub(pattern, stands_for, line.rstrip())
        lines.append(line)
    return lines


class Reader:
    """A person who follows the tutorial: a checkout with the sample, and a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        keep = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        self.environment = keep | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "90",
            "CAPTIONACC_PORT": str(free_port()),
        }

    def run(self, command: str) -> str:
        """Run a command and return what it prints on both streams."""
        if command.startswith("cd "):
            self.folder = (self.folder / shlex.split(command)[1]).resolve()
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        # diff's exit code says that there is a difference.
        assert done.returncode == (1 if command.startswith("diff ") else 0), done.stdout
        return done.stdout

    @contextmanager
    def beside(self, command: str, until: str) -> Iterator[list[str]]:
        """Run a command in another terminal; yield its lines once one of them begins with ``until``."""
        process = subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        shown = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith(until):
                    shown.set()
            shown.set()

        threading.Thread(target=read, daemon=True).start()
        try:
            assert shown.wait(300) and process.poll() is None, "".join(lines)
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture
def reader() -> Iterator[Reader]:
    # Not under pytest's own folder, which revokes all permissions granted on it.
    folder = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    reader = Reader(folder)
    yield reader
    for home in (folder / "checkout", folder / "captions"):
        if (home / ".captionacc").is_dir():
            reader.folder = home
            reader.run("captionacc stop")
    shutil.rmtree(folder)


@pytest.mark.e2e
@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(reader: Reader):
    commands = steps(TUTORIAL)
    (up,) = [number for number, (command, _) in enumerate(commands) if command == "captionacc up"]
    _follow(reader, commands[:up])
    command, shown = commands[up]
    with reader.beside(command, until="╰") as lines:
        assert comparable("".join(lines)) == comparable(shown)
        _follow(reader, commands[up + 1 :])
    assert (reader.folder / "corrected.srt").read_text().count(" --> ") == 13


def _follow(reader: Reader, commands: list[tuple[str, str]]) -> None:
    for command, shown in commands:
        if not command.startswith(SET_UP):
            assert comparable(reader.run(command)) == comparable(shown), command


def test_the_readme_shows_what_the_tutorial_shows():
    shown = dict(steps(TUTORIAL))
    (table,) = re.findall(r"^```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert table.strip() in shown["captionacc demo"]


def test_what_the_tutorial_prints_is_compared():
    assert comparable("✓ 13 captions in 12 s") == comparable("✓ 13 captions in 9.5 s")
    assert comparable("✓ 13 captions in 12 s") != comparable("✓ 12 captions in 12 s")
    outputs = [output for _, output in steps(TUTORIAL)]
    assert len(outputs) > 12 and sum(bool(output) for output in outputs) >= 8
    assert shutil.which("bash")
