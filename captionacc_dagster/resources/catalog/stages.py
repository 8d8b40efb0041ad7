"""The catalogue's calls for the stages of a video: layout, boundaries, text."""

from typing import Literal

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.videos import LayoutOutcome, Stage, VideoRow
from captionacc_dagster.resources.catalog.rows.work import RunCancellation
from modal_gpu.contracts import CropRegion, Zones
from modal_gpu.timeline import Timeline


class StageCalls(CatalogCalls):
    """Stages. All calls raise ``UnknownVideoError``, ``VideoDeletedError`` and ``InvalidArgumentError``.

    Calls with a ``run_id`` raise ``WrongStateError`` unless that run is the stage's worker.
    """

    @sql_function(repeatable=True, attempt="try")
    def begin_stage(
        self, video_id: str, stage: Stage, run_id: str, *, take_over: bool = True, attempt: int = 1
    ) -> VideoRow:
        """Make a run the worker of a stage, at its ``attempt``-th try; an earlier error is cleared.

        Another run is displaced, unless not ``take_over``: its later calls are refused. Raises
        ``WrongStateError`` if the video is not uploaded (layout), its layout not approved (boundaries) or its
        captions not made (text), and if the stage or the run was cancelled.
        """

    @sql_function(repeatable=True)
    def fail_stage(
        self, video_id: str, stage: Stage, run_id: str, message: str, error_type: str = ""
    ) -> VideoRow:
        """End a stage in status ``error``. A run that ended before it began the stage may do so too."""

    @sql_function()
    def release_stage(self, video_id: str, stage: Stage, run_id: str) -> VideoRow:
        """End a run's work on a stage that it did only in part; the status does not change."""

    @sql_function()
    def retry_stage(self, video_id: str, stage: Stage) -> VideoRow:
        """Let a failed stage wait for a run again. Raises ``WrongStateError`` in other statuses."""

    @sql_function(repeatable=True)
    def restart_stage(self, video_id: str, stage: Literal["layout", "boundaries"]) -> VideoRow:
        """Let a stage and those after it wait for runs again, in any status. An approval stays.

        Raises ``WrongStateError`` if its inputs are missing, or a run works on one of these stages.
        """

    @sql_function(repeatable=True, timeline="time_spans")
    def record_times(
        self,
        video_id: str,
        stage: Stage,
        run_id: str,
        *,
        frame_count: int,
        duration_seconds: float,
        timeline: Timeline,
    ) -> VideoRow:
        """Record the video's length and how players show its times; the last run that read it counts."""

    def finish_layout(
        self,
        video_id: str,
        run_id: str,
        outcome: LayoutOutcome,
        *,
        goes_on: bool = False,
        former_run_id: str | None = None,
    ) -> VideoRow:
        """End the layout: ``annotate``, or ``done`` if the tenant's policy or an earlier approval applies.

        With ``goes_on`` the run is also made the worker of the boundaries, if they wait and nobody has
        claimed them, or the run that this one retries, ``former_run_id``, worked on them.
        """
        (row,) = self._call(
            "finish_layout",
            video_id=video_id,
            run_id=run_id,
            goes_on=goes_on,
            former_run_id=former_run_id,
            **vars(outcome),
        )
        return VideoRow.from_row(row)

    @sql_function(repeatable=True)
    def approve_layout(
        self,
        video_id: str,
        approved_by: str,
        crop_region: CropRegion | None = None,
        caption_zones: Zones | None = None,
    ) -> VideoRow:
        """Approve a crop region, or the proposed one, and further zones. The same again changes nothing.

        Without ``caption_zones`` the approved ones stay; at first they are the proposed ones that do not
        overlap the region. A change sends boundaries and text back to ``wait``. Raises
        ``WrongStateError`` unless the layout is ``annotate`` or ``done``, and ``InvalidCropRegionError``.
        """

    @sql_function(repeatable=True)
    def approve_layout_by_person(
        self,
        video_id: str,
        approved_by: str,
        crop_region: CropRegion | None = None,
        caption_zones: Zones | None = None,
        *,
        disable_age_boosting: bool = False,
    ) -> VideoRow:
        """Approve as :meth:`approve_layout` does, and set whether waiting gives the runs no priority."""

    @sql_function()
    def finish_boundaries(
        self,
        video_id: str,
        run_id: str,
        *,
        version: int,
        caption_count: int,
        note: str = "",
        goes_on: bool = True,
    ) -> VideoRow:
        """End the boundaries in ``annotate``; ``version`` must be active. The text waits for a run.

        With ``goes_on`` that run is this one; otherwise the text is handed out at once.
        """

    @sql_function()
    def finish_text(self, video_id: str, run_id: str, *, caption_count: int, note: str = "") -> VideoRow:
        """End the text in ``annotate``."""

    @sql_function(repeatable=True)
    def complete_review(self, video_id: str, stage: Literal["boundaries", "text"]) -> VideoRow:
        """End the review of a stage in ``annotate``. Raises ``WrongStateError`` while a run works on it."""

    @sql_function(repeatable=True)
    def cancel_stage(self, video_id: str, stage: Stage, cancelled_by: str) -> VideoRow:
        """End a stage in error ``CancelledError``; its run is ended, and its later calls are refused.

        Raises ``WrongStateError`` if nothing works on the stage or waits for it.
        """

    @sql_function(repeatable=True)
    def pending_run_cancellations(self, limit: int = 50) -> list[RunCancellation]:
        """Return runs that are to be ended, oldest first, until :meth:`finish_run_cancellation`."""

    @sql_function(repeatable=True)
    def finish_run_cancellation(self, run_id: str) -> RunCancellation:
        """Record that a cancelled run has ended. Raises ``UnknownRequestError``."""
