"""Whether the process of a run is still there, where Dagster's own monitoring does not ask.

Dagster's default launcher has no health check: after a reboot, or when a code server was killed with its
runs, they would stay ``STARTED`` for ever. So they would when Dagster's database was away as their process
died: the thread of the code server that looks after its runs ends with the first error, and the server
believes in them from then on. Other launchers, such as Kubernetes', are asked by Dagster.
"""

import json
import re
import socket
from collections.abc import Iterable
from typing import Any

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

_TIMEOUT_SECONDS = 3
#: What a run's process says first.
_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


def runs_without_process(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Those of the runs that their code servers do not have, or whose server or process is gone."""
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
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
    """Whether a run's process is known to be gone, though its code server believes in it."""
    if not _is_here(json.loads(server)):
        return False
    started = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=20).records
    for record in started:
        event = record.event_log_entry
        if found := _STARTED.match(event.dagster_event.message or ""):
            return not _is_alive(int(found[1]), event.timestamp)
    return False


def _is_here(address: dict[str, Any]) -> bool:
    """Whether a code server runs on this machine, or in this container."""
    if address.get("socket"):
        return True
    try:
        theirs = {found[4][0] for found in socket.getaddrinfo(address.get("host"), None)}
    except OSError:
        return False
    return bool(theirs & {one.address for own in psutil.net_if_addrs().values() for one in own})


def _is_alive(pid: int, told_at: float) -> bool:
    """False for a process that nobody collected, and for a later one of the same number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= told_at + 1
    except psutil.NoSuchProcess:
        return False


def _has(server: str, run_id: str) -> bool:
    """Whether a code server has the run's process; raises when it does not answer."""
    address = json.loads(server)
    client = DagsterGrpcClient(
        host=address.get("host"),
        port=address.get("port"),
        socket=address.get("socket"),
        use_ssl=bool(address.get("use_ssl", False)),
    )
    answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=_TIMEOUT_SECONDS)
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel
