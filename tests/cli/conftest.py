"""The command line in this process, on the test's own catalogue and bucket."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from captionacc_dagster import cli as command_line
from captionacc_dagster.cli.root import console, notes
from captionacc_dagster.settings import get_settings
from tests.line_fixtures import Line


@dataclass(frozen=True)
class CommandResult:
    """The result of a command. In ``text``, each run of white space in its output is one space."""

    code: int
    output: str
    errors: str

    @property
    def notes(self) -> str:
        """Its lines on standard error, without the one that names the home."""
        lines = self.errors.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("Home: "))

    @property
    def text(self) -> str:
        return " ".join((self.output + self.errors).split())


Captionacc = Callable[..., CommandResult]


@pytest.fixture
def captionacc(
    line: Line,
    postgres_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Captionacc]:
    """Run ``captionacc`` with arguments through its entry point; a traceback fails the test."""
    monkeypatch.chdir(tmp_path)
    # Wide, so that no sentence is wrapped.
    for each in (console, notes):
        monkeypatch.setattr(each, "_width", 300)
    for name, value in {
        "CAPTIONACC_HOME": str(tmp_path / "home"),
        "CAPTIONACC_DATABASE_URL": postgres_dsn,
        "CAPTIONACC_STORAGE_URL": (tmp_path / "bucket").as_uri(),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> CommandResult:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["captionacc", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
            raise SystemExit(0)
        captured = capsys.readouterr()
        result = CommandResult(int(ended.value.code or 0), captured.out, captured.err)
        assert "Traceback" not in result.text
        return result

    yield run
    get_settings.cache_clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def make_file(tmp_path: Path):
    """Make files with a name and content of their own; they are not read before their layout is made."""

    def make(name: str, content: bytes | None = None) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.fsencode(name) if content is None else content)
        return path

    return make
