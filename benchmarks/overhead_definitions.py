"""The platform's definitions with an additional asset that does nothing, and a job for each executor."""

import dagster as dg

from captionacc_dagster import definitions
from captionacc_dagster.partitions import videos


@dg.asset(partitions_def=videos, backfill_policy=dg.BackfillPolicy.single_run())
def nothing(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Materialize one video, or a range of them, without any work."""
    return dg.MaterializeResult(metadata={"videos": len(context.partition_keys)})


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


@dg.definitions
def code_location() -> dg.Definitions:
    """Adapt the process as the platform's own code location does, and return these definitions."""
    definitions.code_location()
    return defs
