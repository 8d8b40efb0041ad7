"""Code servers and runs that end when nobody runs the platform of their home any more.

A daemon that was killed leaves its code server, and that one its runs, which would work on unseen. Each
looks now and then whether the role of the daemon is filled in its home. Where another command has taken it
over, they go on: that one's daemon knows them by their addresses.
"""

import os
import signal
import threading
import time
from pathlib import Path

from captionacc_dagster.dagster_internals.commands import this_is_a_code_server
from captionacc_dagster.platform.role_lock import RoleLock

#: Environment variable with the lock of the role; unset where others than this platform start the daemon.
DAEMON_LOCK = "CAPTIONACC_DAEMON_LOCK"
#: How long the role may be empty: another command that relied on it takes it over within a second or two.
RUN_SECONDS = 6.0
#: Longer than a run's, so that a code server sees its runs' ends and reports them.
CODE_SERVER_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_WATCH = "end-without-daemon"


def end_without_daemon(seconds: float) -> threading.Thread | None:
    """Start to watch the daemon's role: kill this process when nobody has held it for ``seconds``.

    Return the watching thread, of which a process has one; None where the environment names no lock.
    """
    path = os.environ.get(DAEMON_LOCK)
    if not path:
        return None
    for thread in threading.enumerate():
        if thread.name == _WATCH:
            return thread
    watch = threading.Thread(target=_watch, args=(RoleLock(Path(path)), seconds), name=_WATCH, daemon=True)
    watch.start()
    return watch


def end_run_without_daemon() -> None:
    """Watch the daemon's role from a run's process."""
    end_without_daemon(RUN_SECONDS)


def end_code_server_without_daemon() -> None:
    """Watch the daemon's role, if this process is one of Dagster's code servers."""
    if this_is_a_code_server():
        end_without_daemon(CODE_SERVER_SECONDS)


def _watch(lock: RoleLock, seconds: float) -> None:
    held_at = time.monotonic()
    while True:
        time.sleep(_LOOK_SECONDS)
        if lock.is_held():
            held_at = time.monotonic()
        elif time.monotonic() - held_at > seconds:
            # Not SIGTERM: a run would take it for a wish to end it, and cancel its remote calls.
            os.kill(os.getpid(), signal.SIGKILL)
