"""Two tenants, their people and their videos: who may see and change what is tried on them."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from captionacc_dagster.resources.catalog import VideoRow
from tests.full_catalog import FullCatalog

if TYPE_CHECKING:
    from tests.resources.catalog.conftest import Videos

TENANT, OTHER_TENANT = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
MEMBER, OTHER_MEMBER, OWNER, STRANGER, ADMIN, PENDING = (str(uuid.UUID(int=n)) for n in range(1, 7))
BACKFILL = "44444444-4444-4444-8444-444444444444"

#: Askers: the role of the request and the user in its token.
ASKERS = {
    "anon": ("anon", None),
    "member": ("authenticated", MEMBER),
    "other tenant's member": ("authenticated", STRANGER),
    "owner": ("authenticated", OWNER),
    "admin": ("authenticated", ADMIN),
    "pending": ("authenticated", PENDING),
    "service": ("service_role", None),
}


class World:
    """Two tenants, their people, and for four videos one row in every table that hangs on videos."""

    def __init__(self, catalog: FullCatalog, videos: "Videos", database: psycopg.Connection) -> None:
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
        catalog.create_job(video_id, "export", {})
        # One event of each video is enough to see whose it is.
        self.database.execute(
            "delete from captionacc.events e where id <> (select max(id) from captionacc.events"
            " where video_id = e.video_id)"
        )
        arguments = [tenant, video_id]
        for statement in (
            "insert into captionacc.run_cancellations (run_id, tenant_id, video_id, stage, requested_by)"
            " values (gen_random_uuid(), %s, %s, 'text', 'ann')",
            "insert into captionacc.compute_calls"
            " (tenant_id, video_id, run_id, function_name, backend, request_hash)"
            " values (%s, %s, 'run', 'f', 'local', 'h')",
            "insert into captionacc.stage_progress"
            " (tenant_id, video_id, stage, run_id, percent, message, done, total)"
            " values (%s, %s, 'text', 'run', 0, 'm', 0, 0)",
            "insert into captionacc.security_audit_log (role, tenant_id, video_id, action, outcome)"
            " values ('authenticated', %s, %s, 'retry', 'allowed')",
            "insert into captionacc.adoptions (tenant_id, video_id, fingerprint, row_updated_at)"
            " values (%s, %s, repeat('0', 64), now())",
        ):
            self.database.execute(statement, arguments)

    def letters(self, table: str) -> dict[str, str]:
        """The letter that stands for each row, by the text of the column that identifies it."""
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

    @contextmanager
    def asking(self, asker: str) -> Iterator[psycopg.Connection]:
        """Give the connection an asker's rights, as the API does, and roll everything back."""
        role, user = ASKERS[asker]
        with self.database.transaction(force_rollback=True):
            # Foreign keys and triggers have no say in who may do what.
            self.database.execute("set local session_replication_role = replica")
            self.database.execute(
                "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
                [json.dumps({"sub": user, "role": role} if user else {"role": role}), role],
            )
            yield self.database

    def attempt(self, table: str, asker: str, statement: str) -> str:
        """Return the rows seen or changed, or "-" if refused. Everything is rolled back."""
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
        with self.asking(asker):
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
            "jobs": {"id": new, "type": "layout"},
            "events": {"id": 10**9},
            "stage_progress": {"stage": "layout"},
            "usage_metrics": {"id": 10**9},
            "cost_reservations": {"function_name": new},
            "stage_outcomes": {"id": 10**9},
            "security_audit_log": {"id": 10**9},
            "adoptions": {"video_id": new},
            "backfill_videos": {"backfill_id": new, "status": "done", "finished_at": "2026-01-01"},
            "caption_frame_extents_inference_runs": {"id": new, "model_version": new},
        }.get(table, {"id": new})
        return row

    def audited(self) -> list[tuple]:
        """Return what people did or were refused, in order."""
        return self.database.execute(
            "select user_id::text, action, outcome, reason, video_id::text, target_tenant_id::text"
            " from captionacc.security_audit_log where user_id is not null order by id"
        ).fetchall()
