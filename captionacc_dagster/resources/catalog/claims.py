"""The catalogue's claims of work, and their return."""

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar, Unpack

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.record import Row
from captionacc_dagster.resources.catalog.rows.videos import LayoutApproval, VideoRow
from captionacc_dagster.resources.catalog.rows.work import CaptionOcrRequest, ClaimKind

R = TypeVar("R", bound=Row)

#: More than a claim may ask for.
_TOO_MANY = 10_001


class ClaimRules(TypedDict, total=False):
    """Rules of a claim: ``restart_after_seconds`` (3600), ``max_unstarted`` (5), ``tenant_limit`` (none)."""

    restart_after_seconds: float
    max_unstarted: int
    tenant_limit: int | None


class ClaimCalls(CatalogCalls):
    """Claims. Each row is handed out once, and again if no run began it within ``restart_after_seconds``.

    What was claimed ``max_unstarted`` times without a run ends in status ``error``. Tenants take turns; at
    most ``tenant_limit`` of one tenant's rows wait for their runs. Raises ``InvalidArgumentError`` for rules
    out of range. A claim whose answer was lost is not repeated: it is handed out again later.
    """

    def claim_new_videos(self, limit: int = 50, **rules: Unpack[ClaimRules]) -> list[VideoRow]:
        """Claim uploaded videos whose layout waits. Those beyond a quota are rejected instead."""
        return self._claim(VideoRow, "claim_new_videos", limit, rules)

    def pending_layout_approvals(self, limit: int = 50, **rules: Unpack[ClaimRules]) -> list[LayoutApproval]:
        """Claim approved layouts whose boundaries wait."""
        return self._claim(LayoutApproval, "pending_layout_approvals", limit, rules)

    def pending_text(self, limit: int = 50, **rules: Unpack[ClaimRules]) -> list[VideoRow]:
        """Claim videos with captions whose text waits."""
        return self._claim(VideoRow, "pending_text", limit, rules)

    def claim_caption_ocr_requests(
        self, limit: int = 50, **rules: Unpack[ClaimRules]
    ) -> list[CaptionOcrRequest]:
        """Claim requests to read single captions again."""
        return self._claim(CaptionOcrRequest, "claim_caption_ocr_requests", limit, rules)

    @sql_function()
    def claim_new_video(self, video_id: str, *, restart_after_seconds: float = 3600) -> VideoRow | None:
        """Claim one video's layout as :meth:`claim_new_videos` does, or return ``None``."""

    @sql_function()
    def claim_layout_approval(
        self, video_id: str, *, restart_after_seconds: float = 3600
    ) -> LayoutApproval | None:
        """Claim one video's approval as :meth:`pending_layout_approvals` does, or return ``None``."""

    @sql_function(repeatable=True)
    def return_claims(
        self,
        kind: ClaimKind,
        claims: Mapping[str, int | str],
        *,
        restart_after_seconds: float = 3600,
        again_after_seconds: float = 0,
    ) -> int:
        """Return claims for which no run was made. Returns how many there were.

        ``claims`` maps ids of videos to the claimed attempt; for kind ``request`` ids of requests to theirs,
        for kind ``backfill`` videos to the backfill. They can be claimed after ``again_after_seconds``, as
        the same attempt; ``restart_after_seconds`` is that of the claim. What a run began does not change.
        """

    def _claim(self, kind: type[R], function: str, limit: int, rules: ClaimRules) -> list[R]:
        most = self.transport.max_rows
        if most is not None and limit < _TOO_MANY:
            # Rows that do not fit into the answer would be claimed and lost.
            limit = min(limit, most)
        defaults = {"restart_after_seconds": 3600, "max_unstarted": 5, "tenant_limit": None}
        arguments: dict[str, Any] = {**defaults, **rules}
        return [kind.from_row(row) for row in self._call(function, limit=limit, **arguments)]
