"""Putting runs into Dagster's queue from this process, without its web server.

Launching through GraphQL costs the web server a second or two of computing a run. What it does can be done
here: the job's snapshot and plan are the same for every video, and are computed once.

Private parts of Dagster 1.13 that this uses, all as its sensor daemon does (``dagster/_daemon/sensor.py``):

* the origin in a sensor's ``InstigatorState``: the code location that the daemon evaluates the sensor in, and
  so the one that runs its jobs;
* ``sync_list_repositories_grpc``: what that code server says of its image, which launchers that start a
  container for each run need;
* ``ManagedGrpcPythonEnvCodeLocationOrigin``: the code location of a daemon that was started with ``-m``, for
  runs that are queued before it has evaluated a sensor;
* ``create_execution_plan`` and ``snapshot_from_execution_plan``: what a code server answers about a job;
* ``run_coordinator.submit_run``: ``instance.submit_run`` would mark a run as failed when the database does
  not answer, and it would never be asked for again.
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

#: After that long, where the code is served is looked up again: a deployment may have moved it.
ORIGIN_SECONDS = 60.0


class RunQueueError(CaptionAccError):
    """Dagster cannot be given runs this way, now or with its configuration."""

    retryable = True


@dataclass(frozen=True)
class _Job:
    """What the runs of one job have in common."""

    snapshot: JobSnap
    plan: ExecutionPlanSnapshot
    tags: Mapping[str, str]


@dataclass
class DagsterRunQueue:
    """Makes runs of the platform's jobs and queues them. ``sensor`` is one that the daemon evaluates.

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
        """Compute what the jobs' runs have in common, so that the first run does not wait for it."""
        for job in jobs:
            self._job(job)

    def submit(self, job: str, run_id: str, tags: Mapping[str, str]) -> None:
        """Make the run ``run_id`` and queue it.

        Raises :class:`RunQueueError`, and what Dagster's storage raises. A run that was made and not queued
        is queued by Dagster's daemon, when a sensor asks for its run key.
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
        # The coordinator needs no workspace: the daemon's has the code location.
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
        """Of the sensor's state that was evaluated last: states of former locations stay for ever."""
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
