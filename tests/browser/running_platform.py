"""The platform as a user runs it: ``captionacc up`` in a new home, on a free port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

#: Variables of this machine's environment that must not reach the platform.
_FOREIGN = ("CAPTIONACC_", "WASABI_", "AWS_", "DAGSTER", "MODAL_", "SUPABASE_", "OCR_", "EXTENTS_")
_UP = "CaptionA.cc is up"
_START_SECONDS, _COMMAND_SECONDS = 120, 240

_PARTITION_KEYS = """
{ assetNodeOrError(assetKey: {path: ["source_video"]}) { ... on AssetNode { partitionKeys } } }
"""
_RUNS = """
query Runs($filter: RunsFilter) {
  runsOrError(filter: $filter) { ... on Runs { results { runId jobName status tags { key value } } } }
}
"""


class PlatformError(AssertionError):
    """The platform or one of its commands did not do what the test needs."""


@dataclass(frozen=True)
class RunningPlatform:
    """A platform that answers, and the command line of its home."""

    home: Path
    #: Of Dagster's web interface, without a path.
    address: str
    #: Of the HTTP service and its pages.
    review_address: str
    environment: Mapping[str, str] = field(repr=False)

    def command(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        """Run ``captionacc`` with these arguments and return its output; another exit code is an error."""
        done = subprocess.run(
            [_captionacc(), *map(str, arguments)],
            env=dict(self.environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
        if done.returncode not in codes:
            raise PlatformError(f"captionacc {arguments}: {done.stdout}{done.stderr}{self.logs()}")
        return done.stdout

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data of a GraphQL query to Dagster's web server."""
        answer = httpx.post(
            f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=30
        )
        content = answer.raise_for_status().json()
        if content.get("errors"):
            raise PlatformError(str(content["errors"]))
        return content["data"]

    def partition_keys(self) -> list[str]:
        """Return the keys of all videos, in the order of their registration."""
        return self.query(_PARTITION_KEYS)["assetNodeOrError"]["partitionKeys"]

    def partition_key(self, start: str) -> str:
        """Return the one partition key that begins like this."""
        (key,) = [key for key in self.partition_keys() if key.startswith(start)]
        return key

    def runs(self, partition_key: str = "", job: str | None = None) -> list[dict[str, Any]]:
        """Return runs, newest first: all, or those of a partition and of a job."""
        chosen: dict[str, Any] = {"pipelineName": job} if job else {}
        if partition_key:
            chosen["tags"] = [{"key": "dagster/partition", "value": partition_key}]
        return self.query(_RUNS, filter=chosen)["runsOrError"]["results"]

    def until(self, what: str, condition: Callable[[], T], seconds: float = 120) -> T:
        """Return the first true result of ``condition``, or raise an error with the processes' logs."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise PlatformError(f"{what}: not within {seconds:.0f} s\n{self.logs()}")
            time.sleep(0.2)
        return value

    def logs(self) -> str:
        """Return the last lines of the processes' logs."""
        logs = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextmanager
def running_platform(**settings: str) -> Iterator[RunningPlatform]:
    """Run a platform in a new home with these environment variables; at the end nothing remains of it."""
    home = Path(tempfile.mkdtemp(prefix="captionacc-browser-"))
    port, review_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    environment |= {
        "CAPTIONACC_HOME": str(home),
        "CAPTIONACC_PORT": str(port),
        "CAPTIONACC_SERVE_PORT": str(review_port),
        "COLUMNS": "300",
        **settings,
    }
    platform = RunningPlatform(
        home, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{review_port}", environment
    )
    try:
        with _up(platform):
            yield platform
    finally:
        if (home / "postgres").exists():
            platform.command("stop")
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _captionacc() -> Path:
    return Path(sys.executable).parent / "captionacc"


@contextmanager
def _up(platform: RunningPlatform) -> Iterator[None]:
    """Run ``captionacc up`` from the moment that it says so until Ctrl-C."""
    process = subprocess.Popen(
        [_captionacc(), "up"],
        env=dict(platform.environment),
        cwd=platform.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    is_up = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if _UP in line:
                is_up.set()
        is_up.set()  # It ended.

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        is_up.wait(_START_SECONDS)
        if not any(_UP in line for line in lines):
            raise PlatformError(f"captionacc up: {''.join(lines)}{platform.logs()}")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)
