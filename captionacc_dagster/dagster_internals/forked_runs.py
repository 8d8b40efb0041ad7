"""Run processes that are forked from one that has loaded the code, where Dagster would start each anew.

Dagster's default launcher has its code server start an interpreter a run, which loads Dagster and the
platform again: most of the CPU time of a short run (``benchmarks/RESULTS.md``). Python's own fork server
loads them once. It has one thread and no connection when it forks, and each run stays a process of its own.
Dagster has no setting for it, so the server's ``StartRun`` is told which kind of process to start. Other
launchers, Kubernetes' and Docker's, start their runs without it.
"""

import functools
import multiprocessing
import multiprocessing.context
import sys
import threading
from typing import Any

from captionacc_dagster.platform.orphans import RUN_SECONDS, end_without_daemon
from captionacc_dagster.settings import SettingsError, get_settings

#: What a run's process would import first: what it is made of, the platform, and what opens the storage.
#: Those that a later Dagster lacks are left out.
_PRELOADED = [
    "dagster._grpc.impl",
    "dagster._cli.api",
    "captionacc_dagster.definitions",
    "captionacc_dagster.assets.previews",
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon.auto_run_reexecution.event_log_consumer",
    "dagster._utils.test.definitions",
    "dagster_postgres",
    "psycopg2",
    "upath",
    "PIL.JpegImagePlugin",
]

#: Dagster's thread in a run's process that waits to be told to end, and how long its end may take.
_WAITING_THREAD = "termination-handler"
_THREAD_SECONDS = 10


class RunProcess(multiprocessing.context.ForkServerProcess):
    """A forked process that ends only after Dagster's waiting thread has.

    Forked processes end at once, threads and all. At its end a run wakes that thread, which takes the lock
    of an event that the code server shares. Without the wait it is killed while it holds the lock, and a code
    server that asks whether the run can be cancelled, before it has seen its end, waits for ever, and with it
    every launch.
    """

    def run(self) -> None:
        end_without_daemon(RUN_SECONDS)
        try:
            super().run()
        finally:
            for thread in threading.enumerate():
                if thread.name == _WAITING_THREAD:
                    thread.join(_THREAD_SECONDS)


class RunContext(multiprocessing.context.ForkServerContext):
    """Python's fork server, for :class:`RunProcess`."""

    Process = RunProcess


def fork_runs() -> bool:
    """From now on this process, if it is Dagster's code server, forks its runs. False where it is not one.

    Only on Linux: on macOS system libraries do not survive a fork. Without the attribute that is set here,
    as in a later Dagster, everything stays as Dagster has it.
    """
    server = sys.modules.get("dagster._grpc.server")
    if server is None or sys.platform != "linux":
        return False
    start_run = server.DagsterApiServer.StartRun
    if hasattr(start_run, "__wrapped__"):
        return True

    @functools.wraps(start_run)
    def start_forked(self: Any, request: Any, context: Any) -> Any:
        if hasattr(self, "_mp_ctx") and _wanted():
            self._mp_ctx = RunContext()
        return start_run(self, request, context)

    multiprocessing.set_forkserver_preload(_PRELOADED)
    server.DagsterApiServer.StartRun = start_forked
    return True


def _wanted() -> bool:
    try:
        return get_settings().fork_runs
    except SettingsError:
        return False  # the run itself tells of it
