"""Runs created and queued by this process, without Dagster's web server.

A launch through GraphQL costs the web server a second or two of computing. Here the snapshot and the plan of
a job, which are the same for every video, are computed once.

Private parts of Dagster 1.13 that this uses, all as its sensor daemon does (``dagster/_daemon/sensor.py``):

* the origin in a sensor's ``InstigatorState``: the code location in which the daemon evaluates the sensor,
  and which therefore runs its jobs;
* ``sync_list_repositories_grpc``: the image of that code server, which launchers that start a container per
  run need;
* ``ManagedGrpcPythonEnvCodeLocationOrigin``: the code location of a daemon that was started with ``-m``, for
  runs that are queued before it has evaluated a sensor;
* ``create_execution_plan`` and ``snapshot_from_execution_plan``: a code server's answers about a job;
* ``run_coordinator.submit_run``: ``instance.submit_run`` would mark a run as failed when the database does
  not answer, and it would never be requested again.

After a release that moves one of them, the imports or the call fail, and the sensors request the runs
instead. ``tests/dagster_internals`` and ``tests/web`` fail first.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._api.list_repositories import sync_list_repositories_grpc
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.api import create_execution_plan
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.snap.execution_plan_snapshot import ExecutionPlanSnapshot, snapshot_from_execution_plan
from dagster._core.snap.job_snapshot import JobSnap
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from captionacc_dagster.constants import CODE_LOCATION, DEFINITIONS_MODULE
from modal_gpu.errors import CaptionAccError

#: Lifetime of the code location's address, in seconds: a deployment may move it.
ORIGIN_SECONDS = 60.0


class RunQueueError(CaptionAccError):
    """Runs cannot be queued this way, now or with Dagster's configuration."""

    retryable = True


@dataclass(frozen=True)
class _Job:
    """The parts that all runs of a job share."""

    snapshot: JobSnap
    plan: ExecutionPlanSnapshot
    tags: Mapping[str, str]


@dataclass
class DagsterRunQueue:
    """Creates runs of the platform's jobs and queues them. ``sensor``: one that the daemon evaluates.

    ``own_daemon``: the daemon is the embedded platform's own, so its code location is known before it has
    evaluated anything.
    """

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    sensor: str = "new_videos"
    own_daemon: bool = False
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _origin: tuple[float, RemoteRepositoryOrigin, RepositoryPythonOrigin] | None = None

    def prepare(self, *jobs: str) -> None:
        """Compute what the runs of the jobs share, so that the first run need not wait for it."""
        for job in jobs:
            self._job(job)

    def submit(self, job: str, run_id: str, tags: Mapping[str, str]) -> None:
        """Create the run ``run_id`` and queue it.

        Raises :class:`RunQueueError` and errors of Dagster's storage. A run that was created but not queued
        is queued by Dagster's daemon when a sensor requests its run key.
        """
        if not isinstance(self.instance.run_coordinator, QueuedRunCoordinator):
            raise RunQueueError("Dagster's run coordinator has no queue: remove it from dagster.yaml")
        origin, code = self._origins()
        common = self._job(job)
        run = self.instance.create_run(
            job_name=job,
            run_id=run_id,
            run_config={},
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={**common.tags, **tags},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            execution_plan_snapshot=common.plan,
            job_snapshot=common.snapshot,
            parent_job_snapshot=None,
            asset_selection=None,
            asset_check_selection=None,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=origin.get_job_origin(job),
            job_code_origin=code.get_job_origin(job),
            asset_graph=self.repository.asset_graph,
        )
        self._enqueue(run)

    def queue_created(self, tags: Mapping[str, str]) -> None:
        """Queue the runs with these tags that a process created and did not queue before it was killed.

        The process that created them must have ended.
        """
        created = dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED], tags=dict(tags))
        for run in self.instance.get_runs(created):
            self._enqueue(run)

    def _enqueue(self, run: dg.DagsterRun) -> None:
        # The coordinator needs no workspace: the daemon has one with the code location.
        self.instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]

    def _job(self, name: str) -> _Job:
        if name not in self._jobs:
            definition = self.repository.get_job(name)
            plan = snapshot_from_execution_plan(
                create_execution_plan(
                    definition,
                    run_config={},
                    instance_ref=self.instance.get_ref(),
                    repository_load_data=self.repository.repository_load_data,
                ),
                definition.get_job_snapshot_id(),
            )
            self._jobs[name] = _Job(definition.get_job_snapshot(), plan, definition.run_tags)
        return self._jobs[name]

    def _origins(self) -> tuple[RemoteRepositoryOrigin, RepositoryPythonOrigin]:
        if self._origin is None or time.monotonic() - self._origin[0] > ORIGIN_SECONDS:
            origin = self._daemons_origin()
            self._origin = (time.monotonic(), origin, _code_origin(origin))
        return self._origin[1:]

    def _daemons_origin(self) -> RemoteRepositoryOrigin:
        """Return the origin of the sensor's latest state: states of former locations are never removed."""
        states = [
            state
            for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
            if state.instigator_name == self.sensor
        ]
        if not states and self.own_daemon:
            return _own_origin()
        if not states:
            raise RunQueueError(f"Dagster's daemon has not evaluated the sensor {self.sensor} yet: start it")
        return max(states, key=_last_tick).origin.repository_origin


def _own_origin() -> RemoteRepositoryOrigin:
    """Return the code location as a daemon that is started with ``-m DEFINITIONS_MODULE`` has it."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=DEFINITIONS_MODULE, working_directory=str(Path.cwd())
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=DEFINITIONS_MODULE)
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME)


def _last_tick(state: Any) -> float:
    return getattr(state.instigator_data, "last_tick_timestamp", None) or 0.0


def _code_origin(origin: RemoteRepositoryOrigin) -> RepositoryPythonOrigin:
    location = origin.code_location_origin
    if isinstance(location, GrpcServerCodeLocationOrigin):
        listed = sync_list_repositories_grpc(location.create_client())
        return RepositoryPythonOrigin(
            executable_path=listed.executable_path or sys.executable,
            code_pointer=listed.repository_code_pointer_dict[origin.repository_name],
            container_image=listed.container_image,
            entry_point=listed.entry_point,
            container_context=listed.container_context,
        )
    # A code server that the daemon starts itself, with this very installation.
    return RepositoryPythonOrigin(
        executable_path=sys.executable,
        code_pointer=ModuleCodePointer(DEFINITIONS_MODULE, CODE_LOCATION, None),
        entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
    )
