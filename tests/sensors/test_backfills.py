"""Backfills through sensor and graph: a few at a time, behind all else, and what people did stays."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.runs.outcomes import settle_run
from captionacc_dagster.sensors.backfills import ASSETS, backfills
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.settings import get_settings
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.extents.checkpoint import shipped
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.run_results import checks, failure, materialized

MODEL = shipped().stem.rpartition("_")[0]
UI_BACKFILL = {"dagster/backfill": "abcdefgh"}


@pytest.fixture
def tick(line: Line) -> Callable[..., dg.SensorResult]:
    """Evaluate a sensor once, and apply its result as the daemon does."""
    return lambda sensor=backfills: line.tick(sensor)


@pytest.fixture
def outdated(finished: VideoRow, database: psycopg.Connection) -> VideoRow:
    """The clip with everything made, by a former model."""
    database.execute("update captionacc.caption_frame_extents_inference_runs set model_version = 'extents-0'")
    return finished


def ask(line: Line, **conditions: list[str]) -> str:
    backfill_id = str(uuid.uuid4())
    choice = line.catalog.request_backfill(backfill_id, MODEL, conditions, "ann", dry_run=False)
    assert choice.backfill_id == backfill_id
    return backfill_id


def item(line: Line, backfill_id: str, video: VideoRow):
    return line.catalog.get_backfill_video(backfill_id, video.video_id)


class TestSensor:
    def test_a_chosen_video_becomes_a_run_of_what_follows_from_the_model(self, line: Line, outdated, tick):
        backfill_id = ask(line)
        (request,) = tick().run_requests
        assert request.run_key == f"backfill/{backfill_id}/{outdated.video_id}"
        assert request.partition_key == outdated.partition_key
        assert request.asset_selection == [dg.AssetKey(name) for name in ASSETS]
        tags = request.tags
        assert tags[".dagster/captionacc-backfill"] == backfill_id
        assert (tags["event"], tags["trigger"]) == ("backfill", "backfills")
        # Ten, and five for a small file; waiting earns nothing.
        assert (tags["priority"], tags["age-boosting"]) == ("15", "off")
        assert tags[".dagster/captionacc-tenant-job"] == "backfill"

    def test_a_second_tick_requests_nothing_and_says_so(self, line: Line, outdated, tick):
        assert tick().skip_reason.skip_message.startswith("no video of a backfill is due")
        ask(line)
        assert len(tick().run_requests) == 1
        again = tick()
        assert not again.run_requests and "at most 20 run at once" in again.skip_reason.skip_message

    def test_an_expired_claim_requests_the_same_run(self, line: Line, outdated, tick, database):
        ask(line)
        first = [request.run_key for request in tick().run_requests]
        database.execute("update captionacc.backfill_videos set requested_at = requested_at - interval '1 h'")
        assert [request.run_key for request in tick().run_requests] == first

    def test_only_so_many_wait_in_dagsters_queue_as_is_set(
        self, line: Line, outdated, tick, monkeypatch, database
    ):
        database.execute(
            "insert into captionacc.videos select (jsonb_populate_record(v, jsonb_build_object('id',"
            " gen_random_uuid(), 'storage_key', v.storage_key || n, 'current_cropped_frames_version', null,"
            " 'partition_key', null,"
            " 'boundaries_status', 'wait'))).* from captionacc.videos v, generate_series(1, 30) n"
        )
        database.execute(
            "insert into captionacc.cropped_frames_versions select (jsonb_populate_record(c,"
            " jsonb_build_object('video_id', v.id))).* from captionacc.cropped_frames_versions c,"
            " captionacc.videos v where v.id <> c.video_id"
        )
        database.execute(
            "update captionacc.videos set current_cropped_frames_version = 1, boundaries_status = 'annotate'"
        )
        monkeypatch.setenv("CAPTIONACC_BACKFILL_QUEUE", "4")
        get_settings.cache_clear()
        try:
            backfill_id = ask(line)
            asked = [len(tick().run_requests or []) for _ in range(3)]
        finally:
            get_settings.cache_clear()
        assert asked == [4, 0, 0]
        (row,) = line.catalog.list_backfills()
        assert (row.backfill_id, row.waiting, row.handed_out) == (backfill_id, 27, 4)

    def test_a_backfill_takes_no_turn_of_its_tenant(self, line: Line, outdated, tick, clip: Clip):
        """A run that nobody waits for must not make the tenant's next upload a further run."""
        ask(line)
        (request,) = tick().run_requests
        line.instance.add_run(
            dg.DagsterRun(
                job_name="captions",
                run_id=str(uuid.uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                tags=dict(request.tags),
            )
        )
        line.upload(clip.path)
        (upload,) = tick(new_videos).run_requests
        assert upload.tags["dagster/priority"] == upload.tags["priority"] == "55"

    def test_a_run_that_was_cancelled_before_it_began_ends_its_video(self, line: Line, outdated, tick):
        backfill_id = ask(line)
        (request,) = tick().run_requests
        run = line.instance.add_run(
            dg.DagsterRun(
                job_name="captions",
                run_id=str(uuid.uuid4()),
                status=dg.DagsterRunStatus.CANCELED,
                tags=dict(request.tags) | {"dagster/run_key": request.run_key},
            )
        )
        assert settle_run(line.catalog, run, "The run was cancelled.", "Cancelled", print) == []
        assert item(line, backfill_id, outdated).detail == "The run was cancelled."
        assert line.row(outdated.video_id).boundaries.status == "annotate", "the video stays as it was"


class TestGraph:
    def backfill(self, line: Line, tick) -> dg.ExecuteInProcessResult:
        (request,) = tick().run_requests
        names = [key.to_user_string() for key in request.asset_selection]
        return line.run("captions", request.partition_key, *names, tags=request.tags)

    def test_extents_captions_text_and_subtitles_are_made_again_and_peoples_edits_stay(
        self, line: Line, outdated: VideoRow, tick
    ):
        keys = line.keys(outdated.video_id)
        first, second, third = read_captions(line.store.get(keys.captions_db))
        # One was moved and retyped, one confirmed; the third nobody has looked at.
        edited = replace(
            first, start_index=first.start_index + 3, state="confirmed", pending=False, text="Mine!"
        )
        confirmed = replace(second, state="confirmed", pending=False)
        line.store.put(keys.captions_db, write_captions([edited, confirmed, third]), "application/gzip")
        srt = line.store.get(keys.srt)
        backfill_id = ask(line)

        result = self.backfill(line, tick)

        assert result.success, failure(result)
        assert materialized(result) == sorted(ASSETS)
        assert all(checks(result).values())
        assert [name for name, _ in line.compute.calls][:1] == ["crop_and_infer"]
        assert line.compute.calls[0][1].outputs == {"caption_frame_extents_db"}
        assert line.catalog.current_inference_run(outdated.video_id).model_version == MODEL
        row = line.row(outdated.video_id)
        assert row.current_cropped_frames_version == 1, "the frames are not cropped again"
        assert (row.boundaries.status, row.text.status) == ("annotate", "annotate")
        after = {caption.id: caption for caption in read_captions(line.store.get(keys.captions_db))}
        assert after[edited.id] == edited and after[confirmed.id] == confirmed
        assert len(after) == 3 and after[third.id].ocr_text == third.ocr_text
        assert b"Mine!" in line.store.get(keys.srt) != srt
        assert not tick().run_requests
        assert item(line, backfill_id, outdated).status == "done"
        assert line.catalog.request_backfill(str(uuid.uuid4()), MODEL, {}, "ann").skipped == {
            "on this model": 1
        }

    def test_a_run_that_fails_ends_its_video_with_the_rows_message(self, line: Line, outdated, tick):
        backfill_id = ask(line)

        def break_down(_) -> None:
            raise ValueError("the file is damaged")

        line.compute.before["crop_and_infer"] = break_down
        assert not self.backfill(line, tick).success
        assert not tick().run_requests
        failed = item(line, backfill_id, outdated)
        assert failed.status == "failed" and "the file is damaged" in failed.detail

    def test_a_run_that_waited_until_its_backfill_was_cancelled_does_nothing(
        self, line: Line, outdated, tick
    ):
        backfill_id = ask(line)
        (request,) = tick().run_requests
        line.catalog.cancel_backfill(backfill_id)
        before = line.stored(outdated.video_id)
        names = [key.to_user_string() for key in request.asset_selection]
        result = line.run("captions", request.partition_key, *names, tags=request.tags)
        assert result.success and line.compute.calls == []
        assert line.stored(outdated.video_id) == before


class TestFromTheUi:
    """Dagster's own backfills: the same graph, with Dagster's tag."""

    @pytest.fixture
    def is_made_anew(self, line: Line) -> Callable[..., bool]:
        """Whether a run gets as far as the compute call, which is not made."""

        def stop(_) -> None:
            raise ValueError("as far as here")

        line.compute.before["crop_and_infer"] = stop

        def run(video: VideoRow, **tags: str) -> bool:
            result = line.run("captions", video.video_id, *ASSETS, tags=UI_BACKFILL | tags)
            assert result.success == (line.compute.calls == [])
            return line.compute.names == ["crop_and_infer"]

        return run

    def report(self, line: Line, video: VideoRow, **tags: str) -> None:
        """Return what Dagster knows of the latest materialization of each asset."""
        for name in ASSETS:
            line.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    name,
                    partition=video.partition_key,
                    metadata={"made": name},
                    tags=tags if "captions" in name else {},
                )
            )

    def test_what_is_on_the_model_stays_and_is_reported_as_it_was(self, line: Line, finished: VideoRow):
        self.report(line, finished)
        before, row = line.stored(finished.video_id), line.row(finished.video_id)

        result = line.run("captions", finished.video_id, *ASSETS, tags=UI_BACKFILL)

        assert result.success, failure(result)
        assert line.compute.calls == [] and line.stored(finished.video_id) == before
        assert line.row(finished.video_id) == row
        # Each partition has something to show, or Dagster would take it for failed.
        assert materialized(result) == sorted(ASSETS)
        for event in result.get_asset_materialization_events():
            metadata = {name: value.value for name, value in event.materialization.metadata.items()}
            assert metadata == {
                "made": event.asset_key.to_user_string(),
                "unchanged": f"it is on {MODEL} already",
            }

    def test_what_is_on_an_earlier_model_is_made_again(self, is_made_anew, outdated: VideoRow):
        assert is_made_anew(outdated)

    def test_a_tag_forces_everything_to_be_made_again(self, is_made_anew, finished: VideoRow):
        assert is_made_anew(finished, **{"captionacc/again": "true"})

    def test_what_other_code_made_is_made_again(self, line: Line, is_made_anew, finished: VideoRow):
        self.report(line, finished, **{"dagster/code_version": "of old"})
        assert is_made_anew(finished)

    def test_unfinished_captions_are_made_again(self, line: Line, is_made_anew, finished: VideoRow):
        line.catalog.begin_stage(finished.video_id, "text", "run-1")
        line.catalog.fail_stage(finished.video_id, "text", "run-1", "no luck")
        assert is_made_anew(finished)

    def test_a_manual_run_makes_what_it_selects(self, line: Line, finished: VideoRow):
        result = line.run("captions", finished.video_id, "captions_db")
        (event,) = result.get_asset_materialization_events()
        assert result.success and "unchanged" not in event.materialization.metadata

    def test_a_backfill_of_other_assets_is_not_about_the_model(self, line: Line, finished: VideoRow):
        result = line.run("captions", finished.video_id, "captions_db", tags=UI_BACKFILL)
        (event,) = result.get_asset_materialization_events()
        assert result.success and "unchanged" not in event.materialization.metadata
