"""Hints that a tenant's clients have something to hear, from the catalogue's ``NOTIFY``."""

import threading
from collections import Counter

from captionacc_dagster.resources.catalog.schema_names import events_channel
from captionacc_dagster.web.listeners import Backoff, ChannelListener


class Announcements:
    """Counts the catalogue's announcements by tenant, in a thread, from :meth:`begin` until :meth:`end`.

    While it has no connection, :attr:`is_listening` is false, and streams have to ask the catalogue.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._listener = ChannelListener(
            dsn, events_channel(schema), self._count, Backoff(longest_seconds=30)
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._listener.run, args=[self._stop], name="announcements", daemon=True
        )

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
        return self._listener.listening.is_set()

    def count(self, tenant_id: str | None) -> int:
        """Return how many announcements a tenant has had; ``None``: all tenants."""
        return self._total if tenant_id is None else self._counts[tenant_id]

    def _count(self, tenant_id: str) -> None:
        self._counts[tenant_id] += 1
        self._total += 1
