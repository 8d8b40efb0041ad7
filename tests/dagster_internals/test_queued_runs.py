"""Runs that are queued without Dagster's web server look as those that its daemon queues."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import ModuleTarget

from captionacc_dagster.constants import CODE_LOCATION, DEFINITIONS_MODULE
from captionacc_dagster.dagster_internals.queued_runs import DagsterRunQueue, RunQueueError
from captionacc_dagster.definitions import defs

TAGS = {"dagster/run_key": "layout/v/1", "dagster/partition": "v", ".dagster/captionacc-tenant-id": "t"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def evaluated(instance: dg.DagsterInstance, location: str, at: float) -> None:
    """Store what Dagster's daemon stores after it has evaluated the sensor in a code location."""
    target = LoadableTargetOrigin(module_name=DEFINITIONS_MODULE, executable_path=sys.executable)
    origin = RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(target, location), "__repository__"
    )
    data = SensorInstigatorData(last_tick_timestamp=at)
    state = InstigatorStatus.DECLARED_IN_CODE
    instance.add_instigator_state(
        InstigatorState(origin.get_instigator_origin("new_videos"), InstigatorType.SENSOR, state, data)
    )


def test_a_run_is_queued_in_the_location_that_the_daemon_used_last(instance: dg.DagsterInstance):
    evaluated(instance, "former", at=1.0)
    evaluated(instance, "captionacc", at=2.0)
    instance.add_dynamic_partitions("videos", ["v"])
    run_id = str(uuid.uuid4())
    DagsterRunQueue(instance, defs.get_repository_def()).submit("layout", run_id, TAGS)
    run = instance.get_run_by_id(run_id)
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.tags == {**TAGS, "dagster/code_location": "captionacc"}
    assert run.remote_job_origin.location_name == "captionacc"
    pointer = run.job_code_origin.repository_origin.code_pointer
    assert (pointer.module, pointer.fn_name) == (DEFINITIONS_MODULE, CODE_LOCATION)
    # The UI draws the run by these, and shows a partition whose run failed by the planned events.
    assert run.job_snapshot_id and run.execution_plan_snapshot_id
    planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert {entry.dagster_event.asset_key.to_user_string() for entry in planned} == {
        "full_frames",
        "raw_ocr_db",
        "layout_db",
    }


def test_without_a_daemon_no_run_is_created(instance: dg.DagsterInstance):
    with pytest.raises(RunQueueError, match="daemon has not evaluated the sensor new_videos yet"):
        DagsterRunQueue(instance, defs.get_repository_def()).submit("layout", str(uuid.uuid4()), TAGS)
    assert instance.get_runs() == []


def test_the_platforms_own_daemon_is_known_before_it_has_evaluated_anything(instance: dg.DagsterInstance):
    """Its location has the name that ``dagster-daemon run -m`` gives it."""
    instance.add_dynamic_partitions("videos", ["v"])
    run_id = str(uuid.uuid4())
    DagsterRunQueue(instance, defs.get_repository_def(), own_daemon=True).submit("layout", run_id, TAGS)
    origin = instance.get_run_by_id(run_id).remote_job_origin
    (location,) = location_origins(DEFINITIONS_MODULE)
    assert origin.location_name == location.location_name
    assert origin.repository_origin.repository_name == "__repository__"


def location_origins(module: str) -> list[ManagedGrpcPythonEnvCodeLocationOrigin]:
    """As Dagster's own command line makes them of ``-m``."""
    return ModuleTarget(module, attribute=None, working_directory=None, location_name=None).create_origins()
