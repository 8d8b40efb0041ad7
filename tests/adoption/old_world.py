"""A synthetic predecessor: its tables in PostgreSQL, a role that may only read them, and its bucket."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

SCHEMA = "captionacc_production"
#: A role that has only SELECT, and reads the rows of all tenants.
READER = "adopt_reader"
TABLES = """
create schema if not exists {schema};
create table {schema}.access_tiers (id text primary key, features jsonb);
create table {schema}.tenants (
    id uuid primary key, name text, slug text, storage_quota_gb numeric default 0.1,
    video_count_limit integer default 5, processing_minutes_limit integer default 30,
    daily_upload_limit integer default 3
);
create table {schema}.user_profiles (
    id uuid primary key, tenant_id uuid, role text, approval_status text,
    access_tier_id text default 'demo', invite_code_used text
);
create table {schema}.videos (
    id uuid primary key, tenant_id uuid not null, video_path text not null, display_path text,
    storage_key text not null, size_bytes bigint, duration_seconds real,
    width integer not null default 0, height integer not null default 0, captions_db_key text,
    layout_status text default 'wait', boundaries_status text default 'wait', text_status text default 'wait',
    layout_error_details jsonb, boundaries_error_details jsonb, text_error_details jsonb,
    total_frames integer, covered_frames integer, total_annotations integer, confirmed_annotations integer,
    predicted_annotations integer, boundary_pending_count integer, text_pending_count integer,
    locked_by_user_id uuid, locked_at timestamptz, uploaded_by_user_id uuid,
    uploaded_at timestamptz default now(), prefect_flow_run_id uuid,
    current_cropped_frames_version integer, deleted_at timestamptz, is_demo boolean default false
);
create table {schema}.video_database_state (
    video_id uuid, database_name text, tenant_id uuid, server_version bigint default 0,
    wasabi_version bigint default 0, wasabi_synced_at timestamptz, working_copy_path text,
    lock_holder_user_id uuid, lock_type text, locked_at timestamptz, last_activity_at timestamptz,
    active_connection_id text, created_at timestamptz default now(), updated_at timestamptz default now(),
    primary key (video_id, database_name)
);
create table {schema}.cropped_frames_versions (
    id uuid primary key default gen_random_uuid(), video_id uuid not null, tenant_id uuid not null,
    version integer not null, storage_prefix text not null, crop_region jsonb, frame_rate real default 10,
    status text default 'processing', created_at timestamptz default now(), unique (video_id, version)
);
alter table {schema}.videos enable row level security;
grant usage on schema {schema} to {reader};
grant select on all tables in schema {schema} to {reader};
"""


@dataclass
class OldWorld:
    """The predecessor with its rows and objects, and what people did in it."""

    dsn: str
    bucket: Path
    schema: str = SCHEMA
    tenants: dict[str, str] = field(default_factory=dict)
    _connection: psycopg.Connection | None = None

    def __post_init__(self) -> None:
        self.bucket.mkdir(parents=True, exist_ok=True)
        with self.connection() as connection:
            connection.execute(
                sql.SQL(
                    "do $$ begin create role {reader} bypassrls;"
                    " exception when duplicate_object then null; end $$"
                ).format(reader=sql.Identifier(READER))
            )
            names = {"schema": sql.Identifier(self.schema), "reader": sql.Identifier(READER)}
            connection.execute(sql.SQL(TABLES).format(**names))

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """The one connection of this predecessor, which is opened once."""
        if self._connection is None:
            self._connection = psycopg.connect(self.dsn, autocommit=True)
        yield self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def reader_dsn(self) -> str:
        """The same database, with the rights of the role that has only SELECT.

        The embedded server lets no other user sign in, so its own takes the role.
        """
        return psycopg.conninfo.make_conninfo(self.dsn, options=f"-c role={READER}")

    @property
    def storage_url(self) -> str:
        return self.bucket.as_uri()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which `captionacc adopt` finds this predecessor."""
        return {
            "CAPTIONACC_ADOPT_DATABASE_URL": self.reader_dsn,
            "CAPTIONACC_ADOPT_SCHEMA": self.schema,
            "CAPTIONACC_ADOPT_STORAGE_URL": self.storage_url,
        }

    def grant(self, role: str) -> None:
        """Let another role read, such as that of PostgREST's service key."""
        names = {"schema": sql.Identifier(self.schema), "role": sql.Identifier(role)}
        with self.connection() as connection:
            connection.execute(sql.SQL("grant usage on schema {schema} to {role}").format(**names))
            connection.execute(
                sql.SQL("grant select on all tables in schema {schema} to {role}").format(**names)
            )

    def insert(self, table: str, **values: Any) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        query = sql.SQL("insert into {}.{} ({}) values ({})").format(
            sql.Identifier(self.schema), sql.Identifier(table), names, marks
        )
        with self.connection() as connection:
            connection.execute(
                query, [Jsonb(value) if isinstance(value, Mapping) else value for value in values.values()]
            )

    def update(self, video_id: str, **values: Any) -> None:
        """Change a row of videos, as the predecessor goes on working."""
        changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        query = sql.SQL("update {}.videos set {} where id = %s").format(sql.Identifier(self.schema), changes)
        with self.connection() as connection:
            connection.execute(query, [*values.values(), video_id])

    def tenant(self, name: str, tier: str = "demo", tenant_id: str | None = None) -> str:
        found = tenant_id or str(uuid.uuid4())
        self.insert("tenants", id=found, name=name, slug=name.lower())
        self.insert(
            "user_profiles",
            id=str(uuid.uuid4()),
            tenant_id=found,
            role="owner",
            approval_status="approved",
            access_tier_id=tier,
        )
        self.tenants[found] = name
        return found

    def video(self, tenant_id: str, name: str, *, upload: bytes | None = b"video", **row: Any) -> "OldFolder":
        """A row of videos and, unless ``upload`` is None, its upload."""
        video_id = str(row.pop("id", None) or uuid.uuid4())
        folder = OldFolder(self, tenant_id, video_id)
        number = sum(1 for _ in (self.bucket / tenant_id).glob("client/videos/*"))
        values: dict[str, Any] = {
            "id": video_id,
            "tenant_id": tenant_id,
            "video_path": name,
            "display_path": name,
            "storage_key": f"{tenant_id}/client/videos/{video_id}/video.mp4",
            "size_bytes": len(upload or b""),
            "uploaded_at": datetime(2026, 1, 20, tzinfo=UTC) + timedelta(minutes=number),
            **row,
        }
        self.insert("videos", **values)
        if upload is not None:
            self.put(values["storage_key"], upload)
        return folder

    def put(self, key: str, data: bytes) -> None:
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def snapshot(self) -> tuple[dict[str, tuple[int, int]], list[tuple]]:
        """All objects with size and time of change, and all rows of videos: to see that nothing changed."""
        objects = {
            str(path.relative_to(self.bucket)): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(self.bucket.rglob("*"))
            if path.is_file()
        }
        query = sql.SQL("select * from {}.videos order by id").format(sql.Identifier(self.schema))
        with self.connection() as connection:
            return objects, connection.execute(query).fetchall()


@dataclass
class OldFolder:
    """The objects of one video."""

    world: OldWorld
    tenant_id: str
    video_id: str

    def client(self, name: str, data: bytes) -> None:
        self.world.put(f"{self.tenant_id}/client/videos/{self.video_id}/{name}", data)

    def server(self, name: str, data: bytes) -> None:
        self.world.put(f"{self.tenant_id}/server/videos/{self.video_id}/{name}", data)

    def without_client(self, name: str, data: bytes) -> None:
        """Under the prefix that its newest code wrote chunks to."""
        self.world.put(f"{self.tenant_id}/{self.video_id}/{name}", data)
