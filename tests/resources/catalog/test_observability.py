"""Contract: what an operator reads of the catalogue is what happened to its videos, at a bounded cost."""

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from captionacc_dagster.resources.catalog import (
    InvalidArgumentError,
    StageBacklog,
    StageFailures,
    StageOutcome,
    WrongStateError,
)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def settled(database: psycopg.Connection):
    """Moves all outcomes so far back in time, past those that are left for a later reading."""

    def move(by: timedelta = timedelta(minutes=1)) -> None:
        database.execute("update captionacc.stage_outcomes set occurred_at = occurred_at - %s", [by])

    return move


def endings(outcomes: list[StageOutcome]) -> list[tuple]:
    return [(row.stage, row.outcome, row.error_type, row.run_id) for row in outcomes]


class TestOutcomes:
    def test_each_stage_that_ends_leaves_one_with_its_run_and_its_time(self, catalog, videos, settled):
        video = videos.read()
        settled()
        outcomes = catalog.stage_outcomes_after(LONG_AGO)
        assert endings(outcomes) == [
            ("layout", "finished", "", "layout-run"),
            ("boundaries", "finished", "", "crop-run"),
            ("text", "finished", "", "crop-run"),
        ]
        assert {row.video_id for row in outcomes} == {video.video_id}
        assert all(0 <= row.seconds < 30 for row in outcomes)

    def test_an_error_keeps_its_kind_and_counts_once_if_repeated(self, catalog, videos, settled):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run-1")
        for _ in range(2):
            catalog.fail_stage(video_id, "layout", "run-1", "not a video", "NotAVideoError")
        settled()
        assert endings(catalog.stage_outcomes_after(LONG_AGO)) == [
            ("layout", "error", "NotAVideoError", "run-1")
        ]

    def test_every_failed_attempt_counts_and_the_retry_itself_does_not(self, catalog, videos, settled):
        video_id = videos.uploaded().video_id
        for run in ("run-1", "run-2"):
            catalog.begin_stage(video_id, "layout", run)
            catalog.fail_stage(video_id, "layout", run, "broken", "BrokenError")
            catalog.retry_stage(video_id, "layout")
        settled()
        assert [row.run_id for row in catalog.stage_outcomes_after(LONG_AGO)] == ["run-1", "run-2"]

    def test_a_cancelled_stage_and_one_that_never_began_are_errors(self, catalog, videos, settled):
        cancelled, unbegun = videos.uploaded().video_id, videos.uploaded().video_id
        catalog.begin_stage(cancelled, "layout", "run-1")
        catalog.cancel_stage(cancelled, "layout", "ann")
        catalog.fail_stage(unbegun, "layout", "run-2", "died", "RunFailed")
        settled()
        first, second = catalog.stage_outcomes_after(LONG_AGO)
        assert (first.error_type, first.seconds is not None) == ("CancelledError", True)
        assert (second.error_type, second.run_id, second.seconds) == ("RunFailed", "run-2", None)

    def test_a_released_stage_has_not_ended(self, catalog, videos, settled):
        video_id = videos.laid_out().video_id
        catalog.begin_stage(video_id, "layout", "again")
        catalog.release_stage(video_id, "layout", "again")
        settled()
        assert [row.run_id for row in catalog.stage_outcomes_after(LONG_AGO)] == ["layout-run"]

    def test_a_refused_write_leaves_no_outcome(self, catalog, videos, settled):
        video_id = videos.laid_out().video_id
        with pytest.raises(WrongStateError):
            catalog.fail_stage(video_id, "layout", "somebody", "x")
        settled()
        assert len(catalog.stage_outcomes_after(LONG_AGO)) == 1

    def test_pages_follow_each_other_without_a_gap_or_a_repetition(self, catalog, videos, settled, database):
        for _ in range(5):
            videos.laid_out()
        settled()
        # Equal times, as of rows written in one moment.
        database.execute("update captionacc.stage_outcomes set occurred_at = now() - interval '1 hour'")
        seen, after, after_id = [], LONG_AGO, 0
        while page := catalog.stage_outcomes_after(after, after_id, limit=2):
            seen += [row.id for row in page]
            after, after_id = page[-1].occurred_at, page[-1].id
        assert len(seen) == len(set(seen)) == 5

    def test_fresh_ones_are_left_for_later(self, catalog, videos):
        videos.laid_out()
        assert catalog.stage_outcomes_after(LONG_AGO) == []

    def test_old_ones_are_purged_and_recent_ones_never(self, catalog, videos, settled):
        videos.laid_out()
        settled(timedelta(days=100))
        videos.laid_out()
        settled()
        assert catalog.purge_stage_outcomes(90 * 86_400) == 1
        assert len(catalog.stage_outcomes_after(LONG_AGO)) == 1
        for much in (0, 3600, -1, float("nan")):
            with pytest.raises(InvalidArgumentError):
                catalog.purge_stage_outcomes(much)


def test_failures_of_the_last_hour_are_counted_by_kind(catalog, videos, settled):
    def fail(error_type: str) -> None:
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", video_id)
        catalog.fail_stage(video_id, "layout", video_id, "x", error_type)

    fail("OldError")
    settled(timedelta(hours=2))
    for kind in ("A", "B", "B"):
        fail(kind)
    assert catalog.stage_failures() == [StageFailures("layout", "B", 2), StageFailures("layout", "A", 1)]
    assert sum(row.failures for row in catalog.stage_failures(seconds=3 * 3600)) == 4


