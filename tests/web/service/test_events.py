"""Contract: live events, their resumption, and the tenants' separation, over both transports."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from captionacc_dagster.web.announcements import Announcements
from captionacc_dagster.web.service.callers import Caller, Session
from captionacc_dagster.web.service.routes import events
from captionacc_dagster.web.service.routes.events import _stream
from tests.postgrest.server import make_key
from tests.resources.catalog.world import MEMBER, OWNER, STRANGER, TENANT
from tests.web.service.conftest import NOBODY


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read without the pauses that limit what many streams cost."""
    monkeypatch.setattr(events, "READ_SECONDS", 0.02)
    monkeypatch.setattr(events, "_LOOK_SECONDS", 0.02)


def session_of(parts, user: str | None) -> Session:
    """A stream's session, as the route gets it."""
    if user is None:
        return Session(Caller(None, None, "operator"), parts.catalog)
    from captionacc_dagster.resources.catalog.users import catalog_of_user

    token = make_key("authenticated", user)
    catalog = catalog_of_user(parts.catalog, token, parts.tokens.verify(token).claims)
    return Session(Caller(user, TENANT, "owner"), catalog)


async def next_events(stream: AsyncIterator[str], number: int) -> list[tuple[str, str, dict]]:
    """Return the next events, as (id, kind, payload)."""
    found: list[tuple[str, str, dict]] = []
    async with asyncio.timeout(30):
        while len(found) < number:
            lines = dict(
                line.split(": ", 1) for line in (await anext(stream)).splitlines() if ": " in line[1:]
            )
            if "data" in lines:
                found.append((lines.get("id", ""), lines["event"], json.loads(lines["data"])))
    return found


def test_a_client_hears_status_progress_captions_locks_and_jobs(parts, people):
    video = people.own(people.videos.uploaded())
    catalog = people.catalog

    async def listen() -> None:
        stream = _stream(parts, session_of(parts, people.owner), None)
        ((_, kind, _),) = await next_events(stream, 1)
        assert kind == "ready"
        job = catalog.create_job(video.video_id, "layout", {})
        catalog.begin_stage(video.video_id, "layout", "run-1")
        heard = await next_events(stream, 3)
        assert sorted(kind for _, kind, _ in heard) == ["job", "job", "video"]
        by_kind = {kind: payload for _, kind, payload in heard}
        assert by_kind["video"]["layout"] == {"status": "wait", "run_id": "run-1"}
        assert (by_kind["job"]["job_id"], by_kind["job"]["state"]) == (job.job_id, "running")
        catalog.report_progress(video.video_id, "layout", "run-1", 60, "frames 5 of 10", 5, 10)
        ((event_id, kind, progress),) = await next_events(stream, 1)
        assert (event_id, kind, progress["percent"], progress["done"]) == ("", "progress", 60, 5)
        token = catalog.take_lock(video.video_id, "captions", "ann", 60)
        catalog.bump_database_version(token)
        catalog.release_lock(token)
        heard = await next_events(stream, 3)
        assert [(kind, payload.get("owner"), payload.get("version")) for _, kind, payload in heard] == [
            ("lock", "ann", None),
            ("captions", None, 1),
            ("lock", None, None),
        ]
        await stream.aclose()

    asyncio.run(listen())


def test_a_client_that_was_away_hears_what_it_missed_once(parts, people):
    videos = [people.own(people.videos.uploaded()) for _ in range(3)]
    catalog = people.catalog

    async def listen() -> None:
        first = _stream(parts, session_of(parts, people.owner), None)
        await next_events(first, 1)
        catalog.rename_video(videos[0].video_id, "a")
        ((last, _, payload),) = await next_events(first, 1)
        assert payload["name"] == "a"
        await first.aclose()
        catalog.rename_video(videos[1].video_id, "b")
        catalog.rename_video(videos[2].video_id, "c")
        again = _stream(parts, session_of(parts, people.owner), last)
        heard = await next_events(again, 3)
        assert [payload.get("name") for _, _, payload in heard] == [None, "b", "c"]
        await again.aclose()

    asyncio.run(listen())


