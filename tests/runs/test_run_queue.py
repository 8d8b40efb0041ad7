"""Dagster's own run queue takes the platform's runs in the order that their priorities say."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from benchmarks.run_queue import RunQueue, run_queue
from captionacc_dagster.runs.tags import RunTags
from captionacc_dagster.sensors import priority_aging as priority_aging_module
from captionacc_dagster.sensors.new_videos import layout_run_requests
from captionacc_dagster.sensors.priority_aging import priority_aging
from captionacc_dagster.settings import Settings
from tests.full_catalog import FullCatalog


@pytest.fixture(scope="module")
def shared_queue() -> Iterator[RunQueue]:
    with run_queue(Settings(CAPTIONACC_MAX_RUNS=2, CAPTIONACC_TENANT_RUNS=2)) as queue:
        yield queue


@pytest.fixture
def queue(shared_queue: RunQueue) -> RunQueue:
    """An empty queue with two slots."""
    shared_queue.clear()
    return shared_queue


@pytest.fixture
def ask(queue: RunQueue, catalog: FullCatalog, postgres_dsn: str) -> Callable[..., list[str]]:
    """``ask("ann", "free", videos, hours=…)`` uploads videos and puts their layout runs into the queue."""

    def make(name: str, tier: str, videos: int = 1, hours: float = 0, size: int = 10**8) -> list[str]:
        tenant_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        catalog.ensure_tenant(tenant_id, name, tier=tier)
        for _ in range(videos):
            video_id = str(uuid.uuid4())
            catalog.register_video(tenant_id, video_id, f"{tenant_id}/{video_id}", size, f"{name}.mp4")
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute(
                "update captionacc.videos set uploaded_at = uploaded_at - %s where tenant_id = %s",
                [timedelta(hours=hours), tenant_id],
            )
        claimed = catalog.claim_new_videos(100)
        return queue.submit(
            "layout", layout_run_requests(claimed, RunTags(catalog, queue.instance), "new_videos")
        )

    return make


@pytest.fixture
def age(queue: RunQueue, catalog: FullCatalog) -> Callable[..., str]:
    """Tick ``priority_aging`` once, and return its skip reason."""

    def tick() -> str:
        with dg.build_sensor_context(instance=queue.instance, resources={"catalog": catalog}) as context:
            return priority_aging(context).skip_reason.skip_message

    return tick


def priority(queue: RunQueue, run_id: str) -> tuple[int, int]:
    """Return the run's full priority, and the one it has in the queue."""
    tags = queue.run(run_id).tags
    return int(tags["priority"]), int(tags["dagster/priority"])


