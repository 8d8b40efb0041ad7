"""Rows of a video and its stages."""

import typing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, TypedDict

from captionacc_dagster.resources.catalog.errors import InvalidArgumentError, WrongStateError
from captionacc_dagster.resources.catalog.rows.record import Row, column, group
from modal_gpu.contracts import CropRegion, Zones
from modal_gpu.timeline import Timeline

Stage = Literal["layout", "boundaries", "text"]
StageStatus = Literal["wait", "annotate", "done", "error"]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)
#: Characters of a short id, which every command accepts.
SHORT_ID = 8


class ErrorDetails(TypedDict):
    """The error that a stage or a compute call ended with. ``failed_at`` is an ISO time in UTC."""

    message: str
    error_type: str
    run_id: str | None
    attempt: int
    failed_at: str


class StageState(Row):
    """One stage of a video.

    ``error_details`` are present exactly in status ``error``, and ``run_id`` while a run works on the stage.
    ``last_run_id`` and ``started_at`` are present once a run has begun it; ``finished_at`` once one ended.
    """

    status: StageStatus
    error_details: ErrorDetails | None
    run_id: str | None
    last_run_id: str | None
    #: Attempts that were claimed. Never decreases, so that run keys made with it are unique. Claiming again
    #: because no run began is the same attempt.
    attempts: int
    #: Claims since a run last began the stage, without those that were returned.
    unstarted_requests: int
    #: How often the work was begun, repetitions within a run included; ``run_try`` counts those of the
    #: last run.
    tries: int
    run_try: int
    started_at: datetime | None
    finished_at: datetime | None
    note: str


@dataclass(frozen=True)
class Media:
    """The facts that the layout stage found in the file. ``frame_count`` counts frames at 10 Hz."""

    duration_seconds: float
    frame_count: int
    width: int
    height: int
    video_codec: str


class VideoRow(Row):
    """A row of ``captionacc.videos``.

    Most fields that may be ``None`` are filled by one step: those of the file by the layout stage
    (:meth:`media` has them without ``None``), ``crop_region`` and the approval by approving the layout
    (:meth:`LayoutApproval.of`), ``current_cropped_frames_version`` and the counts by the later stages.
    """

    video_id: str = column("id")
    tenant_id: str
    display_path: str
    #: ``None`` before the first claim, and for videos of former versions.
    named_partition: str | None = column("partition_key")
    storage_key: str
    size_bytes: int
    content_sha256: str | None
    uploaded_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    #: When the objects of a deleted video were removed from the bucket.
    objects_removed_at: datetime | None
    #: When the video passed its tenant's quotas; ``None`` before its first claim.
    accepted_at: datetime | None
    #: Runs of this video do not gain priority by waiting.
    disable_age_boosting: bool
    #: Priority of its runs that an operator chose; ``None``: the tier's.
    priority_override: int | None

    duration_seconds: float | None
    frame_count: int | None
    width: int | None
    height: int | None
    video_codec: str | None
    bitrate: int | None
    full_frame_count: int | None
    ocr_box_count: int | None
    failed_ocr_count: int | None
    damage: str
    timeline: Timeline = column("time_spans")
    #: Languages of the captions (BCP-47); the tenant's without any.
    ocr_languages: list[str]
    ocr_languages_set_at: datetime | None

    layout: StageState = group("layout_")
    layout_found: bool | None
    layout_confidence: float | None
    proposed_crop_region: CropRegion | None
    proposed_caption_zones: Zones
    layout_approved_at: datetime | None
    layout_approved_by: str | None
    crop_region: CropRegion | None
    #: Approved zones beside ``crop_region``, which is zone 0.
    caption_zones: Zones
    crop_region_version: int

    boundaries: StageState = group("boundaries_")
    current_cropped_frames_version: int | None
    caption_count: int | None

    text: StageState = group("text_")
    text_caption_count: int | None
    #: When the run began whose texts were published last.
    text_read_from: datetime | None

    @property
    def partition_key(self) -> str:
        """The video's partition key in Dagster."""
        return self.named_partition or self.video_id

    @property
    def short_id(self) -> str:
        """The start of the video's id, for people."""
        return self.video_id[:SHORT_ID]

    def stage(self, stage: Stage) -> StageState:
        """Return the state of one stage. Raises :class:`InvalidArgumentError` for an unknown one."""
        states = {"layout": self.layout, "boundaries": self.boundaries, "text": self.text}
        if stage not in states:
            raise InvalidArgumentError(f"stage {stage!r} is not one of {', '.join(STAGES)}")
        return states[stage]

    @property
    def has_other_languages(self) -> bool:
        """True if the published texts may have been read in other languages than the video's."""
        read, changed = self.text_read_from, self.ocr_languages_set_at
        return read is not None and changed is not None and changed > read

    @property
    def error(self) -> str | None:
        """The message of the first stage in status ``error``, if there is one."""
        failed = (state.error_details for state in (self.layout, self.boundaries, self.text))
        return next((details["message"] for details in failed if details), None)

    def media(self) -> Media:
        """Return what the layout stage found. Raises :class:`WrongStateError` before it has finished."""
        if (
            self.duration_seconds is None
            or self.frame_count is None
            or not self.width
            or not self.height
            or self.video_codec is None
        ):
            raise WrongStateError(
                f"the length and size of video {self.video_id} are not known yet: its layout has not finished"
            )
        return Media(self.duration_seconds, self.frame_count, self.width, self.height, self.video_codec)


