"""A command that needs a daemon relies on another's, takes its place when that ends, and ends its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._daemon.types import DaemonHeartbeat

from captionacc_dagster.platform import daemon_keeper
from captionacc_dagster.platform.daemon_keeper import DaemonKeeper, find_runner
from captionacc_dagster.platform.role_lock import RoleLock, ServiceError
from captionacc_dagster.platform.services import Services, daemon_lock
from captionacc_dagster.settings import Settings


class NoServices(Services):
    """Services that start nothing; ``died`` is what :meth:`ended` says."""

    died: str | None = None
    left_runs: bool | None = None

    def start_daemon(self, lock: RoleLock) -> None:
        assert lock.is_held()

    def ended(self) -> str | None:
        return self.died

    def stop(self, *, leave_runs: bool = False, idle: bool = False) -> None:
        self.left_runs, self.was_idle = leave_runs, idle


Keep = Callable[[], DaemonKeeper]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    return Settings(_env_file=None)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keep(settings: Settings, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Keep:
    """A command of the settings' home that needs a daemon."""
    monkeypatch.setattr(daemon_keeper, "Services", NoServices)
    return lambda: DaemonKeeper(settings, said.append)


def test_without_a_daemon_it_starts_one_and_ends_it(settings: Settings, keep: Keep, said):
    with keep() as keeper:
        own = keeper.own
        assert own is not None and daemon_lock(settings).is_held()
    assert own.left_runs is False and not daemon_lock(settings).is_held()
    assert find_runner(settings) is None and said == []


def test_the_heartbeat_of_a_daemon_that_has_just_ended_does_not_count(settings: Settings, keep: Keep):
    settings.dagster_home.mkdir()
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "test", []))
    with keep() as keeper:
        assert keeper.own is not None


def test_the_second_relies_on_the_first_and_takes_its_place(settings: Settings, keep: Keep, said):
    first = keep().__enter__()
    own = first.own
    with keep() as second:
        assert second.own is None and second.other is not None
        assert said[-1].endswith("runs the platform of this home; this command relies on it.")
        second.check()
        assert second.own is None
        first.__exit__(None, None, None)
        assert own.left_runs is True, "the runs that the second waits for go on"
        second.check()
        assert second.own is not None and daemon_lock(settings).is_held()
        assert "has ended; this command continues with its own daemon." in said[-1]


def test_a_daemon_without_work_ends_at_once_unless_others_rely_on_it(settings: Settings, keep: Keep):
    with keep() as alone:
        own, alone.is_idle = alone.own, True
    assert own.was_idle
    first = keep().__enter__()
    own, first.is_idle = first.own, True
    with keep():
        first.__exit__(None, None, None)
        assert not own.was_idle


def test_exactly_one_of_two_that_rely_on_a_daemon_takes_its_place(keep: Keep):
    first = keep().__enter__()
    with keep() as second, keep() as third:
        first.__exit__(None, None, None)
        for keeper in (second, third, second, third):
            keeper.check()
        assert second.own is not None and third.own is None
        assert third.other is not None
        second.__exit__(None, None, None)
        third.check()
        assert third.own is not None


def test_the_slower_of_two_relies_on_the_faster(settings: Settings, keep: Keep, monkeypatch):
    """Both find no daemon; one takes the role; the other notices at its next check."""
    monkeypatch.setattr(daemon_keeper, "find_runner", lambda settings: None)
    with keep() as quicker, keep() as slower:
        assert quicker.own is not None and slower.own is None and slower.other is None
        monkeypatch.setattr(daemon_keeper, "find_runner", find_runner)
        slower.check()
        assert slower.own is None and slower.other is not None


def test_an_own_daemon_that_ends_unexpectedly_is_an_error_with_its_last_output(
    settings: Settings, keep: Keep
):
    with pytest.raises(ServiceError) as error, keep() as keeper:
        keeper.check()
        keeper.own.log_folder.mkdir()
        (keeper.own.log_folder / "dagster-daemon.log").write_text("It begins.\nNo space left on device\n\n")
        keeper.own.died = "dagster-daemon"
        keeper.check()
    assert str(error.value) == (
        f"dagster-daemon ended (No space left on device); see {settings.home}/logs/dagster-daemon.log"
    )
    assert not daemon_lock(settings).is_held()


@pytest.fixture
def foreign(settings: Settings) -> Iterator[subprocess.Popen]:
    """A process that looks like the daemon of ``dagster dev`` in this home."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "dagster._daemon run"],
        env={**os.environ, "DAGSTER_HOME": f"{settings.home}/./dagster"},
        stdin=subprocess.PIPE,
    )
    yield process
    process.kill()
    process.stdin.close()
    process.wait()


def test_a_daemon_of_dagster_dev_counts_while_its_process_is_alive(settings, keep: Keep, foreign):
    with keep() as keeper:
        assert keeper.own is None and f"(process {foreign.pid})" in keeper.other.what
        foreign.kill()
        psutil.Process(foreign.pid)  # a zombie by now, which is no daemon
        deadline = time.monotonic() + 10
        while keeper.own is None and time.monotonic() < deadline:
            keeper.check()
        assert keeper.own is not None


def test_a_daemon_of_another_home_does_not_count(settings, tmp_path, monkeypatch, foreign):
    assert find_runner(settings) is not None
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path / "other"))
    assert find_runner(Settings(_env_file=None)) is None


class TestDeployment:
    """Dagster's home is configured: its daemon may be on another machine, which only its heartbeat shows."""

    @pytest.fixture
    def instance(self, settings: Settings, tmp_path: Path, monkeypatch) -> Iterator[dg.DagsterInstance]:
        home = tmp_path / "deployment"
        home.mkdir()
        (home / "dagster.yaml").touch()
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        monkeypatch.setattr(daemon_keeper, "_BEAT_LOOK_SECONDS", -1.0)
        with dg.DagsterInstance.get() as instance:
            yield instance

    def test_a_remote_daemon_counts_while_it_has_heartbeats(self, instance, keep: Keep, said):
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "theirs", []))
        with keep() as keeper:
            keeper.check()
            assert keeper.own is None and said == [
                "a daemon on another machine runs the platform of this home; this command relies on it."
            ]
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 80, "SENSOR", "theirs", []))
            keeper.check()
            assert keeper.own is not None

    def test_an_own_daemon_leaves_no_heartbeat_behind(self, instance, keep: Keep):
        with keep():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "ours", []))
        assert instance.get_daemon_heartbeats() == {}
