"""Contract: what one user can make grow has a bound."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from modal_gpu.keys import VideoKeys
from tests.full_catalog import FullCatalog
from tests.resources.catalog.world import MEMBER, PENDING, STRANGER, World

REPOSITORY = Path(__file__).resolve().parents[3]
NOBODY = str(uuid.UUID(int=99))
#: An hour's refusals, a day's, and an hour's actions of one user that are on record.
REFUSED_AN_HOUR, REFUSED_A_DAY, ALLOWED_AN_HOUR = 60, 300, 600
QUEUED_REQUESTS = 100

#: Each action with its arguments, in the API's form; None stands for the member's video.
CALLS = {
    "approve_layout": {"video_id": None},
    "request_caption_ocr": {"video_id": None},
    "complete_review": {"video_id": None, "stage": "boundaries"},
    "retry": {"video_id": None, "stage": "text"},
    "cancel": {"video_id": None, "stage": "text"},
    "acknowledge_rejection": {"rejection_id": str(uuid.UUID(int=7))},
    "confirm_upload": {"video_id": None, "size_bytes": 1},
    "set_age_boosting": {"video_id": None, "disabled": True},
    "rename_video": {"video_id": None, "name": "a.mp4"},
    "delete_video": {"video_id": None},
    "create_job": {"video_id": None, "type": "caption_text"},
    "cancel_job": {"job_id": str(uuid.UUID(int=7))},
    "finish_export": {"job_id": str(uuid.UUID(int=7)), "result": {}},
    "take_lock": {"video_id": None, "database_name": "layout", "owner": "x", "lease_seconds": 5},
}
#: Actions that concern no video of others: an upload into the user's own tenant, and a lock that is held.
OWN = {"register_upload", "renew_lock", "release_lock", "bump_database_version", "record_caption_count"}
#: Everything that people can make grow, and that docs/reference/catalogue.md therefore bounds.
GROWING = {
    "security_audit_log",
    "caption_ocr_requests",
    "run_cancellations",
    "stage_outcomes",
    "videos",
    "jobs",
    "video_database_state",
    "events",
}


@pytest.fixture
def catalog(postgres_catalog: FullCatalog) -> FullCatalog:
    return postgres_catalog


def record(database: psycopg.Connection, user: str, outcome: str, count: int, minutes_ago: int = 5) -> None:
    """Calls of a user, as if they had been made then."""
    database.execute(
        "insert into captionacc.security_audit_log (user_id, role, action, outcome, occurred_at)"
        " select %s, 'authenticated', 'retry', %s, clock_timestamp() - make_interval(mins => %s)"
        " from generate_series(1, %s)",
        [user, outcome, minutes_ago, count],
    )


def on_record(database: psycopg.Connection, user: str) -> int:
    query = "select count(*) from captionacc.security_audit_log where user_id = %s"
    return database.execute(query, [user]).fetchone()[0]


def arguments(world: World, action: str) -> dict:
    return {
        name: world.videos["M"].video_id if value is None else value for name, value in CALLS[action].items()
    }


@pytest.mark.parametrize(
    "user", [NOBODY, PENDING, STRANGER], ids=["without a profile", "pending", "stranger"]
)
@pytest.mark.parametrize("action", list(CALLS))
def test_refusals_of_a_user_beyond_the_hours_limit_are_not_recorded(world, act, database, action, user):
    record(database, user, "refused", REFUSED_AN_HOUR - 1)
    answers = [act(user, action, **arguments(world, action)) for _ in range(3)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (403, "CA011"),
        (429, "CA013"),
        (429, "CA013"),
    ]
    assert on_record(database, user) == REFUSED_AN_HOUR
    # The last row says that more may have come.
    last = "select details from captionacc.security_audit_log where user_id = %s order by id desc limit 1"
    assert "further_refusals" in database.execute(last, [user]).fetchone()[0]


def test_the_limit_is_a_users_own_and_ends_with_its_hour_or_day(world, act, database):
    call = arguments(world, "retry")
    record(database, NOBODY, "refused", REFUSED_AN_HOUR, minutes_ago=61)
    assert act(NOBODY, "retry", **call).status_code == 403
    record(database, NOBODY, "refused", REFUSED_AN_HOUR)
    assert act(NOBODY, "retry", **call).status_code == 429
    assert act(PENDING, "retry", **call).status_code == 403
    record(database, PENDING, "refused", REFUSED_A_DAY - 1, minutes_ago=23 * 60)
    assert act(PENDING, "retry", **call).status_code == 429
    record(database, STRANGER, "refused", REFUSED_A_DAY, minutes_ago=25 * 60)
    assert act(STRANGER, "retry", **call).status_code == 403


def test_many_calls_at_once_do_not_pass_the_limit_together(world, act, database):
    record(database, NOBODY, "refused", REFUSED_AN_HOUR - 5)
    call = arguments(world, "retry")
    with ThreadPoolExecutor(12) as threads:
        codes = [
            answer.status_code for answer in threads.map(lambda _: act(NOBODY, "retry", **call), range(24))
        ]
    assert sorted(codes) == [403] * 5 + [429] * 19
    assert on_record(database, NOBODY) == REFUSED_AN_HOUR


def test_actions_beyond_the_hours_limit_change_nothing(world, act, database):
    record(database, MEMBER, "refused", REFUSED_AN_HOUR)
    record(database, MEMBER, "allowed", ALLOWED_AN_HOUR - 1)
    call = arguments(world, "complete_review")
    assert act(MEMBER, "complete_review", **call).status_code == 200
    before = world.catalog.get_video(world.videos["M"].video_id)
    answer = act(MEMBER, "request_caption_ocr", **arguments(world, "request_caption_ocr"))
    assert (answer.status_code, answer.json()["code"]) == (429, "CA013")
    assert world.catalog.get_video(world.videos["M"].video_id) == before
    assert on_record(database, MEMBER) == REFUSED_AN_HOUR + ALLOWED_AN_HOUR


def test_only_so_many_requests_of_a_user_may_wait(world, act, database):
    video = world.catalog.get_video(world.videos["M"].video_id)
    database.execute(
        "insert into captionacc.caption_ocr_requests"
        " (tenant_id, video_id, cropped_frames_version, caption_ids, requested_by)"
        " select %s, %s, 1, array[n], %s from generate_series(1000, %s) n",
        [video.tenant_id, video.video_id, MEMBER, 1000 + QUEUED_REQUESTS - 2],
    )
    call = {"video_id": video.video_id}
    assert act(MEMBER, "request_caption_ocr", **call, caption_ids=[5]).status_code == 200
    answer = act(MEMBER, "request_caption_ocr", **call, caption_ids=[6])
    assert (answer.status_code, answer.json()["code"]) == (429, "CA013")
    assert act(MEMBER, "complete_review", **call, stage="boundaries").status_code == 200


def test_a_row_of_the_log_does_not_grow_with_the_call(world, act, database):
    ids = list(range(1, 10_001))
    assert act(MEMBER, "request_caption_ocr", video_id=world.videos["M"].video_id, caption_ids=ids).is_success
    ids = list(range(1, 100_000))
    assert act(MEMBER, "request_caption_ocr", video_id=world.videos["M"].video_id, caption_ids=ids).is_error
    act(MEMBER, "complete_review", video_id=world.videos["M"].video_id, stage="x" * 100_000)
    sizes = "select max(octet_length(to_jsonb(l)::text)) from captionacc.security_audit_log l"
    assert database.execute(sizes).fetchone()[0] < 5000


def test_what_people_can_make_grow_is_what_the_documentation_bounds(world, act, database):
    """Every action that people have, on a video in a state in which it is possible."""

    def sizes() -> dict[str, int]:
        names = (
            "select relname from pg_class where relnamespace = 'captionacc'::regnamespace and relkind = 'r'"
        )
        return {
            name: database.execute(f"select count(*) from captionacc.{name}").fetchone()[0]
            for (name,) in database.execute(names).fetchall()
        }

    actions = database.execute(
        "select proname from pg_proc where pronamespace = 'captionacc'::regnamespace"
        " and proname like 'app\\_%' and has_function_privilege('authenticated', oid, 'execute')"
    )
    assert {name.removeprefix("app_") for (name,) in actions} == CALLS.keys() | OWN
    video_id = world.videos["M"].video_id
    (rejection,) = [
        r for r in world.catalog.list_rejections(world.videos["M"].tenant_id) if r.video_id == video_id
    ]
    world.catalog.begin_stage(video_id, "text", "run")
    before = sizes()
    for action, more in (
        ("cancel", {"stage": "text"}),
        ("retry", {"stage": "text"}),
        ("request_caption_ocr", {"caption_ids": [5, 6]}),
        ("complete_review", {"stage": "boundaries"}),
        ("approve_layout", {"crop_region": None}),
        ("set_age_boosting", {"disabled": True}),
        ("rename_video", {"name": "a.mp4"}),
        ("create_job", {"type": "caption_text"}),
        ("take_lock", {"database_name": "layout", "owner": "x", "lease_seconds": 5}),
        ("delete_video", {}),
    ):
        answer = act(MEMBER, action, video_id=video_id, **more)
        assert answer.status_code == 200, answer.text
    assert act(MEMBER, "acknowledge_rejection", rejection_id=rejection.id).status_code == 200
    keys = VideoKeys(world.videos["M"].tenant_id, NOBODY)
    upload = {"storage_key": keys.video, "size_bytes": 1, "display_path": "a.mp4"}
    assert act(MEMBER, "register_upload", video_id=NOBODY, **upload).status_code == 200
    after = sizes()
    assert {name for name, count in after.items() if count > before[name]} == GROWING
    page = (REPOSITORY / "docs" / "reference" / "catalogue.md").read_text(encoding="utf-8")
    bounds = page.split("## Limits of growth")[1].split("\n## ")[0]
    assert all(f"`{name}`" in bounds for name in GROWING)
