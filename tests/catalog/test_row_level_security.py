"""Contract: who sees and changes what, tried for every table, role and kind of statement, none left out."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.postgres_catalog import PostgresCatalog
from modal_gpu.contracts import CropRegion
from tests.catalog.conftest import Videos
from tests.postgrest.server import PostgrestServer, make_key

TENANT, OTHER_TENANT = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
MEMBER, OTHER_MEMBER, OWNER, STRANGER, ADMIN, PENDING = (str(uuid.UUID(int=n)) for n in range(1, 7))
BACKFILL = "44444444-4444-4444-8444-444444444444"
STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)

#: Who asks: the role of the request and the user in its token.
ASKERS = {
    "anon": ("anon", None),
    "member": ("authenticated", MEMBER),
    "other tenant's member": ("authenticated", STRANGER),
    "owner": ("authenticated", OWNER),
    "admin": ("authenticated", ADMIN),
    "pending": ("authenticated", PENDING),
    "service": ("service_role", None),
}
STATEMENTS = ("select", "insert", "update", "delete")

# What each asker sees: the rows' owners. M: the member's video and what hangs on it; C: a colleague's;
# S: the stranger's, in the other tenant; D: a demo video of the other tenant. "-": refused outright.
_VIDEOS = {
    "anon": "D",
    "member": "MD",
    "other tenant's member": "SD",
    "owner": "MCD",
    "admin": "MCSD",
    "pending": "D",
    "service": "MCSD",
}
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
    "videos": _VIDEOS,
    "cropped_frames_versions": _VIDEOS,
    "video_database_state": _PRIVATE,
    "caption_frame_extents_inference_runs": _PRIVATE,
    "caption_frame_extents_inference_rejections": _PRIVATE,
    "caption_ocr_requests": _PRIVATE,
    "run_cancellations": _PRIVATE,
    "compute_calls": _PRIVATE,
    "usage_metrics": _OWNERS_ONLY,
    "cost_reservations": _OWNERS_ONLY,
    "stage_outcomes": _OWNERS_ONLY,
    "security_audit_log": _OWNERS_ONLY,
    # One that asks for all four videos.
    "backfills": {asker: seen and seen.replace("MCSD", "b") for asker, seen in _ADMINS_ONLY.items()},
    "backfill_videos": _ADMINS_ONLY,
}
#: Nobody but the service writes, and the log only grows.
WRITERS = {table: {"insert", "update", "delete"} for table in VISIBLE} | {"security_audit_log": {"insert"}}


class World:
    """Two tenants, their people, and for four videos one row in every table that hangs on videos."""

    def __init__(self, catalog: PostgresCatalog, videos: Videos, database: psycopg.Connection) -> None:
        self.catalog, self.database = catalog, database
        for tenant in (TENANT, OTHER_TENANT):
            catalog.ensure_tenant(tenant, f"tenant {tenant[0]}")
        people = [
            (MEMBER, TENANT, "member", "approved", False),
            (OTHER_MEMBER, TENANT, "member", "approved", False),
            (OWNER, TENANT, "owner", "approved", False),
            (STRANGER, OTHER_TENANT, "member", "approved", False),
            (PENDING, TENANT, "owner", "pending", False),
            (ADMIN, OTHER_TENANT, "member", "approved", True),
        ]
        for user, tenant, role, status, admin in people:
            catalog.set_user_profile(user, tenant, role=role, approval_status=status, is_platform_admin=admin)
        # The rows of the fixtures, and of the profiles above, are not part of the picture.
        database.execute(
            "delete from captionacc.tenants where id <> all (%s::uuid[])", [[TENANT, OTHER_TENANT]]
        )
        database.execute("truncate captionacc.security_audit_log")
        self.videos: dict[str, VideoRow] = {}
        for letter, user, tenant in (
            ("M", MEMBER, TENANT),
            ("C", OTHER_MEMBER, TENANT),
            ("S", STRANGER, OTHER_TENANT),
            ("D", STRANGER, OTHER_TENANT),
        ):
            videos.tenant = catalog.get_tenant(tenant)
            video = videos.with_captions()
            database.execute(
                "update captionacc.videos set uploaded_by_user_id = %s, is_demo = %s where id = %s",
                [user, letter == "D", video.video_id],
            )
            self.videos[letter] = video
            self._surround(video)
        assert catalog.request_backfill(BACKFILL, "net-2", {}, "ann", dry_run=False).chosen == 4

    def _surround(self, video: VideoRow) -> None:
        catalog, video_id, tenant = self.catalog, video.video_id, video.tenant_id
        catalog.take_lock(video_id, "captions", "run", 60)
        catalog.record_inference_run(
            video_id,
            1,
            "run",
            model_version="net",
            storage_key=f"{tenant}/k",
            total_pairs=1,
            processing_time_seconds=1,
            started_at=video.created_at,
            completed_at=video.updated_at,
        )
        catalog.record_rejection(tenant, "queue_full", "why", video_id=video_id)
        catalog.request_caption_ocr(video_id, [1])
        catalog.record_usage(tenant, "processing_minutes", 1, video_id=video_id)
        catalog.reserve_cost(video_id, "run", "f", 0.01)
        arguments = [tenant, video_id]
        for statement in (
            "insert into captionacc.run_cancellations (run_id, tenant_id, video_id, stage, requested_by)"
            " values (gen_random_uuid(), %s, %s, 'text', 'ann')",
            "insert into captionacc.compute_calls"
            " (tenant_id, video_id, run_id, function_name, backend, request_hash)"
            " values (%s, %s, 'run', 'f', 'local', 'h')",
            "insert into captionacc.security_audit_log (role, tenant_id, video_id, action, outcome)"
            " values ('authenticated', %s, %s, 'retry', 'allowed')",
        ):
            self.database.execute(statement, arguments)

    def letters(self, table: str) -> dict[str, str]:
        """What stands for which row, by the text of the column that tells them apart."""
        if table == "access_tiers":
            return {tier: f"{tier}," for tier in ("free", "premium", "enterprise")}
        if table == "backfills":
            return {BACKFILL: "b"}
        if table == "tenants":
            return {TENANT: "1", OTHER_TENANT: "2"}
        if table == "user_profiles":
            return dict(zip((MEMBER, OTHER_MEMBER, OWNER, STRANGER, PENDING, ADMIN), "mcospa", strict=True))
        return {video.video_id: letter for letter, video in self.videos.items()}

    @staticmethod
    def telling_column(table: str) -> str:
        own = {"access_tiers": "id", "tenants": "id", "videos": "id", "user_profiles": "user_id"}
        return (own | {"backfills": "id"}).get(table, "video_id")

    def attempt(self, table: str, asker: str, statement: str) -> str:
        """What comes of it: the rows seen or changed, "-" when it is refused. Nothing of it stays."""
        role, user = ASKERS[asker]
        column, name = sql.Identifier(self.telling_column(table)), sql.Identifier("captionacc", table)
        queries = {
            "select": sql.SQL("select {0}::text from {1}").format(column, name),
            # Their own row with the same values, so that only the right to write is in question.
            "insert": sql.SQL(
                "insert into {0} overriding system value"
                " select * from jsonb_populate_record(null::{0}, %s) returning 'any'"
            ).format(name),
            "update": sql.SQL("update {1} set {0} = {0} returning {0}::text").format(column, name),
            "delete": sql.SQL("delete from {1} returning {0}::text").format(column, name),
        }
        parameters = [json.dumps(self._fresh_row(table))] if statement == "insert" else None
        with self.database.transaction(force_rollback=True):
            # Foreign keys and triggers have no say in who may do what.
            self.database.execute("set local session_replication_role = replica")
            self.database.execute(
                "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
                [json.dumps({"sub": user, "role": role} if user else {"role": role}), role],
            )
            try:
                with self.database.transaction():
                    rows = [text for (text,) in self.database.execute(queries[statement], parameters)]
            except psycopg.errors.InsufficientPrivilege:
                return "-"
        if statement == "insert":
            return "inserted"
        letters = self.letters(table)
        return "".join(sorted({letters[row] for row in rows}, key=list(letters.values()).index))

    def _fresh_row(self, table: str) -> dict:
        query = sql.SQL("select to_jsonb(t) from {} t limit 1").format(sql.Identifier("captionacc", table))
        (row,) = self.database.execute(query).fetchone()
        new = str(uuid.uuid4())
        row |= {
            "videos": {"id": new, "storage_key": f"{TENANT}/{new}", "tenant_id": TENANT},
            "access_tiers": {"id": "new"},
            "tenants": {"id": new},
            "user_profiles": {"user_id": new},
            "cropped_frames_versions": {
                "version": 99,
                "status": "archived",
                "archived_at": row.get("created_at"),
            },
            "video_database_state": {"database_name": "layout", "lock_token": new},
            "run_cancellations": {"run_id": new},
            "compute_calls": {"id": new, "request_hash": new},
            "usage_metrics": {"id": 10**9},
            "cost_reservations": {"function_name": new},
            "stage_outcomes": {"id": 10**9},
            "security_audit_log": {"id": 10**9},
            "backfill_videos": {"backfill_id": new, "status": "done", "finished_at": "2026-01-01"},
            "caption_frame_extents_inference_runs": {"id": new, "model_version": new},
        }.get(table, {"id": new})
        return row


@pytest.fixture
def catalog(postgres_catalog: PostgresCatalog) -> PostgresCatalog:
    return postgres_catalog


@pytest.fixture
def world(catalog: PostgresCatalog, videos: Videos, database: psycopg.Connection) -> Iterator[World]:
    yield World(catalog, videos, database)


def expectation(table: str, asker: str, statement: str) -> str:
    visible = VISIBLE[table][asker].replace("free,premium,enterprise", "free,premium,enterprise,")
    if statement == "select":
        return visible
    if asker == "service" and statement in WRITERS[table]:
        return "inserted" if statement == "insert" else visible
    return "-"


def test_every_table_is_in_the_matrix(database):
    tables = database.execute(
        "select relname from pg_class where relnamespace = 'captionacc'::regnamespace and relkind = 'r'"
    )
    assert {name for (name,) in tables} == set(VISIBLE)


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


def test_a_lock_token_is_not_for_people(world):
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


@pytest.fixture
def act(postgrest: PostgrestServer) -> Iterator[Callable[..., httpx.Response]]:
    """Calls an action with a user's token, as supabase-js does."""
    with httpx.Client(base_url=f"{postgrest.url}/rest/v1", timeout=30) as client:

        def call(user: str | None, action: str, **arguments) -> httpx.Response:
            token = make_key("authenticated", user) if user else make_key("anon")
            headers = {
                "apikey": make_key("anon"),
                "authorization": f"Bearer {token}",
                "content-profile": "captionacc",
            }
            named = {f"p_{name}": value for name, value in arguments.items()}
            return client.post(f"/rpc/app_{action}", json=named, headers=headers)

        yield call


