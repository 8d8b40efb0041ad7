"""The catalogue's requests to read the text of single captions again."""

from collections.abc import Sequence

from captionacc_dagster.resources.catalog.calls import CatalogCalls, is_id, sql_function
from captionacc_dagster.resources.catalog.rows.work import CaptionOcrRequest


class TextRequestCalls(CatalogCalls):
    """Requests of people; ``ClaimCalls.claim_caption_ocr_requests`` hands them out.

    Raises ``UnknownRequestError``, and ``WrongStateError`` if the request has ended or is another run's.
    """

    @sql_function(repeatable=True)
    def request_caption_ocr(
        self, video_id: str, caption_ids: Sequence[int] | None = None, *, requested_by: str = "service"
    ) -> CaptionOcrRequest:
        """Request to read captions again; ``None``: all of them.

        Raises ``WrongStateError`` before there are captions, ``UnknownVideoError``, ``VideoDeletedError`` and
        ``InvalidArgumentError``.
        """

    @sql_function(repeatable=True)
    def begin_caption_ocr_request(self, request_id: str, run_id: str) -> CaptionOcrRequest:
        """Make a run the worker of a request."""

    @sql_function(repeatable=True)
    def finish_caption_ocr_request(
        self, request_id: str, run_id: str, *, caption_count: int
    ) -> CaptionOcrRequest:
        """End a request as completed. ``caption_count``: how many captions were read."""

    @sql_function(repeatable=True)
    def fail_caption_ocr_request(self, request_id: str, run_id: str, message: str) -> CaptionOcrRequest:
        """End a request as failed."""

    def list_caption_ocr_requests(self, video_id: str) -> list[CaptionOcrRequest]:
        """Return a video's requests, newest first."""
        where = [is_id("video_id", video_id)]
        return self._select(CaptionOcrRequest, "caption_ocr_requests", where, ["-created_at", "id"])
