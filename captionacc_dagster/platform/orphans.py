"""Code servers and runs that end when nobody runs the platform of their home any more.

A daemon that was killed leaves its code server, and that one its runs, which would work on unseen. Each
looks now and then whether the role of the daemon is filled in its home. Where another command has taken it
over, they go on: that one's daemon knows them by their addresses.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from captionacc_dagster.platform.role_lock import RoleLock

#: Environment variable with the lock of the role; unset where others than this platform start the daemon.
DAEMON_LOCK = "CAPTIONACC_DAEMON_LOCK"
#: How long the role may be empty: another command that relied on it takes it over within a second or two.
RUN_SECONDS = 6.0
#: Longer than a run's, so that a code server sees its runs' ends and reports them.
CODE_SERVER_SECONDS = 10.0
_LOOK_SECONDS = 0.5


def end_without_daemon(seconds: float) -> threading.Thread | None:
    """From now on, kill this process when its home has been without a daemon for ``seconds``.

    None, and nothing, where the environment names no lock.
    """
    path = os.environ.get(DAEMON_LOCK)
    if not path:
        return None
    watch = threading.Thread(target=_watch, args=(RoleLock(Path(path)), seconds), daemon=True)
    watch.name = "end-without-daemon"
    watch.start()
    return watch


def end_code_server_without_daemon() -> None:
    """The same, if this process is one of Dagster's code servers."""
    if sys.argv[1:3] == ["api", "grpc"]:
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
