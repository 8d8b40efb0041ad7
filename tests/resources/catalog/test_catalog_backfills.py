"""Backfills in the catalogue: chosen, handed out a few at a time, and how they end. On both transports."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from captionacc_dagster.resources.catalog import (
    BackfillClaim,
    Catalog,
    InvalidArgumentError,
    UnknownRequestError,
    VideoRow,
)
from tests.resources.catalog.conftest import STRIP, Videos

OTHER_TENANT = "22222222-2222-4222-8222-222222222222"


def new_id() -> str:
    return str(uuid.uuid4())


def label(catalog: Catalog, video: VideoRow, model: str, run_id: str = "crop-run", ago: float = 0) -> None:
    """Label the video's cropped frames by a model, as a run does."""
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    catalog.record_inference_run(
        video.video_id,
        video.current_cropped_frames_version or 1,
        run_id,
        model_version=model,
        storage_key=f"{video.tenant_id}/k",
        total_pairs=1,
        processing_time_seconds=1,
        started_at=moment,
        completed_at=moment,
    )


@pytest.fixture
def on_model(catalog: Catalog, videos: Videos) -> Callable[..., VideoRow]:
    """``on_model("extents-1")``: a video with its text read and nothing reviewed."""

    def make(model: str = "extents-1", ready: Callable[[], VideoRow] = videos.read) -> VideoRow:
        video = ready()
        label(catalog, video, model, ago=3600)
        return catalog.get_video(video.video_id)

    return make


def process(catalog: Catalog, claim: BackfillClaim, model: str, run_id: str = "backfill-run") -> VideoRow:
    """Process a claim, as its run does."""
    video = catalog.begin_stage(claim.video_id, "boundaries", run_id)
    label(catalog, video, model, run_id)
    version = video.current_cropped_frames_version or 1
    catalog.finish_boundaries(claim.video_id, run_id, version=version, caption_count=4)
    catalog.begin_stage(claim.video_id, "text", run_id)
    return catalog.finish_text(claim.video_id, run_id, caption_count=4)


def counts(catalog: Catalog, backfill_id: str) -> dict[str, int]:
    (row,) = [row for row in catalog.list_backfills() if row.backfill_id == backfill_id]
    names = ("waiting", "handed_out", "done", "skipped", "failed", "cancelled")
    return {name: getattr(row, name) for name in names if getattr(row, name)}


