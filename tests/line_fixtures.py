"""The complete line for tests: a real catalogue, a real bucket and the real graph around a small clip."""

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psycopg
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks.metrics import Caption as TimedCaption
from benchmarks.quality import read_captions as read_subtitles
from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.definitions import code_location
from captionacc_dagster.demo.sample import SampleCaption, make_sample
from captionacc_dagster.demo.scenes import background
from captionacc_dagster.demo.video import write_video
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import UnknownVideoError, VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
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
from tests.full_catalog import FullCatalog, connected

CAPTIONS = (
    SampleCaption(0.84, 2.6, "Every evening the harbour falls silent."),
    SampleCaption(2.6, 4.44, "Only the gulls are still awake."),
    SampleCaption(5.08, 7.36, "Far out, the last boat turns for home\nand follows the light to the shore."),
)
FRAME_COUNT = 80
#: Confidence of automatic approval, which the clip's layouts reach.
CONFIDENCE = 0.5


@dataclass(frozen=True)
class Clip:
    """A video file and what is burned into it."""

    path: Path
    truth: list[TimedCaption]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Eight seconds with three captions, the first two back to back."""
    folder = tmp_path_factory.mktemp("clip")
    path, truth = folder / "harbour.mp4", folder / "harbour.srt"
    make_sample(path, truth, captions=CAPTIONS, duration=8, size=(640, 360))
    return Clip(path, read_subtitles(truth))


@pytest.fixture(scope="session")
def plain_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Three seconds with a corner logo and no caption."""
    path = tmp_path_factory.mktemp("clip") / "plain.mp4"
    make_sample(path, captions=(), duration=3, size=(640, 360))
    return Clip(path, [])


#: Captions at the bottom, and others at the top that overlap some of them.
BELOW = (
    (0.6, 2.2, "Every evening the harbour falls silent."),
    (3.0, 4.6, "Only the gulls are still awake."),
    (5.4, 7.0, "Far out, a boat turns for home."),
    (7.8, 9.4, "It follows the light to the shore."),
    (10.2, 11.6, "And so the day begins."),
)
ABOVE = (
    (1.4, 3.4, "Meanwhile, on the pier"),
    (4.2, 5.8, "Gulls above the water"),
    (6.6, 8.4, "Somebody lights a lamp"),
    (9.0, 11.0, "Good morning, everyone"),
)


@pytest.fixture(scope="session")
def two_zone_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds with captions at the bottom and at the top."""
    width, height, fps = 640, 360, 25
    font = ImageFont.load_default(24)
    path = tmp_path_factory.mktemp("clip") / "two-zones.mp4"

    def pictures() -> Iterator[np.ndarray]:
        for index, frame in enumerate(background(width, height, 12 * fps, fps, 1)):
            image = Image.fromarray(np.asarray(frame, np.uint8))
            draw = ImageDraw.Draw(image)
            for captions, middle in ((BELOW, 330), (ABOVE, 40)):
                for start, end, text in captions:
                    if round(start * fps) <= index < round(end * fps):
                        draw.text(
                            (width / 2, middle),
                            text,
                            "white",
                            font,
                            "mm",
                            stroke_width=2,
                            stroke_fill="black",
                        )
            yield np.asarray(image).astype(frame.dtype)

    write_video(path, pictures(), (width, height), fps)
    return path


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

    def upload(self, path: Path, *, register: bool = True) -> VideoRow:
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


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the sorted names of what a run materialized."""
    return sorted(event.asset_key.to_user_string() for event in result.get_asset_materialization_events())


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return whether each check of a run passed."""
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return what the run reports about the failed step."""
    events = [event for event in result.all_events if event.is_step_failure]
    assert len(events) == 1, [event.message for event in events]
    data = events[0].step_failure_data
    return data.user_failure_data.description if data.user_failure_data else data.error.to_string()


def rejections(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return why work of a run was rejected, from what its assets observed."""
    events = [event for event in result.all_events if event.is_asset_observation]
    observed = [event.asset_observation_data.asset_observation for event in events]
    return {str(one.metadata["rejected"].value) for one in observed if "rejected" in one.metadata}


@pytest.fixture
def line(catalog: FullCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line without videos, whose tenant approves good layouts automatically. Retries do not wait."""
    monkeypatch.setattr(Retries, "delay", lambda *_: 0.0)
    catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, auto_approve_layout_confidence=CONFIDENCE)
    store = ObjectStore.from_url((tmp_path / "bucket").as_uri())
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(catalog, store, instance)


@dataclass(frozen=True)
class Snapshot:
    """A catalogue's rows and a bucket's folder at one moment."""

    video_id: str
    rows: dict[str, str]
    bucket: Path

    def restore(self, line: Line, dsn: str, bucket: Path) -> VideoRow:
        shutil.copytree(self.bucket, bucket, dirs_exist_ok=True)
        with psycopg.connect(dsn) as connection:
            connection.execute("set session_replication_role = replica")
            for table, rows in self.rows.items():
                connection.execute(f"delete from captionacc.{table}")
                connection.execute(
                    f"insert into captionacc.{table} "
                    f"select * from jsonb_populate_recordset(null::captionacc.{table}, %s::jsonb)",
                    [rows],
                )
        row = line.row(self.video_id)
        line.instance.add_dynamic_partitions("videos", [row.partition_key])
        return row


_TABLES = (
    "tenants",
    "videos",
    "video_database_state",
    "cropped_frames_versions",
    "caption_frame_extents_inference_runs",
)


def _snapshot(dsn: str, video_id: str, bucket: Path, to: Path) -> Snapshot:
    shutil.copytree(bucket, to)
    with psycopg.connect(dsn) as connection:
        rows = {
            table: connection.execute(
                f"select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text from captionacc.{table} t"
            ).fetchone()[0]
            for table in _TABLES
        }
    return Snapshot(video_id, rows, to)


def take_snapshots(server: EmbeddedPostgres, video: Path, folder: Path) -> dict[str, Snapshot]:
    """Return a video after each of its two runs: ``laid_out`` and ``finished``."""
    dsn = server.ensure_running(f"line_{video.stem}")
    migrate(dsn)
    bucket, taken = folder / "bucket", {}
    with closing(connected(dsn)) as catalog, dg.DagsterInstance.ephemeral() as instance:
        catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, auto_approve_layout_confidence=CONFIDENCE)
        line = Line(catalog, ObjectStore.from_url(bucket.as_uri()), instance)
        video_id = line.upload(video).video_id
        for name, job in (("laid_out", "layout"), ("finished", "captions")):
            result = line.run(job, video_id)
            assert result.success, failure(result)
            taken[name] = _snapshot(dsn, video_id, bucket, folder / name)
    return taken


@pytest.fixture(scope="session")
def snapshots(
    clip: Clip, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Snapshot]:
    """The clip after each of its two runs, made once: ``laid_out`` and ``finished``."""
    return take_snapshots(postgres_server, clip.path, tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def laid_out(line: Line, snapshots: dict[str, Snapshot], postgres_dsn: str, tmp_path: Path) -> VideoRow:
    """The clip with its layout found and approved automatically, in ``line``."""
    return snapshots["laid_out"].restore(line, postgres_dsn, tmp_path / "bucket")


@pytest.fixture
def finished(line: Line, snapshots: dict[str, Snapshot], postgres_dsn: str, tmp_path: Path) -> VideoRow:
    """The clip with everything made, in ``line``."""
    return snapshots["finished"].restore(line, postgres_dsn, tmp_path / "bucket")


def without_keys(stored: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the objects except those named."""
    return {key: tag for key, tag in stored.items() if key not in set(names)}
