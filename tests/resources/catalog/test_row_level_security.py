"""Contract: who sees and changes what, tried for every table, role and kind of statement, none left out."""

import itertools
import json
import uuid

import httpx
import psycopg
import pytest

from tests.full_catalog import FullCatalog
from tests.postgrest.server import make_key
from tests.resources.catalog.world import (
    ADMIN,
    ASKERS,
    MEMBER,
    OTHER_MEMBER,
    OWNER,
    PENDING,
    STRANGER,
    TENANT,
    World,
)

STATEMENTS = ("select", "insert", "update", "delete")

# What each asker sees: the rows' owners. M: the member's video and its dependents; C: a colleague's;
# S: the stranger's, in the other tenant; D: a demo video of the other tenant. "-": refused outright.
_PRIVATE = {
    "anon": "-",
    "member": "M",
    # The demo video is the stranger's.
    "other tenant's member": "SD",
    "owner": "MC",
    "admin": "MCSD",
    "pending": "",
    "service": "MCSD",
}
_OWNERS_ONLY = _PRIVATE | {"member": "", "other tenant's member": ""}
_ADMINS_ONLY = _OWNERS_ONLY | {"owner": ""}
#: Tables without videos: 1 and 2 are the tenants; of profiles, the users.
_TENANTS = {
    "anon": "-",
    "member": "1",
    "other tenant's member": "2",
    "owner": "1",
    "admin": "12",
    "pending": "",
    "service": "12",
}
VISIBLE = {
    "access_tiers": {asker: "-" if asker == "anon" else "free,premium,enterprise" for asker in ASKERS},
    "tenants": _TENANTS,
    "user_profiles": {
        "anon": "-",
        "member": "m",
        "other tenant's member": "s",
        "owner": "mcop",
        "admin": "mcospa",
        "pending": "p",
        "service": "mcospa",
    },
    "videos": _PRIVATE,
    "cropped_frames_versions": _PRIVATE,
    "video_database_state": _PRIVATE,
    "caption_frame_extents_inference_runs": _PRIVATE,
    "caption_frame_extents_inference_rejections": _PRIVATE,
    "caption_ocr_requests": _PRIVATE,
    "run_cancellations": _PRIVATE,
    "compute_calls": _PRIVATE,
    "jobs": _PRIVATE,
    "events": _PRIVATE,
    "stage_progress": _PRIVATE,
    "usage_metrics": _OWNERS_ONLY,
    "cost_reservations": _OWNERS_ONLY,
    "stage_outcomes": _OWNERS_ONLY,
    "security_audit_log": _OWNERS_ONLY,
    # One request for all four videos.
    "backfills": {asker: seen and seen.replace("MCSD", "b") for asker, seen in _ADMINS_ONLY.items()},
    "backfill_videos": _ADMINS_ONLY,
    "adoptions": _ADMINS_ONLY,
}
#: Only the service writes, and the log is append-only.
WRITERS = {table: {"insert", "update", "delete"} for table in VISIBLE} | {"security_audit_log": {"insert"}}


@pytest.fixture
def catalog(postgres_catalog: FullCatalog) -> FullCatalog:
    return postgres_catalog


def expectation(table: str, asker: str, statement: str) -> str:
    visible = VISIBLE[table][asker].replace("free,premium,enterprise", "free,premium,enterprise,")
    if statement == "select":
        return visible
    if asker == "service" and statement in WRITERS[table]:
        return "inserted" if statement == "insert" else visible
    return "-"


def test_every_table_is_in_the_matrix(database):
    relations = database.execute(
        "select relname from pg_class where relnamespace = 'captionacc'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm', 'f')"
    )
    # The views are of test_demo_videos.py.
    views = {"demo_videos", "demo_cropped_frames_versions"}
    assert {name for (name,) in relations} == set(VISIBLE) | views


def test_the_matrix_of_tables_askers_and_statements(world):
    """Prints what came of each, and what was expected where that differs; ``-rP`` shows it."""
    wrong, lines = [], [f"{'table':44}{'asker':24}" + "".join(f"{s:28}" for s in STATEMENTS)]
    for table, asker in itertools.product(VISIBLE, ASKERS):
        cells = []
        for statement in STATEMENTS:
            expected, actual = expectation(table, asker, statement), world.attempt(table, asker, statement)
            cells.append(f"{actual or '(no row)'}")
            if actual != expected:
                wrong.append((table, asker, statement, "expected", expected, "actual", actual))
                cells[-1] += f" ≠ {expected or '(no row)'}"
        lines.append(f"{table:44}{asker:24}" + "".join(f"{cell:28}" for cell in cells))
    print("\n".join(lines))  # noqa: T201
    assert wrong == []


def test_policies_alone_keep_people_from_writing(world):
    """Supabase's guide to own schemas grants everything on all tables to everybody."""
    with world.database.transaction(force_rollback=True):
        world.database.execute("grant all on all tables in schema captionacc to anon, authenticated")
        for table, asker in itertools.product(VISIBLE, ASKERS):
            if asker != "service":
                attempts = [world.attempt(table, asker, statement) for statement in STATEMENTS[1:]]
                assert attempts == ["-", "", ""], (table, asker)


def test_a_lock_token_is_hidden_from_people(world):
    world.database.execute(
        "select set_config('request.jwt.claims', %s, false)", [json.dumps({"sub": MEMBER})]
    )
    world.database.execute("set role authenticated")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        world.database.execute("select lock_token from captionacc.video_database_state")
    owners = world.database.execute("select lock_owner from captionacc.video_database_state").fetchall()
    assert owners == [("run",)]


# ---------------------------------------------------------------------------------------------
# The web app's actions, over HTTP as the web app calls them


def prepared(world: World, letter: str, action: str) -> tuple[str, dict]:
    """A video in a state in which the action is possible, and the action's arguments."""
    video_id = world.videos[letter].video_id
    if action == "retry":
        world.catalog.begin_stage(video_id, "text", "run")
        world.catalog.fail_stage(video_id, "text", "run", "broken")
    arguments = {
        "approve_layout": {
            "crop_region": {"crop_left": 0, "crop_top": 0.5, "crop_right": 1, "crop_bottom": 1}
        },
        "request_caption_ocr": {"caption_ids": [7, 8]},
        "complete_review": {"stage": "boundaries"},
        "retry": {"stage": "text"},
        "cancel": {"stage": "text"},
    }[action]
    return video_id, arguments


ACTIONS = ("approve_layout", "request_caption_ocr", "complete_review", "retry", "cancel")


@pytest.mark.parametrize("action", ACTIONS)
def test_members_owners_and_admins_act_on_what_is_theirs(world, act, action):
    for user, letter in ((MEMBER, "M"), (OWNER, "C"), (ADMIN, "S")):
        video_id, arguments = prepared(world, letter, action)
        answer = act(user, action, video_id=video_id, **arguments)
        assert (answer.status_code, answer.json()["ok"]) == (200, True), answer.text
        assert answer.json()["video"]["id"] == video_id
    assert [(row[0], row[1], row[2]) for row in world.audited()] == [
        (user, action, "allowed") for user in (MEMBER, OWNER, ADMIN)
    ]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("user", "reason"),
    [(STRANGER, "other_tenant"), (OTHER_MEMBER, "other_member"), (PENDING, "not_approved")],
)
def test_an_action_on_what_is_not_theirs_is_refused_changes_nothing_and_is_audited(
    world, act, action, user, reason
):
    video_id, arguments = prepared(world, "M", action)
    before = world.catalog.get_video(video_id)
    answer = act(user, action, video_id=video_id, **arguments)
    assert (answer.status_code, answer.json()["code"]) == (403, "CA011")
    assert world.catalog.get_video(video_id) == before
    assert world.audited() == [(user, action, "refused", reason, video_id, TENANT)]


@pytest.mark.parametrize("action", ACTIONS)
def test_strangers_without_an_account_have_no_actions(world, act, action):
    video_id, arguments = prepared(world, "D", action)
    answer = act(None, action, video_id=video_id, **arguments)
    assert (answer.status_code, answer.json()["code"]) == (401, "42501")


def test_the_existence_of_a_video_is_not_revealed(world, act):
    unknown = str(uuid.uuid4())
    there = act(STRANGER, "retry", video_id=world.videos["M"].video_id, stage="text").json()["message"]
    not_there = act(STRANGER, "retry", video_id=unknown, stage="text").json()["message"]
    assert there.replace(world.videos["M"].video_id, unknown) == not_there
    assert [row[3] for row in world.audited()] == ["other_tenant", "unknown_video"]


def test_an_approval_accepts_the_region_before_the_layout_is_ready(world, act):
    video_id = world.videos["M"].video_id
    region = {"crop_left": 0, "crop_top": 0.5, "crop_right": 1, "crop_bottom": 1}
    answer = act(MEMBER, "approve_layout", video_id=video_id, crop_region=region, disable_age_boosting=True)
    assert answer.json()["video"]["crop_region"] == region
    video = world.catalog.get_video(video_id)
    assert (video.disable_age_boosting, video.layout_approved_by) == (True, MEMBER)
    assert [approval.disable_age_boosting for approval in world.catalog.pending_layout_approvals()] == [True]


@pytest.mark.parametrize(
    ("action", "arguments", "status", "code"),
    [
        ("approve_layout", {"crop_region": {"crop_left": 2}}, 400, "CA003"),
        ("complete_review", {"stage": "text"}, 409, "CA002"),
        ("complete_review", {"stage": "layout"}, 400, "CA010"),
        ("retry", {"stage": "text"}, 409, "CA002"),
        ("retry", {"stage": "nonsense"}, 400, "CA010"),
        ("cancel", {"stage": "layout"}, 409, "CA002"),
        ("request_caption_ocr", {"caption_ids": [0]}, 400, "CA010"),
    ],
)
def test_what_the_state_does_not_allow_is_refused_with_its_reason(
    world, act, action, arguments, status, code
):
    answer = act(MEMBER, action, video_id=world.videos["M"].video_id, **arguments)
    body = answer.json()
    assert (answer.status_code, body["code"], body["ok"]) == (status, code, False)
    assert body["message"]
    assert [row[2:4] for row in world.audited()] == [("refused", "refused_by_state")]


def test_a_rejection_is_acknowledged_by_its_user_and_by_no_stranger(world, act):
    for rejection in world.catalog.list_rejections(TENANT):
        if rejection.video_id != world.videos["M"].video_id:
            continue
        for user in (STRANGER, OTHER_MEMBER, PENDING):
            assert act(user, "acknowledge_rejection", rejection_id=rejection.id).status_code == 403
        answer = act(MEMBER, "acknowledge_rejection", rejection_id=rejection.id).json()
        assert answer["rejection"]["acknowledged_by"] == MEMBER
    assert [row[3] for row in world.audited()] == ["other_tenant", "other_member", "not_approved", ""]


def test_a_table_read_over_http_shows_what_the_policies_allow(world, postgrest):
    def seen(key: str, columns: str, table: str = "videos") -> set[str]:
        answer = httpx.get(
            f"{postgrest.url}/rest/v1/{table}",
            params={"select": columns},
            headers={"apikey": make_key("anon"), "authorization": f"Bearer {key}"},
        )
        return {row["id"] for row in answer.json()} if answer.is_success else {answer.json()["code"]}

    ids = {letter: video.video_id for letter, video in world.videos.items()}
    assert seen(make_key("authenticated", MEMBER), "*") == {ids["M"]}
    assert seen(make_key("authenticated", OWNER), "*") == {ids["M"], ids["C"]}
    assert seen(make_key("anon"), "id,display_path") == {"42501"}
    for key in (make_key("authenticated", MEMBER), make_key("anon")):
        assert seen(key, "*", "demo_videos") == {ids["D"]}
        assert seen(key, "id,tenant_id", "demo_videos") == {"42703"}
    answer = httpx.post(
        f"{postgrest.url}/rest/v1/videos",
        json={
            "id": str(uuid.uuid4()),
            "tenant_id": TENANT,
            "display_path": "x",
            "storage_key": f"{TENANT}/x",
        },
        headers={"apikey": make_key("anon"), "authorization": f"Bearer {make_key('authenticated', OWNER)}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")