class TestChoosing:
    def test_a_dry_run_reports_what_is_chosen_and_why_others_are_not(self, catalog, videos, on_model):
        chosen = on_model()
        on_model("extents-2")
        reviewed = on_model()
        catalog.complete_review(reviewed.video_id, "text")
        failed = on_model()
        catalog.begin_stage(failed.video_id, "boundaries", "again")
        catalog.fail_stage(failed.video_id, "boundaries", "again", "no luck")
        busy = on_model()
        catalog.begin_stage(busy.video_id, "text", "again")
        videos.approved()
        catalog.soft_delete_video(on_model().video_id)

        choice = catalog.request_backfill(new_id(), "extents-2", {}, "ann")

        assert (choice.backfill_id, choice.chosen) == (None, 1)
        assert choice.skipped == {
            "on this model": 1,
            "reviewed": 1,
            "failed": 1,
            "in work": 1,
            "not processed yet": 1,
        }
        assert choice.former_models == {"extents-1": 1}
        assert choice.sample == [
            {
                "video_id": chosen.video_id,
                "tenant_id": chosen.tenant_id,
                "display_path": "holiday.mp4",
                "model_version": "extents-1",
            }
        ]
        assert catalog.list_backfills() == [] and catalog.claim_backfill_videos() == []

    def test_the_model_is_the_one_that_labelled_the_current_frames_last(self, catalog, on_model):
        video = on_model("extents-1")
        label(catalog, video, "extents-2", ago=60)
        assert catalog.current_inference_run(video.video_id).model_version == "extents-2"
        assert catalog.request_backfill(new_id(), "extents-2", {}, "ann").chosen == 0
        # Back to the former one: its row is replaced, and is the last.
        label(catalog, video, "extents-1")
        assert catalog.current_inference_run(video.video_id).model_version == "extents-1"
        assert catalog.request_backfill(new_id(), "extents-2", {}, "ann").chosen == 1

    def test_other_frames_than_the_current_ones_do_not_count(self, catalog, on_model):
        video = on_model("extents-2")
        catalog.begin_stage(video.video_id, "boundaries", "again")
        version = catalog.allot_cropped_frames_version(video.video_id, "again", STRIP)
        catalog.activate_cropped_frames_version(
            video.video_id, version, chunk_count=1, total_frames=80, total_size_bytes=1
        )
        catalog.finish_boundaries(video.video_id, "again", version=version, caption_count=4)
        assert catalog.current_inference_run(video.video_id) is None
        choice = catalog.request_backfill(new_id(), "extents-2", {}, "ann")
        assert (choice.chosen, choice.former_models) == (1, {"": 1})

    def test_one_value_of_each_condition_must_match(self, catalog, database, on_model):
        first, second, third = (on_model(model) for model in ("extents-1", "strokes-1", "strokes-1"))
        catalog.ensure_tenant(OTHER_TENANT, "other")
        database.execute(
            "update captionacc.videos set uploaded_at = now() - interval '10 days', tenant_id = %s,"
            " storage_key = %s where id = %s",
            [OTHER_TENANT, f"{OTHER_TENANT}/video.mp4", third.video_id],
        )
        week_ago = (datetime.now(UTC) - timedelta(days=7)).isoformat()

        def chosen(**conditions: list[str]) -> set[str]:
            sample = catalog.request_backfill(new_id(), "extents-2", conditions, "ann").sample
            return {video["video_id"] for video in sample}

        assert chosen() == {first.video_id, second.video_id, third.video_id}
        assert chosen(model_version=["strokes-1"]) == {second.video_id, third.video_id}
        assert chosen(model_version=["strokes-1"], tenant=[first.tenant_id]) == {second.video_id}
        assert chosen(tenant=[first.tenant_id, OTHER_TENANT]) == chosen()
        assert chosen(uploaded_before=[week_ago]) == {third.video_id}
        assert chosen(uploaded_after=[week_ago]) == {first.video_id, second.video_id}
        assert chosen(video=[first.video_id, third.video_id]) == {first.video_id, third.video_id}
        assert chosen(video=[new_id()]) == set()

    def test_reviewed_videos_are_chosen_only_when_asked_for(self, catalog, on_model):
        ready, reviewed = on_model(), on_model()
        catalog.complete_review(reviewed.video_id, "boundaries")

        def chosen(*status: str) -> list[str]:
            conditions = {"status": list(status)} if status else {}
            sample = catalog.request_backfill(new_id(), "extents-2", conditions, "ann").sample
            return [video["video_id"] for video in sample]

        assert chosen() == chosen("ready") == [ready.video_id]
        assert chosen("reviewed") == [reviewed.video_id]
        assert set(chosen("ready", "reviewed")) == {ready.video_id, reviewed.video_id}

    def test_a_limit_takes_the_newest(self, catalog, on_model):
        newest = [on_model() for _ in range(3)][-1]
        choice = catalog.request_backfill(new_id(), "extents-2", {}, "ann", limit=1, dry_run=False)
        assert (choice.chosen, choice.skipped) == (1, {"beyond the limit": 2})
        assert [video["video_id"] for video in choice.sample] == [newest.video_id]

    @pytest.mark.parametrize(
        "conditions",
        [
            {"id = id; --": ["x"]},
            {"status": ["everything"]},
            {"tenant": []},
            {"tenant": ["1' or '1' = '1"]},
            {"uploaded_before": ["yesterday or so"]},
        ],
    )
    def test_an_unknown_condition_is_refused(self, catalog, on_model, conditions):
        on_model()
        with pytest.raises(InvalidArgumentError):
            catalog.request_backfill(new_id(), "extents-2", conditions, "ann")

    @pytest.mark.parametrize("changes", [{"model_version": ""}, {"requested_by": ""}, {"limit": 0}], ids=str)
    def test_an_unusable_request_is_refused(self, catalog, changes):
        usual = {"model_version": "extents-2", "conditions": {}, "requested_by": "ann"}
        with pytest.raises(InvalidArgumentError):
            catalog.request_backfill(new_id(), **(usual | changes))


