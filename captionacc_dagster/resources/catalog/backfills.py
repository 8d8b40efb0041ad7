"""The catalogue's backfills: finished videos that are to get a newer extents model."""

from collections.abc import Mapping, Sequence

from captionacc_dagster.resources.catalog.calls import CatalogCalls, first, is_id, sql_function
from captionacc_dagster.resources.catalog.rows.work import (
    Backfill,
    BackfillChoice,
    BackfillClaim,
    BackfillVideo,
)
from captionacc_dagster.resources.catalog.transport import Where


class BackfillCalls(CatalogCalls):
    """Backfills. Raises ``UnknownRequestError`` for a backfill that does not exist."""

    @sql_function(repeatable=True)
    def request_backfill(
        self,
        backfill_id: str,
        model_version: str,
        conditions: Mapping[str, Sequence[str]],
        requested_by: str,
        *,
        limit: int | None = None,
        dry_run: bool = True,
    ) -> BackfillChoice:
        """Choose videos, the newest first, and unless it is a dry run make the backfill.

        ``conditions``: lists under ``tenant``, ``video``, ``model_version``, ``status`` (``ready``,
        ``reviewed``), ``uploaded_before``, ``uploaded_after`` (ISO times). ``backfill_id`` is a UUID made by
        the caller: requesting the same one again changes nothing. Raises ``InvalidArgumentError``.
        """

    @sql_function()
    def claim_backfill_videos(
        self,
        limit: int = 50,
        *,
        restart_after_seconds: float = 3600,
        max_unstarted: int = 5,
        at_once: int = 20,
    ) -> list[BackfillClaim]:
        """Claim videos as ``ClaimCalls`` does, and record how others ended.

        At most ``at_once`` are handed out and have not ended.
        """

    @sql_function(repeatable=True)
    def end_backfill_video(self, backfill_id: str, video_id: str, message: str) -> bool:
        """Record that a video's run failed or was cancelled. Returns false if its end is recorded."""

    @sql_function(repeatable=True)
    def cancel_backfill(self, backfill_id: str) -> int:
        """Cancel the videos that were not handed out. Returns how many there were."""

    @sql_function(repeatable=True)
    def list_backfills(self, limit: int = 20) -> list[Backfill]:
        """Return backfills, newest first."""

    def get_backfill_video(self, backfill_id: str, video_id: str) -> BackfillVideo | None:
        """Return a chosen video, or ``None`` if the backfill has not chosen it."""
        where = [is_id("backfill_id", backfill_id), is_id("video_id", video_id)]
        return first(self._select(BackfillVideo, "backfill_videos", where, ["video_id"]))

    def list_backfill_videos(
        self, backfill_id: str, *, status: str | None = None, limit: int = 100
    ) -> list[BackfillVideo]:
        """Return a backfill's videos in the order in which they are handed out."""
        where = [is_id("backfill_id", backfill_id)]
        if status is not None:
            where.append(Where("status", "eq", status))
        return self._select(BackfillVideo, "backfill_videos", where, ["turn", "video_id"], limit)
