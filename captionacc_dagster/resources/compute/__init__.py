"""Compute: runs the heavy functions, on this machine or on Modal, behind one interface."""

from captionacc_dagster.resources.compute.calls import Backend, ComputeCall, FunctionName
from captionacc_dagster.resources.compute.fan_out import (
    Compute,
    FannedOutCompute,
    FanOut,
    LocalBackend,
    LocalCompute,
    batched,
    run_call,
)

__all__ = [
    "Backend",
    "Compute",
    "ComputeCall",
    "FanOut",
    "FannedOutCompute",
    "FunctionName",
    "LocalBackend",
    "LocalCompute",
    "batched",
    "run_call",
]