def test_what_a_run_has_ready_is_announced(parts, people):
    video = people.own(people.videos.cropping())
    other = people.own(people.videos.uploaded())
    catalog = people.catalog

    async def listen() -> None:
        stream = _stream(parts, session_of(parts, people.owner), None, video.video_id)
        await next_events(stream, 1)
        catalog.rename_video(other.video_id, "of no interest")
        assert not catalog.announce_captions(video.video_id, "boundaries", "another run")
        assert not catalog.announce_captions(video.video_id, "text", "crop-run")
        assert not catalog.announce_captions(NOBODY, "boundaries", "crop-run")
        assert catalog.announce_captions(video.video_id, "boundaries", "crop-run")
        ((event_id, kind, payload),) = await next_events(stream, 1)
        assert (kind, payload) == (
            "captions",
            {"video_id": video.video_id, "version": 0, "partial": True},
        )
        assert event_id
        await stream.aclose()

    asyncio.run(listen())


@pytest.mark.parametrize("lost", ["purged", "of another database", "of the future"])
def test_a_client_whose_events_are_lost_reads_everything_again(parts, people, database, lost):
    video = people.own(people.videos.uploaded())
    catalog, start = people.catalog, people.catalog.events_cursor()
    catalog.rename_video(video.video_id, "a")
    (last,) = (row.event_id for row in catalog.events_after(start))
    if lost == "purged":
        database.execute("update captionacc.events set occurred_at = now() - interval '2 days'")
        assert catalog.purge_events(86400) > 0
    elif lost == "of another database":
        last = f"{last}0"
    else:
        last = "999999999999-1"

    async def listen() -> None:
        stream = _stream(parts, session_of(parts, people.owner), last)
        heard = await next_events(stream, 2)
        assert [kind for _, kind, _ in heard] == ["ready", "reset"]
        # It goes on from an id of now.
        assert {event_id for event_id, _, _ in heard} == {heard[1][2]["after"]} != {last}
        catalog.rename_video(video.video_id, "b")
        ((_, kind, payload),) = await next_events(stream, 1)
        assert (kind, payload["name"]) == ("video", "b")
        await stream.aclose()

    asyncio.run(listen())


def test_an_id_is_good_while_no_later_event_is_lost(people, database):
    video, catalog = people.videos.uploaded(), people.catalog
    before = catalog.events_cursor()
    for name in ("a", "b"):
        catalog.rename_video(video.video_id, name)
    purged, kept = (row.event_id for row in catalog.events_after(before))
    assert [catalog.events_cursor(known) for known in (before, purged, kept)] == [before, purged, kept]
    database.execute(
        "update captionacc.events set occurred_at = now() - interval '2 days'"
        " where transaction_id <= %s::text::xid8",
        [purged.partition("-")[0]],
    )
    catalog.purge_events(86400)
    assert catalog.events_cursor(kept) == kept
    assert all(catalog.events_cursor(known) not in (known, kept) for known in (before, purged))


def test_a_caller_has_a_limited_number_of_streams(operator, monkeypatch):
    class Ended:
        def __init__(self, *_):
            pass

        async def pieces(self):
            yield f": {events._streams.open['operator']} open\n\n"

    monkeypatch.setattr(events, "_Reader", Ended)
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    # A stream counts from the request to the end of its answer.
    assert ": 1 open" in operator.get("/events").text
    monkeypatch.setitem(events._streams.open, "operator", 1)
    assert operator.get("/events").json()["reason"] == "too_many_streams"
    monkeypatch.setitem(events._streams.open, "operator", 0)
    assert operator.get("/events").status_code == 200


def test_progress_and_locks_are_known_from_the_beginning(parts, people):
    video = people.own(people.videos.uploaded())
    people.catalog.begin_stage(video.video_id, "layout", "run-1")
    people.catalog.report_progress(video.video_id, "layout", "run-1", 10, "download", 0, 0)
    people.catalog.take_lock(video.video_id, "layout", "run-1", 60)

    async def listen() -> list:
        stream = _stream(parts, session_of(parts, people.owner), None)
        heard = await next_events(stream, 3)
        await stream.aclose()
        return heard

    heard = asyncio.run(listen())
    assert [kind for _, kind, _ in heard] == ["ready", "lock", "progress"]


