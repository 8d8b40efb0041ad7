"""The sensor of run outcomes, on the catalogue and on Dagster's own storage and queue."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from benchmarks.run_queue import RunQueue, run_queue
from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.resources.catalog import LayoutOutcome, VideoRow
from captionacc_dagster.sensors.run_outcomes import run_outcomes
from captionacc_dagster.settings import Settings
from modal_gpu.contracts import CropRegion
from tests.full_catalog import FullCatalog

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)
KILLED = "The process of this run was killed"


@pytest.fixture(scope="module")
def shared_queue() -> Iterator[RunQueue]:
    with run_queue(Settings(CAPTIONACC_MAX_RUNS=4)) as queue:
        yield queue


class World:
    """A catalogue, a run queue, and the sensor's cursor from tick to tick."""

    def __init__(self, catalog: FullCatalog, queue: RunQueue, dsn: str) -> None:
        self.catalog, self.queue, self.instance = catalog, queue, queue.instance
        self._dsn, self._cursor = dsn, None
        # Ignores what other tests left in the event log.
        for _ in range(20):
            self.tick()

    def tick(self) -> str:
        with dg.build_sensor_context(
            instance=self.instance, resources={"catalog": self.catalog}, cursor=self._cursor
        ) as context:
            result = run_outcomes(context)
        self._cursor = result.cursor
        return result.skip_reason.skip_message

    def video(self) -> VideoRow:
        video_id = str(uuid.uuid4())
        key = f"{LOCAL_TENANT_ID}/{video_id}"
        return self.catalog.register_video(LOCAL_TENANT_ID, video_id, key, 1, "a.mp4")

    def asked_for(self, **tags: str) -> tuple[VideoRow, str]:
        """A claimed video and its queued layout run."""
        self.video()
        (video,) = self.catalog.claim_new_videos()
        request = dg.RunRequest(
            run_key=f"layout/{video.video_id}/{video.layout.attempts}",
            partition_key=video.video_id,
            tags=tags,
        )
        (run_id,) = self.queue.submit("layout", [request])
        return video, run_id

    def working(self, **tags: str) -> tuple[VideoRow, str]:
        """A video whose layout a run works on."""
        video, run_id = self.asked_for(**tags)
        assert self.queue.dequeue() == [run_id]
        return self.catalog.begin_stage(video.video_id, "layout", run_id), run_id

    def with_captions(self) -> VideoRow:
        """A video whose captions are there, and whose text is about to be read."""
        video_id = self.video().video_id
        self.catalog.begin_stage(video_id, "layout", "layout-run")
        outcome = LayoutOutcome(
            duration_seconds=8.0,
            width=640,
            height=360,
            video_codec="h264",
            frame_count=80,
            layout_found=True,
            layout_confidence=0.9,
            crop_region=STRIP,
        )
        self.catalog.finish_layout(video_id, "layout-run", outcome)
        self.catalog.approve_layout(video_id, "ann")
        self.catalog.begin_stage(video_id, "boundaries", "crop-run")
        version = self.catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        self.catalog.activate_cropped_frames_version(
            video_id, version, chunk_count=1, total_frames=80, total_size_bytes=1
        )
        return self.catalog.finish_boundaries(video_id, "crop-run", version=version, caption_count=4)

    def row(self, video: VideoRow) -> VideoRow:
        return self.catalog.get_video(video.video_id)

    def fail(self, run_id: str, message: str = KILLED) -> None:
        self.instance.report_run_failed(self.queue.run(run_id), message)

    def could_not_retry(self, run_id: str) -> None:
        """Do what Dagster's daemon does after an error of its own."""
        self.instance.report_engine_event("Failed to retry run", self.queue.run(run_id))
        self.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})

    def later(self, by: timedelta) -> None:
        """Move what the catalogue and Dagster noted back in time."""
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "update captionacc.videos set layout_started_at = layout_started_at - %s", [by]
            )
        for record in self.instance.get_run_records():
            if record.end_time:
                with self.instance.run_storage.connect() as connection:
                    connection.exec_driver_sql(
                        "update runs set end_time = end_time - ? where run_id = ?",
                        (by.total_seconds(), record.dagster_run.run_id),
                    )


@pytest.fixture
def world(catalog: FullCatalog, shared_queue: RunQueue, postgres_dsn: str) -> World:
    shared_queue.clear()
    catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME)
    return World(catalog, shared_queue, postgres_dsn)


@pytest.fixture
def no_retry(world: World) -> Callable[[str], None]:
    """Fail a run that Dagster does not start again."""

    def fail(run_id: str, message: str = KILLED) -> None:
        world.instance.add_run_tags(run_id, {"dagster/max_retries": "0"})
        world.fail(run_id, message)

    return fail
