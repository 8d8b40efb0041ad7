"""A separate platform for a measurement: a home, PostgreSQL, and Dagster's real processes."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import psutil
import psycopg
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from captionacc_dagster.constants import CODE_LOCATION
from captionacc_dagster.dagster_internals import pooled_storage
from captionacc_dagster.dagster_internals.commands import DAEMON_MODULE
from captionacc_dagster.dagster_internals.forked_runs import STARTS_RUNS
from captionacc_dagster.dagster_internals.pooled_storage import PooledPostgresStorage
from captionacc_dagster.platform.dagster_home import POOL_LIMITS, dagster_yaml
from captionacc_dagster.platform.services import SERVICE_ENVIRONMENT
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.settings import Settings

Storage = Literal["sqlite", "postgres"]
_REPOSITORY = "__repository__"


@dataclass
class MeasuredPlatform:
    """A running daemon with its instance. All its files are in ``home``."""

    home: Path
    settings: Settings
    server: EmbeddedPostgres
    instance: dg.DagsterInstance
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    _templates: dict[str, dg.DagsterRun] = field(default_factory=dict)

    def enqueue(self, definitions: dg.Definitions, job: str, tags: Sequence[Mapping[str, str]]) -> list[str]:
        """Queue runs of a job at once, as a sensor's requests do, and return their ids."""
        if job not in self._templates:
            self._templates[job] = self.instance.create_run_for_job(
                definitions.resolve_job_def(job),
                remote_job_origin=self._remote_origin(job),
                job_code_origin=JobPythonOrigin(
                    job, RepositoryPythonOrigin(sys.executable, ModuleCodePointer(self.module, CODE_LOCATION))
                ),
            )
        template = self._templates[job]
        runs = [
            template._replace(run_id=str(uuid.uuid4()), tags=dict(each), status=dg.DagsterRunStatus.QUEUED)
            for each in tags
        ]
        return [self.instance.add_run(run).run_id for run in runs]

    def _remote_origin(self, job: str) -> RemoteJobOrigin:
        target = LoadableTargetOrigin(
            executable_path=sys.executable, module_name=self.module, working_directory=str(Path.cwd())
        )
        location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=self.module)
        return RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), job)

    def start(self, name: str, *command: str) -> None:
        """Start a program, which logs to ``home/logs``; ``dagster-daemon`` as the platform starts it."""
        (self.home / "logs").mkdir(exist_ok=True)
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            program = [sys.executable, "-m", DAEMON_MODULE] if command[0] == "dagster-daemon" else None
            self.processes[name] = subprocess.Popen(
                [*(program or [Path(sys.executable).parent / command[0]]), *command[1:]],
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_for(self, run_ids: Sequence[str], seconds: float = 600) -> list[dg.RunRecord]:
        """Return the runs' records once all have ended. Raises if one failed, or on a timeout."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            records = list(self.instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))))
            if all(record.dagster_run.is_finished for record in records):
                bad = [r.dagster_run for r in records if r.dagster_run.status != dg.DagsterRunStatus.SUCCESS]
                if bad:
                    said = [
                        entry.message or str(entry.dagster_event)
                        for entry in self.instance.all_logs(bad[0].run_id)
                    ][-3:]
                    raise RuntimeError(
                        f"{len(bad)} runs did not succeed; one's last words: {' | '.join(said)}"
                    )
                return records
            self.check()
            time.sleep(0.25)
        raise TimeoutError(f"runs did not end within {seconds:.0f} s: see {self.home}/logs")

    def stop(self) -> None:
        """Terminate all processes; kill those that do not end within 30 s."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check(self) -> None:
        """Raise if a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: see {self.home}/logs/{name}.log")

    def cpu_seconds(self) -> float:
        """Return the CPU seconds so far of all processes of this platform, including ended ones."""
        return sum(self.cpu_seconds_by_part().values())

    def cpu_seconds_by_part(self) -> dict[str, float]:
        """Return them by part: daemon, code server, fork server, run processes, PostgreSQL."""
        pids = [process.pid for process in self.processes.values()]
        if status_pid := self.server.status().pid:
            pids.append(status_pid)
        return dict(sum((_tree_seconds(pid) for pid in pids), Counter()))

    @property
    def dagster_in_postgres(self) -> bool:
        """True if Dagster's own storage is the database ``dagster``, False if it is in files."""
        return "postgres_url" in (self.home / "dagster" / "dagster.yaml").read_text()

    def database_bytes(self, database: str) -> int:
        """Return the size of a database of the embedded server."""
        with psycopg.connect(self.server.ensure_running(database)) as connection:
            return connection.execute("select pg_database_size(current_database())").fetchone()[0]


def _tree_seconds(pid: int) -> Counter[str]:
    """Return the CPU seconds of a process and its descendants, by what they are."""
    seconds: Counter[str] = Counter()
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times, part = process.cpu_times(), _part(process.cmdline())
                seconds[part] += times.user + times.system
                seconds[_ENDED.get(part, part)] += times.children_user + times.children_system
    return seconds


#: What the ended children of a process were, where they were something else than the process.
_ENDED = {"daemon": "former code servers", "fork server": "run processes"}


def _part(command: Sequence[str]) -> str:
    line = " ".join(command)
    if "forkserver" in line:
        # A run is a fork of it, with the same command line.
        return "fork server"
    if "api grpc" in line:
        return "code server"
    if DAEMON_MODULE in line:
        return "daemon"
    return "PostgreSQL" if "postgres" in line else "others"


def _storage(server: EmbeddedPostgres) -> dict[str, Any]:
    url = server.ensure_running("dagster").replace("postgresql://", "postgresql+psycopg2://", 1)
    storage = {"module": pooled_storage.__name__, "class": PooledPostgresStorage.__name__}
    return {"storage": {"custom": {**storage, "config": {"postgres_url": url}}}}


@contextlib.contextmanager
def measured_platform(
    module: str,
    *,
    storage: Storage = "postgres",
    runs: int = 2,
    webserver_port: int | None = None,
    daemon: bool = True,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[MeasuredPlatform]:
    """Start a platform with its own dagster.yaml, catalogue and pools, and the definitions of ``module``.

    ``environment`` is set for all processes. At the end everything is stopped, and the home is removed unless
    there was an error or it is ``folder``.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="captionacc-measured-"))
    _set_environment(home, runs, environment or {})
    settings = Settings()
    server = EmbeddedPostgres(home)
    failed = False
    try:
        with dg.DagsterInstance.from_config(str(_configured(home, settings, server, storage))) as instance:
            instance.get_runs_count()
            for pool, limit in POOL_LIMITS.items():
                instance.event_log_storage.set_concurrency_slots(pool, limit)
            platform = MeasuredPlatform(home, settings, server, instance, module, dict(os.environ))
            try:
                if daemon:
                    platform.start("dagster-daemon", "dagster-daemon", "run", "-m", module)
                if webserver_port:
                    platform.start(
                        "dagster-webserver",
                        *("dagster-webserver", "-m", module, "-h", "127.0.0.1", "-p", str(webserver_port)),
                        *("--db-statement-timeout", "120000"),
                    )
                yield platform
            except BaseException:
                failed = True
                print(f"the logs are in {home}", file=sys.stderr)
                raise
            finally:
                platform.stop()
    finally:
        server.stop()
        if folder is None and not failed:
            shutil.rmtree(home, ignore_errors=True)


def _set_environment(home: Path, runs: int, environment: Mapping[str, str]) -> None:
    os.environ.update(
        {
            **SERVICE_ENVIRONMENT,
            STARTS_RUNS: "1",
            "CAPTIONACC_HOME": str(home),
            "DAGSTER_HOME": str(home / "dagster"),
            "CAPTIONACC_MAX_RUNS": str(runs),
            "PYTHONWARNINGS": "ignore",
            # Other work on the machine may slow everything down, and must not cause errors.
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
            **environment,
        }
    )
    # Without compiled files, Python takes twice as long to start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _configured(home: Path, settings: Settings, server: EmbeddedPostgres, storage: Storage) -> Path:
    """Write dagster.yaml and start the server. Return Dagster's home."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(dagster_yaml(settings))
    config.pop("storage", None)
    server.ensure_running()
    if storage == "postgres":
        config |= _storage(server)
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return dagster_home