class TestHandingOut:
    def test_the_same_request_again_asks_for_nothing_more(self, catalog, on_model):
        video, backfill = on_model(), new_id()
        first = catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        on_model()
        again = catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        assert first == again and first.backfill_id == backfill and first.chosen == 1
        # Another request leaves those alone that are in this one.
        other = catalog.request_backfill(new_id(), "extents-2", {}, "ann", dry_run=False)
        assert (other.chosen, other.skipped) == (1, {"in a backfill": 1})
        assert catalog.get_backfill_video(backfill, video.video_id).former_model_version == "extents-1"

    def test_nothing_to_do_creates_no_backfill(self, catalog, on_model):
        on_model("extents-2")
        choice = catalog.request_backfill(new_id(), "extents-2", {}, "ann", dry_run=False)
        assert (choice.backfill_id, choice.skipped) == (None, {"on this model": 1})
        assert catalog.list_backfills() == []

    def test_only_so_many_are_handed_out_at_once_however_many_are_chosen(self, catalog, on_model):
        for _ in range(5):
            on_model()
        backfill = new_id()
        catalog.request_backfill(backfill, "extents-2", {"status": ["ready"]}, "ann", dry_run=False)
        claimed = catalog.claim_backfill_videos(at_once=2)
        assert len(claimed) == 2 and catalog.claim_backfill_videos(at_once=2) == []
        assert {(row.model_version, row.requested_by) for row in claimed} == {("extents-2", "ann")}
        catalog.begin_stage(claimed[0].video_id, "boundaries", "run-1")
        assert catalog.claim_backfill_videos(at_once=2) == [], "a run at work takes a place as well"
        process(catalog, claimed[1], "extents-2")
        (third,) = catalog.claim_backfill_videos(at_once=2)
        assert third.video_id not in {row.video_id for row in claimed}
        assert counts(catalog, backfill) == {"waiting": 2, "handed_out": 2, "done": 1}
        assert catalog.list_backfills()[0].conditions == {"status": ["ready"]}

    def test_tenants_take_turns(self, catalog, database: psycopg.Connection, on_model):
        made = [on_model() for _ in range(4)]
        catalog.ensure_tenant(OTHER_TENANT, "other")
        database.execute(
            "update captionacc.videos set tenant_id = %s, storage_key = %s where id = %s",
            [OTHER_TENANT, f"{OTHER_TENANT}/video.mp4", made[0].video_id],
        )
        catalog.request_backfill(new_id(), "extents-2", {}, "ann", dry_run=False)
        assert {row.tenant_id for row in catalog.claim_backfill_videos(2)} == {
            OTHER_TENANT,
            made[1].tenant_id,
        }

    def test_an_unstarted_claim_is_handed_out_again_and_finally_given_up(self, catalog, on_model):
        on_model()
        backfill = new_id()
        catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        claim = {"restart_after_seconds": 0, "max_unstarted": 2}
        first, second = catalog.claim_backfill_videos(**claim), catalog.claim_backfill_videos(**claim)
        assert [row.video_id for row in first] == [row.video_id for row in second]
        assert catalog.claim_backfill_videos(**claim) == []
        (failed,) = catalog.list_backfill_videos(backfill, status="failed")
        assert failed.detail == "requested 2 times, but no run began"

    def test_a_running_run_is_not_requested_again_however_long_it_takes(self, catalog, on_model):
        video = on_model()
        catalog.request_backfill(new_id(), "extents-2", {}, "ann", dry_run=False)
        catalog.claim_backfill_videos()
        catalog.begin_stage(video.video_id, "boundaries", "run-1")
        assert catalog.claim_backfill_videos(restart_after_seconds=0, max_unstarted=1) == []

    def test_a_busy_video_comes_later_and_delays_no_other(self, catalog, on_model):
        first, second = on_model(), on_model()
        backfill = new_id()
        catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        catalog.begin_stage(second.video_id, "text", "reader")
        assert [row.video_id for row in catalog.claim_backfill_videos(1, at_once=5)] == [first.video_id]
        assert catalog.claim_backfill_videos(at_once=5) == []
        catalog.finish_text(second.video_id, "reader", caption_count=4)
        assert [row.video_id for row in catalog.claim_backfill_videos(at_once=5)] == [second.video_id]

    def test_a_video_that_no_longer_needs_it_is_skipped_with_the_reason(self, catalog, on_model):
        deleted, other_way, recropped, failed = (on_model() for _ in range(4))
        backfill = new_id()
        catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        catalog.soft_delete_video(deleted.video_id)
        label(catalog, other_way, "extents-2")
        catalog.approve_layout(recropped.video_id, "ann", type(STRIP)(0, 0.5, 1, 1))
        catalog.begin_stage(failed.video_id, "boundaries", "again")
        catalog.fail_stage(failed.video_id, "boundaries", "again", "the file is damaged")
        assert catalog.claim_backfill_videos() == []
        ended = {row.video_id: (row.status, row.detail) for row in catalog.list_backfill_videos(backfill)}
        assert ended == {
            deleted.video_id: ("skipped", "the video was deleted"),
            other_way.video_id: ("skipped", "it is on extents-2 already"),
            recropped.video_id: ("skipped", "its captions will be made again in any case"),
            failed.video_id: ("failed", "the file is damaged"),
        }

    def test_a_run_that_uses_another_model_is_a_failure(self, catalog, on_model):
        on_model()
        backfill = new_id()
        catalog.request_backfill(backfill, "extents-3", {}, "ann", dry_run=False)
        (claim,) = catalog.claim_backfill_videos()
        process(catalog, claim, "extents-2")
        assert catalog.claim_backfill_videos() == []
        (failed,) = catalog.list_backfill_videos(backfill)
        assert (
            failed.detail
            == "after the run it is on extents-2: the functions use another model than extents-3"
        )

    def test_a_run_that_ended_before_it_began_is_reported_once(self, catalog, on_model):
        video, backfill = on_model(), new_id()
        catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
        assert catalog.end_backfill_video(backfill, video.video_id, "never") is False
        catalog.claim_backfill_videos()
        assert catalog.end_backfill_video(backfill, video.video_id, "the run was cancelled") is True
        assert catalog.end_backfill_video(backfill, video.video_id, "again") is False
        assert catalog.get_backfill_video(backfill, video.video_id).detail == "the run was cancelled"
        # The video itself is as it was, and may be chosen again.
        assert catalog.get_video(video.video_id).boundaries.status == "annotate"
        assert catalog.request_backfill(new_id(), "extents-2", {}, "ann").chosen == 1


