"""The daemon's code server stays while it lives."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from dagster._core.remote_representation import grpc_server_registry
from dagster._daemon.controller import DagsterDaemonController
from dagster._time import get_current_timestamp

from captionacc_dagster.dagster_internals import daemon
from captionacc_dagster.dagster_internals.commands import DAEMON_MODULE, is_daemon


class Workspace:
    """Counts refreshes; they raise while ``fails`` is set."""

    def __init__(self) -> None:
        self.refreshed, self.fails = 0, False

    def refresh_workspace(self) -> None:
        if self.fails:
            raise RuntimeError("no code server")
        self.refreshed += 1


class Controller:
    """Has what the real method of Dagster's controller uses, with one code server."""

    def __init__(self, exit_code: int | None = None) -> None:
        self._workspace_process_context = Workspace()
        self.server = SimpleNamespace(server_process=SimpleNamespace(poll=lambda: exit_code))
        self._grpc_server_registry = SimpleNamespace(
            _active_entries={"here": SimpleNamespace(process=self.server)},
            clear_all_grpc_endpoints=lambda: None,
        )
        self._logger = SimpleNamespace(exception=lambda *_: None)

    def check(self, age: float) -> tuple[int, float]:
        """Check a workspace of this age in seconds; return the refreshes and the new age."""
        now = get_current_timestamp()
        updated = DagsterDaemonController.check_workspace_freshness(self, now - age)
        return self._workspace_process_context.refreshed, round(now - updated)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    original = DagsterDaemonController.check_workspace_freshness
    monkeypatch.setattr(DagsterDaemonController, "check_workspace_freshness", original)
    daemon.keep_code_server(replaced_after_seconds=600)
    daemon.keep_code_server(replaced_after_seconds=0)  # only the first one counts


def test_a_code_server_that_lives_is_not_replaced():
    assert Controller().check(age=590) == (0, 590)


def test_a_code_server_is_replaced_when_it_is_old():
    assert Controller().check(age=610) == (1, 0)


def test_a_code_server_that_has_ended_is_replaced_at_once():
    assert Controller(exit_code=-9).check(age=5) == (1, 0)


def test_a_server_that_could_not_start_is_started_again():
    controller = Controller()
    controller._grpc_server_registry._active_entries = {"here": SimpleNamespace(error="no module")}
    assert controller.check(age=5) == (1, 0)


def test_a_refresh_that_fails_is_repeated_and_does_not_end_the_daemon():
    controller = Controller()
    controller._workspace_process_context.fails = True
    assert controller.check(age=10_000) == (0, 10_000)
    controller._workspace_process_context.fails = False
    assert controller.check(age=10_005) == (1, 0)


def test_a_daemon_without_code_servers_of_its_own_works_as_before():
    controller = Controller()
    controller._grpc_server_registry = None
    assert controller.check(age=590) == (0, 590)
    assert controller.check(age=610) == (1, 0)


def test_the_registry_has_the_processes_that_are_looked_at():
    """After an update of Dagster that fails here, servers that have ended are not noticed."""
    names = grpc_server_registry.GrpcServerRegistry._get_grpc_server_entry.__code__.co_names
    assert "_active_entries" in names
    assert "process" in grpc_server_registry.ServerRegistryEntry._fields


def test_the_module_is_dagsters_daemon():
    command = [sys.executable, "-W", "ignore", "-m", DAEMON_MODULE]
    assert is_daemon([*command, "run"])
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "liveness-check" in done.stdout
