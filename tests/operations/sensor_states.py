"""States of sensors as Dagster's storage keeps them, written without a daemon."""

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("captionacc"), "__repository__")


def add_sensor_state(
    instance: dg.DagsterInstance, name: str, status: InstigatorStatus, last_tick: float
) -> None:
    """Store that the sensor is in this status and ran at ``last_tick``, in seconds since 1970."""
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(REPOSITORY, name),
            InstigatorType.SENSOR,
            status,
            SensorInstigatorData(last_tick_timestamp=last_tick, min_interval=5),
        )
    )
