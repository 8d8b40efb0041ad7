"""The state of sensors, as Dagster's storage has it.

Dagster exports neither the states nor their types; its GraphQL API has them, but asking it takes a running
web server. After a release that moves the types, the import below fails at once.
"""

from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus, SensorInstigatorData

#: Dagster's own interval of a sensor that names none, in seconds.
_DEFAULT_INTERVAL = 30


@dataclass(frozen=True)
class SensorState:
    """A sensor as Dagster's storage has it. ``last_tick_at``: seconds since 1970; None before the first."""

    name: str
    is_on: bool
    last_tick_at: float | None
    interval_seconds: float


def sensor_states(instance: dg.DagsterInstance) -> list[SensorState]:
    """Return the states of all sensors that were ever evaluated, those of removed ones included."""
    return [
        SensorState(
            state.instigator_name,
            state.status is not InstigatorStatus.STOPPED,
            state.instigator_data.last_tick_timestamp,
            float(state.instigator_data.min_interval or _DEFAULT_INTERVAL),
        )
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if isinstance(state.instigator_data, SensorInstigatorData)
    ]
