"""Direct start: runs begin as soon as the catalogue announces their work, not at a sensor's next tick.

The command that runs the embedded platform's daemon does this in a thread of its own. The sensors stay as the
safety net: whatever this thread misses, they find seconds later.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.opening import database_dsn
from captionacc_dagster.runs.tags import TRIGGER
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.web.listeners import Backoff, PostgresListener, handle
from captionacc_dagster.web.starter import CLOSE_SECONDS, RunStarter, Started
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

#: Seconds that the thread has to end, with time to notice the end and to return claims: a claim that is
#: lost with the process delays its video until the claim expires.
_END_SECONDS = CLOSE_SECONDS + 5


@contextmanager
def open_starter(
    catalog: Catalog, object_store: ObjectStore, *, trigger: str, own_daemon: bool = False
) -> Iterator[RunStarter]:
    """Open Dagster's instance and a :class:`RunStarter` on it. ``DAGSTER_HOME`` must be set.

    ``trigger`` is the run tag that says what started a run. With ``own_daemon``, runs are also queued before
    the daemon has ticked for the first time: it is the one that this platform starts.
    """
    import dagster as dg

    from captionacc_dagster.dagster_internals.queued_runs import DagsterRunQueue
    from captionacc_dagster.definitions import defs
    from captionacc_dagster.jobs import captions_job, layout_job, video_job

    with dg.DagsterInstance.get() as instance:
        queue = DagsterRunQueue(instance, defs.get_repository_def(), own_daemon=own_daemon)
        queue.prepare(video_job.name if get_settings().goes_on else layout_job.name, captions_job.name)
        if own_daemon:
            # The process that ran the daemon before has ended, perhaps between the creation and the queue.
            queue.queue_created({TRIGGER: trigger})
        starter = RunStarter(catalog, object_store, instance, queue.submit, trigger=trigger)
        try:
            yield starter
        finally:
            starter.close()


class DirectStart:
    """Start runs of new uploads and approvals at once, from :meth:`begin` until the block ends.

    It needs ``LISTEN``, and so does nothing for a catalogue that is reached through Supabase's API.
    """

    def __init__(self, settings: Settings, catalog: Catalog, object_store: ObjectStore) -> None:
        self._settings, self._catalog, self._object_store = settings, catalog, object_store
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._starter: RunStarter | None = None

    def start_layout(self, video_id: str) -> Started:
        """Start a new upload's layout with the thread's starter; before there is one, a sensor does."""
        starter = self._starter
        return starter.start_layout(video_id) if starter is not None else Started("waiting")

    def start_captions(self, video_id: str) -> Started:
        """Start the captions of an approved layout, as :meth:`start_layout` does."""
        starter = self._starter
        return starter.start_captions(video_id) if starter is not None else Started("waiting")

    def begin(self, waiting: Sequence[str] = ()) -> None:
        """Start the thread, once. ``waiting`` holds the ids of videos that were registered before."""
        if self._thread is None and not self._settings.supabase_url:
            self._thread = threading.Thread(
                target=self._run, args=[list(waiting)], name="direct start", daemon=True
            )
            self._thread.start()

    def __enter__(self) -> "DirectStart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self, waiting: list[str]) -> None:
        """Listen until the block ends, and start again after an error, with growing pauses."""
        backoff = Backoff(longest_seconds=600)
        while not self._stop.is_set():
            try:
                self._listen(waiting)
            except Exception as error:
                pause = backoff.next()
                _log.warning(
                    "the sensors start the work for %.0f s: %s: %s", pause, type(error).__name__, error
                )
                self._stop.wait(pause)

    def _listen(self, waiting: list[str]) -> None:
        with open_starter(
            self._catalog, self._object_store, trigger="direct_start", own_daemon=True
        ) as starter:

            def start(stage: str, video_id: str) -> None:
                (starter.start_layout if stage == "layout" else starter.start_captions)(video_id)

            def start_waiting() -> None:
                while waiting and not self._stop.is_set():
                    handle(start, "layout", waiting.pop(0))

            listener = PostgresListener(
                database_dsn(self._settings),
                start,
                schema=self._settings.catalogue_schema,
                on_listening=start_waiting,
            )
            self._starter = starter
            try:
                listener.run(self._stop)
            finally:
                self._starter = None
