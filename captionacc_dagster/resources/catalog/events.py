"""The catalogue's calls for live events, and for the progress of running stages."""

from datetime import datetime

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.live import EventRow, HeldLock
from captionacc_dagster.resources.catalog.rows.videos import Stage


class EventCalls(CatalogCalls):
    """Events are ordered by ids that hide no event of a transaction that ends later."""

    @sql_function(repeatable=True)
    def events_cursor(self, event_id: str | None = None) -> str:
        """Return ``event_id`` if no event after it is lost, else the id after which those from now on come.

        Events are lost by their age, and all of them for an id of another database.
        """

    @sql_function(repeatable=True)
    def events_after(
        self, event_id: str, *, progress_since: datetime | None = None, limit: int = 500
    ) -> list[EventRow]:
        """Return the events after one, oldest first, and then progress that changed after a time.

        Raises ``InvalidArgumentError`` for what is no event's id.
        """

    @sql_function(repeatable=True)
    def held_locks(self, limit: int = 500) -> list[HeldLock]:
        """Return the locks that are held now."""

    @sql_function(repeatable=True)
    def report_progress(
        self, video_id: str, stage: Stage, run_id: str, percent: int, message: str, done: int, total: int
    ) -> bool:
        """Record the progress of a stage's worker, at most once a second.

        Returns false if nothing was recorded: too soon, or another run works on the stage.
        """

    @sql_function(repeatable=True)
    def announce_captions(self, video_id: str, stage: Stage, run_id: str) -> bool:
        """Record as an event that more of a running stage's captions or texts can be read.

        Returns false if nothing was recorded: another run works on the stage.
        """

    @sql_function(repeatable=True)
    def purge_events(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Delete older events. Returns how many there were."""
