"""Contract: records of people's actions and requests are kept for their time and then removed."""

import psycopg
import pytest

from captionacc_dagster.resources.catalog import InvalidArgumentError


def record(database: psycopg.Connection, count: int, days_ago: int) -> None:
    database.execute(
        "insert into captionacc.security_audit_log (role, action, outcome, occurred_at)"
        " select 'authenticated', 'retry', 'refused', clock_timestamp() - make_interval(days => %s)"
        " from generate_series(1, %s)",
        [days_ago, count],
    )


def on_record(database: psycopg.Connection) -> int:
    return database.execute("select count(*) from captionacc.security_audit_log").fetchone()[0]


def test_old_rows_of_the_audit_log_are_removed_and_those_of_thirty_days_never(catalog, database):
    record(database, 3, days_ago=40)
    record(database, 2, days_ago=29)
    assert catalog.purge_audit_log(30 * 86_400, dry_run=True) == 3
    assert on_record(database) == 5
    assert catalog.purge_audit_log(30 * 86_400) == 3
    assert on_record(database) == 2
    for much in (0, 29 * 86_400, -1, float("nan"), float("inf"), 1e300):
        with pytest.raises(InvalidArgumentError):
            catalog.purge_audit_log(much)
    assert on_record(database) == 2


def test_ended_requests_are_removed_and_others_stay(catalog, videos, database):
    with_captions = videos.with_captions()
    video = videos.cropping()
    catalog.cancel_stage(video.video_id, "boundaries", "ann")
    for _ in range(2):
        catalog.request_caption_ocr(with_captions.video_id)
        database.execute(
            "update captionacc.caption_ocr_requests set status = 'cancelled', finished_at = now()"
            " where id = (select min(id::text)::uuid from captionacc.caption_ocr_requests)"
        )
    for number in range(2):
        rejection = catalog.record_rejection(video.tenant_id, "queue_full", "why")
        number or catalog.acknowledge_rejection(rejection.id, "ann")
    catalog.finish_run_cancellation("crop-run")
    assert catalog.purge_requests(2 * 86_400) == 0
    for table, column in (
        ("caption_ocr_requests", "finished_at"),
        ("run_cancellations", "handled_at"),
        ("caption_frame_extents_inference_rejections", "acknowledged_at"),
    ):
        database.execute(f"update captionacc.{table} set {column} = {column} - interval '3 days'")
    ended = "select count(*) from captionacc.caption_ocr_requests where finished_at is not null"
    expected = database.execute(ended).fetchone()[0] + 2
    assert catalog.purge_requests(2 * 86_400, dry_run=True) == expected
    assert catalog.purge_requests(2 * 86_400) == expected
    assert len(catalog.list_rejections(video.tenant_id)) == 1
    for much in (0, 3600, float("nan"), float("inf")):
        with pytest.raises(InvalidArgumentError):
            catalog.purge_requests(much)


def test_live_events_are_kept_for_hours_and_jobs_for_longer(catalog, videos, database):
    job = catalog.create_job(videos.with_captions().video_id, "export", {})
    catalog.finish_export(job.job_id, {"rows": 1})
    assert (catalog.purge_events(3600, dry_run=True), catalog.purge_jobs(3600, dry_run=True)) == (0, 0)
    database.execute("update captionacc.events set occurred_at = now() - interval '2 days'")
    database.execute("update captionacc.jobs set finished_at = now() - interval '2 days'")
    many = catalog.purge_events(86_400, dry_run=True)
    assert many > 3 and catalog.purge_jobs(86_400, dry_run=True) == 1
    assert (catalog.purge_events(86_400), catalog.purge_jobs(86_400)) == (many, 1)
    assert (catalog.purge_events(86_400), catalog.list_jobs()) == (0, [])
    for purge in (catalog.purge_events, catalog.purge_jobs):
        for much in (0, 3599, float("nan"), float("inf")):
            with pytest.raises(InvalidArgumentError):
                purge(much)
