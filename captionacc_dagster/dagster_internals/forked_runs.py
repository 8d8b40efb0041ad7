"""Run processes that are forked from one that has loaded the code.

Dagster's default launcher has its code server start an interpreter for each run, which loads Dagster and the
platform again: most of the CPU time of a short run (``benchmarks/RESULTS.md``). Python's fork server loads
them once. It has one thread and no connection when it forks, and each run is still a process of its own.

Dagster has a setting for the way steps are started, ``start_method`` of its multiprocess executor, but none
for the way its code server starts runs (dagster-io/dagster#8638 is about the code of steps). So the server's
``StartRun`` is wrapped, which takes processes from its private ``_mp_ctx``. After a release without that
attribute, runs start as Dagster starts them; ``tests/dagster_internals`` fails then. Launchers that start
containers are not affected.
"""

import functools
import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from captionacc_dagster.constants import DEFINITIONS_MODULE
from captionacc_dagster.dagster_internals.commands import this_is_a_code_server
from captionacc_dagster.settings import SettingsError, get_settings

#: What a run's process would import first: its own code, the platform, and what opens the storage.
#: Python's fork server skips those that do not exist, as in another release of Dagster.
_PRELOADED = [
    "dagster._grpc.impl",
    "dagster._cli.api",
    DEFINITIONS_MODULE,
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon.auto_run_reexecution.event_log_consumer",
    "dagster._utils.test.definitions",
    "dagster_postgres",
    "psycopg2",
    "captionacc_dagster.dagster_internals.pooled_storage",
    "upath.core",
    "PIL.JpegImagePlugin",
]

#: Set for the daemon, whose code server starts the runs; the web server's code server starts none.
STARTS_RUNS = "CAPTIONACC_STARTS_RUNS"

#: Dagster's thread in a run's process that waits for its termination event, and how long its end may take.
_WAITING_THREAD = "termination-handler"
_THREAD_SECONDS = 10


class RunProcess(multiprocessing.context.ForkServerProcess):
    """A forked process that ends only after Dagster's waiting thread has.

    A forked process ends at once, threads and all. At its end a run wakes that thread, which takes the lock
    of an event that the code server shares. Without the wait, the thread is killed while it holds the lock.
    A code server that then asks whether the run can be cancelled waits forever, and with it every launch.
    """

    def __init__(self, *args: Any, at_start: Callable[[], object], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_start = at_start

    def run(self) -> None:
        """Call ``at_start``, run, and wait for Dagster's thread."""
        self._at_start()
        try:
            super().run()
        finally:
            for thread in threading.enumerate():
                if thread.name == _WAITING_THREAD:
                    thread.join(_THREAD_SECONDS)


class RunContext(multiprocessing.context.ForkServerContext):
    """Python's fork server, for :class:`RunProcess`. ``at_start`` has to be a function of a module."""

    def __init__(self, at_start: Callable[[], object]) -> None:
        super().__init__()
        self._at_start = at_start

    def Process(self, *args: Any, **kwargs: Any) -> RunProcess:  # type: ignore[override]  # a class there
        """Return a process that calls ``at_start`` first."""
        return RunProcess(*args, at_start=self._at_start, **kwargs)


def fork_runs(at_start: Callable[[], object], preload: Sequence[str] = ()) -> bool:
    """Let this process fork its runs, if it is Dagster's code server; return whether it does.

    Linux only: on macOS, system libraries do not survive a fork. Each run calls ``at_start`` first. The fork
    server also imports the modules ``preload``, last.
    """
    server = sys.modules.get("dagster._grpc.server")
    if server is None or sys.platform != "linux":
        return False
    start_run = server.DagsterApiServer.StartRun
    if hasattr(start_run, "__wrapped__"):
        return True

    @functools.wraps(start_run)
    def start_forked(self: Any, request: Any, context: Any) -> Any:
        if hasattr(self, "_mp_ctx") and _is_wanted():
            self._mp_ctx = RunContext(at_start)
        return start_run(self, request, context)

    multiprocessing.set_forkserver_preload([*_PRELOADED, *preload])
    server.DagsterApiServer.StartRun = start_forked
    if os.environ.get(STARTS_RUNS) and this_is_a_code_server() and _is_wanted():
        # It loads the code while the server does, so that the first run does not wait for it.
        multiprocessing.forkserver.ensure_running()
    return True


def _is_wanted() -> bool:
    try:
        return get_settings().fork_runs
    except SettingsError:
        return False  # the run itself reports it
