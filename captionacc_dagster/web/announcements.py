"""Hints that a tenant's clients have something to hear, from the catalogue's ``NOTIFY``."""

import logging
import threading
from collections import Counter

import psycopg
from psycopg import sql

from captionacc_dagster.resources.catalog import CatalogError
from captionacc_dagster.resources.catalog.postgres_errors import connect
from captionacc_dagster.resources.catalog.schema_names import events_channel
from captionacc_dagster.web.listeners import Backoff

_log = logging.getLogger(__name__)


class Announcements:
    """Counts the catalogue's announcements by tenant, in a thread, from :meth:`begin` until :meth:`end`.

    ``LISTEN`` needs a connection that does not go through a transaction pooler. While there is none,
    :attr:`is_listening` is false, and streams have to ask the catalogue.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn, self._channel = dsn, events_channel(schema)
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._listening, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcements", daemon=True)

    def begin(self) -> None:
        """Start to listen."""
        self._thread.start()

    def end(self) -> None:
        """Stop listening, within a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def is_listening(self) -> bool:
        """True while announcements arrive."""
        return self._listening.is_set()

    def wait_until_listening(self, timeout: float = 10) -> bool:
        """Wait until announcements arrive; return whether they do."""
        return self._listening.wait(timeout)

    def count(self, tenant_id: str | None) -> int:
        """Return how many announcements a tenant has had; ``None``: all tenants."""
        return self._total if tenant_id is None else self._counts[tenant_id]

    def _run(self) -> None:
        backoff = Backoff(longest_seconds=30)
        while not self._stop.is_set():
            try:
                with connect(self._dsn) as connection:
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
                    backoff.reset()
                    self._listening.set()
                    self._listen(connection)
            except (CatalogError, psycopg.Error) as error:
                self._listening.clear()
                pause = backoff.next()
                _log.warning("live events are polled for %.0f s: %s", pause, str(error).partition("\n")[0])
                self._stop.wait(pause)
        self._listening.clear()

    def _listen(self, connection: psycopg.Connection) -> None:
        while not self._stop.is_set():
            for notification in connection.notifies(timeout=0.5):
                self._counts[notification.payload] += 1
                self._total += 1
                if self._stop.is_set():
                    return