class LayoutApproval(Row):
    """An approved crop region that is to be processed. ``attempt`` makes the run key unique."""

    video_id: str = column("id")
    tenant_id: str
    crop_region: CropRegion
    caption_zones: Zones
    crop_region_version: int
    approved_by: str = column("layout_approved_by")
    approved_at: datetime = column("layout_approved_at")
    attempt: int = column("boundaries_attempts")
    size_bytes: int
    uploaded_at: datetime | None
    display_path: str
    named_partition: str | None = column("partition_key")
    disable_age_boosting: bool
    created_at: datetime
    priority_override: int | None

    @property
    def partition_key(self) -> str:
        """The video's partition key in Dagster."""
        return self.named_partition or self.video_id

    @classmethod
    def of(cls, video: VideoRow) -> Self:
        """Return the approval in a video's row. Raises :class:`WrongStateError` if there is none."""
        region, who, when = video.crop_region, video.layout_approved_by, video.layout_approved_at
        if region is None or who is None or when is None:
            raise WrongStateError(
                f"the layout of video {video.video_id} is not approved: approve it with the job "
                "approve_layout"
            )
        return cls(
            video_id=video.video_id,
            tenant_id=video.tenant_id,
            crop_region=region,
            caption_zones=video.caption_zones,
            crop_region_version=video.crop_region_version,
            approved_by=who,
            approved_at=when,
            attempt=video.boundaries.attempts,
            size_bytes=video.size_bytes,
            uploaded_at=video.uploaded_at,
            display_path=video.display_path,
            named_partition=video.named_partition,
            disable_age_boosting=video.disable_age_boosting,
            created_at=video.created_at,
            priority_override=video.priority_override,
        )


@dataclass(frozen=True, kw_only=True)
class LayoutOutcome:
    """The result of a layout run. ``crop_region`` is required if ``layout_found``; else it is a fallback."""

    duration_seconds: float
    width: int
    height: int
    video_codec: str
    frame_count: int
    layout_found: bool
    layout_confidence: float
    crop_region: CropRegion | None = None
    note: str = ""
    bitrate: int | None = None
    full_frame_count: int | None = None
    ocr_box_count: int | None = None
    failed_ocr_count: int | None = None
    damage: str = ""
    caption_zones: Zones = ()
