"""The platform for the time of a command, and the wait for videos that it processes."""

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from captionacc_dagster.cli.app import Parts
from captionacc_dagster.cli.root import StoppedError, note
from captionacc_dagster.cli.states import state_of
from captionacc_dagster.cli.watch import watch
from captionacc_dagster.platform.disk import disk_places, refuse_full_disk
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.resources.catalog import STAGES, Catalog, CatalogError, VideoRow
from modal_gpu.errors import CaptionAccError, DiskFullError

_log = logging.getLogger(__name__)

#: Ctrl-C, and what acts like it.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunningPlatform:
    """The platform for the time of a context: another command's while there is one, else this command's."""

    def __init__(self, here: Parts) -> None:
        from captionacc_dagster.platform.daemon_keeper import DaemonKeeper
        from captionacc_dagster.platform.dagster_home import prepare_dagster_home
        from captionacc_dagster.web.direct_start import DirectStart

        prepare_dagster_home(here.settings)
        self._settings, self._stack = here.settings, ExitStack()
        self._direct = DirectStart(here.settings, here.catalog, here.object_store)
        self._daemon = DaemonKeeper(here.settings, note)
        self._catalog = here.catalog
        self._runner: object | None = None

    @property
    def is_own(self) -> bool:
        """True if this command runs the daemon."""
        return self._daemon.own is not None

    @property
    def is_idle(self) -> bool:
        """True if the command has found that no run is at work: the daemon can then end without waiting."""
        return self._daemon.is_idle

    @is_idle.setter
    def is_idle(self, value: bool) -> None:
        self._daemon.is_idle = value

    def check(self, waiting: Sequence[str]) -> None:
        """Call it from time to time; the videos ``waiting`` at the first call are started at once.

        Raises :class:`ServiceError` if the daemon ended, and :class:`DiskFullError`.
        """
        self._daemon.check()
        self._notice_runner(waiting)
        if self.is_own:
            self._direct.begin(waiting)
        refuse_full_disk(disk_places(self._settings))

    def _notice_runner(self, waiting: Sequence[str]) -> None:
        runner = self._daemon.own or self._daemon.other
        if runner is None or runner is self._runner:
            return
        if self.is_own or self._runner is not None:
            _return_claims(self._catalog, waiting)
        self._runner = runner

    def __enter__(self) -> "RunningPlatform":
        with ExitStack() as stack:
            stack.enter_context(self._daemon)
            # Ends first: whoever takes over the daemon's role queues the runs that an ended process created.
            stack.enter_context(self._direct)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _return_claims(catalog: Catalog, video_ids: Sequence[str]) -> None:
    """Return the claims on videos that a daemon had when it ended: it may not have created their runs.

    Without this they would wait until the claims expire. Where a run was created, the next claim finds it by
    its run key.
    """
    try:
        rows = [catalog.get_video(video_id) for video_id in video_ids]
        for stage in STAGES:
            catalog.return_claims(stage, {row.video_id: row.stage(stage).attempts for row in rows})
    except CatalogError as error:
        _log.warning("claims of the daemon before are left to expire: %s", error)


@contextmanager
def processed(here: Parts, rows: list[VideoRow]) -> Iterator[list[VideoRow]]:
    """Wait for videos and yield their final rows; run the platform's processes unless another command does.

    Those processes end with the block, which therefore comes before the seconds that their end takes. From
    the block on, everything that the user asked for is there: Ctrl-C then only shortens the end. Before it,
    raises :class:`StoppedError` for Ctrl-C, and what :meth:`RunningPlatform.check` raises.
    """
    from captionacc_dagster.platform.services import wait_for_runs

    waiting = [row.video_id for row in rows if state_of(row) == "working"]
    platform: RunningPlatform | None = None
    with ExitStack() as stack:
        ends = stack.enter_context(_EndSignals())
        try:
            platform = stack.enter_context(RunningPlatform(here))
            rows = watch(here, rows, partial(platform.check, waiting))
            ends.hold()
        except KeyboardInterrupt:
            rows = _rows_now(here, rows)
            if any(state_of(row) == "working" for row in rows):
                note("Stopping…")
                raise StoppedError(_how_to_continue(rows)) from None
            ends.hold()
        except (ServiceError, DiskFullError):
            if left := _how_to_continue(_rows_now(here, rows)):
                note(left)
            raise
        yield rows
        if platform is None or not platform.is_own:
            return

        def check() -> None:
            if ends.has_come:
                raise KeyboardInterrupt
            platform.check(waiting)

        # The runs end a little after the rows are ready, with their last checks. What fails now concerns
        # only this command's processes, which end anyway.
        with suppress(KeyboardInterrupt, ServiceError, DiskFullError):
            platform.is_idle = wait_for_runs({row.video_id for row in rows}, check)


def _rows_now(here: Parts, rows: list[VideoRow]) -> list[VideoRow]:
    """Return videos as the catalogue has them now, or as they were if it does not answer."""
    with suppress(CaptionAccError):
        return [here.catalog.get_video(row.video_id) for row in rows]
    return rows


def _how_to_continue(rows: Sequence[VideoRow]) -> str:
    """Say what happens to videos that the command no longer waits for; an empty text if there are none."""
    left = [row.display_path or row.video_id for row in rows if state_of(row) == "working"]
    if not left:
        return ""
    names = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return (
        f"{names}: registered, no work is lost. `captionacc up` or the next `captionacc ingest` continues; "
        "`captionacc status` shows the progress."
    )


class _EndSignals:
    """Ctrl-C, SIGTERM and SIGHUP in a block: they raise ``KeyboardInterrupt`` until :meth:`hold`.

    From then on they are only remembered, in ``has_come``.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._is_holding = False
        self._former: dict[signal.Signals, Any] = {}

    def hold(self) -> None:
        """Remember signals from now on instead of raising."""
        self._is_holding = True

    def _receive(self, number: int, frame: object) -> None:
        self.has_come = True
        if not self._is_holding:
            raise KeyboardInterrupt

    def __enter__(self) -> "_EndSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _ENDS:
                former = signal.getsignal(number)
                # A signal that is ignored, as under nohup, stays so.
                if former is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