def wait(queue: RunQueue, run_id: str, hours: float) -> None:
    """Make the run look as if it had waited this long."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    queue.instance.add_run_tags(run_id, {".dagster/captionacc-waiting-since": since.isoformat()})


def test_a_free_tenants_old_video_overtakes_a_premium_tenants_fresh_one(queue, ask, age):
    blocking = ask("busy", "enterprise", 2)
    assert set(queue.dequeue()) == set(blocking)
    (fresh,) = ask("paying", "premium")
    (old,) = ask("patient", "free", size=1)
    assert (priority(queue, fresh), priority(queue, old)) == ((70, 70), (55, 55))

    # Without the sensor, or too early, the premium tenant's run goes first.
    wait(queue, old, hours=14)
    assert "tags of 1 changed" in age()
    assert priority(queue, old) == (69, 69)
    wait(queue, old, hours=16.5)
    age()
    assert priority(queue, old) == (71, 71)
    queue.end(blocking[0])
    assert queue.dequeue() == [old]
    queue.end(blocking[1])
    assert queue.dequeue() == [fresh]


def test_at_equal_priority_the_earlier_request_goes_first(queue, ask, age):
    (old,) = ask("patient", "free", hours=25)
    (fresh,) = ask("paying", "premium")
    age()
    assert priority(queue, old) == priority(queue, fresh) == (70, 70)
    queue.dequeue()
    assert queue.at_work == [old, fresh]


def test_age_boosting_can_be_off_for_a_request(queue, ask, age):
    (run,) = ask("patient", "free")
    queue.instance.add_run_tags(run, {"age-boosting": "off"})
    wait(queue, run, hours=30)
    age()
    assert priority(queue, run) == (50, 50)


def test_a_single_video_goes_before_the_further_ones_of_a_higher_tier(queue, ask, age):
    flood = ask("large", "enterprise", 12) + ask("larger", "enterprise", 12)
    assert {priority(queue, run) for run in flood} == {(90, 90), (90, 44)}
    assert len(queue.dequeue()) == 2
    (single,) = ask("small", "free")
    age()
    queue.end(queue.at_work[0])
    assert queue.dequeue() == [single]


def test_a_tenants_next_run_has_its_full_priority_when_none_of_its_runs_is_running(queue, ask, age):
    ask("busy", "enterprise", 2)
    queue.dequeue()
    first, second = ask("ann", "free", 2)
    assert priority(queue, first) == (50, 50) and priority(queue, second) == (50, 24)
    queue.end(queue.at_work[0])
    assert queue.dequeue() == [first]
    age()
    assert priority(queue, second) == (50, 24)
    queue.end(first)
    age()
    assert priority(queue, second) == (50, 50)


def test_runs_that_a_person_launched_are_tagged_and_backfills_come_last(queue, ask, age, catalog):
    (run,) = ask("ann", "free")
    video_id = queue.run(run).tags[".dagster/captionacc-video-id"]
    by_hand, filled = queue.submit(
        "layout",
        [
            dg.RunRequest(partition_key=video_id),
            dg.RunRequest(partition_key=video_id, tags={"dagster/backfill": "b1"}),
        ],
    )
    (unknown,) = queue.submit("layout", [dg.RunRequest(partition_key="not-a-video")])
    age()
    assert priority(queue, by_hand) == (50, 24) and priority(queue, filled) == (10, 4)
    tags = queue.run(filled).tags
    assert (tags["tier"], tags["event"]) == ("free", "backfill")
    assert tags["age-boosting"] == "off"
    assert ".dagster/captionacc-tenant-id" not in queue.run(unknown).tags
    assert "tags of 0 changed" in age()


def test_a_tick_writes_a_batch_and_reports_the_rest(queue, ask, age, monkeypatch):
    runs = ask("ann", "free", 5)
    for run in runs:
        wait(queue, run, hours=4)
    monkeypatch.setattr(priority_aging_module, "BATCH", 3)
    assert age() == "5 runs queued, tags of 3 changed, 2 more at the next tick"
    assert age() == "5 runs queued, tags of 2 changed"
    assert age() == "5 runs queued, tags of 0 changed"


def test_an_empty_queue_is_reported_as_empty(queue, age):
    assert age() == "no run is queued"


def test_a_tenants_limit_counts_by_job_so_that_a_full_pool_does_not_block_its_other_jobs():
    def requests(tenant: str, job: str, number: int) -> list[dg.RunRequest]:
        tags = {".dagster/captionacc-tenant-job": f"{tenant}/{job}"}
        return [dg.RunRequest(partition_key=f"{tenant}{n}", tags=tags) for n in range(number)]

    with run_queue(Settings(CAPTIONACC_MAX_RUNS=6, CAPTIONACC_TENANT_RUNS=3)) as queue:
        queue.submit("captions", requests("a", "captions", 6))
        assert len(queue.dequeue()) == 2, "the pool of the crops has two slots"
        queue.submit("layout", requests("a", "layout", 6))
        assert len(queue.dequeue()) == 3, "and no more of one tenant than three"
        queue.submit("layout", requests("b", "layout", 1))
        (other,) = queue.dequeue()
        assert queue.run(other).tags[".dagster/captionacc-tenant-job"] == "b/layout"


@pytest.mark.parametrize(
    ("environment", "runs", "of_one_tenant"),
    [
        ({"CAPTIONACC_WORKERS": 6}, 6, 6),
        ({"CAPTIONACC_WORKERS": 1}, 2, 2),
        ({"CAPTIONACC_WORKERS": 6, "CAPTIONACC_DATABASE_URL": "postgresql://x"}, 6, 5),
        ({"MODAL_ENABLED": True, "SUPABASE_URL": "https://x"}, 10, 9),
        ({"CAPTIONACC_MAX_RUNS": 1, "SUPABASE_URL": "https://x"}, 1, 1),
        ({"CAPTIONACC_MAX_RUNS": 8, "CAPTIONACC_TENANT_RUNS": 3}, 8, 3),
    ],
)
def test_a_shared_platform_leaves_a_slot_for_other_tenants(environment, runs, of_one_tenant):
    settings = Settings(_env_file=None, **environment)
    assert (settings.run_limit, settings.tenant_run_limit) == (runs, of_one_tenant)
