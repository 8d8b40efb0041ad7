"""Compute: runs the heavy functions, on this machine or on Modal, behind one interface."""

from captionacc_dagster.resources.compute.calls import Backend, CallReport, ComputeCall, FunctionName
from captionacc_dagster.resources.compute.fan_out import Compute, FannedOutCompute, FanOut, batched
from captionacc_dagster.resources.compute.local import LocalBackend, local_compute, run_call

__all__ = [
    "Backend",
    "CallReport",
    "Compute",
    "ComputeCall",
    "FanOut",
    "FannedOutCompute",
    "FunctionName",
    "LocalBackend",
    "batched",
    "local_compute",
    "run_call",
]
