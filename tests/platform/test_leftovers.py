"""Nothing of a home outlives the command that ends its services, not even what began while it did so."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from captionacc_dagster.dagster_internals import commands
from captionacc_dagster.platform import services
from captionacc_dagster.platform.orphans import DAEMON_LOCK
from captionacc_dagster.platform.services import DAEMON, Services, daemon_lock, end_leftovers, web_lock
from captionacc_dagster.settings import Settings

#: A process that ignores SIGTERM and says its id once it does; its child starts after it and does the same.
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
_ALONE = _STUBBORN + "import os; print(os.getpid(), flush=True); time.sleep(60)"
_LEADER = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_ALONE!r}]).wait()"

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    return Settings(_env_file=None)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program in a session of its own, and return once it or its child has said its id."""
    started = []

    def begin(program: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append((process, psutil.Process(int(process.stdout.readline()))))
        return process

    begin.started = started
    yield begin
    for process, speaker in started:
        with suppress(psutil.NoSuchProcess):
            speaker.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def is_left(process: psutil.Process) -> bool:
    return services._is_at_work(process)


@pytest.mark.parametrize("leave_runs", [False, True])
def test_a_stop_ends_what_is_no_code_server_but_of_a_daemons_session(
    settings, start: Start, leave_runs: bool
):
    platform = Services(settings)
    platform.processes[DAEMON] = start(_LEADER)
    ((_, child),) = start.started
    assert not commands.is_code_server(child.cmdline())
    platform.stop(idle=True, leave_runs=leave_runs)
    assert is_left(child) is leave_runs


@pytest.mark.parametrize("taken", [None, daemon_lock, web_lock], ids=["nobody", "daemon", "web server"])
def test_leftovers_of_a_home_end_unless_its_services_have_been_started(settings, start: Start, taken):
    path = daemon_lock(settings).path
    path.parent.mkdir(parents=True)
    path.touch()
    lock = taken and taken(settings)
    assert lock is None or lock.take()
    start(_ALONE, **{DAEMON_LOCK: str(path)})
    start(_ALONE, **{DAEMON_LOCK: str(path) + "-of-another-home"})
    end_leftovers(settings)
    (_, ours), (_, others) = start.started
    assert is_left(ours) is (lock is not None)
    assert is_left(others)
    if lock is None:
        assert not daemon_lock(settings).is_held() and not web_lock(settings).is_held()


def test_a_home_without_services_is_left_as_it_is(settings):
    end_leftovers(settings)
    assert not daemon_lock(settings).path.exists()
