"""Dagster's storage in PostgreSQL with kept connections, remembered columns, and batches of planned events.

``dagster_postgres`` opens a connection for each statement, so that its many instances hold none. The server
starts and ends a process for each. Only Dagster's web server keeps some. Here every process keeps those that
it uses and closes them once they are idle. A connection that has died meanwhile is replaced before a
statement uses it, so a restart of the server disturbs no more than before.

``dagster.yaml`` names the class::

    storage:
      custom:
        module: captionacc_dagster.dagster_internals.pooled_storage
        class: PooledPostgresStorage
        config: {postgres_url: …}

Private parts that this uses: ``_engine`` of the three storages, which ``optimize_for_webserver`` replaces in
the same way, ``_connect`` and the ``_store…`` methods of the event log, and those that look up the columns
of a table. After a release that renames them, the storage works as Dagster's own does;
``tests/dagster_internals/test_pooled_storage.py`` fails then.
"""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy import Connection, Engine, event, text

#: Connections that a process keeps, and how many more it may open for its threads.
KEPT, MORE = 2, 30
#: Connections that nobody used for this long are closed: many runs wait for remote calls for minutes.
IDLE_SECONDS = 10.0
#: Dagster's setting for the number of events that it hands over together; without it, it stores each alone.
_BATCH_SETTING, _BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", 200
_PLANNED = {
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}
#: One table of each storage.
_TABLES = ("runs", "event_logs", "schedules", "instance_info")


class PooledRunStorage(PostgresRunStorage):
    """Remembers that the table of runs has its columns, which is asked before each query for records."""

    @cached_property
    def _has_run_stats(self) -> bool:
        return super().has_run_stats_index_cols()

    def has_run_stats_index_cols(self) -> bool:
        """Return whether the table has the columns with the times of runs."""
        return self._has_run_stats


class PooledEventLogStorage(PostgresEventLogStorage):
    """Remembers what the tables have, and writes the events that are planned for a run in one transaction.

    Dagster's storage looks at the tables at each event, and writes each with several connections and commits.
    A run from upload to subtitles plans some thirty events before it is queued.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held = threading.local()

    @cached_property
    def _asset_key_columns(self) -> set[str]:
        return set()

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._asset_key_columns:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._asset_key_columns.add(column_name)
        return True

    @cached_property
    def _has_asset_checks(self) -> bool:
        return super().supports_asset_checks

    @property
    def supports_asset_checks(self) -> bool:
        """Return whether the storage has the table of asset checks."""
        return self._has_asset_checks

    def _connect(self) -> AbstractContextManager[Connection]:
        held = getattr(self._held, "connection", None)
        return super()._connect() if held is None else nullcontext(held)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that Dagster hands over together: all of them or none.

        Dagster stores them one by one after an error.
        """
        with super()._connect() as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                self._held.connection = connection
                try:
                    if {event.dagster_event_type for event in events} <= _PLANNED:
                        self._store_planned(connection, events)
                    else:
                        super().store_event_batch(events)
                finally:
                    self._held.connection = None

    def _store_planned(self, connection: Connection, events: Sequence[EventLogEntry]) -> None:
        """Do what ``store_event`` does with each, less the notification that only old releases wait for."""
        insert = self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
        for event_, (event_id,) in zip(events, connection.execute(insert).all(), strict=True):
            if event_.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                self._store_asset_event(connection, event_, event_id)
            else:
                self.store_asset_check_event(event_, event_id)


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage, whose three parts share one pool of connections in each process."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: Any = None,
        token_provider: Any = None,
    ) -> None:
        engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=KEPT,
            max_overflow=MORE,
            pool_pre_ping=True,
        )
        CloseIdle(engine, IDLE_SECONDS)
        os.environ.setdefault(_BATCH_SETTING, str(_BATCH_SIZE))
        if should_autocreate_tables and not _has_tables(engine):
            # Dagster's own storage creates them, one process at a time.
            super().__init__(postgres_url, True, inst_data, token_provider)
        self.postgres_url = postgres_url
        self.should_autocreate_tables = should_autocreate_tables
        self._inst_data = inst_data
        run_storage = PooledRunStorage(postgres_url, False, token_provider=token_provider)
        events = PooledEventLogStorage(postgres_url, False, token_provider=token_provider)
        schedules = PostgresScheduleStorage(postgres_url, False, token_provider=token_provider)
        for part in (run_storage, events, schedules):
            part._engine = engine
        self._run_storage, self._event_log_storage, self._schedule_storage = run_storage, events, schedules

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "PooledPostgresStorage":
        """Return the storage that ``dagster.yaml`` describes, with the configuration of Dagster's own."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )


def _has_tables(engine: Engine) -> bool:
    names = ", ".join(f"to_regclass('{name}') is not null" for name in _TABLES)
    with create_pg_connection(engine) as connection:
        return all(connection.execute(text(f"select {names}")).one())


class CloseIdle:
    """Closes the pooled connections of an engine once none was used for ``seconds``.

    A thread runs only while there are connections in the pool.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine, self._seconds = engine, seconds
        # A lost connection is checked in by the garbage collector, which may run while this thread holds it.
        self._guard = threading.RLock()
        self._used_at = 0.0
        self._is_watched = False
        event.listen(engine, "checkin", self._used)

    def _used(self, *_: object) -> None:
        self._used_at = time.monotonic()
        with self._guard:
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="close idle connections", daemon=True).start()

    def _watch(self) -> None:
        while (rest := self._used_at + self._seconds - time.monotonic()) > 0:
            time.sleep(rest)
        with self._guard:
            self._is_watched = False
        # Connections in use at this moment are closed when they return.
        self._engine.dispose()
