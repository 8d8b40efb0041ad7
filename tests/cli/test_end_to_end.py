"""A newcomer's first command with everything real: home, PostgreSQL, Dagster daemon, sensors and runs."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from benchmarks.metrics import evaluate
from benchmarks.quality import read_captions
from tests.clip_fixtures import Clip

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e

Command = Callable[..., subprocess.CompletedProcess[str]]


def processes_of(home: Path) -> dict[psutil.Process, str]:
    """Return processes of a home, and their command lines."""
    found = {}
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or [])
        environment = process.info["environ"] or {}
        if str(home) in command or environment.get("CAPTIONACC_HOME") == str(home):
            found[process] = command
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def captionacc(home: Path, tmp_path: Path) -> Iterator[Command]:
    """The installed command; at the end it stops everything, and nothing remains."""
    prefixes = ("CAPTIONACC_", "WASABI_", "AWS_", "DAGSTER", "MODAL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    environment |= {"CAPTIONACC_HOME": str(home), "COLUMNS": "300"}

    def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).parent / "captionacc", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | {name: str(value) for name, value in settings.items()},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    yield run
    if (home / "postgres").exists():
        assert run("stop").returncode == 0
    assert processes_of(home) == {}


@pytest.mark.slow
def test_a_video_and_then_a_text_file_go_through_the_platform(
    captionacc: Command, clip: Clip, home: Path, tmp_path: Path
):
    """Two commands in direct succession, as in a shell loop."""
    text = tmp_path / "notes.mp4"
    text.write_text("This is not a video.\n" * 100)

    def logs() -> str:
        return "\n".join(log.read_text()[-3000:] for log in (home / "logs").glob("*.log"))

    done = captionacc("ingest", clip.path)
    assert done.returncode == 0, done.stdout + done.stderr + logs()
    assert "✓ harbour.mp4: 3 captions" in done.stdout, done.stdout + logs()
    assert "Warning" not in done.stderr
    # The command runs the daemon while it waits; only the database stays, for the next command.
    running = processes_of(home)
    assert running and {process.name() for process in running} == {"postgres"}, running

    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.path.read_bytes())
    done = captionacc("ingest", copy)
    assert done.returncode == 0 and "copy.mp4 was already uploaded as " in done.stderr, (
        done.stdout + done.stderr
    )
    assert "✓ harbour.mp4: 3 captions" in done.stdout

    done = captionacc("ingest", text)
    assert done.returncode == 1, done.stdout + done.stderr + logs()
    assert "✗ notes.mp4: layout: the file is not a video" in done.stdout, done.stdout + logs()
    assert {process.name() for process in processes_of(home)} == {"postgres"}

    srt = tmp_path / "out.srt"
    assert captionacc("export", "harbour.mp4", "--output", srt).returncode == 0
    quality = evaluate(clip.truth, read_captions(srt))
    assert (quality.found, quality.invented, quality.exact_text) == (3, 0, 3)
    listed = captionacc("status").stdout
    assert "harbour.mp4" in listed and "error" in listed


def test_up_on_a_taken_port_names_its_holder_before_it_starts_anything(captionacc: Command, home: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = captionacc("up", CAPTIONACC_PORT=port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} (CAPTIONACC_PORT) is taken by `")
    assert f"(process {os.getpid()}): end it, or set CAPTIONACC_PORT to another port" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert processes_of(home) == {} and not (home / "postgres").exists()
