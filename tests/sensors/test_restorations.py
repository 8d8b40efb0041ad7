"""What a person deleted or wiped in Dagster's UI is restored from the catalogue, on a real instance."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from captionacc_dagster.assets import restoration
from captionacc_dagster.assets.restoration import (
    APPROVAL,
    ASSETS,
    MADE_BY,
    SOURCE,
    materialization_from_row,
    materialized_assets,
)
from captionacc_dagster.resources.catalog import STAGES, VideoRow
from captionacc_dagster.sensors import restorations as sensor_module
from captionacc_dagster.sensors.restorations import restorations
from modal_gpu.errors import StorageError
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.run_results import failure

REPORT = "reconciliation_report"
NOW = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def tick(line: Line, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dg.SensorResult]:
    """Tick repeatedly with the cursor; rows are settled at once."""
    monkeypatch.setattr(restoration, "SETTLED", timedelta(0))
    cursors = [""]

    def evaluate() -> dg.SensorResult:
        result = line.tick(restorations, cursors[-1])
        cursors.append(result.cursor)
        return result

    return evaluate


def brought_back(result: dg.SensorResult) -> tuple[list[str], list[str]]:
    """Partitions and names of assets."""
    partitions = [key for request in result.dynamic_partitions_requests for key in request.partition_keys]
    assets = {event.asset_key.to_user_string() for event in result.asset_events}
    return partitions, sorted(assets - {REPORT})


def latest(line: Line, asset: str, video: VideoRow) -> dg.AssetMaterialization | None:
    records = line.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[video.partition_key]), limit=1
    ).records
    return records[0].asset_materialization if records else None


class TestFinishedVideo:
    def test_a_deleted_partition_and_wiped_assets_come_back(self, line: Line, finished: VideoRow, tick):
        # This instance never saw the runs, as after the loss of Dagster's database.
        assert brought_back(tick()) == ([], sorted(ASSETS))
        assert brought_back(tick()) == ([], [])
        for asset in ASSETS:
            assert latest(line, asset, finished).metadata["restored"].value is True
        assert latest(line, "subtitles", finished).metadata["dagster/uri"].value.endswith("/captions.srt")
        assert latest(line, "cropped_chunks", finished).metadata["version"].value == 1
        assert latest(line, SOURCE, finished).tags["dagster/data_version"]

        line.instance.delete_dynamic_partition("videos", finished.partition_key)
        assert brought_back(tick()) == ([finished.partition_key], [])
        assert line.instance.has_dynamic_partition("videos", finished.partition_key)

        line.instance.wipe_assets([dg.AssetKey("captions_db"), dg.AssetKey(APPROVAL)])
        assert latest(line, "captions_db", finished) is None
        assert brought_back(tick()) == ([], ["captions_db", APPROVAL])
        assert latest(line, "captions_db", finished).metadata["restored"].value is True
        assert brought_back(tick()) == ([], [])

    def test_a_restored_event_is_what_its_run_reported(self, line: Line, finished: VideoRow, tick):
        result = line.run("captions", finished.video_id, "captions_db")
        assert result.success, failure(result)
        reported = latest(line, "captions_db", finished)
        tick()
        assert latest(line, "captions_db", finished) == reported

        line.instance.wipe_assets([dg.AssetKey("captions_db")])
        tick()
        restored = latest(line, "captions_db", finished)
        assert restored.metadata == {**reported.metadata, "restored": dg.MetadataValue.bool(True)}
        # Otherwise everything downstream would be marked stale.
        for tag in ("dagster/data_version", "dagster/code_version"):
            assert restored.tags[tag] == reported.tags[tag]

        line.instance.delete_run(result.run_id)
        assert latest(line, "captions_db", finished) == restored
        line.instance.wipe_assets([dg.AssetKey("captions_db")])
        tick()
        by_row = materialization_from_row(line.row(finished.video_id), "captions_db", line.store).metadata[
            "dagster/uri"
        ]
        assert latest(line, "captions_db", finished).metadata["dagster/uri"] == by_row

    def test_a_bucket_that_does_not_answer_costs_only_the_upload(self, line, finished, tick, monkeypatch):
        def down(key: str):
            raise StorageError("the bucket does not answer")

        monkeypatch.setattr(line.store, "head", down)
        assert brought_back(tick()) == ([], sorted(set(ASSETS) - {SOURCE}))
        monkeypatch.undo()
        monkeypatch.setattr(restoration, "SETTLED", timedelta(0))
        assert brought_back(tick()) == ([], [SOURCE])


def test_a_new_installation_gets_its_first_report_of_upkeep_once(line: Line, tick):
    (event,) = tick().asset_events
    assert event.asset_key == dg.AssetKey(REPORT)
    assert event.metadata["mode"].value == "dry run"
    assert event.metadata["checked"].records
    assert tick().asset_events == []


def test_the_first_report_waits_for_the_catalogue(line: Line, tick, monkeypatch):
    def down(*_: object, **__: object):
        raise StorageError("the bucket does not answer")

    monkeypatch.setattr(sensor_module, "first_report", down)
    assert tick().asset_events == []


def test_a_large_installation_gets_its_first_report_from_the_schedule(
    line: Line, clip: Clip, tick, monkeypatch
):
    monkeypatch.setattr(sensor_module, "PAGE", 2)
    for _ in range(3):
        line.catalog.begin_stage(line.upload(clip.path).video_id, "layout", "run-1")
    for looking in (0.0, 60.0):
        monkeypatch.setattr(sensor_module, "LOOK_SECONDS", looking)
        events = [event for _ in range(4) for event in tick().asset_events]
        assert events or looking
        assert dg.AssetKey(REPORT) not in {event.asset_key for event in events}


def test_pages_continue_from_each_other_and_start_again(line: Line, clip: Clip, tick, monkeypatch):
    monkeypatch.setattr(sensor_module, "PAGE", 2)
    monkeypatch.setattr(sensor_module, "LOOK_SECONDS", 0.0)
    rows = [line.upload(clip.path) for _ in range(5)]
    for row in rows:
        line.catalog.begin_stage(row.video_id, "layout", "run-1")
        line.instance.delete_dynamic_partition("videos", row.partition_key)
    back = [brought_back(tick())[0] for _ in range(3)]
    assert [len(page) for page in back] == [2, 2, 1]
    assert {key for page in back for key in page} == {row.partition_key for row in rows}
    line.instance.delete_dynamic_partition("videos", rows[-1].partition_key)
    assert brought_back(tick())[0] == [rows[-1].partition_key]


def test_a_tick_restores_a_batch_and_the_next_one_continues(line, clip, tick, monkeypatch):
    monkeypatch.setattr(sensor_module, "MOST", 1)
    for _ in range(3):
        line.catalog.begin_stage(line.upload(clip.path).video_id, "layout", "run-1")
    assert [brought_back(tick())[1] for _ in range(4)] == [[SOURCE], [SOURCE], [SOURCE], []]


LAYOUT, CROPS, TEXT = ({*MADE_BY[stage]} for stage in ("layout", "boundaries", "text"))


WAITS = {"status": "wait"}


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({}, set(ASSETS)),
        ({"deleted_at": NOW}, set()),
        ({"layout": {"tries": 0}}, set()),
        ({"text": WAITS}, set(ASSETS) - TEXT),
        ({"text": {"status": "error"}}, set(ASSETS) - TEXT),
        ({"text": {"run_id": "run-2"}}, set(ASSETS) - TEXT),
        ({"text": {"finished_at": NOW}}, set(ASSETS) - TEXT),
        ({"boundaries": WAITS, "text": WAITS}, {SOURCE, APPROVAL} | LAYOUT),
        ({"boundaries": {"tries": 0, **WAITS}, "text": WAITS}, {SOURCE} | LAYOUT),
        ({"layout": WAITS, "boundaries": WAITS, "text": WAITS}, {SOURCE, APPROVAL}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_assets_that_a_row_says_were_made(finished: VideoRow, changes: dict, made: set[str]):
    """A run that has just ended is still to report what it made; what is worked on is made again."""
    for stage in STAGES:
        changes = changes | {stage: replace(finished.stage(stage), **changes.get(stage, {}))}
    assert materialized_assets(replace(finished, **changes), NOW) == made