def audited(world: World) -> list[tuple]:
    return world.database.execute(
        "select user_id::text, action, outcome, reason, video_id::text, target_tenant_id::text"
        " from captionacc.security_audit_log where user_id is not null order by id"
    ).fetchall()


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
    assert [(row[0], row[1], row[2]) for row in audited(world)] == [
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
    assert audited(world) == [(user, action, "refused", reason, video_id, TENANT)]


@pytest.mark.parametrize("action", ACTIONS)
def test_strangers_without_an_account_have_no_actions(world, act, action):
    video_id, arguments = prepared(world, "D", action)
    answer = act(None, action, video_id=video_id, **arguments)
    assert (answer.status_code, answer.json()["code"]) == (401, "42501")


def test_whether_a_video_is_there_is_not_told(world, act):
    unknown = str(uuid.uuid4())
    there = act(STRANGER, "retry", video_id=world.videos["M"].video_id, stage="text").json()["message"]
    not_there = act(STRANGER, "retry", video_id=unknown, stage="text").json()["message"]
    assert there.replace(world.videos["M"].video_id, unknown) == not_there
    assert [row[3] for row in audited(world)] == ["other_tenant", "unknown_video"]


def test_an_approval_takes_the_region_and_the_wish_not_to_wait_ahead(world, act):
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
    assert [row[2:4] for row in audited(world)] == [("refused", "refused_by_state")]


def test_a_rejection_is_acknowledged_by_its_user_and_by_no_stranger(world, act):
    for rejection in world.catalog.list_rejections(TENANT):
        if rejection.video_id != world.videos["M"].video_id:
            continue
        for user in (STRANGER, OTHER_MEMBER, PENDING):
            assert act(user, "acknowledge_rejection", rejection_id=rejection.id).status_code == 403
        answer = act(MEMBER, "acknowledge_rejection", rejection_id=rejection.id).json()
        assert answer["rejection"]["acknowledged_by"] == MEMBER
    assert [row[3] for row in audited(world)] == ["other_tenant", "other_member", "not_approved", ""]


def test_a_table_read_over_http_shows_what_the_policies_allow(world, postgrest):
    def seen(key: str, columns: str) -> set[str]:
        answer = httpx.get(
            f"{postgrest.url}/rest/v1/videos",
            params={"select": columns},
            headers={"apikey": make_key("anon"), "authorization": f"Bearer {key}"},
        )
        return {row["id"] for row in answer.json()} if answer.is_success else {answer.json()["code"]}

    ids = {letter: video.video_id for letter, video in world.videos.items()}
    assert seen(make_key("authenticated", MEMBER), "*") == {ids["M"], ids["D"]}
    assert seen(make_key("authenticated", OWNER), "*") == {ids["M"], ids["C"], ids["D"]}
    assert seen(make_key("anon"), "id,display_path") == {ids["D"]}
    assert seen(make_key("anon"), "id,uploaded_by_user_id") == {"42501"}
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
