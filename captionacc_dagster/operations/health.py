"""Dagster's own state: its queue, its daemons, when each sensor last ran."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import dagster as dg

from captionacc_dagster.dagster_internals.sensor_states import SensorState, sensor_states

#: Statuses of runs that have not ended, by the names that metrics and people use.
UNFINISHED = {
    "queued": dg.DagsterRunStatus.QUEUED,
    "starting": dg.DagsterRunStatus.STARTING,
    "started": dg.DagsterRunStatus.STARTED,
    "canceling": dg.DagsterRunStatus.CANCELING,
}
#: The daemon that evaluates sensors: no sensor can report its silence.
SENSOR_DAEMON = "SENSOR"


@dataclass(frozen=True)
class DagsterState:
    """Runs that have not ended, daemons and sensors. Times are seconds since 1970."""

    runs: Mapping[str, int]
    oldest_queued_at: float | None
    #: Last heartbeat of each daemon that this configuration needs; ``None``: there was none.
    heartbeats: Mapping[str, float | None]
    sensors: tuple[SensorState, ...]

    def silent_daemons(self, now: float, seconds: float) -> list[str]:
        """Return the names of daemons without a heartbeat for so long, sorted."""
        return sorted(name for name, at in self.heartbeats.items() if at is None or now - at > seconds)

    def silent_sensors(self, now: float, seconds: float) -> list[SensorState]:
        """Return sensors that are on and have not run for so long, or for three intervals if longer."""
        return [
            sensor
            for sensor in self.sensors
            if sensor.is_on
            and sensor.last_tick_at is not None
            and now - sensor.last_tick_at > max(seconds, 3 * sensor.interval_seconds)
        ]


def observe_dagster(instance: dg.DagsterInstance, sensors: Collection[str]) -> DagsterState:
    """Read Dagster's state with a handful of indexed queries, however many runs and partitions there are.

    ``sensors``: names of the sensors that this version has. Dagster's storage keeps removed ones as well.
    """
    queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
    oldest = instance.get_run_records(queued, limit=1, ascending=True)
    beats = instance.get_daemon_heartbeats()
    return DagsterState(
        runs={
            name: instance.get_runs_count(dg.RunsFilter(statuses=[status]))
            for name, status in UNFINISHED.items()
        },
        oldest_queued_at=oldest[0].create_timestamp.timestamp() if oldest else None,
        heartbeats={
            kind: beats[kind].timestamp if kind in beats else None
            for kind in sorted(instance.get_required_daemon_types())
        },
        sensors=tuple(
            sorted(
                (state for state in sensor_states(instance) if state.name in sensors),
                key=lambda state: state.name,
            )
        ),
    )
