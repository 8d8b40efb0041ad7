"""The catalogue's calls for versions of cropped frames, and for the labels that a model made of them."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from captionacc_dagster.resources.catalog.calls import first, is_id, sql_function
from captionacc_dagster.resources.catalog.rows.work import (
    CroppedFramesVersion,
    InferenceRun,
    Rejection,
    RejectionType,
)
from captionacc_dagster.resources.catalog.transport import Where
from captionacc_dagster.resources.catalog.videos import VideoCalls
from modal_gpu.contracts import CropRegion, Zones


class VersionCalls(VideoCalls):
    """Versions. Calls with a ``version`` raise ``UnknownVersionError`` if the video does not have it."""

    @sql_function()
    def allot_cropped_frames_version(
        self, video_id: str, run_id: str, crop_region: CropRegion, caption_zones: Zones = ()
    ) -> int:
        """Return a new number, or the unfinished one whose compute calls this run can take over.

        Raises ``WrongStateError`` unless the run works on the boundaries and the zones are the approved ones.
        """

    @sql_function(repeatable=True)
    def activate_cropped_frames_version(
        self, video_id: str, version: int, *, chunk_count: int, total_frames: int, total_size_bytes: int
    ) -> CroppedFramesVersion:
        """Make a version the one that readers use, and archive the former one.

        Raises ``WrongStateError`` if it failed or was archived, or if its run no longer works on the video.
        """

    @sql_function(repeatable=True)
    def fail_cropped_frames_version(
        self, video_id: str, version: int, message: str, *, run_id: str | None = None
    ) -> CroppedFramesVersion:
        """Mark an unfinished version as failed, unless another run than ``run_id`` took it over.

        Raises ``WrongStateError`` if it is active or archived.
        """

    def list_cropped_frames_versions(self, video_id: str) -> list[CroppedFramesVersion]:
        """Return a video's versions in order."""
        where = [is_id("video_id", video_id)]
        return self._select(CroppedFramesVersion, "cropped_frames_versions", where, ["version"])

    @sql_function(repeatable=True)
    def removable_cropped_frames_versions(
        self,
        limit: int = 50,
        *,
        older_than_seconds: float = 86_400,
        status: Literal["failed", "archived"] | None = None,
    ) -> list[CroppedFramesVersion]:
        """Return failed and archived versions (or those of one status) that still have objects."""

    @sql_function(repeatable=True)
    def abandoned_cropped_frames_versions(
        self, limit: int = 50, *, older_than_seconds: float = 86_400
    ) -> list[CroppedFramesVersion]:
        """Return unfinished versions without a run that works on them or an open compute call."""

    @sql_function(repeatable=True)
    def mark_objects_removed(self, video_id: str, version: int) -> CroppedFramesVersion:
        """Record that a version's objects were removed. Raises ``WrongStateError`` if it is in use."""

    @sql_function(repeatable=True, version="cropped_frames_version")
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
    ) -> str:
        """Record a model's labels of a version, in place of its earlier ones. Returns the row's id."""

    def current_inference_run(self, video_id: str) -> InferenceRun | None:
        """Return the latest labels of the video's active version. Raises ``UnknownVideoError``."""
        version = self.get_video(video_id).current_cropped_frames_version
        where = [is_id("video_id", video_id), Where("cropped_frames_version", "eq", version or 0)]
        order = ["-completed_at", "-created_at"]
        return first(self._select(InferenceRun, "caption_frame_extents_inference_runs", where, order, 1))

    @sql_function()
    def record_rejection(
        self,
        tenant_id: str,
        rejection_type: RejectionType,
        message: str,
        *,
        video_id: str | None = None,
        cropped_frames_version: int | None = None,
        model_version: str | None = None,
        run_id: str | None = None,
        frame_count: int | None = None,
        estimated_cost_usd: float | Decimal | None = None,
    ) -> Rejection:
        """Record that work was refused.

        Raises ``InvalidArgumentError``, ``UnknownTenantError`` and ``UnknownVideoError``.
        """

    def newest_rejection(self, video_id: str) -> Rejection | None:
        """Return the last refusal of work on a video, or ``None``."""
        table, where = "caption_frame_extents_inference_rejections", [is_id("video_id", video_id)]
        return first(self._select(Rejection, table, where, ["-created_at", "id"], 1))
