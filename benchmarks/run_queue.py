"""Dagster's own run queue without real runs: its storage, daemon and limits, with a recording launcher.

Time is counted in launches and ends of runs, so nothing sleeps.
"""

import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import RUN_KEY_TAG
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from captionacc_dagster.constants import CODE_LOCATION, DEFINITIONS_MODULE
from captionacc_dagster.definitions import defs
from captionacc_dagster.platform.dagster_home import POOL_LIMITS, dagster_yaml
from captionacc_dagster.settings import Settings

_CODE = RepositoryPythonOrigin(sys.executable, ModuleCodePointer(DEFINITIONS_MODULE, CODE_LOCATION))
_REPOSITORY = RemoteRepositoryOrigin(
    InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name=DEFINITIONS_MODULE)), "__repository__"
)


class NotingLauncher(RunLauncher, ConfigurableClass):
    """A launcher that starts no process: a run lasts until :meth:`RunQueue.end`."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        _report(self._instance, context.dagster_run, DagsterEventType.PIPELINE_START)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        _report(self._instance, run, DagsterEventType.PIPELINE_CANCELING)
        _report(self._instance, run, DagsterEventType.PIPELINE_CANCELED)
        return True


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: DagsterEventType) -> None:
    event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    instance.report_dagster_event(event, run_id=run.run_id)


class RunQueue:
    """A Dagster instance with the platform's configuration, and its queue daemon, one iteration at a time."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Any) -> None:
        self.instance = instance
        self.launched: list[str] = []
        self._workspace = workspace
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self._templates: dict[str, dg.DagsterRun] = {}

    def submit(self, job: str, requests: Sequence[dg.RunRequest]) -> list[str]:
        """Queue runs, as the sensor daemon does, and return their ids."""
        run_ids = []
        keys = [request.run_key for request in requests if request.run_key]
        known = self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: keys})) if keys else []
        seen = {run.tags[RUN_KEY_TAG] for run in known}
        for request in requests:
            tags = {**request.tags, "dagster/partition": request.partition_key or ""}
            if request.run_key:
                if request.run_key in seen:
                    continue
                seen.add(request.run_key)
                tags[RUN_KEY_TAG] = request.run_key
            run = self._template(job)._replace(
                run_id=str(uuid.uuid4()), tags=tags, status=dg.DagsterRunStatus.QUEUED
            )
            run_ids.append(self.instance.add_run(run).run_id)
        return run_ids

    def clear(self) -> None:
        """Remove every run."""
        self.instance.run_storage.wipe()
        self._templates.clear()
        self.launched.clear()

    def _template(self, job: str) -> dg.DagsterRun:
        # Planning the job for each run would take longer than everything else.
        if job not in self._templates:
            self._templates[job] = self.instance.create_run_for_job(
                defs.resolve_job_def(job),
                remote_job_origin=RemoteJobOrigin(_REPOSITORY, job),
                job_code_origin=JobPythonOrigin(job, _CODE),
            )
        return self._templates[job]

    def dequeue(self) -> list[str]:
        """Run one iteration of the queue daemon, and return the runs that it launched, in order."""
        before = set(self.at_work)
        list(self._daemon.run_iteration(self._workspace))
        new = [run_id for run_id in self.at_work if run_id not in before]
        self.launched += new
        return new

    @property
    def at_work(self) -> list[str]:
        """Return the ids of the runs that were launched and have not ended, oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return [r.dagster_run.run_id for r in sorted(records, key=lambda r: r.start_time or 0.0)]

    @property
    def queued(self) -> list[dg.DagsterRun]:
        """Return the waiting runs, oldest first."""
        return list(
            self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), ascending=True)
        )

    @property
    def queue_length(self) -> int:
        """Return the number of waiting runs."""
        return self.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))

    def end(self, run_id: str) -> None:
        """Finish a run."""
        _report(self.instance, self.run(run_id), DagsterEventType.PIPELINE_SUCCESS)

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run


def _one_file_for_all_runs(folder: Path) -> dict[str, Any]:
    """Create SQLite storage in one file, because Dagster's default of one database a run is slow."""
    classes = {
        "run_storage": ("dagster._core.storage.runs", "SqliteRunStorage"),
        "event_log_storage": ("dagster._core.storage.event_log", "ConsolidatedSqliteEventLogStorage"),
        "schedule_storage": ("dagster._core.storage.schedules", "SqliteScheduleStorage"),
    }
    return {
        part: {"module": module, "class": name, "config": {"base_dir": str(folder / part)}}
        for part, (module, name) in classes.items()
    }


@contextmanager
def run_queue(settings: Settings | None = None) -> Iterator[RunQueue]:
    """Open a queue with the platform's dagster.yaml and pools, in a folder that is removed afterwards."""
    # In memory if possible, because the cost of the disk is not part of the measurement.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="captionacc-queue-", dir=memory if memory.is_dir() else None))
    config = yaml.safe_load(dagster_yaml(settings or Settings()))
    config["run_launcher"] = {"module": __name__, "class": NotingLauncher.__name__}
    # Launches in threads would start in any order, and save no time here.
    config["run_queue"]["dequeue_use_threads"] = False
    config |= _one_file_for_all_runs(folder)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    try:
        with ExitStack() as stack:
            instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
            for pool, limit in POOL_LIMITS.items():
                instance.event_log_storage.set_concurrency_slots(pool, limit)
            workspace = stack.enter_context(
                create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance)
            )
            yield RunQueue(instance, workspace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
