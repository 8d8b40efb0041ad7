"""The platform's definitions with a compute that replays the real one's results for one clip."""

import json
import os
from dataclasses import replace
from pathlib import Path

import dagster as dg

from captionacc_dagster import definitions
from captionacc_dagster.resources.compute import CallReport, Compute, FanOut
from captionacc_dagster.resources.opening import open_object_store
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    Progress,
    from_wire,
    no_progress,
)
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

#: Environment variable with the folder of the canned results.
TEMPLATE = "CAPTIONACC_BENCHMARK_TEMPLATE"


class CannedCompute:
    """A compute that copies the objects that the real functions made of one clip.

    The folder contains ``bucket/``, the clip's objects by their key after the tenant, and ``results.json``.
    """

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self._bucket = ObjectStore.from_url((folder / "bucket").as_uri())
        self._results = json.loads((folder / "results.json").read_text())
        self._template = VideoKeys(**self._results["keys"])
        self._store = store

    fan_out = FanOut()
    is_billed = False

    def take_reports(self) -> list[CallReport]:
        return []

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        keys = VideoKeys(request.tenant_id, request.video_id)
        for prefix in (self._template.full_frames_prefix, self._template.thumbnails_prefix):
            for info in self._bucket.list(prefix):
                self._copy(info.key, keys)
        self._copy(self._template.raw_ocr_db, keys)
        result = from_wire(ExtractResult, self._results["extract"])
        return replace(
            result,
            full_frames_key=keys.full_frames_prefix,
            ocr_db_key=keys.raw_ocr_db,
            layout_db_key=keys.layout_db,
        )

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        keys, version = VideoKeys(request.tenant_id, request.video_id), request.version
        made = self._template.cropped_frames_prefix(1)
        for info in self._bucket.list(made):
            data = self._bucket.get(info.key)
            self._store.put(keys.cropped_frames_prefix(version) + info.key.removeprefix(made), data)
        extents = self._bucket.get(self._template.caption_frame_extents_db(1))
        self._store.put(keys.caption_frame_extents_db(version), extents)
        return replace(
            from_wire(CropInferResult, self._results["crop_and_infer"]),
            version=version,
            caption_frame_extents_db_key=keys.caption_frame_extents_db(version),
            cropped_frames_prefix=keys.cropped_frames_prefix(version),
        )

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        return [
            CaptionOcrResult("A canned line.", 0.9, c.end_index - c.start_index, c.caption_id)
            for c in request.captions
        ]

    def _copy(self, key: str, keys: VideoKeys) -> None:
        to = key.replace(self._template.tenant_id, keys.tenant_id).replace(
            self._template.video_id, keys.video_id
        )
        self._store.put(to, self._bucket.get(key))


class CannedComputeResource(dg.ConfigurableResource[Compute]):
    """The resource that opens it for each run, like the real one."""

    def create_resource(self, context: dg.InitResourceContext) -> Compute:
        return CannedCompute(Path(os.environ[TEMPLATE]), open_object_store())


defs = dg.Definitions(
    assets=definitions.defs.assets,
    asset_checks=definitions.defs.asset_checks,
    jobs=definitions.defs.jobs,
    schedules=definitions.defs.schedules,
    sensors=definitions.defs.sensors,
    resources={**definitions.defs.resources, "compute": CannedComputeResource()},
    executor=definitions.defs.executor,
)


@dg.definitions
def code_location() -> dg.Definitions:
    """Adapt the process as the platform's own code location does, and return these definitions."""
    definitions.code_location()
    return defs
