"""A daemon for a command that needs one: another command's while it runs, else the command's own.

A daemon is alive while its process holds a lock (``role_lock.py``). Daemons that the platform did not start
(``dagster dev``) are found among this machine's processes. A daemon can be on another machine only where
Dagster's home belongs to a deployment. There its heartbeat counts, which is checked repeatedly while a
command relies on it.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from captionacc_dagster.dagster_internals.commands import is_daemon
from captionacc_dagster.platform.ports import described
from captionacc_dagster.platform.services import Services, daemon_lock, relying_lock
from captionacc_dagster.settings import Settings

#: Age from which a heartbeat counts as old. A daemon writes one every 30 s.
HEARTBEAT_SECONDS = 75.0
#: Interval of queries for the heartbeat.
_BEAT_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Runner:
    """The holder of a home's daemon: its description, and a function that returns whether it still runs."""

    what: str
    is_alive: Callable[[], bool]


def find_runner(settings: Settings) -> Runner | None:
    """Return who runs the daemon of the settings' Dagster home, or None. Creates and starts nothing."""
    lock = daemon_lock(settings)
    if holder := lock.holder():
        return Runner(str(holder), lock.is_held)
    if process := _foreign_daemon(settings.dagster_home):
        return Runner(described(process), lambda: _is_running(process))
    if _may_be_elsewhere(settings) and _heartbeat_age() < HEARTBEAT_SECONDS:
        return Runner("a daemon on another machine", _Heartbeat().is_young)
    return None


class DaemonKeeper:
    """A context in which a daemon runs, provided that :meth:`check` is called from time to time.

    ``say`` receives a sentence when the command relies on another's daemon, and when it replaces it. At the
    end of the context the command's own daemon ends; commands that relied on it continue its runs.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._lock = daemon_lock(settings)
        self._reliers = relying_lock(settings)
        self._is_relying = False
        #: Set once no run is at work, so that the daemon can end without waiting.
        self.is_idle = False
        self.own: Services | None = None
        self.other: Runner | None = None

    def __enter__(self) -> "DaemonKeeper":
        try:
            self.check()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leave()

    def check(self) -> None:
        """Take over the daemon's role when nobody holds it.

        Raises :class:`ServiceError` when the command's own daemon ended.
        """
        if self.own is not None:
            if name := self.own.ended():
                raise self.own.error(name)
        elif self.other is None or not self.other.is_alive():
            self._find_or_start()

    def _find_or_start(self) -> None:
        former, self.other = self.other, find_runner(self._settings)
        if self.other is not None:
            self._is_relying = self._is_relying or self._rely()
            self._say(f"{self.other.what} runs the platform of this home; this command relies on it.")
            return
        if not self._lock.take():
            return  # another command was faster; the next check finds it
        self._reliers.release()
        self._is_relying = False
        if former is not None:
            self._say(f"{former.what} has ended; this command continues with its own daemon.")
        self.own = Services(self._settings)
        self.own.start_daemon(self._lock)

    def _rely(self) -> bool:
        with suppress(OSError):  # a deployment's home may be read-only
            return self._reliers.share()
        return False

    def _leave(self) -> None:
        self._reliers.release()
        if self.own is not None:
            others_rely = self._reliers.is_held(shared_too=True)
            self.own.stop(leave_runs=others_rely, idle=self.is_idle and not others_rely)
            self.own = None
            if _may_be_elsewhere(self._settings):
                _forget_heartbeats()
        self._lock.release()


def _foreign_daemon(dagster_home: Path) -> psutil.Process | None:
    """Return a daemon of this Dagster home that Dagster's own commands started, which holds no lock."""
    for process in psutil.process_iter(["cmdline"]):
        if not is_daemon(process.info["cmdline"] or ()):
            continue
        with suppress(psutil.Error, OSError):
            home = process.environ().get("DAGSTER_HOME", "")
            if home and Path(home).resolve() == dagster_home.resolve() and _is_running(process):
                return process
    return None


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _may_be_elsewhere(settings: Settings) -> bool:
    return settings.dagster_home.resolve() != (settings.home / "dagster").resolve()


def _heartbeat_age() -> float:
    """Return the age of the sensor daemon's heartbeat in seconds; infinite without one."""
    if not (Path(os.environ.get("DAGSTER_HOME", "/nowhere")) / "dagster.yaml").exists():
        return float("inf")
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        beat = instance.get_daemon_heartbeats().get("SENSOR")
        return float("inf") if beat is None else time.time() - beat.timestamp


def _forget_heartbeats() -> None:
    """Delete the heartbeats of the daemon that this command ended, so that the next one need not wait."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.wipe_daemon_heartbeats()


class _Heartbeat:
    """The heartbeat of a daemon on another machine, queried at intervals."""

    def __init__(self) -> None:
        self._seen_at, self._is_young = time.monotonic(), True

    def is_young(self) -> bool:
        """Return whether the heartbeat was young at the last query."""
        if time.monotonic() - self._seen_at > _BEAT_LOOK_SECONDS:
            self._seen_at, self._is_young = time.monotonic(), _heartbeat_age() < HEARTBEAT_SECONDS
        return self._is_young
