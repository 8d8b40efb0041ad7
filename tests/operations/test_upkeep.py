"""Upkeep on a real catalogue, bucket and instance: a dry run says what a real one does."""

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.assets.upkeep import reconciliation_report
from captionacc_dagster.costs.ledger import charge, cost_policy
from captionacc_dagster.operations.upkeep import Upkeep, UpkeepPolicy, UpkeepReport
from captionacc_dagster.resources.catalog import ComputeCallRow, VideoRow
from captionacc_dagster.settings import get_settings
from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.frame_index import ChunkRef
from tests.line_fixtures import Line

POLICY = UpkeepPolicy(
    archived_days=0, failed_days=0, deleted_days=0, lease_hours=0, temporary_days=1, unknown_days=0
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def keep_up(line: Line, folder: Path) -> Callable[..., UpkeepReport]:
    """``keep_up(apply=True)``: one pass."""

    def run(**options) -> UpkeepReport:
        usual = {"policy": POLICY, "temporary_folder": folder}
        instance = options.pop("instance", line.instance)
        return Upkeep(line.catalog, line.store, instance, **{**usual, **options}).run()

    return run


def register(line: Line) -> VideoRow:
    """A video with a few objects and its partition, but no real file."""
    video_id = str(uuid.uuid4())
    keys = line.keys(video_id)
    for key in (keys.video, keys.layout_db, keys.raw_ocr_db):
        line.store.put(key, b"data")
    line.instance.add_dynamic_partitions("videos", [video_id])
    return line.catalog.register_video(line.tenant_id, video_id, keys.video, 4, "a.mp4")


def both(keep_up: Callable[..., UpkeepReport], kind: str, **options) -> tuple[UpkeepReport, UpkeepReport]:
    """A dry run and a real one, which find the same of a kind; another dry run finds none of it."""
    dry, applied, after = keep_up(**options), keep_up(apply=True, **options), keep_up(**options)
    said = [(f.subject, f.detail) for f in dry.findings if f.kind == kind]
    assert said == [(f.subject, f.detail) for f in applied.findings if f.kind == kind] != []
    assert not any(f.done for f in dry.findings)
    assert all(f.done for f in applied.findings if f.kind == kind)
    assert kind not in after.counts()
    return dry, applied


def test_when_everything_is_in_order_nothing_is_found_or_removed(line: Line, finished: VideoRow, keep_up):
    before = line.stored(finished.video_id)
    assert keep_up(apply=True, remove_unknown_objects=True).findings == []
    assert line.stored(finished.video_id) == before
    assert line.instance.has_dynamic_partition("videos", finished.partition_key)


def test_objects_of_a_failed_version_are_removed_and_active_ones_stay(
    line: Line, finished: VideoRow, keep_up
):
    line.catalog.begin_stage(finished.video_id, "boundaries", "again")
    version = line.catalog.allot_cropped_frames_version(finished.video_id, "again", finished.crop_region)
    prefix = line.keys(finished.video_id).cropped_frames_prefix(version)
    line.store.put(f"{prefix}modulo_16/chunk_0000000000.webm", b"half")
    line.catalog.fail_cropped_frames_version(finished.video_id, version, "no luck")
    before = line.stored(finished.video_id)
    assert any(key.startswith("cropped_frames_v2/") for key in before)
    both(keep_up, "failed version")
    after = line.stored(finished.video_id)
    assert set(before) - set(after) == {"cropped_frames_v2/modulo_16/chunk_0000000000.webm"}
    assert line.catalog.list_cropped_frames_versions(finished.video_id)[1].objects_removed_at is not None


def test_objects_of_all_zones_of_a_version_are_removed(line: Line, finished: VideoRow, keep_up):
    zones, keys = (CaptionZone(2, CropRegion(0, 0, 1, 0.2)),), line.keys(finished.video_id)
    line.catalog.approve_layout(finished.video_id, "ann", finished.crop_region, zones)
    line.catalog.begin_stage(finished.video_id, "boundaries", "again")
    version = line.catalog.allot_cropped_frames_version(
        finished.video_id, "again", finished.crop_region, zones
    )
    made = {
        keys.chunk(version, ChunkRef(16, 0), 2),
        keys.caption_frame_extents_db(version, 2),
        keys.caption_frame_extents_part(version, 512, 2),
    }
    for key in made:
        line.store.put(key, b"half")
    line.catalog.fail_cropped_frames_version(finished.video_id, version, "no luck")
    before = line.stored(finished.video_id)
    both(keep_up, "failed version")
    assert len(before.keys() - line.stored(finished.video_id).keys()) == len(made)


def test_an_archived_version_is_kept_for_as_long_as_the_policy_says(line: Line, finished: VideoRow, keep_up):
    line.catalog.begin_stage(finished.video_id, "boundaries", "again")
    version = line.catalog.allot_cropped_frames_version(finished.video_id, "again", finished.crop_region)
    line.catalog.activate_cropped_frames_version(
        finished.video_id, version, chunk_count=1, total_frames=80, total_size_bytes=1
    )
    assert keep_up(policy=UpkeepPolicy(archived_days=30)).findings == []
    both(keep_up, "archived version")
    left = line.stored(finished.video_id)
    assert not any(key.startswith("cropped_frames_v1/") for key in left)
    assert "caption_frame_extents_v1.db.gz" not in left and "captions.db.gz" in left


def test_an_abandoned_unfinished_version_fails_and_is_removed(line: Line, laid_out: VideoRow, keep_up):
    line.catalog.begin_stage(laid_out.video_id, "boundaries", "dead")
    line.catalog.allot_cropped_frames_version(laid_out.video_id, "dead", laid_out.crop_region)
    assert keep_up(apply=True).findings == []
    line.catalog.fail_stage(laid_out.video_id, "boundaries", "dead", "killed")
    applied = keep_up(apply=True)
    assert [(f.kind, f.done) for f in applied.findings] == [
        ("abandoned version", True),
        ("failed version", True),
    ]


def test_leases_of_dead_holders_are_removed_and_held_ones_stay(line: Line, keep_up, database):
    dead, held = register(line), register(line)
    line.catalog.take_lock(dead.video_id, "captions", "run-1", 60)
    line.catalog.take_lock(held.video_id, "captions", "run-2", 60)
    database.execute(
        "update captionacc.video_database_state set lock_expires_at = now() - interval '1 min'"
        " where video_id = %s",
        [dead.video_id],
    )
    both(keep_up, "expired lease")
    assert [lock.video_id for lock in line.catalog.list_locks(include_expired=True)] == [held.video_id]


def test_calls_of_ended_runs_are_cancelled_and_others_continue(line: Line, keep_up, database):
    video = register(line)
    alive = line.instance.add_run(
        dg.DagsterRun(job_name="layout", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED)
    )
    waiter = str(uuid.uuid4())
    orphan = line.catalog.open_compute_call(video.video_id, "gone", "extract", "one", waiter)
    waited = line.catalog.open_compute_call(video.video_id, alive.run_id, "extract", "two", waiter)
    assert keep_up().findings == [], "a call is left alone while its run may be starting again"
    database.execute("update captionacc.compute_calls set created_at = now() - interval '1 hour'")
    both(keep_up, "orphaned call")
    assert line.catalog.get_compute_call(orphan.id).status == "cancelled"
    assert line.catalog.get_compute_call(waited.id).is_open


def test_the_compute_backend_cancels_the_calls_too(line: Line, keep_up, database):
    video = register(line)
    call = line.catalog.open_compute_call(video.video_id, "gone", "extract", "one", str(uuid.uuid4()))
    database.execute("update captionacc.compute_calls set created_at = now() - interval '1 hour'")
    asked = []

    def cancel(is_alive: Callable[[str], bool]):
        asked.append(is_alive("gone"))
        return [line.catalog.cancel_compute_call(call.id)]

    assert [f.done for f in keep_up(apply=True, cancel_abandoned=cancel).findings] == [True]
    assert asked == [False]


def test_a_failed_cancellation_is_not_recorded_as_done(line: Line, keep_up, database):
    video = register(line)
    waiter = str(uuid.uuid4())
    call = line.catalog.open_compute_call(video.video_id, "gone", "extract", "one", waiter)
    line.catalog.assign_compute_call(call.id, waiter, "fc-1")
    database.execute("update captionacc.compute_calls set created_at = now() - interval '1 hour'")

    def refuse(_: Callable[[str], bool]):
        return [line.catalog.cancel_compute_call(call.id)]

    assert [f.done for f in keep_up(apply=True, cancel_abandoned=refuse).findings] == [False]
    assert [row.id for row in line.catalog.undelivered_compute_cancellations()] == [call.id]

    def take(_: Callable[[str], bool]):
        return [line.catalog.confirm_compute_call_cancelled(call.id)]

    (finding,) = keep_up(apply=True, cancel_abandoned=take).findings
    assert finding.done and finding.detail == "extract, cancellation to deliver"


def test_calls_that_ended_after_their_run_had_died_are_charged_once(line: Line, keep_up, database):
    video = register(line)
    waiter = str(uuid.uuid4())
    call = line.catalog.open_compute_call(
        video.video_id, "gone", "generate_caption_ocr", "one", waiter, backend="modal"
    )
    line.catalog.assign_compute_call(call.id, waiter, "fc-1")
    usage = {"gpu": "T4", "seconds": 100.0, "cold_start_seconds": 0.0}
    line.catalog.finish_compute_call(call.id, waiter, {}, usage)
    policy = cost_policy(get_settings())

    def pay(row: ComputeCallRow) -> None:
        charge(line.catalog, policy, [row])

    assert keep_up(charge=pay).findings == [], "its own run may be about to charge it"
    database.execute("update captionacc.compute_calls set finished_at = now() - interval '1 hour'")
    both(keep_up, "uncharged call", charge=pay)
    cost = line.catalog.get_compute_call(call.id).cost_usd
    assert cost and cost > 0
    assert line.catalog.tenant_costs(line.tenant_id).month_spent_usd == pytest.approx(cost)


def test_old_outcomes_and_ended_backfills_are_removed_and_others_stay(
    line: Line, finished: VideoRow, keep_up, database
):
    line.catalog.begin_stage(finished.video_id, "text", "run-1")
    line.catalog.fail_stage(finished.video_id, "text", "run-1", "no luck")
    for model in ("extents-98", "extents-99"):
        line.catalog.retry_stage(finished.video_id, "text") if model == "extents-98" else None
        backfill_id = str(uuid.uuid4())
        line.catalog.request_backfill(backfill_id, model, {}, "ann", dry_run=False)
        if model == "extents-98":
            line.catalog.cancel_backfill(backfill_id)
    assert keep_up(apply=True).findings == []
    database.execute("update captionacc.stage_outcomes set occurred_at = now() - interval '91 days'")
    database.execute("update captionacc.backfills set created_at = now() - interval '91 days'")
    dry, _ = both(keep_up, "old records")
    assert [(f.subject, f.detail) for f in dry.findings] == [
        ("stage outcomes", "1 older than 90 days"),
        ("backfills", "1 older than 90 days"),
    ]
    assert [row.model_version for row in line.catalog.list_backfills()] == ["extents-99"]


def test_old_requests_and_the_old_audit_log_are_removed_and_others_stay(
    line: Line, finished: VideoRow, keep_up, database
):
    for _ in range(2):
        line.catalog.request_caption_ocr(finished.video_id)
        database.execute(
            "update captionacc.caption_ocr_requests set status = 'cancelled', finished_at = coalesce("
            "finished_at - interval '91 days', now())"
        )
        line.catalog.set_user_profile(str(uuid.uuid4()), line.tenant_id)
    database.execute(
        "update captionacc.security_audit_log set occurred_at = now() - interval '366 days'"
        " where id = (select min(id) from captionacc.security_audit_log)"
    )
    dry, _ = both(keep_up, "old records")
    assert [(f.subject, f.detail) for f in dry.findings] == [
        ("requests", "1 older than 90 days"),
        ("audit log", "1 older than 365 days"),
    ]
    assert [line.catalog.purge_requests(86_400), line.catalog.purge_audit_log(30 * 86_400)] == [0, 0]


def test_old_events_of_runs_are_removed_from_postgresql(line: Line, keep_up, empty_dsn, folder):
    storage = {"postgres": {"postgres_url": empty_dsn.replace("postgresql://", "postgresql+psycopg2://", 1)}}
    with dg.DagsterInstance.local_temp(str(folder), overrides={"storage": storage}) as instance:

        @dg.asset
        def thing(context) -> None:
            context.log.info("bulk")

        run = dg.materialize([thing], instance=instance)
        assert keep_up(instance=instance).findings == []
        with psycopg.connect(empty_dsn) as database:
            database.execute("update event_logs set timestamp = timestamp - interval '61 days'")
        before = len(instance.all_logs(run.run_id))
        dry, _ = both(keep_up, "old records", instance=instance)
        left = instance.all_logs(run.run_id)
        assert dry.findings[0].detail == f"{before - len(left)} older than 60 days"
        assert instance.get_latest_materialization_event(thing.key).run_id == run.run_id


def test_a_deleted_videos_objects_and_then_its_partition_are_removed(line: Line, keep_up):
    gone, stays = register(line), register(line)
    line.catalog.soft_delete_video(gone.video_id)
    assert keep_up(policy=UpkeepPolicy(deleted_days=7)).findings == []
    both(keep_up, "deleted video")
    assert line.stored(gone.video_id) == {} and not line.store.exists(gone.storage_key)
    assert not line.instance.has_dynamic_partition("videos", gone.partition_key)
    assert line.store.exists(stays.storage_key)
    assert line.instance.has_dynamic_partition("videos", stays.partition_key)
    assert line.row(gone.video_id).objects_removed_at is not None


def test_partitions_without_a_row_and_rows_without_a_partition_are_repaired(line: Line, keep_up):
    register(line)
    line.instance.add_dynamic_partitions("videos", ["not-a-video"])
    both(keep_up, "partition without a row")
    assert not line.instance.has_dynamic_partition("videos", "not-a-video")

    worked_on = register(line)
    line.catalog.begin_stage(worked_on.video_id, "layout", "run-1")
    line.instance.delete_dynamic_partition("videos", worked_on.partition_key)
    never_asked_for = register(line)
    line.instance.delete_dynamic_partition("videos", never_asked_for.partition_key)
    both(keep_up, "row without a partition")
    assert line.instance.has_dynamic_partition("videos", worked_on.partition_key)
    assert not line.instance.has_dynamic_partition("videos", never_asked_for.partition_key)


def test_a_catalogue_that_knows_hardly_any_partition_removes_none(line: Line, keep_up):
    register(line)
    line.instance.add_dynamic_partitions("videos", [f"other-{n}" for n in range(50)])
    report = keep_up(apply=True)
    assert len(report.errors) == 50 and not any(f.done for f in report.findings)
    assert "50 of 51 partitions are unknown" in report.errors[0].error
    assert len(line.instance.get_dynamic_partitions("videos")) == 51


def test_objects_without_a_row_are_reported_and_removed_on_request_only(line: Line, keep_up):
    video, unknown = register(line), str(uuid.uuid4())
    keys = line.keys(unknown)
    for key in (keys.video, keys.layout_db):
        line.store.put(key, b"data")
    line.store.put("somebody/elses.txt", b"data")
    assert keep_up(policy=UpkeepPolicy(unknown_days=1)).findings == []
    (finding,) = keep_up(apply=True).findings
    assert (finding.subject, finding.done) == (unknown, False)
    assert finding.detail == "2 objects, 8 bytes; removed on request"
    (finding,) = keep_up(remove_unknown_objects=True).findings
    assert not finding.done and line.store.exists(keys.video)
    (finding,) = keep_up(apply=True, remove_unknown_objects=True).findings
    assert finding.done and not line.store.exists(keys.video)
    assert line.store.exists(video.storage_key) and line.store.exists("somebody/elses.txt")


def test_only_old_temporary_folders_of_this_platform_are_removed(keep_up, folder: Path):
    old = folder / "captionacc-abcd1234"
    fresh, other, strange = folder / "captionacc-zzzz9999", folder / "tmpabcd", folder / "captionacc-notes"
    for path in (old, fresh, other, strange):
        path.mkdir()
        (path / "video").write_bytes(b"x")
    ago = time.time() - 3 * 86_400
    for path in (old, other, strange):
        os.utime(path / "video", (ago, ago))
        os.utime(path, (ago, ago))
    both(keep_up, "temporary folder")
    assert not old.exists()
    assert fresh.exists() and other.exists() and strange.exists()


def test_one_case_that_fails_does_not_stop_the_others(line: Line, keep_up, monkeypatch):
    first, second = register(line), register(line)
    for video in (first, second):
        line.catalog.soft_delete_video(video.video_id)
    delete = line.instance.delete_dynamic_partition

    def refuse(name: str, key: str) -> None:
        if key == first.video_id:
            raise OSError("the database is locked")
        delete(name, key)

    monkeypatch.setattr(line.instance, "delete_dynamic_partition", refuse)
    report = keep_up(apply=True)
    assert [(f.subject, f.error) for f in report.errors] == [(first.video_id, "the database is locked")]
    assert line.row(first.video_id).objects_removed_at is None
    assert line.row(second.video_id).objects_removed_at is not None


def test_the_report_asset_shows_a_table_and_by_default_changes_nothing(line: Line, database):
    video = register(line)
    line.catalog.soft_delete_video(video.video_id)
    database.execute("update captionacc.videos set deleted_at = now() - %s", [timedelta(days=8)])

    def materialize(**config):
        result = dg.materialize(
            [reconciliation_report],
            instance=line.instance,
            resources=dict(line.resources),
            run_config={"ops": {"reconciliation_report": {"config": config}}},
        )
        (event,) = result.get_asset_materialization_events()
        return dict(event.materialization.metadata)

    dry = materialize()
    assert [dry[name].value for name in ("mode", "cases", "done")] == ["dry run", 1, 0]
    (case,) = dry["report"].records
    assert case.data["outcome"] == "would be done" and video.video_id in case.data["subject"]
    assert line.store.exists(video.storage_key)
    real = materialize(dry_run=False)
    assert [real[name].value for name in ("mode", "deleted_video", "done")] == ["applied", 1, 1]
    clean = materialize()
    assert clean["result"].value == "All in order."
    # Every kind that was looked for, with no case.
    assert {record.data["cases"] for record in clean["checked"].records} == {0}
    assert "deleted video" in {record.data["kind"] for record in clean["checked"].records}
