"""Run processes that are forked. That real runs are is seen where they are disturbed: ``tests/faults``."""

import multiprocessing
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from dagster._grpc import server
from dagster._utils import start_termination_thread

from captionacc_dagster.dagster_internals import forked_runs
from captionacc_dagster.dagster_internals.commands import this_is_a_code_server
from captionacc_dagster.dagster_internals.forked_runs import RunContext, fork_runs
from captionacc_dagster.settings import get_settings


def at_start() -> None:
    """Stands for what each run calls first; it is found by its name."""
    threading.current_thread().name = "started"


linux = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")


@pytest.fixture
def start_run(monkeypatch: pytest.MonkeyPatch):
    """Patch a code server with ``fork_runs``, and return the start method of its runs."""
    preloaded = []
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", preloaded.extend)

    def original(self, request, context):
        """Starts a run."""
        return self._mp_ctx.get_start_method() if hasattr(self, "_mp_ctx") else "its own"

    monkeypatch.setattr(server.DagsterApiServer, "StartRun", original)
    assert fork_runs(at_start) and fork_runs(at_start)
    assert preloaded == forked_runs._PRELOADED
    get_settings.cache_clear()
    yield lambda me: server.DagsterApiServer.StartRun(me, None, None)
    get_settings.cache_clear()


@linux
@pytest.mark.parametrize(
    "value, method",
    [("", "forkserver"), ("true", "forkserver"), ("false", "spawn"), ("perhaps", "spawn")],
)
def test_a_code_server_forks_its_runs_unless_configured_otherwise(
    start_run, monkeypatch, value: str, method: str
):
    if value:
        monkeypatch.setenv("CAPTIONACC_FORK_RUNS", value)
    assert start_run(SimpleNamespace(_mp_ctx=multiprocessing.get_context("spawn"))) == method


@linux
def test_a_dagster_that_starts_runs_differently_is_not_patched(start_run):
    assert start_run(SimpleNamespace()) == "its own"


def test_outside_a_code_server_runs_start_as_in_dagster(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not fork_runs(at_start)


def test_the_code_server_matches_the_patched_version_of_dagster():
    """After an update of Dagster that fails here, ``fork_runs`` does nothing any more."""
    names = server.DagsterApiServer.StartRun.__code__.co_names
    wrapped = getattr(server.DagsterApiServer.StartRun, "__wrapped__", None)
    assert "_mp_ctx" in (wrapped.__code__.co_names if wrapped else names)


def _a_run(event) -> None:
    """Handle the event by which a code server would end a run, as the run's process does."""
    done = threading.Event()
    start_termination_thread(event, done)
    done.set()
    event.set()


def _put_name(names) -> None:
    names.put(threading.current_thread().name)


@linux
def test_a_run_first_calls_what_the_platform_gives_it():
    context = RunContext(at_start)
    names = context.Queue()
    process = context.Process(target=_put_name, args=[names])
    process.start()
    assert names.get(timeout=60) == "started"
    process.join(60)


def _put_kind(kinds) -> None:
    kinds.put(this_is_a_code_server())


@linux
def test_a_forked_run_is_no_code_server(monkeypatch: pytest.MonkeyPatch):
    """It would start a fork server of its own, which loads everything for nothing."""
    monkeypatch.setattr(sys, "argv", ["dagster", "api", "grpc", "--lazy-load-user-code"])
    context = RunContext(at_start)
    kinds = context.Queue()
    process = context.Process(target=_put_kind, args=[kinds])
    process.start()
    assert this_is_a_code_server() and kinds.get(timeout=60) is False
    process.join(60)


@linux
def test_a_run_that_ends_leaves_nothing_locked():
    """Without the wait for its thread, each run would leave its event locked, and a code server waiting."""
    context = RunContext(at_start)
    for _ in range(5):
        event = context.Event()
        process = context.Process(target=_a_run, args=[event])
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert event._cond.acquire(timeout=5)


@linux
def test_nothing_loaded_before_the_fork_has_a_thread_or_an_instance():
    """Threads and connections do not survive a fork."""
    script = f"""
import importlib, threading
for name in {forked_runs._PRELOADED}:
    importlib.import_module(name)
print(threading.active_count())
import psutil
print(len(psutil.Process().net_connections()))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "0"], done.stderr


@linux
@pytest.mark.parametrize("is_code_server", [True, False])
@pytest.mark.parametrize("starts_runs", ["1", ""])
def test_the_fork_server_loads_early_only_where_runs_will_be_started(
    monkeypatch: pytest.MonkeyPatch, is_code_server: bool, starts_runs: str
):
    started = []
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", lambda modules: None)
    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", lambda: started.append(True))
    monkeypatch.setattr(forked_runs, "this_is_a_code_server", lambda: is_code_server)
    monkeypatch.setenv(forked_runs.STARTS_RUNS, starts_runs)
    monkeypatch.setattr(server.DagsterApiServer, "StartRun", lambda self, request, context: None)
    assert fork_runs(at_start)
    assert bool(started) == (is_code_server and bool(starts_runs))
