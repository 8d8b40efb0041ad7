"""The end of code servers and runs whose home no longer has a daemon.

A daemon that was killed leaves its code server behind, and that one its runs, which would work on unnoticed.
Each of them checks at intervals whether somebody holds the daemon's role in its home. If another command has
taken it over, they continue: its daemon knows them by their addresses.
"""

import os
import signal
import threading
import time
from pathlib import Path

from captionacc_dagster.dagster_internals.commands import this_is_a_code_server
from captionacc_dagster.platform.role_lock import RoleLock

#: Environment variable with the path of the role's lock; unset if the platform did not start the daemon.
DAEMON_LOCK = "CAPTIONACC_DAEMON_LOCK"
#: Time for which the role may be vacant: a command that relied on it takes it over within a second or two.
RUN_SECONDS = 6.0
#: Longer than a run's, so that a code server can report the ends of its runs.
CODE_SERVER_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_WATCH = "end-without-daemon"


def end_without_daemon(seconds: float) -> threading.Thread | None:
    """Start to watch the daemon's role: kill this process if no process has held it for ``seconds``.

    Returns the watching thread, the only one of its kind in a process, or None if the environment names no
    lock.
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
            # Not SIGTERM, which a run takes for a cancellation: it would cancel its remote calls.
            os.kill(os.getpid(), signal.SIGKILL)
