"""Whether the process of a run is still there, where Dagster's own monitoring does not ask.

Dagster's default launcher has no health check: after a reboot, or when a code server was killed with its
runs, they would stay ``STARTED`` for ever. Other launchers, such as Kubernetes', are asked by Dagster.
"""

import json
from collections.abc import Iterable

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

_TIMEOUT_SECONDS = 3


def runs_without_process(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Those of the runs that this machine's code servers do not have, or whose server is gone."""
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
                if _has(server, run.run_id):
                    continue
            except DagsterUserCodeUnreachableError:
                unreachable.add(server)
        gone.append(run)
    return gone


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
