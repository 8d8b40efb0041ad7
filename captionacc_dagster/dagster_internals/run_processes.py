"""Runs whose process is gone, where Dagster's own monitoring does not look.

Dagster's default launcher has no health check (``supports_check_run_worker_health``). After a reboot, or when
a code server was killed with its runs, they would stay ``STARTED`` forever. The same happens when Dagster's
database is down while a run's process dies: the code server's thread that watches its runs ends with the
first error, and the server takes them for alive from then on. Dagster asks other launchers, such as that of
Kubernetes.

This asks the code server as Dagster's default launcher does when it ends a run (``CanCancelExecution``), and
reads the process's number from the run's first event. After a release that changes the call, the import fails
at once; after one that words the event otherwise, only the code server is asked.
"""

import json
import re
import socket
from collections.abc import Iterable
from typing import Any

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

from captionacc_dagster.dagster_internals.tags import GRPC_INFO_TAG

_TIMEOUT_SECONDS = 3
#: The message of the event that a run's process begins with.
_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


def runs_without_process(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Return those of the runs that their code server does not have, or whose server or process is gone."""
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    gone: list[dg.DagsterRun] = []
    unreachable: set[str] = set()
    for run in runs:
        server = run.tags.get(GRPC_INFO_TAG)
        if server is None:
            continue
        if server not in unreachable:
            try:
                if _has(server, run.run_id) and not _has_died(instance, server, run.run_id):
                    continue
            except DagsterUserCodeUnreachableError:
                unreachable.add(server)
        gone.append(run)
    return gone


def _has_died(instance: dg.DagsterInstance, server: str, run_id: str) -> bool:
    """Return whether a run's process is known to be gone, though its code server takes it for alive."""
    if not _is_here(json.loads(server)):
        return False
    started = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=20).records
    for record in started:
        event = record.event_log_entry
        message = (event.dagster_event.message if event.dagster_event else None) or ""
        if found := _STARTED.match(message):
            return not _is_alive(int(found[1]), event.timestamp)
    return False


def _is_here(address: dict[str, Any]) -> bool:
    """Return whether a code server runs on this machine, or in this container."""
    if address.get("socket"):
        return True
    try:
        theirs = {found[4][0] for found in socket.getaddrinfo(address.get("host"), None)}
    except OSError:
        return False
    return bool(theirs & {one.address for own in psutil.net_if_addrs().values() for one in own})


def _is_alive(pid: int, reported_at: float) -> bool:
    """Return whether the process runs: not a zombie, nor a later process with the same number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= reported_at + 1
    except psutil.NoSuchProcess:
        return False


def _has(server: str, run_id: str) -> bool:
    """Return whether a code server has the run's process.

    Raises :class:`DagsterUserCodeUnreachableError` when the server does not answer.
    """
    address = json.loads(server)
    client = DagsterGrpcClient(
        host=address.get("host"),
        port=address.get("port"),
        socket=address.get("socket"),
        use_ssl=bool(address.get("use_ssl", False)),
    )
    answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=_TIMEOUT_SECONDS)
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel
