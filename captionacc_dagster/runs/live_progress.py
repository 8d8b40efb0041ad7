"""Progress of a run's compute call, written to the catalogue for the live events of the API.

The same goes for the news that more of its results can be read. It must not hold up the call, which on one
machine is the work itself: a thread writes the last step, at most once a second, and what the catalogue does
not take is lost.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from captionacc_dagster.resources.catalog import Stage
from captionacc_dagster.runs.progress import log_steps
from modal_gpu.contracts import READY, Progress
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)
#: The parts of a call: it fetches the file, works on its frames, and stores its results.
_FETCHED, _BEGUN, _WORKED = 10, 30, 90
#: Pause between two writes; the catalogue takes one in 0.9 s.
_WRITE_SECONDS = 1.0
_END_SECONDS = 2.0


class Reports(Protocol):
    """The part of the catalogue that takes progress."""

    def announce_captions(self, video_id: str, stage: Stage, run_id: str) -> bool: ...

    def report_progress(
        self, video_id: str, stage: Stage, run_id: str, percent: int, message: str, done: int, total: int
    ) -> bool: ...


def percent_of(done: int, total: int) -> int:
    """Return the percentage of a call that has done so many of its units: 30 to 90."""
    fraction = min(max(done / total, 0.0), 1.0) if total else 1.0
    return _BEGUN + int((_WORKED - _BEGUN) * fraction)


class _Writer:
    """Writes the last step of a stage until it is closed."""

    def __init__(self, reports: Reports, video_id: str, stage: Stage, run_id: str) -> None:
        self._reports, self._video_id, self._stage, self._run_id = reports, video_id, stage, run_id
        self._highest = 0
        self._last: tuple[int, str, int, int] | None = None
        self._ready = self._announced = 0
        self._changed, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="progress", daemon=True)
        self._thread.start()

    def report(self, percent: int, message: str, done: int, total: int) -> None:
        # A call that merges its parts begins to count again.
        self._highest = max(self._highest, percent)
        self._last = self._highest, message, done, total
        self._changed.set()

    def announce(self, ready: int) -> None:
        """Announce that more can be read, unless so much was announced before."""
        if ready > self._ready:
            self._ready = ready
            self._changed.set()

    def close(self) -> None:
        self._end.set()
        self._changed.set()
        self._thread.join(_END_SECONDS)

    def _write_all(self) -> None:
        while True:
            self._changed.wait()
            if self._end.is_set():
                return
            self._changed.clear()
            try:
                self._write()
            except CaptionAccError as error:
                _log.debug("progress is lost: %s", error)
            self._end.wait(_WRITE_SECONDS)

    def _write(self) -> None:
        if (ready := self._ready) > self._announced:
            self._announced = ready
            self._reports.announce_captions(self._video_id, self._stage, self._run_id)
        if self._last is not None:
            self._reports.report_progress(self._video_id, self._stage, self._run_id, *self._last)


@contextmanager
def live_progress(
    write: Callable[[str], None], reports: Reports, video_id: str, of: Stage, run_id: str
) -> Iterator[Progress]:
    """Yield the listener of a compute call: steps go to the run's log and to the catalogue."""
    log, writer = log_steps(write), _Writer(reports, video_id, of, run_id)

    def report(stage: str, done: int, total: int) -> None:
        if stage == READY:
            writer.announce(done)
            return
        log(stage, done, total)
        if total and done >= total:
            writer.report(_WORKED, "upload", done, total)
        else:
            writer.report(percent_of(done, total), f"{stage} {done} of {total}", done, total)

    writer.report(_FETCHED, "download", 0, 0)
    try:
        yield report
    finally:
        writer.close()
