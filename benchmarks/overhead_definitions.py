"""The platform's definitions and, beside them, an asset that does nothing, with a job for each executor."""

import multiprocessing
import os

import dagster as dg
from dagster._grpc.server import DagsterApiServer

from captionacc_dagster import definitions
from captionacc_dagster.partitions import videos

#: Environment variable: run processes are forked from one that has loaded the code, not started anew.
FORK = "CAPTIONACC_BENCHMARK_FORK"


@dg.asset(partitions_def=videos, backfill_policy=dg.BackfillPolicy.single_run())
def nothing(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Of one video, or of a range of them."""
    return dg.MaterializeResult(metadata={"videos": len(context.partition_keys)})


def fork_runs() -> None:
    """An experiment: Dagster's code server has no such setting, so that this reaches into it."""
    start_run = DagsterApiServer.StartRun
    multiprocessing.set_forkserver_preload(["dagster._grpc.impl", __name__])

    def start_forked(self, request, context):
        self._mp_ctx = multiprocessing.get_context("forkserver")
        return start_run(self, request, context)

    DagsterApiServer.StartRun = start_forked


if os.environ.get(FORK):
    fork_runs()

defs = dg.Definitions.merge(
    definitions.defs,
    dg.Definitions(
        assets=[nothing],
        jobs=[
            dg.define_asset_job("in_process", [nothing], executor_def=dg.in_process_executor),
            dg.define_asset_job("multiprocess", [nothing], executor_def=dg.multiprocess_executor),
        ],
    ),
)
