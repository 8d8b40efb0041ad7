"""The predecessor, opened for reading: its rows, and its files as this platform's types."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from captionacc_dagster.adoption.errors import PredecessorError
from captionacc_dagster.adoption.files import OldFiles, list_files
from captionacc_dagster.adoption.old_captions import OldCaptions, read_old_captions
from captionacc_dagster.adoption.old_extents import OldExtents, read_old_extents
from captionacc_dagster.adoption.old_layout import OldLayout, read_old_layout
from captionacc_dagster.adoption.old_ocr import OldOcr, read_old_ocr
from captionacc_dagster.adoption.read_only import PostgresTables, ReadOnlyStore, SupabaseTables, Tables
from captionacc_dagster.adoption.rows import OldLock, OldProfile, OldTenant, OldVersion, OldVideo
from captionacc_dagster.resources.catalog.transport import Condition, Record, Where
from captionacc_dagster.settings import Settings
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.frame_index import ChunkRef
from modal_gpu.keys import canonical_uuid
from modal_gpu.storage import ObjectStore, StorageSettings

T = TypeVar("T")

#: A column of this platform's videos that the predecessor's never had.
_OURS = "layout_last_run_id"


@dataclass
class Predecessor:
    """The predecessor's catalogue and bucket; nothing here can change them.

    ``notes`` names tables that cannot be read and count as empty.
    """

    tables: Tables
    store: ObjectStore
    notes: list[str] = field(default_factory=list)

    # Rows.

    def videos(self, *, tenant_id: str | None = None, video_id: str | None = None) -> list[OldVideo]:
        """Return all videos, or those of a tenant, or one; deleted ones too. In the order of their upload.

        Raises :class:`PredecessorError` if the table cannot be read or is this platform's own.
        """
        where = [
            Where(column, "eq", canonical_uuid(value.lower(), what))
            for column, value, what in (
                ("tenant_id", tenant_id, "tenant id"),
                ("id", video_id, "video id"),
            )
            if value is not None
        ]
        rows = self.tables.select("videos", where, ["id"])
        if rows and _OURS in rows[0]:
            raise PredecessorError(
                "CAPTIONACC_ADOPT_SCHEMA names a catalogue of this platform, not of the predecessor"
            )
        found = [OldVideo.of(row) for row in rows]
        return sorted(found, key=lambda video: (str(video.uploaded_at or ""), video.video_id))

    def tenants(self) -> dict[str, OldTenant]:
        """Return the tenants by id, each with the access tiers of its users."""
        tiers: dict[str, set[str]] = {}
        for row in self._optional("user_profiles", [], "tenant_id"):
            tiers.setdefault(str(row.get("tenant_id")), set()).add(str(row.get("access_tier_id") or "demo"))
        return {
            str(row["id"]): OldTenant(
                str(row["id"]), str(row.get("name") or row["id"]), frozenset(tiers.get(str(row["id"]), ()))
            )
            for row in self._optional("tenants", [], "id")
        }

    def profiles(self) -> dict[str, list[OldProfile]]:
        """Return the users' profiles by tenant."""
        rows = self._optional("user_profiles", [], "tenant_id")
        return _grouped(filter(None, map(OldProfile.of, rows)), lambda profile: profile.tenant_id)

    def locks(self, tenant_id: str | None = None) -> dict[str, list[OldLock]]:
        """Return the held locks by video."""
        rows = self._optional("video_database_state", _of_tenant(tenant_id), "video_id")
        return _grouped(filter(None, map(OldLock.of, rows)), lambda lock: lock.video_id)

    def versions(self, tenant_id: str | None = None) -> dict[str, list[OldVersion]]:
        """Return the cropped-frames versions by video."""
        rows = self._optional("cropped_frames_versions", _of_tenant(tenant_id), "version")
        return _grouped(map(OldVersion.of, rows), lambda version: version.video_id)

    def _optional(self, table: str, where: Sequence[Condition], order: str) -> list[Record]:
        """Return the rows of a table that may not exist."""
        try:
            return self.tables.select(table, where, [order])
        except PredecessorError as error:
            note = f"the table {table} counts as empty: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return []

    # Files. A missing one is None; a damaged one raises DatabaseFileError.

    def files(self, video: OldVideo) -> OldFiles:
        """Return which objects a video has."""
        return list_files(self.store, video)

    def captions(self, video: OldVideo, files: OldFiles | None = None) -> OldCaptions | None:
        """Return the captions. Raises :class:`RefusedVideoError` for a person's that cannot be kept."""
        data = self._database(video, files, "captions")
        return None if data is None else read_old_captions(data, video.frame_count, video.duration_seconds)

    def layout(self, video: OldVideo, files: OldFiles | None = None) -> OldLayout | None:
        """Return the layout with its boxes as text lines."""
        data = self._database(video, files, "layout")
        return None if data is None else read_old_layout(data, video.width, video.height)

    def ocr(self, video: OldVideo, files: OldFiles | None = None) -> OldOcr | None:
        """Return the readings of the full frames."""
        found = files or self.files(video)
        data = self._database(video, found, "raw_ocr")
        if data is None:
            return None
        layout = self.layout(video, found)
        size = (layout.file.frame_width, layout.file.frame_height) if layout else (0, 0)
        width, height = (own or other for own, other in zip((video.width, video.height), size, strict=True))
        # Both files were written from the same boxes, and only the layout can tell top from bottom.
        flipped = layout.convention if layout and layout.convention == "top-left" else None
        return read_old_ocr(data, found.frames, width, height, flipped)

    def extents(self, video: OldVideo, files: OldFiles | None = None) -> OldExtents | None:
        """Return the labels of the frame pairs."""
        data = self._database(video, files, "extents")
        return None if data is None else read_old_extents(data)

    def chunk(self, files: OldFiles, version: int, ref: ChunkRef) -> bytes | None:
        """Return a chunk of cropped frames, as WebM."""
        info = files.chunks.get(version, {}).get(ref)
        return None if info is None else self.store.get(info.key)

    def _database(self, video: OldVideo, files: OldFiles | None, name: str) -> bytes | None:
        info = (files or self.files(video)).databases.get(name)
        if info is None:
            return None
        try:
            return self.store.get(info.key)
        except ObjectNotFoundError:
            return None  # replaced or removed since it was listed

    def close(self) -> None:
        """Close the connections."""
        self.tables.close()