def test_a_cancelled_backfill_requests_nothing_more(catalog, on_model):
    for _ in range(2):
        on_model()
    backfill = new_id()
    catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
    (claim,) = catalog.claim_backfill_videos(at_once=1)
    assert catalog.cancel_backfill(backfill) == 2 and catalog.cancel_backfill(backfill) == 0
    assert catalog.claim_backfill_videos() == []
    assert catalog.get_backfill_video(backfill, claim.video_id).status == "cancelled"
    assert counts(catalog, backfill) == {"cancelled": 2}
    assert catalog.list_backfills()[0].cancelled_at is not None
    with pytest.raises(UnknownRequestError):
        catalog.cancel_backfill(new_id())
    assert catalog.get_backfill_video(new_id(), claim.video_id) is None


def test_ended_backfills_are_purged_and_others_stay(catalog, on_model):
    on_model()
    backfill = new_id()
    catalog.request_backfill(backfill, "extents-2", {}, "ann", dry_run=False)
    assert catalog.purge_backfills(0) == 0
    catalog.cancel_backfill(backfill)
    assert catalog.purge_backfills(86_400) == 0
    assert catalog.purge_backfills(0, dry_run=True) == 1
    assert catalog.purge_backfills(0) == 1 and catalog.list_backfills() == []


def test_old_outcomes_are_counted_as_they_are_purged(catalog, videos, database):
    videos.read()
    assert catalog.count_stage_outcomes(86_400) == 0
    database.execute("update captionacc.stage_outcomes set occurred_at = now() - interval '100 days'")
    old = catalog.count_stage_outcomes(90 * 86_400)
    assert old == catalog.purge_stage_outcomes(90 * 86_400) > 0
    assert catalog.count_stage_outcomes(0) == 0


def test_a_video_is_in_one_open_backfill_even_when_two_ask_at_once(postgres_catalog, on_model):
    """The index, not the look before, is what keeps the second one out."""
    from concurrent.futures import ThreadPoolExecutor

    for _ in range(6):
        on_model()

    def ask(_: int) -> int:
        return postgres_catalog.request_backfill(new_id(), "extents-2", {}, "ann", dry_run=False).chosen

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ask, range(4))) == 6