class TestBacklog:
    def test_without_work_there_is_no_backlog(self, catalog, videos):
        videos.read()
        assert catalog.stage_backlog() == []

    def test_waiting_and_running_are_separated_by_stage_and_tier(self, catalog, videos):
        videos.uploaded()
        videos.uploaded(uploaded=False)  # an unfinished upload does not count as waiting
        running = videos.uploaded()
        catalog.begin_stage(running.video_id, "layout", "run")
        videos.approved()
        videos.with_captions()
        videos.tenant = catalog.ensure_tenant(OTHER_TENANT, "other", tier="enterprise")
        waiting = videos.uploaded()
        deleted = videos.uploaded()
        catalog.soft_delete_video(deleted.video_id)
        rows = {(row.stage, row.tier): row for row in catalog.stage_backlog()}
        assert {key: (row.waiting, row.running) for key, row in rows.items()} == {
            ("boundaries", "free"): (1, 0),
            ("layout", "enterprise"): (1, 0),
            ("layout", "free"): (1, 1),
            ("text", "free"): (1, 0),
        }
        enterprise: StageBacklog = rows["layout", "enterprise"]
        assert enterprise.oldest_waiting_at == waiting.uploaded_at
        assert enterprise.oldest_running_at is None
        assert rows["layout", "free"].oldest_running_at >= running.created_at

    def test_after_a_failure_the_wait_starts_again(self, catalog, videos, database):
        video_id = videos.uploaded().video_id
        database.execute("update captionacc.videos set uploaded_at = now() - interval '1 day'")
        catalog.begin_stage(video_id, "layout", "run")
        catalog.fail_stage(video_id, "layout", "run", "x")
        catalog.retry_stage(video_id, "layout")
        (row,) = catalog.stage_backlog()
        assert datetime.now(UTC) - row.oldest_waiting_at < timedelta(minutes=5)


def test_locks_held_and_left_behind_are_counted(catalog, videos, database):
    held, stale = videos.uploaded().video_id, videos.uploaded().video_id
    catalog.take_lock(held, "captions", "run", 60)
    catalog.take_lock(stale, "captions", "run", 60)
    database.execute(
        "update captionacc.video_database_state set lock_expires_at = now() - interval '1 hour'"
        " where video_id = %s",
        [stale],
    )
    captions, layout = catalog.lock_state()
    assert (captions.database_name, captions.held, captions.expired) == ("captions", 1, 1)
    assert datetime.now(UTC) - captions.oldest_expired_at > timedelta(minutes=59)
    assert (layout.database_name, layout.held, layout.expired, layout.oldest_expired_at) == (
        "layout",
        0,
        0,
        None,
    )
    assert captions.database_waits == 0


def test_a_transaction_that_waits_for_a_lock_is_seen(catalog, videos, postgres_dsn):
    video_id = videos.uploaded().video_id
    query = "select from captionacc.videos where id = %s for update"
    with psycopg.connect(postgres_dsn) as holder, psycopg.connect(postgres_dsn) as waiter:
        holder.execute(query, [video_id])
        waiter.pgconn.send_query(query.replace("%s", f"'{video_id}'").encode())
        deadline = time.monotonic() + 10
        while not (waits := catalog.lock_state()[0].database_waits) and time.monotonic() < deadline:
            pass
        assert waits == 1
        holder.rollback()
        while waiter.pgconn.get_result() is not None:
            pass


def test_calls_that_are_waited_for_are_counted(catalog, videos):
    video_id = videos.cropping().video_id
    waiter = "33333333-3333-4333-8333-333333333333"
    call = catalog.open_compute_call(video_id, "crop-run", "crop", "hash", waiter)
    (pending,) = catalog.open_compute_calls()
    assert (pending.function_name, pending.status, pending.calls) == ("crop", "pending", 1)
    assert pending.oldest_at == call.created_at
    catalog.assign_compute_call(call.id, waiter, "fc-1")
    assert [row.status for row in catalog.open_compute_calls()] == ["running"]
    catalog.finish_compute_call(call.id, waiter, {})
    assert catalog.open_compute_calls() == []


def test_spending_is_this_months_and_the_most_expensive_tenant_comes_first(catalog, tenant, database):
    other = catalog.ensure_tenant(OTHER_TENANT, "other", tier="premium")
    catalog.record_usage(tenant.tenant_id, "modal_seconds", 10, cost_estimate_usd=1.25)
    database.execute("update captionacc.usage_metrics set recorded_at = now() - interval '40 days'")
    assert catalog.monthly_spend() == []
    catalog.record_usage(tenant.tenant_id, "modal_seconds", 10, cost_estimate_usd=0.5)
    catalog.record_usage(tenant.tenant_id, "processing_minutes", 99)
    catalog.record_usage(other.tenant_id, "modal_seconds", 10, cost_estimate_usd=2)
    catalog.record_usage(other.tenant_id, "modal_seconds", 10, cost_estimate_usd=0.25)
    assert [(row.tenant_id, row.tier, row.cost_usd) for row in catalog.monthly_spend()] == [
        (other.tenant_id, "premium", 2.25),
        (tenant.tenant_id, "free", 0.5),
    ]
    assert len(catalog.monthly_spend(limit=1)) == 1
