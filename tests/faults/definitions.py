"""The platform's definitions for processes that a test disturbs; a code location of tests only.

Times are shortened here, where a test would only wait: how long a lease lasts, how long a failed
asset and a missing process are waited for. For videos that a test names, Modal's stand-in takes the
place of the local compute. Everything else is the product's.
"""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg

from captionacc_dagster.definitions import code_location
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.compute import Compute, FannedOutCompute
from captionacc_dagster.resources.compute.modal_backend import ModalBackend
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from captionacc_dagster.resources.factories import ComputeResource
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from captionacc_dagster.runs import retries
from captionacc_dagster.sensors import run_outcomes
from tests.faults import injection

__all__ = ["code_location"]

#: 60 s in the product.
LEASE_SECONDS = 4.0
#: 5 to 20 s in the product.
FIRST_RETRY_SECONDS = 2.0
#: 20 and 30 s in the product.
GONE_AFTER_SECONDS = RETRY_AFTER_SECONDS = 4.0
MODAL = ModalCallSettings(
    poll_seconds=0.1, row_seconds=1.0, spawn_grace_seconds=2.0, unreachable_seconds=1.0, wait_seconds=300
)

_local_compute = ComputeResource.create_resource


def _open_compute(self: ComputeResource, context: dg.InitResourceContext) -> Compute:
    plans = injection.Plans(Path(os.environ[injection.FOLDER]))
    video_id = video_id_of(context.run.tags.get("dagster/partition", "")) if context.run else ""
    if not plans.is_on_modal(video_id):
        return _local_compute(self, context)
    from tests.modal_stand_in.service import Service

    service = Service(plans.modal_folder)

    def answer_or_not(call_id: str) -> None:
        if plans.modal_is_silent(video_id):
            raise service.exception.ConnectionError("connection refused")

    service.on_get = answer_or_not
    backend = ModalBackend(open_catalog(), MODAL, context.run.run_id, log=context.log.info, modal=service)
    return FannedOutCompute(backend, open_object_store())


if injection.FOLDER in os.environ:
    injection.install()
    ComputeResource.create_resource = _open_compute
    Catalog.lease.__defaults__ = (LEASE_SECONDS,)
    run_outcomes.GONE_AFTER = timedelta(seconds=GONE_AFTER_SECONDS)
    run_outcomes.RETRY_AFTER = timedelta(seconds=RETRY_AFTER_SECONDS)
    retries.DEFAULT = replace(retries.DEFAULT, first_seconds=FIRST_RETRY_SECONDS)
    for _op, _policy in retries.RETRIES.items():
        retries.RETRIES[_op] = replace(_policy, first_seconds=FIRST_RETRY_SECONDS)
