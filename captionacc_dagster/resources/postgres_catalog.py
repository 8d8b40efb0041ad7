"""The catalogue over a PostgreSQL connection: the embedded server, or any other."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolTimeout

from captionacc_dagster.resources.catalog import (
    ERRORS_BY_SQLSTATE,
    CatalogError,
    CatalogUnavailableError,
    CroppedFramesVersion,
    DatabaseName,
    InvalidArgumentError,
    LayoutApproval,
    LayoutOutcome,
    LockInfo,
    LockToken,
    Stage,
    TenantRow,
    UnknownTenantError,
    UnknownVideoError,
    VideoRow,
)
from captionacc_dagster.resources.leases import RenewedLease, hold_lease
from captionacc_dagster.resources.postgres_errors import (
    connect,
    connection_parameters,
    plain_reason,
    shown,
    unavailable,
)
from modal_gpu.contracts import CropRegion, to_wire
from modal_gpu.keys import canonical_uuid

# The pool warns of every failed attempt in the database's words; callers get an error of their own.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_NOT_MIGRATED = ("42883", "42P01", "42703", "3F000")
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError)


class PostgresCatalog:
    """:class:`~captionacc_dagster.resources.catalog.Catalog` through psycopg.

    Connects at the first call. One instance serves many threads, and a forked child gets
    connections of its own. A statement that takes longer than ``statement_timeout_seconds``, and a
    server that does not answer within ``connect_timeout_seconds``, is a ``CatalogUnavailableError``.
    Behind a connection pooler use its session mode.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "captionacc",
        max_connections: int = 4,
        statement_timeout_seconds: float = 15,
        connect_timeout_seconds: float = 10,
    ) -> None:
        self._dsn = dsn
        self._schema = schema
        self._max_connections = max_connections
        self._statement_timeout = statement_timeout_seconds
        self._connect_timeout = connect_timeout_seconds
        self._parameters = connection_parameters(dsn)
        self._guard = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"PostgresCatalog({shown(self._dsn)})"

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.close()

    # -- transport ---------------------------------------------------------------------------

    def _open_pool(self) -> ConnectionPool:
        if self._pid != os.getpid():
            # After a fork the parent's sockets and pool threads are not ours to use or to close.
            self._guard = threading.Lock()
            self._pool, self._pid = None, os.getpid()
        with self._guard:
            if self._pool is None:
                # A first connection in the open: the pool would only time out, not say why.
                connect(self._dsn).close()
                self._pool = ConnectionPool(
                    make_conninfo(**self._parameters),
                    min_size=0,
                    max_size=self._max_connections,
                    max_idle=60,
                    timeout=self._connect_timeout,
                    kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": None},
                    configure=self._configure,
                    check=ConnectionPool.check_connection,
                    open=True,
                )
            return self._pool

    def _configure(self, connection: psycopg.Connection) -> None:
        connection.execute(f"set statement_timeout = {int(self._statement_timeout * 1000)}")
        connection.execute(f"set lock_timeout = {int(self._statement_timeout * 1000)}")
        connection.execute("set timezone = 'UTC'")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        try:
            with self._open_pool().connection() as connection:
                yield connection
        except PoolTimeout:
            connect(self._dsn).close()  # says why, when it is the server
            raise CatalogUnavailableError(
                f"no connection to the catalogue's database became free within {self._connect_timeout:g} s"
            ) from None
        except psycopg.errors.QueryCanceled:
            raise CatalogUnavailableError(
                f"the catalogue's database took longer than {self._statement_timeout:g} s"
            ) from None
        except psycopg.Error as error:
            raise self._error(error) from None

    def _error(self, error: psycopg.Error) -> Exception:
        if kind := ERRORS_BY_SQLSTATE.get(error.sqlstate or ""):
            return kind(plain_reason(error))
        if isinstance(error, _UNAVAILABLE):
            return unavailable(error, self._parameters)
        if error.sqlstate in _NOT_MIGRATED:
            return CatalogError(
                f"the database has not the catalogue that this version needs ({plain_reason(error)}): "
                "run `captionacc migrate`"
            )
        if isinstance(error, (psycopg.errors.CheckViolation, psycopg.DataError)):
            return InvalidArgumentError(f"the catalogue refused a value: {plain_reason(error)}")
        return CatalogError(f"the catalogue's database refused: {plain_reason(error)}")

    def _call(self, function: str, **arguments: Any) -> list[dict[str, Any]]:
        named = sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.Identifier(f"p_{name}"), sql.Placeholder(name))
            for name in arguments
        )
        query = sql.SQL("select * from {}({})").format(sql.Identifier(self._schema, function), named)
        with self._connection() as connection:
            return connection.execute(query, arguments).fetchall()

    def _call_one(self, function: str, **arguments: Any) -> dict[str, Any]:
        return self._call(function, **arguments)[0]

    def _call_value(self, function: str, **arguments: Any) -> Any:
        (value,) = self._call_one(function, **arguments).values()
        return value

    def _select(self, table: str, rest: sql.Composable, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        query = sql.SQL("select * from {} {}").format(sql.Identifier(self._schema, table), rest)
        with self._connection() as connection:
            return connection.execute(query, arguments).fetchall()

    # -- tenants and videos ------------------------------------------------------------------

    def ensure_tenant(
        self,
        tenant_id: str,
        name: str,
        *,
        tier: str = "free",
        auto_approve_layout_confidence: float | None = None,
    ) -> TenantRow:
        return TenantRow.from_row(
            self._call_one(
                "ensure_tenant",
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                name=name,
                tier=tier,
                auto_approve_layout_confidence=auto_approve_layout_confidence,
            )
        )

    def set_auto_approve(self, tenant_id: str, confidence: float | None) -> TenantRow:
        row = self._call_one(
            "set_auto_approve", tenant_id=canonical_uuid(tenant_id, "tenant id"), confidence=confidence
        )
        return TenantRow.from_row(row)

    def get_tenant(self, tenant_id: str) -> TenantRow:
        key = canonical_uuid(tenant_id, "tenant id")
        rows = self._select("tenants", sql.SQL("where id = %(id)s"), {"id": key})
        if not rows:
            raise UnknownTenantError(f"tenant {key} is not in the catalogue")
        return TenantRow.from_row(rows[0])

    def register_video(
        self,
        tenant_id: str,
        video_id: str,
        storage_key: str,
        size_bytes: int,
        display_path: str,
        *,
        uploaded: bool = True,
        uploaded_by_user_id: str | None = None,
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "register_video",
                tenant_id=canonical_uuid(tenant_id, "tenant id"),
                video_id=_video_id(video_id),
                storage_key=storage_key,
                size_bytes=size_bytes,
                display_path=display_path,
                uploaded=uploaded,
                uploaded_by_user_id=uploaded_by_user_id,
            )
        )

    def get_video(self, video_id: str) -> VideoRow:
        key = _video_id(video_id)
        rows = self._select("videos", sql.SQL("where id = %(id)s"), {"id": key})
        if not rows:
            raise UnknownVideoError(f"video {key} is not in the catalogue")
        return VideoRow.from_row(rows[0])

    def list_videos(
        self,
        limit: int = 100,
        *,
        tenant_id: str | None = None,
        include_deleted: bool = False,
        in_work: bool | None = None,
        before: VideoRow | None = None,
    ) -> list[VideoRow]:
        working = sql.SQL(
            "(layout_run_id is not null or boundaries_run_id is not null or text_run_id is not null)"
        )
        conditions: list[sql.Composable] = [sql.SQL("true")]
        arguments: dict[str, Any] = {"limit": limit}
        if tenant_id is not None:
            conditions.append(sql.SQL("tenant_id = %(tenant_id)s"))
            arguments["tenant_id"] = canonical_uuid(tenant_id, "tenant id")
        if not include_deleted:
            conditions.append(sql.SQL("deleted_at is null"))
        if in_work is not None:
            conditions.append(working if in_work else sql.SQL("not {}").format(working))
        if before is not None:
            conditions.append(
                sql.SQL("created_at <= %(before)s and (created_at < %(before)s or id > %(before_id)s::uuid)")
            )
            arguments |= {"before": before.created_at, "before_id": before.video_id}
        rest = sql.SQL("where {} order by created_at desc, id limit %(limit)s").format(
            sql.SQL(" and ").join(conditions)
        )
        return [VideoRow.from_row(row) for row in self._select("videos", rest, arguments)]

    def soft_delete_video(self, video_id: str) -> VideoRow:
        return VideoRow.from_row(self._call_one("soft_delete_video", video_id=_video_id(video_id)))

    # -- asking for work ---------------------------------------------------------------------

    def claim_new_videos(
        self, limit: int = 50, *, restart_after_seconds: float = 3600, max_unstarted: int = 5
    ) -> list[VideoRow]:
        rows = self._claim("claim_new_videos", limit, restart_after_seconds, max_unstarted)
        return [VideoRow.from_row(row) for row in rows]

    def pending_layout_approvals(
        self, limit: int = 50, *, restart_after_seconds: float = 3600, max_unstarted: int = 5
    ) -> list[LayoutApproval]:
        rows = self._claim("pending_layout_approvals", limit, restart_after_seconds, max_unstarted)
        return [LayoutApproval.from_row(row) for row in rows]

    def pending_text(
        self, limit: int = 50, *, restart_after_seconds: float = 3600, max_unstarted: int = 5
    ) -> list[VideoRow]:
        rows = self._claim("pending_text", limit, restart_after_seconds, max_unstarted)
        return [VideoRow.from_row(row) for row in rows]

    def _claim(
        self, function: str, limit: int, restart_after: float, max_unstarted: int
    ) -> list[dict[str, Any]]:
        return self._call(
            function, limit=limit, restart_after_seconds=float(restart_after), max_unstarted=max_unstarted
        )

    # -- stages ------------------------------------------------------------------------------

    def begin_stage(self, video_id: str, stage: Stage, run_id: str, *, take_over: bool = True) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "begin_stage", video_id=_video_id(video_id), stage=stage, run_id=run_id, take_over=take_over
            )
        )

    def fail_stage(
        self, video_id: str, stage: Stage, run_id: str, message: str, error_type: str = ""
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "fail_stage",
                video_id=_video_id(video_id),
                stage=stage,
                run_id=run_id,
                message=_storable(message),
                error_type=_storable(error_type),
            )
        )

    def retry_stage(self, video_id: str, stage: Stage) -> VideoRow:
        return VideoRow.from_row(self._call_one("retry_stage", video_id=_video_id(video_id), stage=stage))

    def complete_review(self, video_id: str, stage: Literal["boundaries", "text"]) -> VideoRow:
        return VideoRow.from_row(self._call_one("complete_review", video_id=_video_id(video_id), stage=stage))

    def finish_layout(self, video_id: str, run_id: str, outcome: LayoutOutcome) -> VideoRow:
        arguments = {name: getattr(outcome, name) for name in asdict(outcome)}
        arguments |= {
            "crop_region": _region(outcome.crop_region),
            "duration_seconds": float(outcome.duration_seconds),
            "layout_confidence": float(outcome.layout_confidence),
            "note": _storable(outcome.note),
            "damage": _storable(outcome.damage),
        }
        row = self._call_one("finish_layout", video_id=_video_id(video_id), run_id=run_id, **arguments)
        return VideoRow.from_row(row)

    def approve_layout(
        self, video_id: str, approved_by: str, crop_region: CropRegion | None = None
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "approve_layout",
                video_id=_video_id(video_id),
                approved_by=approved_by,
                crop_region=_region(crop_region),
            )
        )

    def finish_boundaries(
        self, video_id: str, run_id: str, *, version: int, caption_count: int, note: str = ""
    ) -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "finish_boundaries",
                video_id=_video_id(video_id),
                run_id=run_id,
                version=version,
                caption_count=caption_count,
                note=_storable(note),
            )
        )

    def finish_text(self, video_id: str, run_id: str, *, caption_count: int, note: str = "") -> VideoRow:
        return VideoRow.from_row(
            self._call_one(
                "finish_text",
                video_id=_video_id(video_id),
                run_id=run_id,
                caption_count=caption_count,
                note=_storable(note),
            )
        )

    # -- cropped frames ----------------------------------------------------------------------

    def allot_cropped_frames_version(self, video_id: str, run_id: str, crop_region: CropRegion) -> int:
        return self._call_value(
            "allot_cropped_frames_version",
            video_id=_video_id(video_id),
            run_id=run_id,
            crop_region=_region(crop_region),
        )

    def activate_cropped_frames_version(
        self, video_id: str, version: int, *, chunk_count: int, total_frames: int, total_size_bytes: int
    ) -> CroppedFramesVersion:
        return CroppedFramesVersion.from_row(
            self._call_one(
                "activate_cropped_frames_version",
                video_id=_video_id(video_id),
                version=version,
                chunk_count=chunk_count,
                total_frames=total_frames,
                total_size_bytes=total_size_bytes,
            )
        )

    def fail_cropped_frames_version(self, video_id: str, version: int, message: str) -> CroppedFramesVersion:
        return CroppedFramesVersion.from_row(
            self._call_one(
                "fail_cropped_frames_version",
                video_id=_video_id(video_id),
                version=version,
                message=_storable(message),
            )
        )

    def list_cropped_frames_versions(self, video_id: str) -> list[CroppedFramesVersion]:
        rest = sql.SQL("where video_id = %(video_id)s order by version")
        rows = self._select("cropped_frames_versions", rest, {"video_id": _video_id(video_id)})
        return [CroppedFramesVersion.from_row(row) for row in rows]

    def record_inference_run(
        self,
        video_id: str,
        version: int,
        run_id: str,
        *,
        model_version: str,
        storage_key: str,
        total_pairs: int,
        processing_time_seconds: float,
        started_at: datetime,
        completed_at: datetime,
        model_sha256: str | None = None,
        file_size_bytes: int | None = None,
    ) -> str:
        return str(
            self._call_value(
                "record_inference_run",
                video_id=_video_id(video_id),
                cropped_frames_version=version,
                run_id=run_id,
                model_version=model_version,
                storage_key=storage_key,
                total_pairs=total_pairs,
                processing_time_seconds=float(processing_time_seconds),
                started_at=started_at,
                completed_at=completed_at,
                model_sha256=model_sha256,
                file_size_bytes=file_size_bytes,
            )
        )

    # -- locks -------------------------------------------------------------------------------

    def take_lock(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        lease_seconds: float,
        *,
        lock_type: Literal["server", "client"] = "server",
    ) -> LockToken:
        key = _video_id(video_id)
        row = self._call_one(
            "take_lock",
            video_id=key,
            database_name=database_name,
            owner=owner,
            lease_seconds=float(lease_seconds),
            lock_type=lock_type,
        )
        return LockToken(key, database_name, owner, str(row["token"]), row["expires_at"])

    def renew_lock(self, token: LockToken, lease_seconds: float) -> LockToken:
        expires_at = self._call_value("renew_lock", token=token.token, lease_seconds=float(lease_seconds))
        return replace(token, expires_at=expires_at)

    def release_lock(self, token: LockToken) -> bool:
        return self._call_value("release_lock", token=token.token)

    def list_locks(self, *, include_expired: bool = False) -> list[LockInfo]:
        return [LockInfo.from_row(row) for row in self._call("list_locks", include_expired=include_expired)]

    def bump_database_version(self, token: LockToken) -> int:
        return self._call_value("bump_database_version", token=token.token)

    def database_version(self, video_id: str, database_name: DatabaseName) -> int:
        rest = sql.SQL("where video_id = %(video_id)s and database_name = %(name)s")
        rows = self._select(
            "video_database_state", rest, {"video_id": _video_id(video_id), "name": database_name}
        )
        return rows[0]["server_version"] if rows else 0

    def lease(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        seconds: float = 60,
        *,
        wait_seconds: float = 30,
    ) -> AbstractContextManager[RenewedLease]:
        """Hold a lock while the block runs, waiting up to ``wait_seconds`` for it."""
        return hold_lease(self, video_id, database_name, owner, seconds, wait_seconds)

    # -- usage -------------------------------------------------------------------------------

    def record_usage(
        self,
        tenant_id: str,
        metric_type: str,
        metric_value: float | Decimal,
        *,
        video_id: str | None = None,
        cost_estimate_usd: float | Decimal | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        return self._call_value(
            "record_usage",
            tenant_id=canonical_uuid(tenant_id, "tenant id"),
            metric_type=metric_type,
            metric_value=Decimal(str(metric_value)),
            video_id=None if video_id is None else _video_id(video_id),
            cost_estimate_usd=None if cost_estimate_usd is None else Decimal(str(cost_estimate_usd)),
            metadata=Jsonb(dict(metadata or {})),
        )


def _video_id(value: str) -> str:
    return canonical_uuid(value, "video id")


def _region(region: CropRegion | None) -> Jsonb | None:
    return None if region is None else Jsonb(to_wire(region))


def _storable(text: str) -> str:
    """Text that PostgreSQL takes: without NUL, and without half surrogates (from undecodable file names)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