@pytest.mark.parametrize(
    ("user", "letters"), [(MEMBER, "M"), (OWNER, "MC"), (STRANGER, "SD"), (None, "MCSD")]
)
def test_a_tenant_hears_only_its_own(parts, world, user, letters):
    for video in world.videos.values():
        world.catalog.begin_stage(video.video_id, "text", "run")
    start, session = world.catalog.events_cursor(), session_of(parts, user)
    running = session.catalog.events_after(start, progress_since=world.videos["M"].created_at)
    for letter, video in world.videos.items():
        world.catalog.rename_video(video.video_id, f"now {letter}")
        token = world.catalog.take_lock(video.video_id, "layout", letter, 60)
        world.catalog.bump_database_version(token)
    rows = session.catalog.events_after(start)
    seen = {row.payload["name"][-1] for row in rows if row.kind == "video"}
    by_letter = {video.video_id: letter for letter, video in world.videos.items()}
    assert seen == set(letters)
    assert {by_letter[row.video_id] for row in rows} == set(letters)
    assert {row.kind for row in rows} == {"video", "lock", "layout"}
    progress = {by_letter[row.video_id] for row in running if row.kind == "progress"}
    assert progress == set(letters)
    assert {by_letter[lock.video_id] for lock in session.catalog.held_locks()} == set(letters)


def test_an_event_of_a_transaction_that_ends_late_is_not_passed(parts, people, database, postgres_dsn):
    import psycopg

    videos = [people.own(people.videos.uploaded()) for _ in range(2)]
    start = people.catalog.events_cursor()
    with psycopg.connect(postgres_dsn) as late:
        late.execute("update captionacc.videos set display_path = 'late' where id = %s", [videos[0].video_id])
        people.catalog.rename_video(videos[1].video_id, "early")
        assert people.catalog.events_after(start) == []
    names = [row.payload["name"] for row in people.catalog.events_after(start)]
    assert names == ["late", "early"]


def test_a_report_that_was_written_after_its_run_is_not_heard(people, database):
    catalog, video = people.catalog, people.videos.uploaded()
    catalog.begin_stage(video.video_id, "layout", "run-1")
    assert catalog.report_progress(video.video_id, "layout", "run-1", 50, "m", 1, 2)
    start = catalog.events_cursor()
    assert [row.kind for row in catalog.events_after(start, progress_since=video.created_at)] == ["progress"]
    database.execute("update captionacc.stage_progress set run_id = 'run-0'")
    assert catalog.events_after(start, progress_since=video.created_at) == []


def test_what_is_no_event_is_refused(operator, as_user, people):
    for client in (operator, as_user(people.owner)):
        assert client.get("/events", headers={"last-event-id": "x"}).status_code == 422
        assert client.get("/events?after=1").status_code == 422


def test_a_run_that_does_not_own_the_stage_reports_nothing(people):
    catalog, video_id = people.catalog, people.videos.uploaded().video_id
    catalog.begin_stage(video_id, "layout", "run-1")
    assert not catalog.report_progress(video_id, "layout", "run-2", 50, "m", 1, 2)
    assert catalog.report_progress(video_id, "layout", "run-1", 50, "m", 1, 2)
    # At most one a second.
    assert not catalog.report_progress(video_id, "layout", "run-1", 51, "m", 1, 2)
    assert not catalog.report_progress(NOBODY, "layout", "run-1", 51, "m", 1, 2)


def test_announcements_name_the_tenant(people, postgres_dsn):
    heard = Announcements(postgres_dsn, "captionacc")
    heard.begin()
    try:
        assert heard._listener.listening.wait(10)
        before = heard.count(TENANT), heard.count("other")
        people.videos.uploaded()

        async def wait() -> None:
            async with asyncio.timeout(20):
                while heard.count(TENANT) == before[0]:
                    await asyncio.sleep(0.02)

        asyncio.run(wait())
        assert heard.count("other") == before[1] and heard.count(None) > 0
    finally:
        heard.end()
    assert not heard.is_listening
