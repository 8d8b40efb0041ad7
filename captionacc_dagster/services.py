"""The processes that keep the embedded platform moving: Dagster's daemon and its web server."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captionacc_dagster.platform import prepare_dagster_home
from captionacc_dagster.settings import Settings

DEFINITIONS_MODULE = "captionacc_dagster.definitions"
#: Of Dagster's processes, unless set otherwise.
SERVICE_ENVIRONMENT = {
    # Idle threads of PyTorch and OpenCV wait instead of spinning: several runs share the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Threads of the code server. A launch and a sensor's tick take one each for seconds; by default there are
    # four more than cores, so that they would wait for each other.
    "DAGSTER_GRPC_MAX_WORKERS": "32",
}


@dataclass(frozen=True)
class Services:
    """The processes that keep the platform moving, and where they write their logs."""

    processes: dict[str, subprocess.Popen]
    log_folder: Path

    def ended(self) -> str | None:
        """Name of a process that is no longer running, if any."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), None)


@contextmanager
def running_services(settings: Settings, webserver: bool) -> Iterator[Services]:
    """Dagster's daemon, and its web server when asked for, until the block is left."""
    home = prepare_dagster_home(settings)
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    scripts = Path(sys.executable).parent
    commands = {"dagster-daemon": [scripts / "dagster-daemon", "run", "-m", DEFINITIONS_MODULE]}
    if webserver:
        address = ["-h", settings.host, "-p", str(settings.port)]
        commands["dagster-webserver"] = [scripts / "dagster-webserver", "-m", DEFINITIONS_MODULE, *address]
    environment = {
        **SERVICE_ENVIRONMENT,
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CAPTIONACC_HOME": str(settings.home),
    }
    processes: dict[str, subprocess.Popen] = {}
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("ab") as log:
                # A session of its own: Ctrl-C reaches only this process, which then stops them in order.
                processes[name] = subprocess.Popen(
                    [str(part) for part in command],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        yield Services(processes, logs)
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def daemon_is_alive(max_age_seconds: float = 60) -> bool:
    """Whether a Dagster daemon of this home has told of itself lately."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        beat = instance.get_daemon_heartbeats().get("SENSOR")
        return beat is not None and time.time() - beat.timestamp < max_age_seconds


def wait_for_runs(video_ids: Collection[str], check: Callable[[], None], timeout: float = 60) -> None:
    """Wait until Dagster has no unfinished run of these videos; ``check`` raises when that is pointless."""
    import dagster as dg
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

    deadline = time.monotonic() + timeout
    with dg.DagsterInstance.get() as instance:
        while time.monotonic() < deadline:
            runs = instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
            if not any(run.tags.get("dagster/partition") in video_ids for run in runs):
                return
            check()
            time.sleep(0.5)
