"""The removal of step-by-step events of runs that ended long ago, which Dagster never removes.

Dagster's retention settings cover only the ticks of sensors and schedules (dagster-io/dagster#33785 and #4100
ask for events as well). Materializations, observations and checks stay, because the states of partitions, the
lineage and the charts are read from them, and so do the runs. Log lines, step and engine events are the bulk,
which goes.

This reads and deletes rows of ``event_logs`` and ``runs``, tables of Dagster's storage in PostgreSQL. After a
release that renames a table or column the statements fail, with nothing removed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from modal_gpu.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

_log = logging.getLogger(__name__)

#: Rows a statement: none holds a lock for long, and the command can be ended between two.
BATCH = 5000
SHORTEST_DAYS = 1

# Run-status sensors continue from the last event that they read, which is far younger. In PostgreSQL only:
# SQLite has a file a run.
_OLD = """
    from event_logs e join runs r on r.run_id = e.run_id
    where e.timestamp < %(before)s and e.asset_key is null
        and coalesce(e.dagster_event_type, '') not in (
            'PIPELINE_SUCCESS', 'PIPELINE_FAILURE', 'PIPELINE_CANCELED', 'ASSET_CHECK_EVALUATION'
        )
        and r.status in ('SUCCESS', 'FAILURE', 'CANCELED')
"""
_COUNT = f"select count(*) {_OLD}"
_TRIM = f"delete from event_logs where id in (select e.id {_OLD} limit %(batch)s)"


def can_trim(instance: dg.DagsterInstance) -> bool:
    """Return whether events can be removed: whether Dagster's storage is PostgreSQL."""
    return _url(instance) is not None


def count_events(instance: dg.DagsterInstance, older_than_days: float) -> int:
    """Return how many events :func:`trim_events` would remove. Raises the same errors."""
    with _database(instance, older_than_days) as (database, before):
        (count,) = database.execute(_COUNT, {"before": before}).fetchall()[0]
        return int(count)


def trim_events(instance: dg.DagsterInstance, older_than_days: float, batch: int = BATCH) -> int:
    """Remove the events of ended runs that are older, and return how many there were. Safe to repeat.

    The event of a run's end stays. Raises :class:`ConfigurationError` when Dagster's storage is not
    PostgreSQL, or for less than a day.
    """
    removed = 0
    with _database(instance, older_than_days) as (database, before):
        while True:
            count = database.execute(_TRIM, {"before": before, "batch": batch}).rowcount
            removed += count
            if count < batch:
                return removed


def _url(instance: dg.DagsterInstance) -> str | None:
    return getattr(instance.event_log_storage, "postgres_url", None)


@contextmanager
def _database(
    instance: dg.DagsterInstance, older_than_days: float
) -> Iterator[tuple["psycopg.Connection", datetime]]:
    """Open Dagster's database; yield it, and the time before which events are old."""
    import psycopg

    if older_than_days < SHORTEST_DAYS:
        raise ConfigurationError(f"events of the last {SHORTEST_DAYS} day are not removed")
    url = _url(instance)
    if url is None:
        raise ConfigurationError("only events in PostgreSQL can be trimmed: name one in dagster.yaml")
    before = (datetime.now(UTC) - timedelta(days=older_than_days)).replace(tzinfo=None)
    dsn = url.replace("postgresql+psycopg2://", "postgresql://", 1)
    try:
        with psycopg.connect(dsn, autocommit=True) as database:
            yield database, before
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        # Its message may hold an address, or a part of the password.
        raise ConfigurationError(f"Dagster's database does not answer ({type(error).__name__})") from None
