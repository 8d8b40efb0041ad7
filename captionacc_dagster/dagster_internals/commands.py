"""Command lines of Dagster's own processes: how its daemon is started, and how others are recognized.

Dagster offers its daemon only as the script ``dagster-daemon``, whose module is private; the platform starts
a module of its own (``daemon.py``), which adapts the process first. A daemon starts its code servers as
``python -m dagster api grpc``. After a release that changes this, the daemon does not start, or code servers
and foreign daemons go unrecognized: they outlive the command that started them. ``tests/platform`` and
``tests/faults`` see both.
"""

import multiprocessing
import sys
from collections.abc import Sequence

#: The platform's module that runs the daemon, for ``python -m``.
DAEMON_MODULE = "captionacc_dagster.dagster_internals.daemon"
_CODE_SERVER = ["api", "grpc"]


def is_daemon(command: Sequence[str]) -> bool:
    """Return whether a process with this command line is a daemon, however it was started."""
    line = " ".join(command)
    return any(f"{name} run" in line for name in ("dagster-daemon", "dagster._daemon", DAEMON_MODULE))


def is_code_server(command: Sequence[str]) -> bool:
    """Return whether a process with this command line is a code server that a daemon started."""
    return list(command[2:5]) == ["dagster", *_CODE_SERVER]


def this_is_a_code_server() -> bool:
    """Return whether this process is a code server, regardless of who started it."""
    # A run that is forked gets the command line of the code server that started it.
    return sys.argv[1:3] == _CODE_SERVER and multiprocessing.parent_process() is None
