"""The complete line for tests: a real catalogue, a real bucket and the real graph."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.definitions import code_location
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import UnknownVideoError, VideoRow
from captionacc_dagster.resources.compute import CallReport, Compute, FanOut, local_compute
from captionacc_dagster.runs.retries import Retries
from captionacc_dagster.sensors.new_videos import with_partition_keys
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    Progress,
    no_progress,
)
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.full_catalog import FullCatalog
from tests.run_results import failure

#: Confidence of automatic approval, which the clip's layouts reach.
CONFIDENCE = 0.5


class WatchedCompute:
    """The local compute, which records the calls and lets a test act before or instead of one.

    ``before`` maps a function's name to what runs first with its request; raising there replaces the call.
    Names are ``extract``, ``crop_and_infer`` and ``caption_ocr``.
    """

    def __init__(self, compute: Compute) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.before: dict[str, Callable[[Any], None]] = {}
        self.after: dict[str, Callable[[Any], None]] = {}
        self._compute = compute

    @property
    def fan_out(self) -> FanOut:
        return self._compute.fan_out

    @property
    def is_billed(self) -> bool:
        return self._compute.is_billed

    def take_reports(self) -> list[CallReport]:
        return self._compute.take_reports()

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        return self._watched("extract", self._compute.extract, request, progress)

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        return self._watched("crop_and_infer", self._compute.crop_and_infer, request, progress)

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        return self._watched("caption_ocr", self._compute.caption_ocr, request, progress)

    def _watched(self, name: str, function: Callable, request: Any, progress: Progress) -> Any:
        self.calls.append((name, request))
        self.before.get(name, lambda _: None)(request)
        result = function(request, progress)
        self.after.get(name, lambda _: None)(request)
        return result

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@dataclass
class Line:
    """Catalogue, bucket, compute and a Dagster instance of one test."""

    catalog: FullCatalog
    store: ObjectStore
    instance: dg.DagsterInstance
    compute: WatchedCompute = field(init=False)
    tenant_id: str = LOCAL_TENANT_ID

    def __post_init__(self) -> None:
        self.compute = WatchedCompute(local_compute(self.store, ComputeSettings(workers=1)))

    @property
    def resources(self) -> Mapping[str, Any]:
        return {"catalog": self.catalog, "object_store": self.store, "compute": self.compute}

    def upload(self, path: Path) -> VideoRow:
        """Upload a new video as an uploader does, with its partition."""
        keys = VideoKeys(self.tenant_id, str(uuid.uuid4()))
        self.store.upload(path, keys.video, "video/mp4")
        row = self.catalog.register_video(
            self.tenant_id,
            keys.video_id,
            keys.video,
            path.stat().st_size,
            path.name,
            content_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            again=True,
        )
        (row,) = with_partition_keys(self.catalog, [row])
        self.instance.add_dynamic_partitions("videos", [row.partition_key])
        return row

    def subtitles_of(self, path: Path) -> bytes:
        """Upload a video, run the graph's two jobs on it, and return its SubRip file."""
        video_id = self.upload(path).video_id
        for job in ("layout", "captions"):
            result = self.run(job, video_id)
            assert result.success, failure(result)
        return self.store.get(self.keys(video_id).srt)

    def run(
        self, job: str, video_id: str, *assets: str, tags: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run the real job of the real definitions in this process, or only ``assets`` of it."""
        defs = code_location()
        with_resources = dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=defs.jobs,
            resources=dict(self.resources),
            executor=dg.in_process_executor,
        )
        return with_resources.resolve_job_def(job).execute_in_process(
            partition_key=self._partition_key(video_id),
            instance=self.instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name) for name in assets] or None,
            tags=dict(tags or {}),
        )

    def _partition_key(self, video_id: str) -> str:
        with suppress(UnknownVideoError):
            return self.row(video_id_of(video_id)).partition_key
        return video_id

    def tick(self, sensor: dg.SensorDefinition, cursor: str | None = None) -> dg.SensorResult:
        """Evaluate a sensor once, and apply its result as Dagster's daemon does."""
        with dg.build_sensor_context(
            instance=self.instance, resources=dict(self.resources), cursor=cursor
        ) as context:
            result = sensor(context)
        self.apply(sensor, result)
        return result

    def apply(self, sensor: dg.SensorDefinition, result: dg.SensorResult) -> list[str]:
        """Apply the partitions, events and runs of a result, as the daemon does; return the new runs' ids."""
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        made = []
        for request in result.run_requests or []:
            assert self.instance.has_dynamic_partition("videos", request.partition_key)
            if not self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key})):
                made.append(self.queue(sensor, request))
        return made

    def queue(self, sensor: dg.SensorDefinition, request: dg.RunRequest) -> str:
        """Create the run of a request, and return its id."""
        run = dg.DagsterRun(
            job_name=request.job_name or sensor.job_name,
            run_id=str(uuid.uuid4()),
            status=dg.DagsterRunStatus.STARTING,
            tags={
                **request.tags,
                "dagster/run_key": request.run_key,
                "dagster/sensor_name": sensor.name,
                "dagster/partition": request.partition_key,
            },
        )
        return self.instance.add_run(run).run_id

    def row(self, video_id: str) -> VideoRow:
        return self.catalog.get_video(video_id)

    def keys(self, video_id: str) -> VideoKeys:
        return VideoKeys(self.tenant_id, video_id)

    def stored(self, video_id: str) -> dict[str, str]:
        """Return every object of the video but the upload and the UI's pictures: its name, and its tag."""
        keys = self.keys(video_id)
        return {
            info.key.removeprefix(prefix): info.etag
            for prefix in (keys.client_prefix, keys.server_prefix)
            for info in self.store.list(prefix)
            if info.key != keys.video and not info.key.startswith(keys.pictures_prefix)
        }


@pytest.fixture
def line(catalog: FullCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line without videos, whose tenant approves good layouts automatically. Retries do not wait."""
    monkeypatch.setattr(Retries, "delay", lambda *_: 0.0)
    catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, auto_approve_layout_confidence=CONFIDENCE)
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(catalog, store, instance)