def _of_tenant(tenant_id: str | None) -> list[Condition]:
    return [] if tenant_id is None else [Where("tenant_id", "eq", canonical_uuid(tenant_id, "tenant id"))]


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def open_predecessor(settings: Settings) -> Predecessor:
    """Open the predecessor that the settings name. Raises :class:`PredecessorError` if they do not."""
    return Predecessor(_tables(settings), ReadOnlyStore(_storage(settings)))


def _tables(settings: Settings) -> Tables:
    if settings.adopt_database_url is not None:
        dsn = settings.adopt_database_url.get_secret_value()
        return PostgresTables(dsn, schema=settings.adopt_schema, statement_timeout_seconds=120)
    if settings.adopt_supabase_url is None or settings.adopt_supabase_key is None:
        raise PredecessorError(
            "set CAPTIONACC_ADOPT_DATABASE_URL, or CAPTIONACC_ADOPT_SUPABASE_URL and "
            "CAPTIONACC_ADOPT_SUPABASE_KEY, to the predecessor's catalogue"
        )
    key = settings.adopt_supabase_key.get_secret_value()
    return SupabaseTables(settings.adopt_supabase_url, key, schema=settings.adopt_schema, timeout_seconds=60)


def _storage(settings: Settings) -> StorageSettings:
    if not settings.adopt_storage_url:
        raise PredecessorError("set CAPTIONACC_ADOPT_STORAGE_URL to the predecessor's bucket")
    secret = settings.adopt_secret_access_key or settings.storage_secret_access_key
    return StorageSettings(
        url=settings.adopt_storage_url,
        endpoint=settings.adopt_storage_endpoint or settings.storage_endpoint,
        region=settings.adopt_storage_region or settings.storage_region,
        access_key_id=settings.adopt_access_key_id or settings.storage_access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
        path_style=settings.storage_path_style,
    )
