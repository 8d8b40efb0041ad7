"""Dagster's daemon, whose code server stays: ``python -m captionacc_dagster.dagster_internals.daemon run …``.

A daemon that was started with ``-m MODULE`` starts its code server itself, and replaces it every minute in
case the code has changed. Each time all code loads again, once more for the runs that the new server
forks, and the next run waits for that. The code of the embedded platform changes with its installation only.
So a server is replaced as soon as it has ended, and otherwise after :data:`REPLACED_AFTER_SECONDS`.

There is no setting for the interval (``RELOAD_WORKSPACE_INTERVAL`` of ``dagster/_daemon/controller.py``); the
controller's ``check_workspace_freshness``, which is called every five seconds, is wrapped. After a release
that renames it the import fails at once; after one that changes the registry's list of processes,
``tests/dagster_internals/test_daemon.py`` fails.
"""

from functools import wraps
from typing import Any

from dagster._daemon.cli import main
from dagster._daemon.controller import RELOAD_WORKSPACE_INTERVAL, DagsterDaemonController
from dagster._time import get_current_timestamp

#: The longest that a server hangs unnoticed, or runs former code.
REPLACED_AFTER_SECONDS = 600.0


def keep_code_server(replaced_after_seconds: float = REPLACED_AFTER_SECONDS) -> None:
    """Let this process's daemon keep its code servers while they live. Safe to repeat."""
    original = DagsterDaemonController.check_workspace_freshness
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def check_workspace_freshness(self: DagsterDaemonController, last_workspace_update_time: float) -> float:
        now = get_current_timestamp()
        if now - last_workspace_update_time < replaced_after_seconds and _all_live(self):
            return last_workspace_update_time
        # After a longer time than Dagster tolerates, a refresh that fails would end the daemon. With this one
        # it is logged, and repeated at the next call.
        due = now - RELOAD_WORKSPACE_INTERVAL - 1
        updated = original(self, due)
        return last_workspace_update_time if updated == due else updated

    setattr(DagsterDaemonController, original.__name__, check_workspace_freshness)


def _all_live(controller: Any) -> bool:
    registry = controller._grpc_server_registry
    if registry is None:
        return True
    # A server that could not start has an entry without a process.
    servers = [getattr(entry, "process", None) for entry in registry._active_entries.values()]
    return all(server is not None and server.server_process.poll() is None for server in servers)


if __name__ == "__main__":
    keep_code_server()
    main()
