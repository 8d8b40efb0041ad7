"""The catalogue's calls for videos: registering, finding, renaming, deleting."""

from collections.abc import Mapping, Sequence

from captionacc_dagster.resources.catalog.calls import CatalogCalls, is_id, sql_function
from captionacc_dagster.resources.catalog.errors import UnknownVideoError
from captionacc_dagster.resources.catalog.rows.videos import STAGES, VideoRow
from captionacc_dagster.resources.catalog.transport import AnyOf, Condition, Where


class VideoCalls(CatalogCalls):
    """Videos. Calls with a ``video_id`` raise ``UnknownVideoError``, changes also ``VideoDeletedError``."""

    @sql_function(repeatable=True)
    def register_video(
        self,
        tenant_id: str,
        video_id: str,
        storage_key: str,
        size_bytes: int,
        display_path: str,
        *,
        uploaded: bool = True,
        content_sha256: str | None = None,
        again: bool = False,
    ) -> VideoRow:
        """Register an upload. Registering it again changes nothing but a missing ``uploaded_at``.

        With ``content_sha256`` (64 lower-case hexadecimal digits), and unless ``again``, the answer is the
        tenant's video of the same file if there is one: another ``video_id``, and no row is added.
        ``display_path`` is stored in NFC and without control characters. Raises ``AlreadyRegisteredError``,
        ``UnknownTenantError``, ``InvalidKeyError`` and ``InvalidArgumentError``.
        """

    @sql_function(repeatable=True)
    def register_upload(
        self,
        tenant_id: str | None,
        video_id: str,
        storage_key: str,
        size_bytes: int,
        display_path: str,
        *,
        uploaded_by_user_id: str | None = None,
    ) -> VideoRow:
        """Register a video whose file is about to be uploaded.

        Raises ``QuotaExceededError``, ``TooManyCallsError`` (a user with many incomplete uploads), and as
        :meth:`register_video` does.
        """

    @sql_function(repeatable=True)
    def confirm_upload(self, video_id: str, size_bytes: int) -> VideoRow:
        """Record that the registered file is in the bucket: the video waits for its layout from now on.

        ``size_bytes`` is the object's. Raises ``WrongStateError`` if another size was registered.
        """

    @sql_function(repeatable=True)
    def set_partition_keys(self, keys: Mapping[str, str]) -> list[VideoRow]:
        """Set the partition keys of videos, by id, that have none yet and that no run has begun.

        Return all these videos, in any order, with the keys that they have now. A key ends with ``~`` and the
        video's id, or is the id. Raises ``InvalidArgumentError`` for another one.
        """

    @sql_function(repeatable=True, content_sha256="sha256")
    def find_content(self, tenant_id: str, content_sha256: str) -> VideoRow | None:
        """Return the tenant's video of this file: preferably one that has not failed, then the newest."""

    @sql_function(repeatable=True)
    def find_videos(self, name: str, limit: int = 100) -> list[VideoRow]:
        """Return videos of this name, or whose id starts with it; newest first, without deleted ones."""

    @sql_function(repeatable=True)
    def search_videos(self, text: str, *, tenant_id: str | None = None, limit: int = 100) -> list[VideoRow]:
        """Return videos whose name contains the text, in any case, or whose id starts with it.

        Newest first.
        """

    def get_video(self, video_id: str) -> VideoRow:
        """Return a video, even a deleted one. Raises ``UnknownVideoError``."""
        return self._by_id(VideoRow, "videos", video_id, "video", UnknownVideoError)

    def list_videos(
        self,
        limit: int = 100,
        *,
        tenant_id: str | None = None,
        include_deleted: bool = False,
        in_work: bool | None = None,
        before: VideoRow | None = None,
    ) -> list[VideoRow]:
        """Return videos, newest first, from behind the row ``before`` if given (the last of another page).

        ``in_work``: only those with (true) or without (false) a run that works on a stage.
        """
        where: list[Condition] = []
        if tenant_id is not None:
            where.append(is_id("tenant_id", tenant_id))
        if not include_deleted:
            where.append(Where("deleted_at", "is", None))
        runs = [f"{stage}_run_id" for stage in STAGES]
        if in_work:
            where.append(AnyOf(tuple(Where(column, "is_not", None) for column in runs)))
        elif in_work is not None:
            where += [Where(column, "is", None) for column in runs]
        if before is not None:
            created = before.created_at
            where += [
                Where("created_at", "lte", created),
                AnyOf((Where("created_at", "lt", created), Where("id", "gt", before.video_id))),
            ]
        return self._select(VideoRow, "videos", where, ["-created_at", "id"], limit)

    @sql_function(repeatable=True)
    def rename_video(self, video_id: str, name: str) -> VideoRow:
        """Change the name that people see. Raises ``InvalidArgumentError`` for an unusable one."""

    @sql_function(repeatable=True)
    def set_age_boosting(self, video_id: str, disabled: bool) -> VideoRow:
        """Set whether the video's runs gain no priority by waiting."""

    @sql_function(repeatable=True)
    def set_video_languages(self, video_id: str, languages: Sequence[str]) -> VideoRow:
        """Set the languages of a video's captions (BCP-47; none: its tenant's).

        A layout that waits for a person, and captions that no person has reviewed, are read again, also those
        that a run reads now. Raises ``InvalidArgumentError``.
        """

    @sql_function(repeatable=True)
    def soft_delete_video(self, video_id: str) -> VideoRow:
        """Take a video out of all processing and request the end of the runs that work on it."""

    @sql_function(repeatable=True)
    def removable_videos(self, limit: int = 50, *, older_than_seconds: float = 86_400) -> list[VideoRow]:
        """Return videos that were deleted so long ago and whose objects are still in the bucket."""

    @sql_function(repeatable=True)
    def mark_video_objects_removed(self, video_id: str) -> VideoRow:
        """Record that a video's objects were removed. Raises ``WrongStateError`` if it is not deleted."""
