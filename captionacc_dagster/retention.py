"""What Dagster keeps for ever, and need not: the step-by-step events of runs that ended long ago.

Materializations, observations and checks stay, because partitions' states, the lineage and the charts are
read from them; so do the runs themselves. What goes is the bulk: log lines, step and engine events.
"""

import logging
from datetime import UTC, datetime, timedelta

import dagster as dg

from modal_gpu.errors import ConfigurationError

_log = logging.getLogger(__name__)

#: Rows of one statement: it holds no lock for long, and can be ended between two.
BATCH = 5000
SHORTEST_DAYS = 1

# Run-status sensors read on from the last event that they saw, which is far younger. In PostgreSQL only:
# SQLite has a file a run.
_TRIM = """
delete from event_logs where id in (
    select e.id from event_logs e join runs r on r.run_id = e.run_id
    where e.timestamp < %(before)s and e.asset_key is null
        and coalesce(e.dagster_event_type, '') not in (
            'PIPELINE_SUCCESS', 'PIPELINE_FAILURE', 'PIPELINE_CANCELED', 'ASSET_CHECK_EVALUATION'
        )
        and r.status in ('SUCCESS', 'FAILURE', 'CANCELED')
    limit %(batch)s
)
"""


def trim_events(instance: dg.DagsterInstance, older_than_days: float, batch: int = BATCH) -> int:
    """Remove the events of ended runs that are older; how many there were. Repeating it is harmless.

    How a run ended stays. Raises :class:`ConfigurationError` when Dagster's storage is not PostgreSQL, or
    for less than a day.
    """
    import psycopg

    if older_than_days < SHORTEST_DAYS:
        raise ConfigurationError(f"events of the last {SHORTEST_DAYS} day are not removed")
    url = getattr(instance.event_log_storage, "postgres_url", None)
    if url is None:
        raise ConfigurationError("only events in PostgreSQL can be trimmed; see deploy/dagster.yaml")
    before = (datetime.now(UTC) - timedelta(days=older_than_days)).replace(tzinfo=None)
    removed = 0
    dsn = url.replace("postgresql+psycopg2://", "postgresql://", 1)
    with psycopg.connect(dsn, autocommit=True) as database:
        while True:
            count = database.execute(_TRIM, {"before": before, "batch": batch}).rowcount
            removed += count
            if count < batch:
                return removed
